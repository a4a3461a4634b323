//! What a transport needs of a device.

use std::os::fd::BorrowedFd;

use backend::Guest;

use crate::core::queue::{QueueError, VirtQueue};

/// What a look at the queues brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Something was given back, and the driver wants to know.
    pub interrupt: bool,
    /// Something was taken or given back.
    pub busy: bool,
}

/// A kind of device: what it offers and how it serves its queues. The transport owns the queues.
pub trait Device: Send {
    /// Virtio's number for its kind (virtio 1.2, 5).
    fn id(&self) -> u32;

    /// The features that it offers, those of the transport and of queues included.
    fn features(&self) -> u64;

    /// Whether it can work with this choice out of what it offers (2.2.2).
    fn accepts(&self, features: u64) -> bool;

    /// How many queues it has.
    fn queues(&self) -> u16;

    /// Entries that each queue can have.
    fn queue_size(&self) -> u16;

    /// Reads bytes of the configuration space. What is not there stays zero.
    fn read_config(&self, offset: usize, data: &mut [u8]);

    /// Writes bytes of the configuration space. What cannot be written is ignored.
    fn write_config(&mut self, offset: usize, data: &[u8]);

    /// The driver has chosen among the features: it is now to behave by them.
    fn negotiated(&mut self, features: u64);

    /// Takes what the queues have, starts it, and gives back what is done. Never blocks for long, and takes a bounded
    /// number of chains. From the first one on the driver need not notify, until [`Device::listen`].
    ///
    /// # Errors
    /// A queue is broken: the device needs a reset.
    fn serve(&mut self, queues: &mut [VirtQueue], guest: &dyn Guest) -> Result<Progress, QueueError>;

    /// Asks the driver to notify. True: there is something to take already, of which it may not tell.
    ///
    /// # Errors
    /// A queue is broken: the device needs a reset.
    fn listen(&mut self, queues: &mut [VirtQueue], guest: &dyn Guest) -> Result<bool, QueueError>;

    /// Waits for all that was started, and gives it back.
    ///
    /// # Errors
    /// A queue is broken: the device needs a reset.
    fn finish(&mut self, queues: &mut [VirtQueue], guest: &dyn Guest) -> Result<Progress, QueueError>;

    /// Waits for all that was started and forgets it: afterwards nothing touches guest memory any more. Then everything
    /// is as when the device was made.
    fn reset(&mut self);

    /// Becomes readable when something that was started is done.
    fn wake(&self) -> Option<BorrowedFd<'_>>;
}
