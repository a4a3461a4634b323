//! A domain's grant table: the frames that it shares with the hypervisor, and where it has mapped them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use xenolith_abi::Errno;
use xenolith_abi::grant::ENTRIES_PER_FRAME;

use super::SharedFrame;
use super::record::Grant;
use xenolith_core::types::Gfn;
use xenolith_memory::page::Page;

/// A frame of the table.
#[derive(Debug)]
pub(super) struct Shared<F> {
    pub(super) frame: F,
    /// Where its owner has mapped it.
    gfn: Option<Gfn>,
}

/// A domain's grant table.
#[derive(Debug)]
pub struct GrantTable<F> {
    max_frames: usize,
    pub(super) frames: Vec<Shared<F>>,
    /// One piece for each frame that the table has or had.
    pub(super) grants: Vec<Box<[Grant<F>]>>,
    /// Grants in use.
    pub(super) in_use: u32,
    pub(super) closed: bool,
}

/// Grants in a piece.
const PIECE: usize = ENTRIES_PER_FRAME as usize;

impl<F: SharedFrame> GrantTable<F> {
    /// A table without frames.
    pub fn new(max_frames: u32) -> Self {
        let max_frames = usize::try_from(max_frames).unwrap_or(usize::MAX);
        GrantTable { max_frames, frames: Vec::new(), grants: Vec::new(), in_use: 0, closed: false }
    }

    /// How many frames it has, and how many it can have (`GNTTABOP_query_size`).
    pub fn size(&self) -> (u32, u32) {
        let number = |frames: usize| u32::try_from(frames).unwrap_or(u32::MAX);
        (number(self.frames.len()), number(self.max_frames))
    }

    /// Makes the table have at least `frames` frames; `allocate` makes zeroed ones. What was added before a failure
    /// stays. `EINVAL`: more than the table can have, or the domain dies. `ENOMEM`: no memory.
    pub fn grow(&mut self, frames: u32, mut allocate: impl FnMut() -> Option<F>) -> Result<(), Errno> {
        let frames = usize::try_from(frames).map_err(|_| Errno::EINVAL)?;
        if frames > self.max_frames || self.closed {
            return Err(Errno::EINVAL);
        }
        while self.frames.len() < frames {
            self.frames.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            self.grants.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let mut piece = Vec::new();
            piece.try_reserve_exact(PIECE).map_err(|_| Errno::ENOMEM)?;
            piece.resize_with(PIECE, || Grant::UNUSED);
            // The last that can fail: there would be nobody here to give a frame back to.
            let frame = allocate().ok_or(Errno::ENOMEM)?;
            self.grants.push(piece.into_boxed_slice());
            self.frames.push(Shared { frame, gfn: None });
        }
        Ok(())
    }

    /// Frame `index` of the table, which is made large enough (`XENMAPSPACE_grant_table`, `XENMEM_resource_grant_table`);
    /// errors as of [`GrantTable::grow`].
    pub fn frame(&mut self, index: u64, allocate: impl FnMut() -> Option<F>) -> Result<Page, Errno> {
        let frames = index.checked_add(1).and_then(|frames| u32::try_from(frames).ok());
        self.grow(frames.ok_or(Errno::EINVAL)?, allocate)?;
        let shared = usize::try_from(index).ok().and_then(|index| self.frames.get(index));
        shared.map(|shared| shared.frame.page()).ok_or(Errno::EINVAL)
    }

    /// Where the owner has frame `index` mapped.
    pub fn gfn_of(&self, index: u64) -> Option<Gfn> {
        self.frames.get(usize::try_from(index).ok()?)?.gfn
    }

    /// Notes that frame `index` is mapped at `gfn` now, and nowhere else.
    pub fn set_gfn(&mut self, index: u64, gfn: Gfn) {
        if let Some(shared) = usize::try_from(index).ok().and_then(|index| self.frames.get_mut(index)) {
            shared.gfn = Some(gfn);
        }
    }

    /// Notes that no frame of the table is mapped at `gfn` any more.
    pub fn forget_gfn(&mut self, gfn: Gfn) {
        for shared in self.frames.iter_mut().filter(|shared| shared.gfn == Some(gfn)) {
            shared.gfn = None;
        }
    }

    /// The domain dies: nothing can be used any more that is not used already.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// A frame of a closed table, for the caller to let go of; to be asked until there is none.
    pub fn take_frame(&mut self) -> Option<F> {
        if self.closed { self.frames.pop().map(|shared| shared.frame) } else { None }
    }

    /// How many grants are in use. While there are any, the domain has to be kept: their users release them here.
    pub fn in_use(&self) -> u32 {
        self.in_use
    }
}
