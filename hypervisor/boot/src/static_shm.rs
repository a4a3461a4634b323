//! Static shared memory and static event channels: what domains that start with the machine have in common, connected when all
//! of them are built and none runs.
//!
//! The memory is taken from the machine before anyone else gets RAM, and is `DOMID_IO`'s until its owner is there. A
//! domain that only maps it holds a reference to each of its frames, and so does no domain when it is the owner's RAM: so
//! a domain's end leaves the others what they have. Memory without an owner is never given back.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use machine_model::tree;
use xenolith_abi::Errno;

use xenolith_core::bug;
use xenolith_core::types::{DomId, Mfn, PAGE_SHIFT};
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_host::platform::{EventEnd, Platform, Region, StaticShared, StaticShmNode};
use xenolith_memory::frames::{FrameRange, FrameState, Frames};
use xenolith_memory::p2m::MapKind;
use xenolith_policy::event::Port;

use crate::load::Ready;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::parts::memory::{Memory, frame_error};
use xenolith_domain::parts::progress::Progress;

/// log2 of the pages in 2 MiB, in which memory is placed that has no address of its own.
const BLOCK: u8 = 9;
/// Tables that a mapping needs besides those for its single pages.
const MORE_TABLES: u64 = 4;

/// The regions of static shared memory, by their names; `None`: there was no RAM for it.
pub struct StaticShm(Vec<(String, Option<FrameRange>)>);

/// Why there is no memory for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    node: String,
    machine: Option<Region>,
    size: u64,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, machine, size } = self;
        match machine {
            Some(machine) => write!(
                f,
                "device tree node {node}: `xen,shared-mem`: {machine} is not free memory: it is no RAM, or a boot \
                 module, the firmware or the hypervisor has a part of it"
            ),
            None => {
                write!(f, "device tree node {node}: `xen,shared-mem`: no {size:#x} bytes in a row are free")
            }
        }
    }
}

impl StaticShm {
    /// Takes the memory that the tree asks for. Nobody else may have taken any yet that has no fixed place.
    #[inline(never)]
    pub fn take(frames: &Frames, platform: &Platform) -> StaticShm {
        let mut taken = StaticShm(Vec::new());
        // What has a place of its own comes first.
        for is_placed in [true, false] {
            for memory in platform.common_memory() {
                if memory.machine.is_some() == is_placed && !taken.0.iter().any(|(id, _)| *id == memory.id) {
                    taken.0.push((memory.id.clone(), take(frames, memory)));
                }
            }
        }
        taken
    }

    /// The machine's memory for a node.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]: there is none.
    #[inline(never)]
    pub fn of(&self, memory: &StaticShmNode) -> Result<FrameRange, NotTaken> {
        let found = self.0.iter().find(|(id, _)| *id == memory.id);
        let not_taken = || NotTaken { node: memory.path.clone(), machine: memory.machine, size: memory.size };
        found.and_then(|(_, range)| *range).ok_or_else(not_taken)
    }

    /// The nodes of these for which there is memory.
    pub fn available<'m>(&self, memory: &'m [StaticShmNode]) -> impl Iterator<Item = &'m StaticShmNode> {
        memory.iter().filter(|memory| self.of(memory).is_ok())
    }

    /// Maps each domain's static shared memory, and connects its static event channels. `ready` are the domains that are
    /// built, less the first one; one whose part fails is destroyed, and is not among them afterwards.
    #[inline(never)]
    pub fn connect(&self, hv: &Hypervisor, platform: &Platform, ready: &mut Vec<Ready>) {
        for error in &platform.first_errors {
            without(error);
        }
        for memory in &platform.first_shared.memory {
            if let Err(error) = self.of(memory) {
                without(&error);
            }
        }
        let taken = || self.0.iter().filter_map(|(name, range)| Some((name, (*range)?)));
        for (name, range) in taken() {
            share(hv, platform, name, range, ready);
        }
        // Only now: whoever got one region may have been given up for the want of another.
        for (name, range) in taken() {
            give_back_unused(hv, name, range);
        }
        if let Some(first) = hv.domain(DomId::CONTROL) {
            for end in &platform.first_shared.events {
                if let Err(errno) = reserve_port(&first, end) {
                    without(&format_args!("{}: its port cannot be made: {errno:?}", end.path));
                }
            }
        }
        for (id, shared) in parties(platform) {
            if let Some(domain) = hv.domain(id) {
                shared.events.iter().for_each(|end| connect_ends(domain.on(hv), end));
            }
        }
    }
}

/// Maps one region in all domains that there are: in its owner first.
#[inline(never)]
fn share(hv: &Hypervisor, platform: &Platform, name: &str, range: FrameRange, ready: &mut Vec<Ready>) {
    // At most one of them is the owner.
    for is_owner in [true, false] {
        for (id, shared) in parties(platform) {
            let found = shared.memory.iter().find(|node| node.id == name && node.is_owner == is_owner);
            let (Some(node), Some(domain)) = (found, hv.domain(id)) else { continue };
            if let Err(error) = map_static_shm(domain.on(hv), node, range) {
                log::error!("{id} does without {}: it cannot be mapped: {error:?}", node.path);
                give_up_domain(domain.on(hv), ready);
            }
        }
    }
}

/// Frees a region that no domain has, and that was no domain's own.
#[inline(never)]
fn give_back_unused(hv: &Hypervisor, name: &str, range: FrameRange) {
    // Its frames are used alike: by what took them, and by each domain that has them.
    let state = hv.frames.state(range.first);
    let is_unused =
        matches!(state, Ok(FrameState::Used(used)) if used.owner == DomId::IO && used.references == 1);
    if is_unused && let Err(error) = hv.frames.free_range(range, DomId::IO) {
        log::warn!("the memory {name:?} at {} stays reserved: {error:?}", range.first.base());
    }
}

/// A node of static shared memory, as the domain's tree has it.
pub(super) fn for_tree(memory: &StaticShmNode) -> tree::StaticShm<'_> {
    let place = machine_model::Region::new(memory.guest.0, memory.size);
    tree::StaticShm { id: &memory.id, place }
}

#[cold]
#[inline(never)]
fn without(error: &dyn fmt::Display) {
    log::error!("the first domain does without: {error}");
}

/// Takes the memory that a node asks for.
#[inline(never)]
fn take(frames: &Frames, memory: &StaticShmNode) -> Option<FrameRange> {
    let pages = memory.size >> PAGE_SHIFT;
    let Some(machine) = memory.machine else { return take_anywhere(frames, pages) };
    let range = FrameRange { first: machine.start().frame(), pages };
    frames.alloc_exact(range, DomId::IO).then_some(range)
}

/// Contiguous memory wherever it is.
fn take_anywhere(frames: &Frames, pages: u64) -> Option<FrameRange> {
    let area = frames.alloc_contiguous(pages, BLOCK, DomId::IO)?;
    if let [range] = area.as_slice() {
        return Some(*range);
    }
    for piece in area {
        if frames.free_range(piece, DomId::IO).is_err() {
            bug!("memory that was just allocated cannot be freed");
        }
    }
    None
}

/// All domains that the tree makes sense of, with their numbers.
fn parties(platform: &Platform) -> impl Iterator<Item = (DomId, &StaticShared)> {
    let others = (1..).map(DomId).zip(&platform.boot_domains);
    let others = others.filter_map(|(id, domain)| Some((id, &domain.as_ref().ok()?.shared)));
    core::iter::once((DomId::CONTROL, &platform.first_shared)).chain(others)
}

/// Destroys a domain that cannot have what it is to have; the first domain lives on without.
#[cold]
#[inline(never)]
fn give_up_domain(domain: DomainRef<'_>, ready: &mut Vec<Ready>) {
    if domain.is_control {
        return;
    }
    log::error!("{} is not started", domain.id);
    ready.retain(|ready| ready.domain.id != domain.id);
    while domain.hv.destroy_domain(&domain, Hypervisor::DESTROY_BUDGET) == Ok(Progress::Again) {}
}

/// Connects a domain's end to the other one, if both are there. A pair comes by twice; the first time connects it.
#[inline(never)]
fn connect_ends(domain: DomainRef<'_>, end: &EventEnd) {
    let id = domain.id;
    let Some(remote) = domain.hv.domain(end.remote) else {
        log::warn!("{id}: port {} ({}) has no other end: {} is not there", end.port, end.path, end.remote);
        return;
    };
    if id < end.remote
        && let Err(errno) = domain.connect_ports(Port(end.port), &remote, Port(end.remote_port))
    {
        log::error!("{id}: port {} ({}) is not connected to {}: {errno:?}", end.port, end.path, end.remote);
    }
}

/// Makes the port of an event channel that is there from the start. The other end is connected later.
#[inline(never)]
pub fn reserve_port(domain: &Domain, end: &EventEnd) -> Result<(), Errno> {
    domain.events.lock().reserve(Port(end.port), end.remote)
}

/// Maps static shared memory into a domain; the owner gets it as its own RAM, and has to come first.
/// After an error nothing is mapped, and nobody has got it.
#[inline(never)]
fn map_static_shm(domain: DomainRef<'_>, wanted: &StaticShmNode, range: FrameRange) -> Result<(), Errno> {
    let mut memory = domain.memory.lock();
    // The pool that the domain has is for the rest of its memory.
    let more = (range.pages >> BLOCK).saturating_add(MORE_TABLES);
    let added = add_tables(domain, &mut memory, more);
    let mapped = if added == more { map(domain, &mut memory, wanted, range) } else { Err(Errno::ENOMEM) };
    if mapped.is_err() {
        // No table is in use that was not before, so that the pool still has so many.
        remove_tables(domain, &mut memory, added);
    }
    mapped
}

/// Fills the domain's pool of tables, as far as there is memory. Returns how many it got.
fn add_tables(domain: DomainRef<'_>, memory: &mut Memory, wanted: u64) -> u64 {
    let mut added = 0;
    while added < wanted
        && let Some(table) = domain.hv.frames.alloc_table(domain.id)
    {
        memory.p2m.pool_mut().push(table);
        added = added.saturating_add(1);
    }
    added
}

fn remove_tables(domain: DomainRef<'_>, memory: &mut Memory, count: u64) {
    for _ in 0..count {
        let freed = memory.p2m.pool_mut().pop().map(|table| domain.hv.frames.free_table(table, domain.id));
        if freed != Some(Ok(())) {
            bug!("a table that was just added to a domain's pool cannot be freed");
        }
    }
}

fn map(
    domain: DomainRef<'_>,
    memory: &mut Memory,
    wanted: &StaticShmNode,
    range: FrameRange,
) -> Result<(), Errno> {
    let gfn = wanted.guest.frame();
    if wanted.is_owner {
        domain.hv.frames.transfer(range, DomId::IO, domain.id).map_err(frame_error)?;
        if let Err(error) = memory.p2m.map(gfn, range.first, range.pages, MapKind::Ram) {
            domain.hv.frames.transfer(range, domain.id, DomId::IO).map_err(frame_error)?;
            return Err(error.into());
        }
        memory.pages = memory.pages.saturating_add(range.pages);
        memory.max_pages = memory.max_pages.saturating_add(range.pages);
        return Ok(());
    }
    let owner = domain.hv.frames.owner_of(range.first).map_err(frame_error)?;
    let mut held = FrameRange { first: range.first, pages: 0 };
    let mut mapped = Ok(());
    while mapped.is_ok() && held.pages < range.pages {
        mapped = domain.hv.frames.reference(Mfn(held.end()), owner).map_err(frame_error);
        held.pages = held.pages.saturating_add(mapped.is_ok().into());
    }
    let mapped =
        mapped.and_then(|()| Ok(memory.p2m.map(gfn, range.first, range.pages, MapKind::StaticShm)?));
    if mapped.is_err() {
        (held.first.0..held.end()).for_each(|mfn| domain.hv.release_frame(Mfn(mfn)));
    }
    mapped
}
