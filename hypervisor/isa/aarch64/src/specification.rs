//! What a domain may reach by its stage 2, as far as one look at a table, a page and its frame can tell: the part of the
//! executable specification that the model of a machine and a build for tests on a machine have in common.
//!
//! - A table is the domain's own, and nothing else.
//! - RAM is reached as write-back memory. Nobody reaches a frame that is free, a table, or the hypervisor's.
//! - Only its owner executes RAM, and nobody anything else.
//! - What is not RAM is strict device memory. The control domain alone has some of it, at its own addresses, as memory.
//! - The hypervisor believes of each page what the MMU does.

use core::fmt;

use xenolith_core::types::{CpuId, DomId, Gfn, Mfn, PAGE_SHIFT};
use xenolith_memory::frames::{FrameError, FrameState, Kind, Used};
use xenolith_memory::p2m::MapKind;

use crate::mmu::{MemoryType, Translation, WalkError};

/// What a domain's tables may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The MMU cannot walk them.
    Walk(DomId, WalkError),
    /// A table is not the domain's own, or is linked twice.
    Table(DomId, Mfn),
    /// Two domains have one VMID.
    Vmid(DomId, DomId),
    /// A domain's CPUs are told of other tables than it has.
    Registers(DomId),
    /// A CPU knows tables of another domain than it runs.
    Loaded(CpuId),
    /// It reaches a frame that no domain may: free, a table, the hypervisor's.
    Kind(DomId, Gfn, Mfn),
    /// It reaches another's frame without a right, or its own after it gave it up.
    Right(DomId, Gfn, Mfn),
    /// It may write what it was given for reading only.
    Write(DomId, Gfn, Mfn),
    /// It may execute what is not its own RAM.
    Execute(DomId, Gfn, Mfn),
    /// RAM of another type than write-back, or a device that is not strict.
    Type(DomId, Gfn, Mfn),
    /// It reaches a device that is not its.
    Device(DomId, Gfn, Mfn),
    /// The hypervisor believes something else of the page.
    Belief(DomId, Gfn),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::Walk(id, error) => write!(f, "{id}: its stage 2 cannot be walked: {error:?}"),
            Breach::Table(id, mfn) => {
                write!(f, "{id}: {mfn} is a table of its stage 2 and not its own, or linked twice")
            }
            Breach::Vmid(one, other) => write!(f, "{one} and {other} have one VMID"),
            Breach::Registers(id) => write!(f, "{id}: VTTBR_EL2 is not that of its tables"),
            Breach::Loaded(cpu) => write!(f, "{cpu} has the tables of another domain than it runs"),
            Breach::Kind(id, gfn, mfn) => write!(f, "{id}: {gfn} leads to {mfn}, which no domain may reach"),
            Breach::Right(id, gfn, mfn) => write!(f, "{id}: {gfn} leads to {mfn}, to which it has no right"),
            Breach::Write(id, gfn, mfn) => {
                write!(f, "{id}: it may write {mfn} at {gfn}, which it may only read")
            }
            Breach::Execute(id, gfn, mfn) => {
                write!(f, "{id}: it may execute {mfn} at {gfn}, which is not its own RAM")
            }
            Breach::Type(id, gfn, mfn) => write!(f, "{id}: {gfn} leads to {mfn} with the wrong memory type"),
            Breach::Device(id, gfn, mfn) => {
                write!(f, "{id}: {gfn} leads to the device at {mfn}, which it has not")
            }
            Breach::Belief(id, gfn) => {
                write!(f, "{id}: the hypervisor believes of {gfn} what the MMU does not")
            }
        }
    }
}

/// One page of what a domain reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where the domain has it.
    pub gfn: Gfn,
    /// The frame that it leads to.
    pub mfn: Mfn,
    /// The block or page that it is part of.
    pub how: Translation,
}

impl Reach {
    /// The page with this number of a block.
    pub fn of(block: Translation, number: u64) -> Self {
        Reach {
            gfn: Gfn((block.ipa >> PAGE_SHIFT).saturating_add(number)),
            mfn: Mfn((block.pa >> PAGE_SHIFT).saturating_add(number)),
            how: block,
        }
    }
}

/// All pages of a block.
pub fn pages(of: Translation) -> impl Iterator<Item = Reach> {
    (0..of.size >> PAGE_SHIFT).map(move |number| Reach::of(of, number))
}

/// Checks a frame that serves a domain as a table.
///
/// # Errors
/// [`Breach::Table`].
pub fn check_table(id: DomId, mfn: Mfn, state: Result<FrameState, FrameError>) -> Result<(), Breach> {
    match state {
        Ok(FrameState::Used(Used { owner, kind: Kind::Table, allocated: true, .. })) if owner == id => Ok(()),
        _ => Err(Breach::Table(id, mfn)),
    }
}

/// Checks a page that leads to RAM, whoever has it. Returns what the frame is.
///
/// # Errors
/// [`Breach::Kind`], [`Breach::Type`], [`Breach::Execute`].
pub fn check_ram(id: DomId, page: Reach, state: Result<FrameState, FrameError>) -> Result<Used, Breach> {
    let Reach { gfn, mfn, how } = page;
    let used = match state {
        Ok(FrameState::Used(used)) if used.kind.can_be_mapped() => used,
        _ => return Err(Breach::Kind(id, gfn, mfn)),
    };
    if how.memory != MemoryType::WriteBack {
        return Err(Breach::Type(id, gfn, mfn));
    }
    let is_own = used.owner == id && used.allocated;
    if how.execute && !(is_own && used.kind == Kind::Ram) {
        return Err(Breach::Execute(id, gfn, mfn));
    }
    Ok(used)
}

/// Checks how a domain reaches a device, whosever it is.
///
/// # Errors
/// [`Breach::Execute`], [`Breach::Type`].
pub fn check_device(id: DomId, is_control: bool, leaf: Translation) -> Result<(), Breach> {
    let Reach { gfn, mfn, .. } = Reach::of(leaf, 0);
    if leaf.execute {
        return Err(Breach::Execute(id, gfn, mfn));
    }
    let weak = leaf.memory == MemoryType::Weak && is_control && leaf.ipa == leaf.pa;
    if leaf.memory != MemoryType::Device && !weak {
        return Err(Breach::Type(id, gfn, mfn));
    }
    Ok(())
}

/// Whether the MMU does what the hypervisor means by a page of this kind.
pub fn is_as_believed(kind: MapKind, leaf: &Translation) -> bool {
    let is_device = matches!(leaf.memory, MemoryType::Device | MemoryType::Weak);
    kind.number() == u64::from(leaf.software)
        && (kind.writable(), kind.executable(), kind.is_device()) == (leaf.write, leaf.execute, is_device)
}
