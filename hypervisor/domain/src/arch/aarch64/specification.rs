//! The executable specification of stage 2 on a machine, in a build for tests: a part of a domain's tables is walked as the MMU
//! does, and held against the frame table.
//!
//! Only what holds at any moment is demanded, whatever other CPUs do meanwhile: the domain's memory is locked, and what is mapped
//! keeps its frame. Whether a right to another's frame still stands is asked on the model of a machine alone, where no call is
//! halfway (`xenolith-sim`); here a frame that is another's is marked as such, and held by a reference.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_core::types::{Mfn, PAGE_SHIFT};
use xenolith_isa::mmu::{self, Translation, Visitor};
use xenolith_isa::specification::{Breach, Reach, check_device, check_ram, check_table, is_as_believed};
use xenolith_memory::frames::{FrameError, Frames, Kind, Used};
use xenolith_memory::p2m::MapKind;
use xenolith_memory::page::Page;

use crate::domain::{Domain, DomainRef};
use crate::parts::memory::Memory;

/// Pages that are looked at in one go.
const PAGES: u64 = 256;
/// Of a large block so many.
const OF_A_BLOCK: u64 = 32;

/// Looks at tables so far.
static LOOKS: AtomicU64 = AtomicU64::new(0);
/// Of so many looks the log says that there were as many, and of as many again.
const TOLD_FROM: u64 = 1024;

/// One look.
struct Look<'a> {
    domain: &'a Domain,
    frames: &'a Frames,
    memory: &'a Memory,
    /// Pages that may be looked at yet.
    left: u64,
    /// Behind the last leaf.
    next: u64,
    found: Result<(), Breach>,
}

/// Ends the machine if tables are not as the specification says, and names the culprit: the domain whose tables they are, and
/// what came before.
#[cfg_attr(target_os = "none", expect(clippy::panic, reason = "a build for tests, which ends there"))]
pub fn demand(looked: Result<(), Breach>, after: fmt::Arguments<'_>) {
    if let Err(breach) = looked {
        panic!("stage 2 is not as specified, found after {after}: {breach}");
    }
    let looks = LOOKS.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    if looks >= TOLD_FROM && looks.is_power_of_two() {
        log::warn!("{looks} looks at domains' stage 2: as specified");
    }
}

impl DomainRef<'_> {
    /// Looks at the next part of the domain's tables: after the last part the first comes again.
    ///
    /// # Errors
    /// The first [`Breach`].
    pub fn check_next_tables(self) -> Result<(), Breach> {
        let place = &self.arch.next_look;
        // Of two CPUs each looks somewhere.
        let next = self.look_from(place.load(Ordering::Relaxed), PAGES)?;
        place.store(next.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    /// Looks at all of the domain's tables.
    ///
    /// # Errors
    /// The first [`Breach`].
    pub fn check_all_tables(self) -> Result<(), Breach> {
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.look_from(from, PAGES)?;
        }
        Ok(())
    }

    /// Looks at so many pages from a guest address on. Where it goes on; nowhere at the end.
    fn look_from(self, from: u64, pages: u64) -> Result<Option<u64>, Breach> {
        let memory = self.memory.lock();
        if memory.p2m.root_pages() == 0 {
            return Ok(None);
        }
        let stage2 = self.arch.stage2;
        if stage2.vttbr.space() != memory.p2m.space() {
            return Err(Breach::Registers(self.id));
        }
        let mut look = Look {
            domain: self.domain,
            frames: &self.hv.frames,
            memory: &memory,
            left: pages,
            next: from,
            found: Ok(()),
        };
        let walked = mmu::walk(stage2, from, &mut look);
        look.found?;
        let is_end = walked.map_err(|error| Breach::Walk(self.id, error))?;
        Ok((!is_end).then_some(look.next))
    }
}

impl Visitor for Look<'_> {
    fn table(&mut self, pa: u64) -> Option<Page> {
        let mfn = Mfn(pa >> PAGE_SHIFT);
        let checked = check_table(self.domain.id, mfn, self.frames.state(mfn));
        self.found = self.found.and(checked);
        self.frames.table(mfn)
    }

    fn leaf(&mut self, leaf: Translation) -> bool {
        self.found = self.found.and_then(|()| self.check(leaf));
        self.next = leaf.ipa.saturating_add(leaf.size);
        self.left = self.left.saturating_sub((leaf.size >> PAGE_SHIFT).min(OF_A_BLOCK));
        self.found.is_ok() && self.left > 0
    }
}

impl Look<'_> {
    fn check(&self, leaf: Translation) -> Result<(), Breach> {
        let (id, first) = (self.domain.id, Reach::of(leaf, 0));
        let believed = self.memory.p2m.lookup(first.gfn);
        let kind = believed.ok().filter(|entry| entry.mfn == first.mfn).map(|entry| entry.kind);
        let kind = kind.filter(|&kind| is_as_believed(kind, &leaf)).ok_or(Breach::Belief(id, first.gfn));
        if matches!(self.frames.state(first.mfn), Err(FrameError::NotRam)) {
            check_device(id, self.domain.is_control, leaf)?;
            return kind.map(drop);
        }
        let pages = leaf.size >> PAGE_SHIFT;
        let step = pages.div_ceil(OF_A_BLOCK).max(1);
        let mut number = 0;
        while number < pages {
            let page = Reach::of(leaf, number);
            let used = check_ram(id, page, self.frames.state(page.mfn))?;
            if !self.may_reach(page.mfn, used, kind?) {
                return Err(Breach::Right(id, page.gfn, page.mfn));
            }
            number = number.saturating_add(step);
        }
        Ok(())
    }

    /// Whether a domain may reach a frame by a mapping of this kind, as far as the frame tells.
    fn may_reach(&self, mfn: Mfn, used: Used, kind: MapKind) -> bool {
        let is_owner = used.owner == self.domain.id;
        // A mapping of another's frame, or of one that its owner has given up, has a reference beside the owner's.
        let is_held = used.references > u32::from(used.allocated);
        match (used.kind, kind) {
            (Kind::Ram, MapKind::Ram | MapKind::RamReadOnly) => is_owner && used.allocated,
            (Kind::Ram, MapKind::Grant | MapKind::GrantReadOnly) => is_held,
            (Kind::Ram, MapKind::Foreign | MapKind::ForeignReadOnly | MapKind::StaticShm) => {
                !is_owner && is_held
            }
            (Kind::Shared, MapKind::Shared | MapKind::SharedReadOnly) => {
                is_held && (!is_owner || self.domain.is_dying() || self.is_shared_with_itself(mfn))
            }
            // For device models, and not for the domain itself.
            (Kind::Promised, MapKind::Shared | MapKind::SharedReadOnly) => !is_owner && is_held,
            _ => false,
        }
    }

    /// Whether a page is what the hypervisor shares with the domain: shared info, or of its grant table.
    fn is_shared_with_itself(&self, mfn: Mfn) -> bool {
        let mut grants = self.domain.grants.lock();
        let mut frames = 0..u64::from(grants.size().0);
        mfn == self.domain.shared_info.mfn()
            || frames.any(|index| grants.frame(index, || None).is_ok_and(|frame| frame.mfn() == mfn))
    }
}
