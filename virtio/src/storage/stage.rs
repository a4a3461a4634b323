//! Memory of our own between the guest's and the disk's, for writes that go past the page cache.
//!
//! A guest's buffer is mostly many single pages, each of which Linux would have to pin, and for each of which a disk needs
//! a pointer. And another domain's pages Linux cannot pin at all. A stage is one piece: what the guest writes is copied
//! there, and from then on it is the disk's.

#![allow(unsafe_code)]

use std::io;

use rustix::mm::{Advice, madvise};
use vm_memory::{MmapRegion, VolatileMemory as _, VolatileSlice};

/// Bytes of a stage: about what most disks take as one request.
pub const SIZE: usize = 1 << 20;
/// Stages of an image: enough to keep a disk busy while some are copied. They take memory only once they are used.
pub const COUNT: usize = 4;

/// The stages of an image.
#[derive(Debug)]
pub struct Stages {
    memory: MmapRegion<()>,
    free: Vec<usize>,
}

impl Stages {
    /// [`COUNT`] free ones.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn new() -> io::Result<Stages> {
        let memory = MmapRegion::new(COUNT * SIZE).map_err(io::Error::other)?;
        // Large pages: then a stage is one piece for the disk too. Without, it works as well.
        // SAFETY: the range is mapped and `memory`'s own; the advice changes no contents.
        let _ = unsafe { madvise(memory.as_ptr().cast(), memory.size(), Advice::LinuxHugepage) };
        // The first ones first, so that a guest with one operation at a time always uses the same.
        Ok(Stages { memory, free: (0..COUNT).rev().collect() })
    }

    /// The number of free stages.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a free one.
    pub fn take(&mut self) -> Option<usize> {
        self.free.pop()
    }

    /// Gives back one that was taken, and that no disk uses any more.
    pub fn give(&mut self, stage: usize) {
        self.free.push(stage);
    }

    /// The memory of all.
    pub fn memory(&self) -> VolatileSlice<'_> {
        self.memory.as_volatile_slice()
    }

    /// The first `len` bytes of a stage. `None`: it has not so many.
    pub fn slice(&self, stage: usize, len: usize) -> Option<VolatileSlice<'_>> {
        self.memory.get_slice(stage.checked_mul(SIZE)?, len).ok().filter(|_| len <= SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes as _;

    #[test]
    fn stages_do_not_overlap() {
        let mut stages = Stages::new().unwrap();
        let taken: Vec<usize> = std::iter::from_fn(|| stages.take()).collect();
        assert_eq!((taken.len(), stages.free()), (COUNT, 0));
        for &stage in &taken {
            let slice = stages.slice(stage, SIZE).unwrap();
            slice.write_slice(&vec![stage as u8; SIZE], 0).unwrap();
        }
        for &stage in &taken {
            let slice = stages.slice(stage, SIZE).unwrap();
            let (first, last): (u8, u8) = (slice.read_obj(0).unwrap(), slice.read_obj(SIZE - 1).unwrap());
            assert_eq!((first, last), (stage as u8, stage as u8));
            assert!(slice.ptr_guard().as_ptr().addr().is_multiple_of(4096));
        }
        assert!(stages.slice(0, SIZE + 1).is_none());
        assert!(stages.slice(COUNT, 1).is_none());
        stages.give(3);
        assert_eq!(stages.take(), Some(3));
    }
}
