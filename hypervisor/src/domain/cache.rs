//! Writing a domain's memory back from the caches, for a guest that starts with them off.

use xenolith_abi::Errno;

use crate::arch;
use crate::p2m::MapKind;
use crate::types::{Gfn, PAGE_SHIFT};

use super::Domain;

/// Pages cleaned in one go: 4 MiB.
const STEP: u64 = 1024;

impl Domain {
    /// Cleans what is mapped at some of the `pages` frames from `from` on, holes and devices left out. Returns how many
    /// frames are done: fewer than `pages` when that takes long. `EINVAL`: the frames are out of the address space.
    pub fn clean_frames(&self, from: Gfn, pages: u64) -> Result<u64, Errno> {
        let memory = self.memory.lock();
        let (runs, reached) = memory.p2m.scan(from, pages)?;
        let mut cleaned = 0;
        for run in runs.iter().filter(|run| !matches!(run.kind, MapKind::Device | MapKind::StrictDevice)) {
            let now = run.pages.min(STEP - cleaned);
            arch::clean_to_memory(run.mfn.base(), now << PAGE_SHIFT);
            cleaned += now;
            if cleaned == STEP {
                return Ok(run.gfn.0.saturating_add(now).saturating_sub(from.0).min(pages));
            }
        }
        Ok(reached.clamp(1, pages.max(1)))
    }
}
