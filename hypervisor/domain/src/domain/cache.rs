//! Writing a domain's memory back from the caches, for a guest that starts with them off or asks for it by set and way.

use xenolith_abi::Errno;

use xenolith_core::types::{Gfn, PAGE_SHIFT};

use super::Domain;
use crate::parts::memory::Memory;

/// Pages cleaned in one go: 512 KiB.
const STEP: u64 = 128;

impl Domain {
    /// Cleans what is mapped at some of the `pages` frames from `from` on, holes and devices left out. Returns how many
    /// frames are done: fewer than `pages` when that takes long. `EINVAL`: the frames are out of the address space.
    pub fn clean_frames(&self, from: Gfn, pages: u64) -> Result<u64, Errno> {
        clean(&self.memory.lock(), from, pages)
    }

    /// Cleans a part of all that is mapped, for a set/way operation: from frame `from` on, as much as fits into one trap.
    /// Returns where to go on, or nothing at the end.
    pub fn clean_memory(&self, from: Gfn) -> Option<Gfn> {
        let memory = self.memory.lock();
        let end = memory.p2m.highest().map_or(0, |highest| highest.0.saturating_add(1));
        let pages = end.checked_sub(from.0).filter(|&left| left > 0)?;
        let next = from.0.saturating_add(clean(&memory, from, pages).ok()?);
        (next < end).then_some(Gfn(next))
    }
}

fn clean(memory: &Memory, from: Gfn, pages: u64) -> Result<u64, Errno> {
    let (runs, reached) = memory.p2m.scan(from, pages)?;
    let mut cleaned = 0;
    for run in runs.iter().filter(|run| !run.kind.is_device()) {
        let now = run.pages.min(STEP - cleaned);
        xenolith_hw::clean_to_memory(run.mfn.base().0, now << PAGE_SHIFT);
        cleaned += now;
        if cleaned == STEP {
            return Ok(run.gfn.0.saturating_add(now).saturating_sub(from.0).min(pages));
        }
    }
    Ok(reached.clamp(1, pages.max(1)))
}
