//! What domains that start with the machine have in common from their start, by Xen's bindings: memory
//! (`xen,domain-shared-memory-v1`) and event channels (`xen,evtchn-v1`).
//!
//! A node stands in the node of its domain, that of the first domain in `/chosen`. Each is read by itself here; whether
//! the nodes of several domains fit together, [`agree`] says, the one place that decides it. Of nodes that do not, the
//! later one is wrong: it costs its domain, and the first domain only what the node is for.

mod agree;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

use super::boot::cells_below;
use super::error::PlatformError;
use super::region::Region;
use super::tree::{Place, cells, entries};
use xenolith_core::types::{DomId, Ipa, PAGE_SIZE, Pa};

pub use agree::agree;

/// What a node for static shared memory is compatible with.
const SHARED_MEMORY: &str = "xen,domain-shared-memory-v1";
/// What a node for an end of an event channel is compatible with.
const EVENT_CHANNEL: &str = "xen,evtchn-v1";
/// Nodes of either kind that one domain may have.
const MAX_NODES: usize = 64;
/// Bytes of a shared memory's name at most, without the zero at its end (Xen's `MAX_SHM_ID_LENGTH` is 16 with it).
const MAX_ID: usize = 15;
/// The first port that a domain cannot have before it has chosen a form of event channels: the 2-level form's limit.
const PORTS_END: u32 = xenolith_abi::event::two_level::PORTS;

/// Memory that a domain has in common with others, as one node says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticShmNode {
    /// The node's full path.
    pub path: String,
    /// Its name, which all nodes for the same memory have.
    pub id: String,
    /// Where it is in the machine; `None`: wherever there is room.
    pub machine: Option<Region>,
    /// Where the domain has it: the start of a page.
    pub guest: Ipa,
    /// Bytes: whole pages, at least one. The guest's range does not wrap.
    pub size: u64,
    /// It is this domain's own RAM, and only mapped in the others.
    pub is_owner: bool,
}

/// One end of an event channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEnd {
    /// The node's full path.
    pub path: String,
    /// By what the other end's node means this one.
    pub phandle: u32,
    /// The domain's port; not 0.
    pub port: u32,
    /// The phandle of the other end's node.
    pub peer: u32,
    /// The other end's domain, which `agree` finds.
    pub remote: DomId,
    /// The other end's port.
    pub remote_port: u32,
}

/// What one domain has in common with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticShared {
    /// Memory.
    pub memory: Vec<StaticShmNode>,
    /// Event channels.
    pub events: Vec<EventEnd>,
}

impl StaticShared {
    /// Adds what a child of a domain's node says. False, and nothing happens, for nodes of other kinds.
    ///
    /// # Errors
    ///
    /// [`PlatformError::BadProperty`] names the node and the property.
    #[inline(never)]
    pub fn add(&mut self, child: &Place<'_, '_>, cells: [usize; 2]) -> Result<bool, PlatformError> {
        let is_full = if !child.is_enabled() {
            return Ok(false);
        } else if child.is_compatible(&[SHARED_MEMORY]) {
            self.memory.push(memory(child, cells)?);
            self.memory.len() > MAX_NODES
        } else if child.is_compatible(&[EVENT_CHANNEL]) {
            self.events.push(event_end(child)?);
            self.events.len() > MAX_NODES
        } else {
            return Ok(false);
        };
        match is_full {
            true => Err(child.bad("compatible", "is that of too many nodes of one domain: 64 may be")),
            false => Ok(true),
        }
    }
}

/// Reads what the first domain has in common with others, below `/chosen`. A node that is wrong is left out, and what is
/// wrong with it comes back, too.
#[inline(never)]
pub fn of_first(root: &Place<'_, '_>, chosen: &Place<'_, '_>) -> (StaticShared, Vec<PlatformError>) {
    let cells = cells_below(root, chosen);
    let (mut shared, mut errors) = (StaticShared::default(), Vec::new());
    for child in chosen.children() {
        if let Err(error) = shared.add(&child, cells) {
            errors.push(error);
        }
    }
    (shared, errors)
}

/// All ends of event channels that there are nodes for, each with its domain, also those of domains that are wrong
/// otherwise. `domains` are the nodes of the further domains.
pub fn all_ends<'a, 'p>(
    chosen: &'p Place<'a, 'p>,
    domains: impl Iterator<Item = Place<'a, 'p>>,
) -> Vec<(DomId, EventEnd)> {
    let mut ends = Vec::new();
    add_ends(&mut ends, DomId::CONTROL, chosen);
    for (id, domain) in (1..).map(DomId).zip(domains) {
        add_ends(&mut ends, id, &domain);
    }
    ends
}

#[inline(never)]
fn add_ends(ends: &mut Vec<(DomId, EventEnd)>, id: DomId, domain: &Place<'_, '_>) {
    let mut left = MAX_NODES;
    for node in domain.children() {
        if left > 0 && node.is_enabled() && node.is_compatible(&[EVENT_CHANNEL]) {
            left = left.saturating_sub(1);
            ends.extend(event_end(&node).ok().map(|end| (id, end)));
        }
    }
}

#[inline(never)]
fn memory(node: &Place<'_, '_>, cells: [usize; 2]) -> Result<StaticShmNode, PlatformError> {
    let bad = |problem| node.bad("xen,shared-mem", problem);
    let id = match node.text("xen,shm-id") {
        Some(id) if (1..=MAX_ID).contains(&id.len()) && !id.contains('\0') => id,
        _ => return Err(node.bad("xen,shm-id", "is not a text of 1 to 15 bytes")),
    };
    let is_owner = match node.bytes("role") {
        None | Some(b"borrower\0") => false,
        Some(b"owner\0") => true,
        Some(_) => return Err(node.bad("role", "is neither \"owner\" nor \"borrower\"")),
    };
    let Some([machine, guest, bytes]) = place(node.bytes("xen,shared-mem").unwrap_or_default(), cells) else {
        return Err(bad("is not a machine address (which may be left out), a guest address and a size"));
    };
    let (Some(guest), Some(size)) = (guest, bytes) else {
        return Err(bad("has a number of more than 64 bits"));
    };
    if size == 0 || !(machine.unwrap_or(0) | guest | size).is_multiple_of(PAGE_SIZE) {
        return Err(bad("is not in whole pages of 4 KiB, at least one"));
    }
    let region = machine.map(|start| Region::new(Pa(start), size));
    if guest.checked_add(size).is_none() || region == Some(None) {
        return Err(bad("is a range that ends behind the address space"));
    }
    let machine = region.flatten();
    Ok(StaticShmNode { path: node.path(), id: id.into(), machine, guest: Ipa(guest), size, is_owner })
}

/// The numbers of `xen,shared-mem`: machine address, guest address and size. How many cells there are says whether the
/// first one is among them.
fn place(value: &[u8], [address, size]: [usize; 2]) -> Option<[Option<u64>; 3]> {
    let bytes = |addresses: usize| address.checked_mul(addresses)?.checked_add(size)?.checked_mul(4);
    if address == 0 || size == 0 {
        return None;
    }
    if Some(value.len()) == bytes(2) {
        let numbers = entries(value, [address, address, size]).next()?;
        // A machine address that is too wide is no address that was left out.
        return numbers[0].is_some().then_some(numbers);
    }
    if Some(value.len()) == bytes(1) {
        let [guest, size] = entries(value, [address, size]).next()?;
        return Some([None, guest, size]);
    }
    None
}

#[inline(never)]
fn event_end(node: &Place<'_, '_>) -> Result<EventEnd, PlatformError> {
    let value = node.bytes("xen,evtchn").unwrap_or_default();
    let mut numbers = cells(value);
    let (Some(port), Some(peer), 8) = (numbers.next(), numbers.next(), value.len()) else {
        return Err(node.bad("xen,evtchn", "is not a port and the phandle of the other end's node"));
    };
    if port == 0 || port >= PORTS_END {
        return Err(node.bad("xen,evtchn", "has no port from 1 to 4095"));
    }
    let phandle = node.number("phandle").or_else(|| node.number("linux,phandle"));
    let phandle = phandle.ok_or_else(|| node.bad("phandle", "is missing: the other end has to name it"))?;
    let (remote, remote_port) = (DomId::INVALID, 0);
    Ok(EventEnd { path: node.path(), phandle, port, peer, remote, remote_port })
}
