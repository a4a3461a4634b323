//! Ballooning and the physical map.

use xenolith_abi::Errno;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{AddToPhysmap, MemoryDomain, RemoveFromPhysmap, Reservation};

use super::super::*;
use super::support::*;
use xenolith_memory::frames::FrameState;
use xenolith_memory::p2m::MapKind;

const DECREASE: u64 = 1;
const CURRENT: u64 = 3;
const POPULATE: u64 = 6;
const ADD: u64 = 7;
const REMOVE: u64 = 15;
const DIRECT: Plan = Plan { direct_mapped: true, ..CONTROL };

/// Gives pages back, or asks for them: how many extents were done.
fn reservation(machine: &mut Machine, guest: &Guest, op: u64, order: u32, frames: &[u64]) -> i64 {
    let list = guest.page(machine, 2);
    machine.poke(&guest.domain, list, frames);
    let mut request = Reservation {
        extent_start: list.into(),
        nr_extents: frames.len() as u64,
        extent_order: order,
        domid: SELF,
        ..Reservation::default()
    };
    guest.call(machine, Hypercall::MemoryOp, op, &mut request)
}

fn current(machine: &mut Machine, guest: &Guest) -> i64 {
    guest.call(machine, Hypercall::MemoryOp, CURRENT, &mut MemoryDomain { domid: SELF })
}

#[test]
fn a_direct_mapped_domain_gets_the_same_frames_back() {
    let (mut machine, guest) = Guest::alone_as(DIRECT);
    let first = machine.ram_of(&guest.domain).0;
    let frames: Vec<u64> = (first + 10..first + 20).collect();
    assert_eq!(reservation(&mut machine, &guest, DECREASE, 0, &frames), 10);
    assert!(guest.domain.lookup(Gfn(first + 10)).is_err());
    assert_eq!(current(&mut machine, &guest), 64, "they stay accounted");
    assert_eq!(machine.audit(), Ok(()));
    assert_eq!(reservation(&mut machine, &guest, POPULATE, 0, &frames), 10);
    for gfn in frames {
        assert_eq!(guest.domain.lookup(Gfn(gfn)).unwrap().mfn, Mfn(gfn));
    }
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn another_domain_gets_zeroed_frames_and_no_more_than_it_may_have() {
    let (mut machine, guest) = Guest::alone();
    let at = guest.page(&machine, 10);
    machine.poke(&guest.domain, at, &[0xff_u8; 4096]);
    let gfn = at >> 12;
    assert_eq!(reservation(&mut machine, &guest, DECREASE, 0, &[gfn, gfn + 1]), 2);
    assert_eq!(current(&mut machine, &guest), 62);
    assert_eq!(machine.audit(), Ok(()));
    assert_eq!(reservation(&mut machine, &guest, POPULATE, 0, &[gfn, 0x9_0000, 0x9_0001]), 2);
    assert_eq!(machine.peek::<[u8; 4096]>(&guest.domain, at), [0; 4096]);
    assert_eq!(current(&mut machine, &guest), 64);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_direct_mapped_domain_cannot_map_its_own_tables_or_shared_frames_as_ram() {
    let (mut machine, guest) = Guest::alone_as(DIRECT);
    let owned: Vec<Mfn> = machine
        .all_frames()
        .filter(|&mfn| {
            matches!(machine.hv.frames.state(mfn), Ok(FrameState::Used(used))
                if used.owner == guest.domain.id && used.kind != Kind::Ram)
        })
        .collect();
    assert!(owned.len() > 2, "tables and shared info");
    for mfn in owned {
        assert_eq!(reservation(&mut machine, &guest, POPULATE, 0, &[mfn.0]), 0, "{mfn}");
        assert!(guest.domain.lookup(Gfn(mfn.0)).is_err(), "{mfn}");
    }
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn an_extent_that_fails_ends_the_count() {
    let (mut machine, guest) = Guest::alone();
    let gfn = guest.page(&machine, 10) >> 12;
    assert_eq!(reservation(&mut machine, &guest, DECREASE, 0, &[gfn, 0x9_0000, gfn + 1]), 1);
    assert_eq!(reservation(&mut machine, &guest, DECREASE, 0, &[u64::MAX]), 0);
    assert_eq!(reservation(&mut machine, &guest, DECREASE, 40, &[gfn]), 0);
    assert_eq!(reservation(&mut machine, &guest, POPULATE, 18, &[0x10_0000]), 0);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_large_extent_is_one_extent() {
    let (mut machine, guest) = Guest::alone();
    let gfn = guest.page(&machine, 32) >> 12;
    assert_eq!(reservation(&mut machine, &guest, DECREASE, 4, &[gfn]), 1);
    assert_eq!(current(&mut machine, &guest), 48);
    assert_eq!(reservation(&mut machine, &guest, POPULATE, 4, &[gfn]), 1);
    assert_eq!(machine.audit(), Ok(()));
}

fn add(machine: &mut Machine, guest: &Guest, space: u32, idx: u64, gpfn: u64) -> i64 {
    let mut request = AddToPhysmap { domid: SELF, size: 0, space, idx, gpfn: Gfn(gpfn) };
    guest.call(machine, Hypercall::MemoryOp, ADD, &mut request)
}

fn remove(machine: &mut Machine, guest: &Guest, gpfn: u64) -> i64 {
    let mut request = RemoveFromPhysmap { domid: SELF, gpfn: Gfn(gpfn), ..RemoveFromPhysmap::default() };
    guest.call(machine, Hypercall::MemoryOp, REMOVE, &mut request)
}

#[test]
fn the_shared_info_page_is_in_one_place_at_a_time() {
    let (mut machine, guest) = Guest::alone();
    let gfn = guest.page(&machine, 10) >> 12;
    assert_eq!(add(&mut machine, &guest, 0, 1, gfn), error(Errno::EINVAL));
    assert_eq!(add(&mut machine, &guest, 0, 0, gfn), 0);
    assert_eq!(guest.domain.lookup(Gfn(gfn)).unwrap().mfn, guest.domain.shared_info.mfn());
    assert_eq!(add(&mut machine, &guest, 0, 0, gfn + 1), error(Errno::EBUSY));
    assert_eq!(remove(&mut machine, &guest, gfn), 0);
    assert_eq!(remove(&mut machine, &guest, gfn), error(Errno::ENOENT));
    assert_eq!(add(&mut machine, &guest, 0, 0, gfn + 1), 0);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn what_takes_the_place_of_the_shared_info_page_ends_its_mapping() {
    let (mut machine, guest) = Guest::alone();
    let gfn = guest.page(&machine, 10) >> 12;
    assert_eq!(add(&mut machine, &guest, 0, 0, gfn), 0);
    assert_eq!(add(&mut machine, &guest, 1, 0, gfn), 0);
    assert_eq!(guest.domain.lookup(Gfn(gfn)).unwrap().kind, MapKind::Shared);
    assert_eq!(add(&mut machine, &guest, 0, 0, gfn + 1), 0, "it was mapped nowhere any more");
    assert_eq!(guest.domain.memory.lock().shared_info_gfn, Some(Gfn(gfn + 1)));
    assert_eq!(add(&mut machine, &guest, 0, 0, gfn), error(Errno::EBUSY));
    // And the other way round.
    assert_eq!(remove(&mut machine, &guest, gfn + 1), 0);
    assert_eq!(add(&mut machine, &guest, 0, 0, gfn), 0);
    assert_eq!(guest.domain.grants.lock().gfn_of(0), None);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_grant_frame_moves() {
    let (mut machine, guest) = Guest::alone();
    let gfn = guest.page(&machine, 10) >> 12;
    assert_eq!(add(&mut machine, &guest, 1, 0, gfn), 0);
    assert_eq!(add(&mut machine, &guest, 1, 0, gfn + 1), 0);
    assert!(guest.domain.lookup(Gfn(gfn)).is_err());
    assert_eq!(add(&mut machine, &guest, 1, 3, gfn), 0, "the table grows");
    assert_eq!(add(&mut machine, &guest, 1, 4, gfn), error(Errno::EINVAL), "as far as it may");
    assert_eq!(add(&mut machine, &guest, 1, 1 << 31, gfn), error(Errno::EINVAL));
    for (space, index) in [(4, 0), (2, 0), (77, 0)] {
        assert_eq!(add(&mut machine, &guest, space, index, gfn), error(Errno::ENOSYS));
    }
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn long_calls_go_on_where_they_stopped() {
    for every in [1, 2, 3, 7] {
        let (mut machine, guest) = Guest::alone();
        let gfn = guest.page(&machine, 10) >> 12;
        let frames: Vec<u64> = (gfn..gfn + 20).collect();
        sim::pause_every(Some(every));
        assert_eq!(reservation(&mut machine, &guest, DECREASE, 0, &frames), 20, "every {every}");
        assert_eq!(reservation(&mut machine, &guest, POPULATE, 0, &frames), 20, "every {every}");
        assert_eq!(machine.audit(), Ok(()));
    }
}
