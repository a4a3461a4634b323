//! Pages of a domain that another one maps by privilege.

use xenolith_abi::grant::{EntryV1, MapGrantRef, entry};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{AcquireResource, AddToPhysmapBatch, RemoveFromPhysmap};
use xenolith_abi::{Errno, GuestPtr};

use super::super::*;
use super::create::request;
use super::support::*;
use xenolith_memory::p2m::MapKind;
use xenolith_memory::stale::StalePages;

const REMOVE: u64 = 15;
const BATCH: u64 = 23;
const ACQUIRE: u64 = 28;

/// Where the control domain has nothing.
pub(super) const HOLE: u64 = 0x9_0000;

/// Maps pages of `owner` at frames of the guest's own: what each page came to, or the call's error.
pub(super) fn map_foreign(
    machine: &mut Machine,
    guest: &Guest,
    owner: u16,
    pages: &[(u64, u64)],
) -> Result<Vec<i32>, i64> {
    let [idxs, gpfns, errs] = [2, 3, 4].map(|page| guest.page(machine, page));
    for (index, &(from, to)) in pages.iter().enumerate() {
        machine.poke(&guest.domain, idxs + 8 * index as u64, &from);
        machine.poke(&guest.domain, gpfns + 8 * index as u64, &to);
        machine.poke(&guest.domain, errs + 4 * index as u64, &77_i32);
    }
    let mut batch = AddToPhysmapBatch {
        domid: SELF,
        space: 4,
        size: pages.len() as u16,
        foreign_domid: DomId(owner),
        idxs: idxs.into(),
        gpfns: gpfns.into(),
        errs: errs.into(),
    };
    match guest.call(machine, Hypercall::MemoryOp, BATCH, &mut batch) {
        0 => Ok((0..pages.len() as u64).map(|index| machine.peek(&guest.domain, errs + 4 * index)).collect()),
        error => Err(error),
    }
}

pub(super) fn unmap(machine: &mut Machine, guest: &Guest, gpfn: u64) -> i64 {
    let mut request = RemoveFromPhysmap { domid: SELF, gpfn: Gfn(gpfn), ..RemoveFromPhysmap::default() };
    guest.call(machine, Hypercall::MemoryOp, REMOVE, &mut request)
}

fn code(errno: Errno) -> i32 {
    errno.to_result()
}

#[test]
fn a_foreign_page_is_seen_by_both_and_outlives_the_owner_s_mapping() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let there = second.page(machine, 20);
    machine.poke(&second.domain, there, b"from there");
    assert_eq!(map_foreign(machine, &first, 1, &[(there >> 12, HOLE)]), Ok(vec![0]));
    assert_eq!(machine.peek::<[u8; 10]>(&first.domain, HOLE << 12), *b"from there");
    machine.poke(&first.domain, HOLE << 12, b"from here!");
    assert_eq!(machine.peek::<[u8; 10]>(&second.domain, there), *b"from here!");
    let entry = first.domain.lookup(Gfn(HOLE)).unwrap();
    assert!(entry.kind == MapKind::Foreign && !entry.kind.executable());
    assert_eq!(machine.audit(), Ok(()));

    assert_eq!(second.domain.on(&machine.hv).give_page_back(Gfn(there >> 12)), Ok(()));
    assert_eq!(machine.audit(), Ok(()));
    assert_eq!(machine.peek::<[u8; 10]>(&first.domain, HOLE << 12), *b"from here!");
    let free = machine.hv.frames.free_frames();
    assert_eq!(unmap(machine, &first, HOLE), 0);
    assert_eq!(machine.hv.frames.free_frames(), free + 1);
    assert_eq!(unmap(machine, &first, HOLE), error(Errno::ENOENT));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn each_page_of_a_batch_has_its_own_result_and_none_is_enoent() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let page = second.page(machine, 0) >> 12;
    let end = machine.hv.geometry.end().0;
    let pages = [
        (page, HOLE),
        (0x9_9999, HOLE + 1),
        (end, HOLE + 1),
        (u64::MAX, HOLE + 1),
        (page, end),
        (page, u64::MAX),
        (end - 1, end - 1),
        (page + 1, end - 1),
    ];
    let invalid = code(Errno::EINVAL);
    let results = [0, invalid, invalid, invalid, invalid, invalid, invalid, 0];
    assert_eq!(map_foreign(machine, &first, 1, &pages), Ok(results.to_vec()));
    assert_eq!(machine.audit(), Ok(()));
    for owner in [0, 7, SELF.0, DomId::XEN.0, u16::MAX] {
        let result = map_foreign(machine, &first, owner, &[(page, HOLE), (page, HOLE)]);
        assert_eq!(result, Ok(vec![code(Errno::ESRCH); 2]), "d{owner}");
    }
    assert_eq!(map_foreign(machine, &second, 0, &[(page, HOLE)]), Ok(vec![code(Errno::EPERM)]));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn what_is_read_only_stays_so_and_what_is_not_ram_is_not_mapped() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let page = second.page(machine, 20) >> 12;
    let mfn = second.domain.lookup(Gfn(page)).unwrap().mfn;
    {
        let mut memory = second.domain.memory.lock();
        let _ = memory.p2m.unmap(Gfn(page), 1).unwrap();
        memory.p2m.map(Gfn(page), mfn, 1, MapKind::RamReadOnly).unwrap();
        memory.p2m.map(Gfn(HOLE + 9), Mfn(0x900), 1, MapKind::Device).unwrap();
    }
    second.domain.on(&machine.hv).map_shared_info(Gfn(HOLE)).unwrap();
    second.domain.on(&machine.hv).map_grant_frame(0, Gfn(HOLE + 1)).unwrap();
    let pages = [(page, HOLE), (HOLE, HOLE + 1), (HOLE + 1, HOLE + 1), (HOLE + 9, HOLE + 1)];
    let invalid = code(Errno::EINVAL);
    assert_eq!(map_foreign(machine, &first, 1, &pages), Ok(vec![0, invalid, invalid, invalid]));
    assert_eq!(first.domain.on(&machine.hv).write_memory(Gfn(HOLE).base(), &[1]), Err(Errno::EFAULT));
    assert_eq!(first.domain.on(&machine.hv).read_memory(Gfn(HOLE).base(), &mut [1]), Ok(()));
}

#[test]
fn a_foreign_page_is_not_lent_on() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let page = second.page(machine, 20) >> 12;
    assert_eq!(map_foreign(machine, &first, 1, &[(page, HOLE)]), Ok(vec![0]));
    // By a grant of the mapper.
    let table = first.page(machine, 10);
    first.domain.on(&machine.hv).map_grant_frame(0, Gfn(table >> 12)).unwrap();
    let grant = EntryV1 { flags: entry::PERMIT_ACCESS, domid: DomId(1), frame: HOLE as u32 };
    machine.poke(&first.domain, table, &grant);
    let mut map = MapGrantRef {
        host_addr: second.page(machine, 5),
        flags: xenolith_abi::grant::map::HOST,
        ..MapGrantRef::default()
    };
    assert_eq!(second.grant_op(machine, 0, &mut map), 0);
    assert_ne!(map.status, 0);
    // As foreign memory of a third domain.
    let third = machine.add(Plan { id: 2, ..OTHER });
    assert_eq!(first.domain.allow_device_model(&third), Ok(()));
    assert_eq!(third.on(&machine.hv).map_foreign(&first.domain, Gfn(HOLE), Gfn(HOLE)), Err(Errno::EINVAL));
    // As memory that the hypervisor shares with the guest, or that is given back.
    assert!(first.domain.on(&machine.hv).get_frame(Gfn(HOLE)).is_err());
    assert_eq!(first.domain.on(&machine.hv).give_page_back(Gfn(HOLE)), Err(Errno::EINVAL));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn mapping_where_nothing_was_flushes_nothing() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let page = second.page(machine, 0) >> 12;
    let before = sim::flushes();
    let pages: Vec<_> = (0..32).map(|number| (page + number, HOLE + number)).collect();
    assert_eq!(map_foreign(machine, &first, 1, &pages), Ok(vec![0; 32]));
    assert_eq!(sim::flushes(), before);
    assert_eq!(unmap(machine, &first, HOLE), 0);
    assert_eq!(sim::flushes().addresses, before.addresses + 1);
    // In the place of another page.
    assert_eq!(map_foreign(machine, &first, 1, &[(page, HOLE + 1)]), Ok(vec![0]));
    assert_eq!(sim::flushes().addresses, before.addresses + 2);
    assert_eq!(first.domain.vcpus[0].take_mapcache_stale(), None);
    let own = first.page(machine, 30) >> 12;
    assert_eq!(first.domain.on(&machine.hv).map_foreign(&second.domain, Gfn(page), Gfn(own)), Ok(()));
    let stale = first.domain.vcpus[0].take_mapcache_stale();
    assert_eq!(stale, Some(StalePages::page(Gfn(own))), "a page of RAM was replaced");
    assert_eq!(first.domain.vcpus[0].take_mapcache_stale(), None);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn long_batches_go_on_where_they_stopped() {
    for every in [1, 2, 5] {
        let (mut machine, first, second) = Guest::two();
        let page = second.page(&machine, 0) >> 12;
        let pages: Vec<_> = (0..20).map(|number| (page + number, HOLE + number)).collect();
        sim::pause_every(Some(every));
        assert_eq!(map_foreign(&mut machine, &first, 1, &pages), Ok(vec![0; 20]), "every {every}");
        assert_eq!(machine.audit(), Ok(()));
    }
}

/// The owner gives its pages away and gets others while another CPU maps them: whatever is mapped is the owner's page of
/// that moment, and stays until it is unmapped.
#[test]
fn the_owner_changes_its_memory_between_any_two_mappings() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let page = second.page(machine, 20) >> 12;
    for round in 0..20_u64 {
        let _ = second.domain.on(&machine.hv).give_page_back(Gfn(page));
        let gone = map_foreign(machine, &first, 1, &[(page, HOLE + round)]);
        assert_eq!(gone, Ok(vec![code(Errno::EINVAL)]));
        assert_eq!(second.domain.on(&machine.hv).populate(Gfn(page), 0), Ok(()));
        assert_eq!(map_foreign(machine, &first, 1, &[(page, HOLE + round)]), Ok(vec![0]));
        machine.poke(&first.domain, (HOLE + round) << 12, &round);
        assert_eq!(machine.audit(), Ok(()));
    }
    for round in 0..20_u64 {
        assert_eq!(machine.peek::<u64>(&first.domain, (HOLE + round) << 12), round);
    }
}

fn acquire(machine: &mut Machine, guest: &Guest, request: AcquireResource, at: &[u64]) -> (i64, u32) {
    let frame_list = if at.is_empty() { 0 } else { guest.page(machine, 2) };
    if !at.is_empty() {
        machine.poke(&guest.domain, frame_list, at);
    }
    let mut request =
        AcquireResource { frame_list: frame_list.into(), nr_frames: at.len() as u32, ..request };
    let result = guest.call(machine, Hypercall::MemoryOp, ACQUIRE, &mut request);
    (result, request.nr_frames)
}

const GRANTS: AcquireResource = AcquireResource {
    domid: DomId(1),
    kind: 1,
    id: 0,
    nr_frames: 0,
    pad: 0,
    frame: 0,
    frame_list: GuestPtr::NULL,
};

#[test]
fn the_grant_table_of_a_new_domain_is_filled_before_it_runs() {
    let (mut machine, first) = Guest::alone();
    let machine = &mut machine;
    let domain = machine.hv.create_domain(&request()).unwrap();
    assert_eq!(acquire(machine, &first, GRANTS, &[]), (0, 4));
    assert_eq!(acquire(machine, &first, GRANTS, &[HOLE]), (0, 1));
    let grant = EntryV1 { flags: entry::PERMIT_ACCESS, domid: DomId(0), frame: 0x3_9000 };
    machine.poke(&first.domain, HOLE << 12, &grant);
    assert_eq!(machine.audit(), Ok(()));
    domain.on(&machine.hv).map_grant_frame(0, Gfn(0x3_8000)).unwrap();
    assert_eq!(machine.peek::<[u8; 8]>(&domain, 0x3_8000 << 12), [1, 0, 0, 0, 0, 0x90, 3, 0]);
    assert_eq!(unmap(machine, &first, HOLE), 0);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn what_is_no_resource_is_refused() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let invalid = error(Errno::EINVAL);
    let rows = [
        (AcquireResource { pad: 1, ..GRANTS }, invalid),
        (AcquireResource { id: 1, ..GRANTS }, invalid),
        (AcquireResource { kind: 2, ..GRANTS }, invalid),
        (AcquireResource { kind: 3, ..GRANTS }, error(Errno::EOPNOTSUPP)),
        (AcquireResource { frame: 4, ..GRANTS }, invalid),
        (AcquireResource { frame: u64::MAX, ..GRANTS }, invalid),
        (AcquireResource { domid: DomId(0), ..GRANTS }, error(Errno::EPERM)),
        (AcquireResource { domid: SELF, ..GRANTS }, error(Errno::EPERM)),
        (AcquireResource { domid: DomId(5), ..GRANTS }, error(Errno::ESRCH)),
    ];
    for (request, expected) in rows {
        assert_eq!(acquire(machine, &first, request, &[HOLE]).0, expected, "{request:?}");
    }
    let other = AcquireResource { domid: DomId(0), ..GRANTS };
    assert_eq!(acquire(machine, &second, other, &[HOLE]).0, error(Errno::EPERM));
    let far = [HOLE, HOLE + 1, machine.hv.geometry.end().0];
    assert_eq!(acquire(machine, &first, GRANTS, &far).0, error(Errno::EIO));
    assert!(first.domain.lookup(Gfn(HOLE)).is_err(), "those before it are gone");
    assert_eq!(acquire(machine, &first, GRANTS, &far[2..]).0, invalid);
    assert_eq!(acquire(machine, &first, GRANTS, &[HOLE; 5]).0, invalid, "more than it can have");
    assert_eq!(acquire(machine, &first, GRANTS, &[HOLE, HOLE + 1, HOLE + 2, HOLE + 3]).0, 0);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn the_control_domain_s_tables_grow_and_another_s_do_not() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let page = second.page(machine, 0) >> 12;
    // Each page needs tables of its own.
    let far: Vec<u64> = (2..120).map(|number| number << 18).collect();
    for &gfn in &far {
        assert_eq!(first.domain.on(&machine.hv).map_foreign(&second.domain, Gfn(page), Gfn(gfn)), Ok(()));
    }
    assert_eq!(machine.audit(), Ok(()));
    let page = first.page(machine, 0) >> 12;
    assert_eq!(first.domain.allow_device_model(&second.domain), Ok(()));
    let results: Vec<_> = far
        .iter()
        .map(|&gfn| second.domain.on(&machine.hv).map_foreign(&first.domain, Gfn(page), Gfn(gfn)))
        .collect();
    assert!(results.contains(&Ok(())) && results.contains(&Err(Errno::ENOMEM)));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_resource_that_fails_late_is_unmapped_in_pieces() {
    let (mut machine, first, _second) = Guest::two();
    let machine = &mut machine;
    let frames = [HOLE, HOLE + 1, HOLE + 2, machine.hv.geometry.end().0];
    let (at, list) = (first.scratch(machine), first.page(machine, 2));
    machine.poke(&first.domain, list, &frames);
    machine.poke(&first.domain, at, &AcquireResource { frame_list: list.into(), nr_frames: 4, ..GRANTS });
    let (result, rounds) = first.call_in_rounds(machine, Hypercall::MemoryOp, [ACQUIRE, at, 0, 0, 0]);
    // Each page is mapped in a round; the last fails, and each is unmapped in one.
    assert_eq!((result, rounds), (error(Errno::EIO), 4 + 2));
    assert!(frames[..3].iter().all(|&gfn| first.domain.lookup(Gfn(gfn)).is_err()));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_guest_that_claims_to_have_failed_unmaps_only_resources_of_its_own() {
    const UNWIND: u64 = 1 << 63;
    let (mut machine, first, _second) = Guest::two();
    let machine = &mut machine;
    assert_eq!(acquire(machine, &first, GRANTS, &[HOLE]).0, 0);
    let page = first.page(machine, 5);
    let (at, list) = (first.scratch(machine), first.page(machine, 2));
    machine.poke(&first.domain, list, &[HOLE, page >> 12]);
    machine.poke(&first.domain, at, &AcquireResource { frame_list: list.into(), nr_frames: 2, ..GRANTS });
    for count in [2, u64::MAX >> 7] {
        let command = ACQUIRE | count << 6 | UNWIND;
        let result = machine.hypercall(first.cpu, Hypercall::MemoryOp.number(), [command, at, 0, 0, 0]);
        assert_eq!(result, Some(error(Errno::EIO)));
    }
    assert!(first.domain.lookup(Gfn(HOLE)).is_err() && first.domain.lookup(Gfn(page >> 12)).is_ok());
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn no_more_is_unmapped_than_an_object_can_have() {
    const UNWIND: u64 = 1 << 63;
    const MOST: u32 = 4096;
    let (mut machine, first, _second) = Guest::two();
    let machine = &mut machine;
    let (at, list) = (first.scratch(machine), first.page(machine, 2));
    let mut claim = |nr_frames: u32| {
        machine.poke(&first.domain, at, &AcquireResource { frame_list: list.into(), nr_frames, ..GRANTS });
        let command = ACQUIRE | u64::MAX >> 7 << 6 | UNWIND;
        first.call_in_rounds(machine, Hypercall::MemoryOp, [command, at, 0, 0, 0])
    };
    for nr_frames in [MOST + 1, 1 << 31, u32::MAX] {
        assert_eq!(claim(nr_frames), (error(Errno::EINVAL), 1));
    }
    assert_eq!(claim(MOST), (error(Errno::EIO), MOST));
}
