//! Whether what the domains say of their static shared memory and event channels fits together.

use alloc::vec::Vec;

use super::{EventEnd, StaticShared, StaticShmNode};
use crate::platform::domains::BootDomain;
use crate::platform::error::PlatformError;
use xenolith_core::types::{DomId, Pa};

/// Takes out what does not fit what was said before: of the first domain the node, whose error comes back, and of another
/// the whole domain. `is_direct` says whether the first domain's RAM has the machine's addresses, and `ends` are all ends of event channels that there are nodes for; a domain that is left out leaves the
/// others their ports.
#[inline(never)]
pub fn agree(
    first: &mut StaticShared,
    is_direct: bool,
    domains: &mut [Result<BootDomain, PlatformError>],
    ends: &[(DomId, EventEnd)],
) -> Vec<PlatformError> {
    let mut known: Vec<(DomId, StaticShmNode)> = Vec::new();
    let mut errors = Vec::new();
    first.memory.retain(|memory| {
        let checked = check_memory(memory, DomId::CONTROL, is_direct, &known);
        known.extend(checked.is_ok().then(|| (DomId::CONTROL, memory.clone())));
        keep(checked, &mut errors)
    });
    first.events.retain_mut(|end| keep(find_peer(end, DomId::CONTROL, ends), &mut errors));
    for (id, slot) in (1..).map(DomId).zip(domains) {
        let Ok(domain) = slot else { continue };
        let before = known.len();
        if let Err(error) = check(domain, id, &mut known, ends) {
            known.truncate(before);
            *slot = Err(error);
        }
    }
    errors
}

#[inline(never)]
fn keep(checked: Result<(), PlatformError>, errors: &mut Vec<PlatformError>) -> bool {
    let is_sound = checked.is_ok();
    errors.extend(checked.err());
    is_sound
}

fn check(
    domain: &mut BootDomain,
    id: DomId,
    known: &mut Vec<(DomId, StaticShmNode)>,
    ends: &[(DomId, EventEnd)],
) -> Result<(), PlatformError> {
    for memory in &domain.shared.memory {
        check_memory(memory, id, domain.direct_map, known)?;
        known.push((id, memory.clone()));
    }
    domain.shared.events.iter_mut().try_for_each(|end| find_peer(end, id, ends))
}

#[inline(never)]
fn check_memory(
    memory: &StaticShmNode,
    id: DomId,
    is_direct_mapped: bool,
    known: &[(DomId, StaticShmNode)],
) -> Result<(), PlatformError> {
    if is_direct_mapped && memory.machine.map(|machine| machine.start()) != Some(Pa(memory.guest.0)) {
        return Err(PlatformError::BadProperty {
            node: memory.path.clone(),
            property: "xen,shared-mem",
            problem: "has not the machine address as guest address: the domain is directly mapped",
        });
    }
    for (other_id, other) in known {
        let overlaps = || other.machine.zip(memory.machine).is_some_and(|(one, other)| one.overlaps(other));
        let problem = match other.id == memory.id {
            true if *other_id == id => ("xen,shm-id", "is the same in one domain"),
            true if other.machine != memory.machine || other.size != memory.size => {
                ("xen,shared-mem", "differs in machine address or size for the same xen,shm-id")
            }
            true if other.is_owner && memory.is_owner => ("role", "is \"owner\" in two domains"),
            false if overlaps() => {
                ("xen,shared-mem", "has the same machine addresses for another xen,shm-id")
            }
            _ => continue,
        };
        return Err(disagree([&other.path, &memory.path], problem));
    }
    Ok(())
}

/// Finds the other end.
#[inline(never)]
fn find_peer(end: &mut EventEnd, id: DomId, ends: &[(DomId, EventEnd)]) -> Result<(), PlatformError> {
    let path = end.path.clone();
    let others = || ends.iter().filter(|(_, other)| other.path != path);
    if let Some((_, other)) = others().find(|(other_id, other)| *other_id == id && other.port == end.port) {
        return Err(disagree([&other.path, &path], ("xen,evtchn", "is the same port of one domain")));
    }
    if let Some((_, other)) = others().find(|(_, other)| other.phandle == end.phandle) {
        return Err(disagree([&other.path, &path], ("phandle", "is the same")));
    }
    let bad = |problem| PlatformError::BadProperty { node: path.clone(), property: "xen,evtchn", problem };
    match others().find(|(_, other)| other.phandle == end.peer) {
        None => Err(bad("names no other node compatible with xen,evtchn-v1")),
        Some((other_id, _)) if *other_id == id => Err(bad("names a node of the same domain")),
        Some((_, other)) if other.peer != end.phandle => {
            Err(disagree([&other.path, &path], ("xen,evtchn", "does not name each other")))
        }
        Some((other_id, other)) => {
            (end.remote, end.remote_port) = (*other_id, other.port);
            Ok(())
        }
    }
}

#[cold]
#[inline(never)]
fn disagree(nodes: [&str; 2], (property, problem): (&'static str, &'static str)) -> PlatformError {
    PlatformError::Disagree { nodes: nodes.map(Into::into), property, problem }
}
