//! A CPU's software timers: what is due, in order, and when to set the hardware timer to.
//!
//! A key (a vCPU's timer of one kind, say) has at most one deadline. The queue has room for as many keys as the CPU's
//! vCPUs can have; within that room no operation allocates. It is a sorted array: with the few dozen timers that a
//! CPU has, moving them costs less than the pointers of a cleverer structure.

use alloc::{collections::TryReserveError, vec::Vec};

/// Deadlines in counter ticks, each with a key of the caller's.
#[derive(Debug)]
pub struct TimerQueue<K> {
    /// The next one last; of two with the same deadline, the one that was set first is later in the list.
    entries: Vec<(u64, K)>,
}

impl<K> Default for TimerQueue<K> {
    fn default() -> Self {
        TimerQueue { entries: Vec::new() }
    }
}

impl<K: PartialEq> TimerQueue<K> {
    /// Makes room for `keys` keys in all. On failure the queue is as before.
    pub fn reserve(&mut self, keys: usize) -> Result<(), TryReserveError> {
        self.entries.try_reserve(keys.saturating_sub(self.entries.len()))
    }

    /// Sets the key's deadline, in place of the one it had. Fails only beyond the reserved room and without memory;
    /// the key then has no deadline.
    pub fn insert(&mut self, deadline: u64, key: K) -> Result<(), TryReserveError> {
        // Before room is asked for: the place of the old deadline is enough for the new one.
        self.cancel(&key);
        self.entries.try_reserve(1)?;
        let place = self.entries.partition_point(|&(other, _)| other > deadline);
        self.entries.insert(place, (deadline, key));
        Ok(())
    }

    /// Takes the key's deadline away, and returns it if there was one.
    #[inline]
    pub fn cancel(&mut self, key: &K) -> Option<u64> {
        let place = self.entries.iter().position(|(_, other)| other == key)?;
        Some(self.entries.remove(place).0)
    }

    /// Takes the first key that is due at `now`; to be called until it says `None`.
    pub fn expire(&mut self, now: u64) -> Option<K> {
        self.entries.pop_if(|&mut (deadline, _)| deadline <= now).map(|(_, key)| key)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<u64> {
        self.entries.last().map(|&(deadline, _)| deadline)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64, u8),
        Cancel(u8),
        Expire(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let deadline = prop_oneof![Just(0), Just(u64::MAX), 0..100u64];
        prop_oneof![
            3 => (deadline.clone(), 0..16u8).prop_map(|(deadline, key)| Op::Insert(deadline, key)),
            1 => (0..16u8).prop_map(Op::Cancel),
            1 => deadline.prop_map(Op::Expire),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_an_ordered_map(history in proptest::collection::vec(op(), 0..100)) {
            let mut queue = TimerQueue::default();
            queue.reserve(16).unwrap();
            let room = queue.entries.capacity();
            let mut keys = BTreeMap::new();
            let mut order = BTreeMap::new();
            for (number, op) in history.into_iter().enumerate() {
                match op {
                    Op::Insert(deadline, key) => {
                        queue.insert(deadline, key).unwrap();
                        keys.insert(key, (deadline, number)).map(|old| order.remove(&old));
                        order.insert((deadline, number), key);
                    }
                    Op::Cancel(key) => {
                        let old = keys.remove(&key);
                        old.map(|old| order.remove(&old));
                        prop_assert_eq!(queue.cancel(&key), old.map(|(deadline, _)| deadline));
                    }
                    Op::Expire(now) => {
                        while let Some(key) = queue.expire(now) {
                            let ((deadline, _), due) = order.pop_first().unwrap();
                            prop_assert!(deadline <= now);
                            prop_assert_eq!(key, due);
                            keys.remove(&key);
                        }
                        prop_assert!(order.keys().all(|&(deadline, _)| deadline > now));
                    }
                }
                prop_assert_eq!(queue.next(), order.keys().next().map(|&(deadline, _)| deadline));
                prop_assert_eq!(queue.entries.capacity(), room, "no allocation within the room");
            }
        }
    }
}
