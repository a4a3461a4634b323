//! Which operations go past the page cache: large writes, by direct I/O and memory of our own.
//!
//! What is written to the cache is handled there page by page, and later brought to the disk page by page; that takes more
//! work than a copy. A small write is another matter: a disk's delay costs more than all that. And what is read the cache
//! may have, which is quicker than any disk.
//!
//! Principle: what is and what is not in the cache never contradict each other. Linux drops what the cache has of a range
//! when a direct write begins. What comes into the cache meanwhile it may keep, though it is old, or is written by others
//! and holds old bytes besides. So near a direct write that is under way nothing is read or written by the cache. The
//! cache reads nothing that it was not asked for (`POSIX_FADV_RANDOM`): the guest reads ahead itself.

use rustix::io::Errno;

use super::{Geometry, Operation, stage};

/// The fewest bytes of a direct write: below, a disk's delay costs more than the page cache's work.
const LEAST: u64 = 64 << 10;
/// The most bytes of a direct write: what all stages hold.
const MOST: u64 = (stage::COUNT * stage::SIZE) as u64;
/// Bytes of the largest folio, which the page cache handles as one and has at a multiple of its size: a huge page.
const FOLIO: u64 = 2 << 20;

/// The choice between direct and cached writes of an image.
#[derive(Debug)]
pub struct Chooser {
    /// What offsets and lengths are aligned to: a physical block, so that the disk need not read first.
    physical: u64,
    possible: bool,
}

impl Chooser {
    /// For an image of this geometry, which has direct I/O if it is `possible`.
    pub fn new(geometry: &Geometry, possible: bool) -> Chooser {
        Chooser { physical: u64::from(geometry.physical.max(geometry.block).max(512)), possible }
    }

    /// Whether an operation is to be direct.
    pub fn chooses(&self, operation: &Operation) -> bool {
        let Operation::Write { offset, from, .. } = operation else { return false };
        let len = from.len();
        self.possible
            && (LEAST..=MOST).contains(&len)
            && len.is_multiple_of(self.physical)
            && offset.is_multiple_of(self.physical)
    }

    /// Whether any operation can be direct.
    pub fn is_possible(&self) -> bool {
        self.possible
    }

    /// Notes that a direct operation was answered so, and was to be done by the cache.
    pub fn failed(&mut self, error: Errno) {
        // Answers that will be the same for each direct write to this file; others may be different the next time.
        self.possible &= ![Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS].contains(&error);
    }
}

/// The number of stages that a write takes; 0 for any other operation.
pub fn parts(operation: &Operation) -> usize {
    match operation {
        Operation::Write { from, .. } => {
            usize::try_from(from.len()).unwrap_or(usize::MAX).div_ceil(stage::SIZE)
        }
        _ => 0,
    }
}

/// The first and the last folio that an operation touches, counted from the image's beginning. `None`: it touches none.
pub fn range(operation: &Operation) -> Option<(u64, u64)> {
    let (offset, len) = match operation {
        Operation::Flush => return None,
        Operation::Read { offset, into: buffers } | Operation::Write { offset, from: buffers, .. } => {
            (*offset, buffers.len())
        }
        Operation::Discard { offset, len } | Operation::WriteZeroes { offset, len, .. } => (*offset, *len),
    };
    Some(folios(offset, len))
}

/// The first and the last folio of `len` bytes from `offset` on.
pub fn folios(offset: u64, len: u64) -> (u64, u64) {
    // A length of 0 counts as the folio at `offset`.
    let last = offset.saturating_add(len).saturating_sub(1).max(offset);
    (offset / FOLIO, last / FOLIO)
}

/// Whether two ranges of folios have one in common.
pub fn touch(one: (u64, u64), other: (u64, u64)) -> bool {
    one.0 <= other.1 && other.0 <= one.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::memory::GuestMemory as _;
    use crate::core::memory::{Buffers, Part};
    use crate::driver::{HIGH, guest};
    use vm_memory::GuestAddress;

    /// So many bytes, of the same memory again and again.
    fn pieces(len: u32) -> Vec<Part> {
        let most = u32::try_from(HIGH.1).unwrap();
        let part = |skip: u32| Part { address: GuestAddress(HIGH.0), len: (len - skip).min(most) };
        (0..len).step_by(HIGH.1).map(part).collect()
    }

    fn buffers(len: u32) -> Buffers {
        let ram = guest().memory();
        Buffers::new(&ram, &pieces(len)).unwrap()
    }

    fn write(offset: u64, len: u32) -> Operation {
        Operation::Write { offset, from: buffers(len), durable: false }
    }

    fn chooser(block: u32, physical: u32, possible: bool) -> Chooser {
        let geometry = Geometry { size: 1 << 30, block, physical, optimal: 0, discard: 0, read_only: false };
        Chooser::new(&geometry, possible)
    }

    #[test]
    fn large_and_aligned_writes_are_direct() {
        let chooses = |block, physical, operation| chooser(block, physical, true).chooses(&operation);
        assert!(chooses(512, 512, write(512, 65536)));
        assert!(!chooses(512, 4096, write(512, 65536)), "half a physical block");
        assert!(!chooses(512, 4096, write(0, 65536 + 512)));
        assert!(!chooses(512, 512, write(0, 61440)), "small");
        assert!(chooses(512, 512, write(0, 4 << 20)));
        assert!(!chooses(512, 512, write(0, (4 << 20) + 512)), "more than all stages");
        assert!(!chooser(512, 512, false).chooses(&write(0, 65536)));
        assert!(!chooses(512, 512, Operation::Read { offset: 0, into: buffers(65536) }));
        assert!(!chooses(512, 512, Operation::Flush));
        assert!(!chooses(512, 512, Operation::Discard { offset: 0, len: 1 << 20 }));
        assert_eq!([65536, 1 << 20, (1 << 20) + 512, 4 << 20].map(|len| parts(&write(0, len))), [1, 1, 2, 4]);
    }

    #[test]
    fn what_the_file_system_refuses_is_not_tried_again() {
        let mut chooser = chooser(512, 512, true);
        chooser.failed(Errno::AGAIN);
        assert!(chooser.is_possible() && chooser.chooses(&write(0, 65536)));
        chooser.failed(Errno::INVAL);
        assert!(!chooser.is_possible() && !chooser.chooses(&write(0, 65536)));
    }

    #[test]
    fn neighbours_in_the_cache_are_near() {
        let discard = |offset, len| range(&Operation::Discard { offset, len }).unwrap();
        assert_eq!(discard(FOLIO - 1, 2), (0, 1));
        assert_eq!(discard(FOLIO, 0), (1, 1));
        assert_eq!(discard(u64::MAX, 5), (u64::MAX / FOLIO, u64::MAX / FOLIO));
        assert!(touch((0, 1), (1, 4)) && touch((1, 4), (0, 1)) && touch((0, 9), (3, 4)));
        assert!(!touch((0, 1), (2, 2)) && !touch((2, 2), (0, 1)));
        assert_eq!(range(&write(FOLIO, 512)), Some((1, 1)));
        assert_eq!(range(&Operation::Flush), None);
    }
}
