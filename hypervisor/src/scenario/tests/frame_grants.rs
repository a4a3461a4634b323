//! Frames of a guest that its device model maps by references that name them.

use xenolith_abi::Errno;
use xenolith_abi::grant::{GrantStatus, MapGrantRef, UnmapGrantRef, map as flag};
use xenolith_abi::xenolith::frame_grant;

use super::super::*;
use super::foreign::HOLE;
use super::support::*;
use crate::p2m::MapKind;

/// Where the device model maps.
const AT: u64 = HOLE << 12;

/// A device model and its guest, domains 1 and 2; the control domain has no part.
fn pair() -> (Machine, Guest, Guest) {
    let mut machine = Machine::new(3, 2048);
    machine.boot(Plan { id: 0, ..CONTROL });
    let model = Guest::boot(&mut machine, Plan { id: 1, ..OTHER });
    let guest = Guest::boot(&mut machine, Plan { id: 2, ..OTHER });
    assert_eq!(guest.domain.allow_device_model(&model.domain), Ok(()));
    (machine, model, guest)
}

fn map(machine: &mut Machine, by: &Guest, dom: u16, gfn: u64, flags: u32) -> MapGrantRef {
    let reference = frame_grant(gfn).unwrap();
    let mut op =
        MapGrantRef { host_addr: AT, flags, reference, dom, handle: u32::MAX, ..MapGrantRef::default() };
    assert_eq!(by.grant_op(machine, 0, &mut op), 0);
    assert_eq!(machine.audit(), Ok(()));
    op
}

fn unmap(machine: &mut Machine, by: &Guest, op: &MapGrantRef) {
    let mut end = UnmapGrantRef { host_addr: AT, handle: op.handle, ..UnmapGrantRef::default() };
    assert_eq!(by.grant_op(machine, 1, &mut end), 0);
    assert_eq!(machine.audit(), Ok(()));
    assert_eq!(end.status, GrantStatus::Okay.number());
}

fn is_mapped(model: &Guest) -> bool {
    model.domain.lookup(Gfn(HOLE)).is_ok()
}

#[test]
fn a_device_model_maps_a_frame_and_learns_its_machine_address() {
    let (mut machine, model, guest) = pair();
    let machine = &mut machine;
    let there = guest.page(machine, 20);
    let op = map(machine, &model, 2, there >> 12, flag::HOST);
    assert_eq!(op.status, GrantStatus::Okay.number());
    let mfn = guest.domain.lookup(Gfn(there >> 12)).unwrap().mfn;
    assert_eq!(op.dev_bus_addr, mfn.base().0);
    machine.poke(&guest.domain, there, b"from there");
    assert_eq!(machine.peek::<[u8; 10]>(&model.domain, AT), *b"from there");
    machine.poke(&model.domain, AT, b"from here!");
    assert_eq!(machine.peek::<[u8; 10]>(&guest.domain, there), *b"from here!");
    // The guest gives the page back: it stays until the mapping goes.
    assert_eq!(guest.domain.give_page_back(&machine.hv, Gfn(there >> 12)), Ok(()));
    let free = machine.hv.frames.free_frames();
    assert_eq!(machine.peek::<[u8; 10]>(&model.domain, AT), *b"from here!");
    unmap(machine, &model, &op);
    assert!(!is_mapped(&model));
    assert_eq!(machine.hv.frames.free_frames(), free + 1);
}

#[test]
fn a_frame_for_reading_is_not_written() {
    let (mut machine, model, guest) = pair();
    let machine = &mut machine;
    let there = guest.page(machine, 20);
    let op = map(machine, &model, 2, there >> 12, flag::HOST | flag::READ_ONLY);
    assert_eq!(op.status, GrantStatus::Okay.number());
    assert_eq!(model.domain.lookup(Gfn(HOLE)).unwrap().kind, MapKind::ForeignReadOnly);
    assert_eq!(model.domain.write_memory(&machine.hv, Ipa(AT), &[1]), Err(Errno::EFAULT));
    unmap(machine, &model, &op);
}

#[test]
fn what_may_not_be_mapped_is_refused_by_name() {
    let (mut machine, model, guest) = pair();
    let machine = &mut machine;
    let ram = guest.page(machine, 20) >> 12;
    let hole = HOLE + 77;
    for (by, dom, gfn, flags, expected) in [
        (&model, 2, hole, flag::HOST, GrantStatus::BadReference),
        (&model, 2, ram, 0, GrantStatus::BadReference),
        (&model, 2, ram, flag::HOST | flag::DEVICE, GrantStatus::GeneralError),
        (&model, 0, ram, flag::HOST, GrantStatus::PermissionDenied),
        (&model, 77, ram, flag::HOST, GrantStatus::BadDomain),
        (&model, 1, ram, flag::HOST, GrantStatus::BadDomain),
        // A guest has no right to its device model.
        (&guest, 1, ram, flag::HOST, GrantStatus::PermissionDenied),
        (&guest, 1, hole, flag::HOST, GrantStatus::PermissionDenied),
    ] {
        let op = map(machine, by, dom, gfn, flags);
        assert_eq!(op.status, expected.number(), "{dom} {gfn:#x} {flags}");
        assert_eq!((op.handle, op.dev_bus_addr), (u32::MAX, 0));
        assert!(!is_mapped(by));
    }
    // What the model has of the guest is nobody else's to have of the model.
    assert_eq!(map(machine, &model, 2, ram, flag::HOST).status, GrantStatus::Okay.number());
    assert_eq!(model.domain.allow_device_model(&guest.domain), Ok(()));
    let op = map(machine, &guest, 1, HOLE, flag::HOST);
    assert_eq!(op.status, GrantStatus::BadReference.number());
}

#[test]
fn a_permission_that_is_taken_back_takes_the_mapping() {
    let (mut machine, model, guest) = pair();
    let machine = &mut machine;
    let ram = guest.page(machine, 20) >> 12;
    let op = map(machine, &model, 2, ram, flag::HOST);
    assert!(is_mapped(&model));
    guest.domain.forbid_device_model(&machine.hv, DomId(1));
    assert_eq!(model.domain.unmap_foreign_of(&machine.hv, DomId(2), 0), None);
    assert!(!is_mapped(&model));
    // Its Linux does not know, and unmaps.
    unmap(machine, &model, &op);
    assert_eq!(map(machine, &model, 2, ram, flag::HOST).status, GrantStatus::PermissionDenied.number());
}

#[test]
fn unmapping_takes_nothing_else_away() {
    let (mut machine, model, _guest) = pair();
    let machine = &mut machine;
    let own = model.page(machine, 30);
    let handle = xenolith_abi::xenolith::FRAME_GRANT;
    let mut end = UnmapGrantRef { host_addr: own, handle, ..UnmapGrantRef::default() };
    assert_eq!(model.grant_op(machine, 1, &mut end), 0);
    assert_eq!(end.status, GrantStatus::Okay.number());
    assert_eq!(model.domain.lookup(Gfn(own >> 12)).unwrap().kind, MapKind::Ram);
    assert_eq!(machine.audit(), Ok(()));
}
