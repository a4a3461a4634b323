//! What a driver says of a device's queues before and while they are in use, whatever its transport.

use super::queue::{QueueError, Setup};

/// What is known of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueEntry {
    /// What the driver said of it.
    pub setup: Setup,
    /// Whether the driver may use it.
    pub ready: bool,
}

/// The queues of a device.
#[derive(Debug)]
pub struct Queues {
    max_size: u16,
    entries: Vec<QueueEntry>,
}

impl Queues {
    /// `count` queues of at most `max_size` entries.
    ///
    /// # Errors
    /// [`QueueError::Setup`]: there are too many, or `max_size` is not a power of two from 1 to 32768.
    pub fn new(count: u16, max_size: u16) -> Result<Queues, QueueError> {
        if count > super::doorbell::MAX_QUEUES || !max_size.is_power_of_two() {
            return Err(QueueError::Setup);
        }
        Ok(Queues { max_size, entries: vec![QueueEntry::default(); count.into()] })
    }

    /// Entries of a queue at most.
    pub fn max_size(&self) -> u16 {
        self.max_size
    }

    /// The queue that a driver means by a number. Any number may come; this is the only place that asks whether there is
    /// such a queue.
    pub fn find(&mut self, number: u32) -> Option<(u16, &mut QueueEntry)> {
        let index = u16::try_from(number).ok()?;
        Some((index, self.entries.get_mut(usize::from(index))?))
    }

    /// All queues, in the order of their numbers.
    pub fn all(&self) -> &[QueueEntry] {
        &self.entries
    }

    /// Replaces what is known of all queues.
    pub fn set_all(&mut self, entries: impl Iterator<Item = QueueEntry>) {
        self.entries.iter_mut().zip(entries).for_each(|(entry, new)| *entry = new);
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.entries.fill(QueueEntry::default());
    }
}
