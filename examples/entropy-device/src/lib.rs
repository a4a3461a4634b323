//! A virtio entropy device (virtio 1.2, 5.4): the driver offers buffers, the device fills them with random bytes.
//!
//! It is a whole device: one queue, no configuration, nothing that it has to wait for. `src/main.rs` carries it to a guest,
//! and `tests/` drives it from the guest's side with neither Xen nor a device file.

#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use virtio::core::device::Device;
use virtio::core::interrupt::Interrupt;
use virtio::core::memory::{Buffers, GuestMemory};
use virtio::core::queue::{QueueError, QueueState, VirtQueue};
use virtio::core::running::RunningQueues;

/// Virtio's number for entropy devices.
pub const DEVICE_ID: u32 = 4;

/// `VIRTIO_F_VERSION_1` (6): no driver of the time before 1.0.
const VERSION_1: u64 = 1 << 32;
/// Entries of the queue.
const QUEUE_SIZE: u16 = 64;
/// The most bytes of one buffer that are filled. The driver learns how many were, and asks again (5.4.6).
const MOST: usize = 4096;

/// Fills a slice with random bytes.
pub type Source = Box<dyn FnMut(&mut [u8]) + Send>;

/// An entropy device.
pub struct Entropy {
    source: Source,
    queues: RunningQueues,
}

impl Entropy {
    /// A device whose bytes come from `source`.
    pub fn new(source: Source) -> Entropy {
        Entropy { source, queues: RunningQueues::default() }
    }
}

impl Device for Entropy {
    fn id(&self) -> u32 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        VERSION_1
    }

    fn accepts(&self, features: u64) -> bool {
        features & VERSION_1 != 0
    }

    fn queues(&self) -> u16 {
        1
    }

    fn queue_size(&self) -> u16 {
        QUEUE_SIZE
    }

    // It has no configuration (5.4.4).
    fn read_config(&self, _: usize, _: &mut [u8]) {}

    fn write_config(&mut self, _: usize, _: &[u8]) {}

    // It behaves the same with all features that there are.
    fn negotiated(&mut self, _: u64) {}

    fn start_queue(
        &mut self,
        index: u16,
        queue: VirtQueue,
        interrupt: Arc<dyn Interrupt>,
        state: Option<QueueState>,
    ) -> Result<(), QueueError> {
        self.queues.start(index, queue, interrupt, state);
        Ok(())
    }

    // Each buffer is given back by the call that takes it: nothing is ever in flight.
    fn stop_queue(&mut self, index: u16, _: &dyn GuestMemory) -> Result<QueueState, QueueError> {
        Ok(self.queues.stop(index))
    }

    fn poll(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        let ram = memory.memory();
        let Some(running) = self.queues.get_mut(0) else { return Ok(false) };
        let mut any = false;
        // No more than the queue holds, so that the driver's accesses get their turn.
        for _ in 0..running.queue.size() {
            let Some(chain) = running.queue.pop(&ram)? else { break };
            // What the driver says is an allegation: it may have given no buffer, or one that is not its memory.
            let written = Buffers::new(&ram, &chain.writable).map_or(0, |buffers| {
                let mut bytes = vec![0; usize::try_from(buffers.len()).unwrap_or(MOST).min(MOST)];
                (self.source)(&mut bytes);
                buffers.copy_in(&bytes).unwrap_or(0)
            });
            running.queue.push(&ram, chain.head, u32::try_from(written).unwrap_or(0))?;
            any = true;
        }
        if any {
            running.signal_used(&ram)?;
        }
        Ok(any)
    }

    fn arm_notifications(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        self.queues.arm_notifications(&memory.memory())
    }

    fn drain(&mut self, _: &dyn GuestMemory) -> Result<(), QueueError> {
        Ok(())
    }

    fn reset(&mut self) {
        self.queues.clear();
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
