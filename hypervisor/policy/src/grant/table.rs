//! A domain's grant table: the frames that it shares with the hypervisor, and where it has mapped them.

use alloc::vec::Vec;

use xenolith_abi::Errno;
use xenolith_abi::grant::ENTRIES_PER_FRAME;

use super::SharedFrame;
use super::record::Grant;
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::Gfn;
use xenolith_memory::page::Page;
use xenolith_memory::pieces::{GrowError, Pieces};

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
    /// As many as the frames have entries that the table has or had, and up to a page more.
    pub(super) grants: Pieces<Grant<F>>,
    /// Grants in use.
    pub(super) in_use: u32,
    pub(super) closed: bool,
}

/// Grants of a table with so many frames.
const fn grants(frames: u32) -> usize {
    (frames as usize).saturating_mul(ENTRIES_PER_FRAME as usize)
}

impl<F: SharedFrame> GrantTable<F> {
    /// Pages that the records of its grants can come to take, beside the frames themselves.
    pub const fn pages(max_frames: u32) -> u64 {
        Pieces::<Grant<F>>::pages(grants(max_frames))
    }

    /// A table without frames. `ENOMEM`: no memory.
    pub fn new(max_frames: u32) -> Result<Self, Errno> {
        let grants = Pieces::try_new(grants(max_frames)).ok_or(Errno::ENOMEM)?;
        let max_frames = usize::try_from(max_frames).map_err(|_| Errno::ENOMEM)?;
        let mut frames = Vec::new();
        frames.try_reserve_exact(max_frames).map_err(|_| Errno::ENOMEM)?;
        Ok(GrantTable { max_frames, frames, grants, in_use: 0, closed: false })
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
            let entries = (self.frames.len() + 1).saturating_mul(ENTRIES_PER_FRAME as usize);
            while self.grants.len() < entries {
                self.grants.grow(|_| Grant::UNUSED).map_err(|error| match error {
                    GrowError::Full => Errno::EINVAL,
                    GrowError::Memory => Errno::ENOMEM,
                })?;
            }
            // The last that can fail: there would be nobody here to give a frame back to.
            let frame = allocate().ok_or(Errno::ENOMEM)?;
            // There is room for all: it was made with the table.
            self.frames.push(Shared { frame, gfn: None });
        }
        Ok(())
    }

    /// Frame `index` of the table, which is made large enough (`XENMAPSPACE_grant_table`, `XENMEM_resource_grant_table`);
    /// errors as of [`GrantTable::grow`].
    pub fn frame(&mut self, index: u64, allocate: impl FnMut() -> Option<F>) -> Result<Page, Errno> {
        let frames = index.checked_add(1).and_then(|frames| u32::try_from(frames).ok());
        self.grow(frames.ok_or(Errno::EINVAL)?, allocate)?;
        GuestIndex::from(index).of(&self.frames).map(|shared| shared.frame.page()).ok_or(Errno::EINVAL)
    }

    /// Where the owner has frame `index` mapped.
    pub fn gfn_of(&self, index: u64) -> Option<Gfn> {
        GuestIndex::from(index).of(&self.frames)?.gfn
    }

    /// Notes that frame `index` is mapped at `gfn` now, and nowhere else.
    pub fn set_gfn(&mut self, index: u64, gfn: Gfn) {
        if let Some(shared) = GuestIndex::from(index).of_mut(&mut self.frames) {
            shared.gfn = Some(gfn);
        }
    }

    /// Notes that no frame of the table is mapped at `gfn` any more.
    pub fn forget_gfn(&mut self, gfn: Gfn) {
        self.forget_gfns(gfn, 1);
    }

    /// The same for `pages` frames from `first` on.
    pub fn forget_gfns(&mut self, first: Gfn, pages: u64) {
        let is_there = |gfn: Gfn| gfn.0.checked_sub(first.0).is_some_and(|distance| distance < pages);
        for shared in self.frames.iter_mut().filter(|shared| shared.gfn.is_some_and(is_there)) {
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

    /// Gives a page of records back, of a closed table of which nothing is in use. False when there is none left, or
    /// something is in use: to be asked until then.
    pub fn shrink(&mut self) -> bool {
        self.closed && self.in_use == 0 && self.grants.shrink()
    }

    /// How many pages of records it has.
    pub fn held_pages(&self) -> u64 {
        Pieces::<Grant<F>>::pages(self.grants.len())
    }

    /// How many grants are in use. While there are any, the domain has to be kept: their users release them here.
    pub fn in_use(&self) -> u32 {
        self.in_use
    }
}
