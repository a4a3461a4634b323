//! Which queues the driver notified.

/// The most queues of a device: what a [`QueueSet`] has room for.
pub const MAX_QUEUES: u16 = 64;

/// A set of queues, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSet(u64);

impl QueueSet {
    /// No queue.
    pub const NONE: QueueSet = QueueSet(0);

    /// Those whose bits are set, queue 0 being bit 0.
    pub const fn from_bits(bits: u64) -> QueueSet {
        QueueSet(bits)
    }

    fn bit(queue: u16) -> u64 {
        1u64.checked_shl(queue.into()).unwrap_or(0)
    }

    /// Adds a queue.
    pub fn insert(&mut self, queue: u16) {
        self.0 |= QueueSet::bit(queue);
    }

    /// Adds all queues of another set.
    pub fn extend(&mut self, other: QueueSet) {
        self.0 |= other.0;
    }

    /// Whether a queue is among them.
    pub fn contains(self, queue: u16) -> bool {
        self.0 & QueueSet::bit(queue) != 0
    }

    /// Whether no queue is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The queues, in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (0..MAX_QUEUES).filter(move |&queue| self.contains(queue))
    }
}

/// Where notifications wait that reach a backend without an access to QueueNotify: a word that the hypervisor sets bits
/// in, or eventfds. The carrier implements it.
pub trait Doorbell: Send + Sync {
    /// Takes the queues that were notified since the last call.
    fn take(&self) -> QueueSet;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = QueueSet::NONE;
        assert!(set.is_empty() && set.iter().next().is_none());
        for queue in [63, 0, 5, 64, u16::MAX] {
            set.insert(queue);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 5, 63], "others are no queues");
        set.extend(QueueSet::from_bits(0b110));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 2, 5, 63]);
        assert!(set.contains(2) && !set.contains(3) && !set.contains(64));
    }
}
