//! What domains that start with the machine have in common: memory and event channels, joined when all domains are built
//! and none runs.
//!
//! Common memory is taken from the machine before anyone else gets RAM, and is `DOMID_IO`'s until its owner is there. A
//! domain that only maps it holds a reference to each of its frames, and so does no domain when it is the owner's RAM: so
//! a domain's end leaves the others what they have. Memory without an owner is never given back.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use xenolith_abi::Errno;
use xenolith_guest::tree;

use crate::event::Port;
use crate::hypervisor::Hypervisor;
use crate::mm::frames::{FrameRange, Frames};
use crate::p2m::MapKind;
use crate::platform::{Common, CommonMemory, EventEnd, Platform, Region};
use crate::types::{DomId, Mfn, PAGE_SHIFT};

use super::Domain;
use super::destroy::Progress;
use super::load::Ready;
use super::memory::frame_error;

/// log2 of the pages in 2 MiB, in which memory is placed that has no address of its own.
const BLOCK: u8 = 9;
/// Tables that a mapping needs besides those for its single pages.
const MORE_TABLES: u64 = 4;

/// The memory that domains have in common.
pub struct CommonRegions(Vec<(String, Result<FrameRange, NotTaken>)>);

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

impl CommonRegions {
    /// Takes the memory that the tree asks for. Nobody else may have taken any yet that has no fixed place.
    pub fn take(frames: &Frames, platform: &Platform) -> CommonRegions {
        let mut taken = CommonRegions(Vec::new());
        // What has a place of its own comes first.
        for memory in platform.common_memory().filter(|memory| memory.machine.is_some()) {
            taken.add(frames, memory);
        }
        platform.common_memory().for_each(|memory| taken.add(frames, memory));
        taken
    }

    fn add(&mut self, frames: &Frames, memory: &CommonMemory) {
        if self.0.iter().any(|(id, _)| *id == memory.id) {
            return;
        }
        let pages = memory.size >> PAGE_SHIFT;
        let range = match memory.machine {
            Some(machine) => {
                let range = FrameRange { first: machine.start().frame(), pages };
                frames.alloc_exact(range, DomId::IO).then_some(range)
            }
            None => take_anywhere(frames, pages),
        };
        let not_taken = || NotTaken { node: memory.path.clone(), machine: memory.machine, size: memory.size };
        self.0.push((memory.id.clone(), range.ok_or_else(not_taken)));
    }

    /// The machine's memory for a node.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]: there is none.
    pub fn of(&self, memory: &CommonMemory) -> Result<FrameRange, NotTaken> {
        let found = self.0.iter().find(|(id, _)| *id == memory.id);
        let not_taken = || NotTaken { node: memory.path.clone(), machine: memory.machine, size: memory.size };
        found.map_or_else(|| Err(not_taken()), |(_, range)| range.clone())
    }

    /// The nodes of these for which there is memory.
    pub fn available<'m>(&self, memory: &'m [CommonMemory]) -> impl Iterator<Item = &'m CommonMemory> {
        memory.iter().filter(|memory| self.of(memory).is_ok())
    }

    /// Gives each domain what it has in common with others. `ready` are the domains that are built, less the first one;
    /// one whose part fails is destroyed, and is not among them afterwards.
    pub fn connect(&self, hv: &Hypervisor, platform: &Platform, ready: &mut Vec<Ready>) {
        for error in &platform.first_errors {
            log::error!("the first domain does without: {error}");
        }
        for error in platform.first_common.memory.iter().filter_map(|memory| self.of(memory).err()) {
            log::error!("the first domain does without: {error}");
        }
        for (id, range) in &self.0 {
            if let Ok(range) = range {
                self.share(hv, platform, id, *range, ready);
            }
        }
        let first = hv.domain(DomId::CONTROL);
        for end in first.iter().flat_map(|_| &platform.first_common.events) {
            let reserved = first.as_ref().map(|first| first.reserve(end));
            if let Some(Err(errno)) = reserved {
                log::error!("the first domain does without {}: its port cannot be made: {errno:?}", end.path);
            }
        }
        parties(platform)
            .flat_map(|(id, common)| common.events.iter().map(move |end| (id, end)))
            .for_each(|(id, end)| connect_ends(hv, id, end));
    }

    /// Maps one region in all domains that there are: in its owner first.
    fn share(
        &self,
        hv: &Hypervisor,
        platform: &Platform,
        name: &str,
        range: FrameRange,
        ready: &mut Vec<Ready>,
    ) {
        let mut users: Vec<(DomId, &CommonMemory)> = parties(platform)
            .filter(|(id, _)| hv.domain(*id).is_some())
            .flat_map(|(id, common)| common.memory.iter().map(move |memory| (id, memory)))
            .filter(|(_, memory)| memory.id == name)
            .collect();
        // At most one of them is the owner.
        if let Some(owner) = users.iter().position(|(_, memory)| memory.is_owner) {
            users.swap(0, owner);
        }
        let mut is_used = false;
        for (id, memory) in users {
            let Some(domain) = hv.domain(id) else { continue };
            match domain.map_common(hv, memory, range) {
                Ok(()) => is_used = true,
                Err(error) => {
                    log::error!("{id} does without {}: it cannot be mapped: {error:?}", memory.path);
                    give_up_domain(hv, &domain, ready);
                }
            }
        }
        if !is_used && let Err(error) = hv.frames.free_range(range, DomId::IO) {
            log::warn!("the memory {name:?} at {} stays reserved: {error:?}", range.first.base());
        }
    }
}

/// A node for memory that domains have in common, as the domain's tree has it.
pub(super) fn for_tree(memory: &CommonMemory) -> tree::Common<'_> {
    let place = xenolith_guest::Region::new(memory.guest.0, memory.size);
    tree::Common { id: &memory.id, place }
}

/// Contiguous memory wherever it is.
fn take_anywhere(frames: &Frames, pages: u64) -> Option<FrameRange> {
    let area = frames.alloc_contiguous(pages, BLOCK, DomId::IO)?;
    if let [range] = area.as_slice() {
        return Some(*range);
    }
    for piece in area {
        let _ = frames.free_range(piece, DomId::IO);
    }
    None
}

/// All domains that the tree makes sense of, with their numbers.
fn parties(platform: &Platform) -> impl Iterator<Item = (DomId, &Common)> {
    let others = (1..).map(DomId).zip(&platform.boot_domains);
    let others = others.filter_map(|(id, domain)| Some((id, &domain.as_ref().ok()?.common)));
    core::iter::once((DomId::CONTROL, &platform.first_common)).chain(others)
}

/// Destroys a domain that cannot have what it is to have; the first domain lives on without.
fn give_up_domain(hv: &Hypervisor, domain: &Arc<Domain>, ready: &mut Vec<Ready>) {
    if domain.is_control {
        return;
    }
    log::error!("{} is not started", domain.id);
    ready.retain(|ready| ready.domain.id != domain.id);
    while hv.destroy_domain(domain, Hypervisor::DESTROY_BUDGET) == Ok(Progress::Again) {}
}

/// Connects a domain's end to the other one, if both are there. A pair comes by twice; the first time connects it.
fn connect_ends(hv: &Hypervisor, id: DomId, end: &EventEnd) {
    let Some(domain) = hv.domain(id) else { return };
    let Some(remote) = hv.domain(end.remote) else {
        log::warn!("{id}: port {} ({}) has no other end: {} is not there", end.port, end.path, end.remote);
        return;
    };
    if id < end.remote
        && let Err(errno) = domain.connect_ports(Port(end.port), &remote, Port(end.remote_port))
    {
        log::error!("{id}: port {} ({}) is not connected to {}: {errno:?}", end.port, end.path, end.remote);
    }
}

impl Domain {
    /// Makes the port of an event channel that is there from the start. The other end is connected later.
    pub(super) fn reserve(&self, end: &EventEnd) -> Result<(), Errno> {
        self.events.lock().reserve(Port(end.port), end.remote)
    }

    /// Maps memory that the domain has in common with others; the owner gets it as its own RAM, and has to come first.
    /// After an error nothing is mapped, and nobody has got it.
    fn map_common(&self, hv: &Hypervisor, wanted: &CommonMemory, range: FrameRange) -> Result<(), Errno> {
        let mut memory = self.memory.lock();
        // The pool that the domain has is for the rest of its memory.
        for _ in 0..(range.pages >> BLOCK).saturating_add(MORE_TABLES) {
            let table = hv.frames.alloc_table(self.id).ok_or(Errno::ENOMEM)?;
            memory.p2m.pool_mut().push(table);
        }
        let gfn = wanted.guest.frame();
        if wanted.is_owner {
            hv.frames.transfer(range, DomId::IO, self.id).map_err(frame_error)?;
            if let Err(error) = memory.p2m.map(gfn, range.first, range.pages, MapKind::Ram) {
                hv.frames.transfer(range, self.id, DomId::IO).map_err(frame_error)?;
                return Err(error.into());
            }
            memory.pages = memory.pages.saturating_add(range.pages);
            memory.max_pages = memory.max_pages.saturating_add(range.pages);
            return Ok(());
        }
        let owner = hv.frames.owner_of(range.first).map_err(frame_error)?;
        let mut held = FrameRange { first: range.first, pages: 0 };
        let mut mapped = Ok(());
        while mapped.is_ok() && held.pages < range.pages {
            mapped = hv.frames.reference(Mfn(held.end()), owner).map_err(frame_error);
            held.pages = held.pages.saturating_add(mapped.is_ok().into());
        }
        let map = |()| Ok(memory.p2m.map(gfn, range.first, range.pages, MapKind::Common)?);
        let mapped = mapped.and_then(map);
        if mapped.is_err() {
            (held.first.0..held.end()).for_each(|mfn| hv.release_frame(Mfn(mfn)));
        }
        mapped
    }
}
