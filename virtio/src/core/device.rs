//! What a kind of device is to the rest: what it offers, and how it serves its queues.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::interrupt::Interrupt;
use super::memory::GuestMemory;
use super::queue::{QueueError, QueueState, VirtQueue};
use super::state::StateError;

/// Whether nobody needs a device any more, its guest least of all.
pub type IsOver = Box<dyn Fn() -> bool + Send>;

/// A device. It is given its queues one by one and has them until they are stopped; guest memory it is lent for a call at a
/// time, so that none of it stays mapped longer.
pub trait Device: Send {
    /// Virtio's number for its kind (virtio 1.2, 5).
    fn id(&self) -> u32;

    /// The features that it offers, those of the transport and of queues included.
    fn features(&self) -> u64;

    /// Whether it can work with this choice out of what it offers (2.2.2).
    fn accepts(&self, features: u64) -> bool;

    /// How many queues it has, at most [`MAX_QUEUES`](super::doorbell::MAX_QUEUES).
    fn queues(&self) -> u16;

    /// Entries that each queue can have.
    fn queue_size(&self) -> u16;

    /// Reads bytes of the configuration space. What is not there stays zero.
    fn read_config(&self, offset: usize, data: &mut [u8]);

    /// Writes bytes of the configuration space. What cannot be written is ignored.
    fn write_config(&mut self, offset: usize, data: &[u8]);

    /// The driver has chosen among the features: it is now to behave by them.
    fn negotiated(&mut self, features: u64);

    /// Takes a queue over, where `state` says or at its beginning. It is not used before the first [`Device::poll`].
    ///
    /// # Errors
    /// The queue cannot be used.
    fn start_queue(
        &mut self,
        index: u16,
        queue: VirtQueue,
        interrupt: Arc<dyn Interrupt>,
        state: Option<QueueState>,
    ) -> Result<(), QueueError>;

    /// Waits for what was taken from a queue, gives it back, and gives the queue up: afterwards nothing of it touches guest
    /// memory any more. Other queues go on. The state of a queue that was not started is that of a fresh one.
    ///
    /// # Errors
    /// A queue is broken: the device needs a reset.
    fn stop_queue(&mut self, index: u16, memory: &dyn GuestMemory) -> Result<QueueState, QueueError>;

    /// The driver notified a queue that runs. A device that looks at all its queues at each [`Device::poll`] need not know.
    fn notify(&mut self, _index: u16) {}

    /// Takes what the queues have, starts it, gives back what is done, and tells the driver. Never blocks for long, and takes
    /// a bounded number of chains. From the first one on the driver need not notify, until
    /// [`Device::arm_notifications`]. Returns whether anything was taken or given back.
    ///
    /// # Errors
    /// A queue is broken: the device needs a reset.
    fn poll(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError>;

    /// Asks the driver to notify. True: there is something to take already, of which it may not tell.
    ///
    /// # Errors
    /// A queue is broken: the device needs a reset.
    fn arm_notifications(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError>;

    /// Waits for all that was started, and gives it back. The queues stay.
    ///
    /// # Errors
    /// A queue is broken: the device needs a reset.
    fn drain(&mut self, memory: &dyn GuestMemory) -> Result<(), QueueError>;

    /// Waits for all that was started and forgets it, and the queues: afterwards nothing touches guest memory any more.
    /// Then everything is as when the device was made.
    fn reset(&mut self);

    /// Becomes readable when something that was started is done.
    fn wake(&self) -> Option<BorrowedFd<'_>>;

    /// What waits for the end of something that was started, as a reset does, is to look at `is_over` meanwhile, and then to wait
    /// no longer than the system has something of it in hand.
    fn set_end(&mut self, _is_over: IsOver) {}

    /// What it has to remember beside its features and queues, in a form of its own.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes up what [`Device::save`] gave, after [`Device::negotiated`] if features are agreed on.
    ///
    /// # Errors
    /// [`StateError::Value`]: it is nothing that such a device gives.
    fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        if state.is_empty() { Ok(()) } else { Err(StateError::Value("the device's own part")) }
    }

    /// What to tell people when it ends, if there is anything.
    fn summary(&self) -> Option<String> {
        None
    }
}

impl Device for Box<dyn Device> {
    fn id(&self) -> u32 {
        (**self).id()
    }

    fn features(&self) -> u64 {
        (**self).features()
    }

    fn accepts(&self, features: u64) -> bool {
        (**self).accepts(features)
    }

    fn queues(&self) -> u16 {
        (**self).queues()
    }

    fn queue_size(&self) -> u16 {
        (**self).queue_size()
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        (**self).read_config(offset, data);
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        (**self).write_config(offset, data);
    }

    fn negotiated(&mut self, features: u64) {
        (**self).negotiated(features);
    }

    fn start_queue(
        &mut self,
        index: u16,
        queue: VirtQueue,
        interrupt: Arc<dyn Interrupt>,
        state: Option<QueueState>,
    ) -> Result<(), QueueError> {
        (**self).start_queue(index, queue, interrupt, state)
    }

    fn stop_queue(&mut self, index: u16, memory: &dyn GuestMemory) -> Result<QueueState, QueueError> {
        (**self).stop_queue(index, memory)
    }

    fn notify(&mut self, index: u16) {
        (**self).notify(index);
    }

    fn poll(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        (**self).poll(memory)
    }

    fn arm_notifications(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        (**self).arm_notifications(memory)
    }

    fn drain(&mut self, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        (**self).drain(memory)
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        (**self).wake()
    }

    fn set_end(&mut self, is_over: IsOver) {
        (**self).set_end(is_over);
    }

    fn save(&self) -> Vec<u8> {
        (**self).save()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        (**self).restore(state)
    }

    fn summary(&self) -> Option<String> {
        (**self).summary()
    }
}
