//! Which operations go past the page cache: large writes, by direct I/O from the guest's own pages to the disk.
//!
//! What goes by the cache is copied there, and later brought to the disk page by page, which takes more work than the
//! copy. A read has only the copy, which takes less than to pin the guest's pages and to tell the disk where they are;
//! and the cache may have it.
//!
//! Principle: what is and what is not in the cache never contradict each other. Linux drops what the cache has of a range
//! when a direct write begins. What comes into the cache meanwhile it may keep, though it is old, or is written by others
//! and holds old bytes besides. So near a direct write that is under way nothing is read or written by the cache. The
//! cache reads nothing that it was not asked for (`POSIX_FADV_RANDOM`): the guest reads ahead itself.

use libc::iovec;
use rustix::io::Errno;

use super::{Geometry, Operation};

/// The fewest bytes that are worth it: a disk's delay costs more than the copy of less.
const LEAST: u64 = 64 << 10;
/// Bytes that the cache may have as one, at a multiple of as many: a huge page.
const FOLIO: u64 = 2 << 20;
/// The most pieces and bytes of a part: half of what disks mostly take.
const PART_PIECES: usize = 128;
const PART_BYTES: usize = 512 << 10;
/// The most parts of an operation.
pub const MAX_PARTS: usize = 16;
/// Operations that do not try after one that the kernel could not do, such as with memory that it cannot pin.
const PAUSE: u32 = 64;

/// The choice between direct and cached operations of an image.
#[derive(Debug)]
pub struct Chooser {
    /// What pieces of memory are aligned to: a logical block.
    block: usize,
    /// What offsets and lengths are aligned to: a physical block, so that the disk need not read first.
    physical: u64,
    /// `None`: the image has no direct I/O.
    pause: Option<u32>,
}

impl Chooser {
    /// For an image of this geometry, which has direct I/O if it is `possible`.
    pub fn new(geometry: &Geometry, possible: bool) -> Chooser {
        let block = usize::try_from(geometry.block.max(512)).unwrap_or(usize::MAX);
        let physical = u64::from(geometry.physical.max(geometry.block).max(512));
        Chooser { block, physical, pause: possible.then_some(0) }
    }

    /// Whether an operation is to be direct, on memory that is aligned as [`Chooser::split`] asks.
    pub fn chooses(&mut self, operation: &Operation) -> bool {
        let fit = self.is_fit(operation);
        match &mut self.pause {
            Some(0) => fit,
            Some(pause) => {
                *pause = pause.saturating_sub(fit.into());
                false
            }
            None => false,
        }
    }

    /// How many of `pieces` belong to each part of an operation: parts are what a disk takes as one request. A larger
    /// one would be begun twice, because Linux does not split what may not wait. `None`: a piece is not aligned.
    pub fn split(&self, pieces: &[iovec]) -> Option<Vec<usize>> {
        let mut parts = Vec::with_capacity(4);
        let (mut count, mut bytes) = (0usize, 0usize);
        for piece in pieces {
            if !piece.iov_base.addr().is_multiple_of(self.block) || !piece.iov_len.is_multiple_of(self.block)
            {
                return None;
            }
            bytes = bytes.saturating_add(piece.iov_len);
            if count == PART_PIECES || (count > 0 && bytes > PART_BYTES) {
                parts.push(count);
                (count, bytes) = (0, piece.iov_len);
            }
            count = count.saturating_add(1);
        }
        parts.push(count);
        Some(parts).filter(|parts| parts.len() <= MAX_PARTS)
    }

    /// Notes that a direct operation was answered so, and was to be done by the cache.
    pub fn failed(&mut self, error: Errno) {
        let never = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS].contains(&error);
        self.pause = self.pause.filter(|_| !never).map(|_| PAUSE);
    }

    fn is_fit(&self, operation: &Operation) -> bool {
        let Operation::Write { offset, from, .. } = operation else { return false };
        from.len() >= LEAST
            && from.len().is_multiple_of(self.physical)
            && offset.is_multiple_of(self.physical)
    }
}

/// What an operation is about, as multiples of what the cache may have as one: the first and the last. `None`: no bytes.
pub fn range(operation: &Operation) -> Option<(u64, u64)> {
    let (offset, len) = match operation {
        Operation::Flush => return None,
        Operation::Read { offset, into: buffers } | Operation::Write { offset, from: buffers, .. } => {
            (*offset, buffers.len())
        }
        Operation::Discard { offset, len } | Operation::WriteZeroes { offset, len, .. } => (*offset, *len),
    };
    let last = offset.saturating_add(len).saturating_sub(1).max(offset);
    Some((offset / FOLIO, last / FOLIO))
}

/// Whether two such ranges have something in common.
pub fn touch(one: (u64, u64), other: (u64, u64)) -> bool {
    one.0 <= other.1 && other.0 <= one.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use devicemodel::Guest as _;
    use vm_memory::GuestAddress;

    use crate::driver::{HIGH, guest};
    use crate::memory::{Buffers, Part};

    fn write(at: u64, offset: u64, len: u32) -> Operation {
        let ram = guest().memory();
        let part = Part { address: GuestAddress(HIGH.0 + at), len };
        Operation::Write { offset, from: Buffers::new(&ram, &[part]).unwrap(), durable: false }
    }

    fn chooser(block: u32, physical: u32, possible: bool) -> Chooser {
        let geometry = Geometry { size: 1 << 30, block, physical, optimal: 0, discard: 0, read_only: false };
        Chooser::new(&geometry, possible)
    }

    #[test]
    fn large_and_aligned_writes_are_direct() {
        let chooses = |block, physical, operation| chooser(block, physical, true).chooses(&operation);
        assert!(chooses(512, 512, write(0, 512, 65536)));
        assert!(!chooses(512, 4096, write(0, 512, 65536)), "half a physical block");
        assert!(!chooses(512, 4096, write(0, 0, 65536 + 512)));
        assert!(!chooses(512, 512, write(0, 0, 61440)), "small");
        assert!(!chooses(512, 512, Operation::Flush));
        let Operation::Write { offset, from, .. } = write(0, 0, 65536) else { return };
        assert!(!chooses(512, 512, Operation::Read { offset, into: from }));
        assert!(!chooser(512, 512, false).chooses(&write(0, 0, 65536)));
    }

    #[test]
    fn parts_are_what_a_disk_takes_and_aligned() {
        let split = |block, pieces: &[(usize, usize)]| {
            let piece = |&(at, len): &(usize, usize)| iovec {
                iov_base: std::ptr::without_provenance_mut(at),
                iov_len: len,
            };
            chooser(block, 512, true).split(&pieces.iter().map(piece).collect::<Vec<_>>())
        };
        assert_eq!(split(512, &[(512, 65536)]), Some(vec![1]));
        assert_eq!(split(4096, &[(512, 65536)]), None);
        assert_eq!(split(512, &[(4096, 65536), (100, 512)]), None);
        assert_eq!(split(512, &[(4096, 4000)]), None);
        assert_eq!(split(512, &[(4096, 4096); 256]), Some(vec![128, 128]));
        assert_eq!(split(512, &[(4096, 200 << 10); 5]), Some(vec![2, 2, 1]));
        assert_eq!(split(512, &[(4096, 4 << 20); 2]), Some(vec![1, 1]));
        assert_eq!(split(512, &[(4096, 4 << 20); 17]), None);
    }

    #[test]
    fn what_the_kernel_cannot_do_is_not_tried_again_soon_or_at_all() {
        let mut chooser = chooser(512, 512, true);
        chooser.failed(Errno::FAULT);
        assert!((0..PAUSE).all(|_| !chooser.chooses(&write(0, 0, 65536))));
        assert!(chooser.chooses(&write(0, 0, 65536)));
        chooser.failed(Errno::INVAL);
        assert!((0..PAUSE * 2).all(|_| !chooser.chooses(&write(0, 0, 65536))));
        chooser.failed(Errno::FAULT);
        assert!((0..PAUSE * 2).all(|_| !chooser.chooses(&write(0, 0, 65536))));
    }

    #[test]
    fn neighbours_in_the_cache_are_near() {
        let discard = |offset, len| range(&Operation::Discard { offset, len }).unwrap();
        assert_eq!(discard(FOLIO - 1, 2), (0, 1));
        assert_eq!(discard(FOLIO, 0), (1, 1));
        assert_eq!(discard(u64::MAX, 5), (u64::MAX / FOLIO, u64::MAX / FOLIO));
        assert!(touch((0, 1), (1, 4)) && touch((1, 4), (0, 1)) && touch((0, 9), (3, 4)));
        assert!(!touch((0, 1), (2, 2)) && !touch((2, 2), (0, 1)));
        assert_eq!(range(&write(0, FOLIO, 512)), Some((1, 1)));
        assert_eq!(range(&Operation::Flush), None);
    }
}
