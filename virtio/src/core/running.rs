//! The queues that a device was given to serve, for devices to build on.

use std::sync::Arc;

use super::interrupt::Interrupt;
use super::queue::{QueueError, QueueState, VirtQueue};
use super::ram::Ram;

/// A queue that was started, and what tells its driver of used buffers.
pub struct RunningQueue {
    /// The queue.
    pub queue: VirtQueue,
    interrupt: Arc<dyn Interrupt>,
}

impl RunningQueue {
    /// Tells the driver of what was given back since the last call, if it wants to know (2.7.7).
    ///
    /// # Errors
    /// [`QueueError::Memory`]
    pub fn signal_used(&mut self, ram: &Ram) -> Result<(), QueueError> {
        if self.queue.wants_interrupt(ram)? {
            self.interrupt.trigger();
        }
        Ok(())
    }
}

/// All queues of a device, each running or not. A number that is no queue's is one that does not run.
#[derive(Default)]
pub struct RunningQueues(Vec<Option<RunningQueue>>);

impl RunningQueues {
    /// Starts a queue where `state` says, or at its beginning.
    pub fn start(
        &mut self,
        index: u16,
        mut queue: VirtQueue,
        interrupt: Arc<dyn Interrupt>,
        state: Option<QueueState>,
    ) {
        if let Some(state) = state {
            queue.resume(state);
        }
        let index = usize::from(index);
        if index >= self.0.len() {
            self.0.resize_with(index.saturating_add(1), || None);
        }
        if let Some(place) = self.0.get_mut(index) {
            *place = Some(RunningQueue { queue, interrupt });
        }
    }

    /// Takes a queue out of use, in which nothing is in flight. One that does not run is as if it had never been used.
    pub fn stop(&mut self, index: u16) -> QueueState {
        let queue = self.0.get_mut(usize::from(index)).and_then(Option::take);
        queue.map_or(QueueState::default(), |running| running.queue.state())
    }

    /// A queue, if it runs.
    pub fn get_mut(&mut self, index: u16) -> Option<&mut RunningQueue> {
        self.0.get_mut(usize::from(index))?.as_mut()
    }

    /// The queues that run, with their numbers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut RunningQueue)> {
        (0..).zip(&mut self.0).filter_map(|(index, queue)| Some((index, queue.as_mut()?)))
    }

    /// Asks for notifications on all that run. True: there is something to take already.
    ///
    /// # Errors
    /// [`QueueError::Memory`]
    pub fn arm_notifications(&mut self, ram: &Ram) -> Result<bool, QueueError> {
        let mut more = false;
        for (_, running) in self.iter_mut() {
            more |= running.queue.arm_notifications(ram)?;
        }
        Ok(more)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
