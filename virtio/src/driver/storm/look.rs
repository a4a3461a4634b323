//! The device's turn, and what is demanded of it.

use super::expected::{Granted, REACHED, WRITTEN, index_at};
use super::guest::BASE;
use super::{Game, POLLS, RACES, Random, Subject, Sum};
use crate::driver::{Ring, read, write};

/// Operations of a turn of which nothing else is known: what all queues hold, and again for each word that another vCPU writes.
const MOST: u64 = 2 * 128 * (1 + RACES);

impl<S: Subject> Game<'_, S> {
    /// The device's turn, and a look at it. False: the device needs a reset, or nobody knows any more.
    pub(super) fn turn(&mut self, races: bool, sum: &mut Sum) -> bool {
        self.expected.look(&self.image, &self.rings, self.event_idx);
        self.memory.take_reached(&mut self.reached);
        for number in 0..self.rings.len() {
            write(&mut self.mmio, 0x50, number as u32);
        }
        // A driver may reset the device in the middle of it.
        let is_cut = self.random.once_in(64);
        let polls = if is_cut { 1 } else { POLLS };
        let is_at_rest = (0..polls).any(|_| !self.mmio.poll_until_idle() && self.subject.is_at_rest());
        assert!(is_at_rest || is_cut, "it does not come to rest");
        let is_broken = read(&mut self.mmio, 0x70) & 0x40 != 0;
        if is_cut {
            write(&mut self.mmio, 0x70, 0);
            assert!(self.subject.is_at_rest(), "something goes on after a reset");
        }
        self.memory.take_reached(&mut self.reached);
        self.memory.read_all(&mut self.after);
        if races || self.expected.is_tangled {
            sum.tangled += 1;
            let operations = self.subject.settle();
            assert!(operations <= MOST, "{operations} operations");
            self.memory.race(0, Random::default());
            return false;
        }
        self.check_bytes();
        let (done, all) = (self.check_used(is_broken || is_cut), self.expected.chains.len() as u64);
        let operations = self.subject.settle();
        assert!(operations <= all, "{operations} operations for {all} chains");
        sum.completed += done;
        if is_broken {
            sum.resets += 1;
            self.check_cause();
        }
        if is_broken || is_cut {
            self.check_silence();
            return false;
        }
        assert_eq!(done, all, "a chain is left in its queue");
        assert!(!self.expected.runs_ahead, "a queue that runs ahead is served");
        std::mem::swap(&mut self.image, &mut self.after);
        true
    }

    /// Only what is granted was reached, and changed.
    fn check_bytes(&self) {
        let rights = &self.expected.rights;
        for &(at, len) in &self.reached {
            let all = rights[at..at + len].iter().all(|byte| byte & REACHED != 0);
            assert!(
                all,
                "{len} bytes at {at:#x} are reached, which nobody grants\n{:x?}",
                self.expected.chains
            );
        }
        for (number, (before, after)) in self.image.chunks(64).zip(self.after.chunks(64)).enumerate() {
            if before == after {
                continue;
            }
            for at in 0..64 {
                let is_allowed = before[at] == after[at] || rights[64 * number + at] & WRITTEN != 0;
                assert!(is_allowed, "the byte at {:#x} is changed", 64 * number + at);
            }
        }
    }

    /// Each chain is given back once, or not at all by a device that has stopped. The number of those that were.
    fn check_used(&mut self, is_stopped: bool) -> u64 {
        let mut all = 0;
        for number in 0..self.rings.len() {
            let (ring, next) = self.rings[number].clone();
            let index = index_at(&self.after, ring.used);
            let count = index.wrapping_sub(next);
            let mut left: Vec<&Granted> =
                self.expected.chains.iter().filter(|chain| chain.queue == number).collect();
            assert!(usize::from(count) <= left.len(), "{count} chains of {} come back", left.len());
            for done in 0..count {
                let slot = usize::from(next.wrapping_add(done) % ring.size);
                let at = (ring.used - BASE) as usize + 4 + 8 * slot;
                let word =
                    |at: usize| u32::from_le_bytes(self.after[at..at + 4].try_into().expect("4 bytes"));
                let (id, written) = (word(at), word(at + 4));
                let place = left.iter().position(|chain| u32::from(chain.head) == id);
                let chain = left.remove(
                    place.unwrap_or_else(|| panic!("{id} comes back, which nobody offered, or twice")),
                );
                assert!(!chain.is_broken, "a broken chain is done: {chain:x?}");
                assert!(u64::from(written) <= chain.room(), "{written} bytes in {chain:x?}");
                if self.expected.chains.len() == 1 && !is_stopped && self.expected.stays(chain) {
                    let chain = chain.clone();
                    self.subject.judge(&chain, &self.image, &self.after, written);
                }
            }
            all += u64::from(count);
            if !is_stopped {
                self.check_told(&ring, next, index);
                let is_asked = self.asks(&ring) == if self.event_idx { index } else { 0 };
                assert!(is_asked, "the next notification is not asked for");
                self.rings[number].1 = index;
            }
        }
        // Acknowledged, so that the next one is seen.
        let status = read(&mut self.mmio, 0x60);
        write(&mut self.mmio, 0x64, status);
        all
    }

    /// From which index on the device wants to hear; without event indices, whether it does not want to.
    fn asks(&self, ring: &Ring) -> u16 {
        let event = 4 + 8 * usize::from(ring.size);
        let at = (ring.used - BASE) as usize + if self.event_idx { event } else { 0 };
        u16::from_le_bytes([self.after[at], self.after[at + 1]])
    }

    /// A driver that wants an interrupt for what came back has it (2.7.7).
    fn check_told(&mut self, ring: &Ring, old: u16, new: u16) {
        let at = (ring.available - BASE) as usize;
        let word = |at: usize| u16::from_le_bytes([self.image[at], self.image[at + 1]]);
        let wants = if self.event_idx {
            let event = word(at + 4 + 2 * usize::from(ring.size));
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            old != new && word(at) & 1 == 0
        };
        assert!(!wants || read(&mut self.mmio, 0x60) & 1 != 0, "the driver is not told of {old}..{new}");
    }

    /// A device that needs a reset has a reason.
    fn check_cause(&self) {
        let chains = &self.expected.chains;
        let has_cause = self.expected.runs_ahead
            || chains.iter().any(|chain| chain.is_broken || self.subject.may_refuse(chain));
        assert!(has_cause, "it needs a reset, and no rule was broken: {:?} {chains:x?}", self.mmio.error());
    }

    /// It touches nothing until it is brought up again.
    fn check_silence(&mut self) {
        for number in 0..self.rings.len() {
            write(&mut self.mmio, 0x50, number as u32);
        }
        assert!(!self.mmio.poll_until_idle());
        assert!(self.subject.is_at_rest(), "something is under way though it needs a reset");
        self.memory.take_reached(&mut self.reached);
        assert!(self.reached.is_empty(), "it goes on though it needs a reset: {:x?}", self.reached);
    }
}
