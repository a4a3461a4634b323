//! Domains that the control domain makes.

use machine_model::layout::GICV2_CPU;
use xenolith_abi::Errno;
use xenolith_abi::domctl::GicVersion;

use super::super::*;
use super::foreign::HOLE;
use super::support::*;
use xenolith_core::types::Pa;
use xenolith_domain::arch::ArchRequest;
use xenolith_domain::life::create::NewDomain;
use xenolith_domain::parts::progress::Progress;
use xenolith_memory::p2m::MapKind;

fn arch(gic: Option<GicVersion>, spis: u32) -> ArchRequest {
    ArchRequest { gic, spis, ..ArchRequest::default() }
}

pub(super) fn request() -> NewDomain {
    NewDomain {
        vcpus: 2,
        max_port: 1023,
        grant_frames: Some(4),
        maptrack_frames: Some(4),
        arch: arch(None, 32),
        trap_unmapped: true,
        ..NewDomain::default()
    }
}

#[test]
fn a_new_domain_is_empty_and_paused() {
    let (machine, _) = Guest::alone();
    let domain = machine.hv.create_domain(&NewDomain { handle: [7; 16], ..request() }).unwrap();
    assert_eq!((domain.id, *domain.handle.lock(), domain.vcpus.len()), (DomId(1), [7; 16], 2));
    assert_eq!(*domain.controller_pauses.lock(), 1);
    assert_eq!(domain.grants.lock().size(), (0, 4));
    assert!(domain.arch.gic_system_registers && domain.trap_unmapped && !domain.is_dying());
    assert_eq!(domain.memory.lock().pages, 0);
    assert_eq!(domain.memory.lock().p2m.highest(), None);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn numbers_are_given_in_order_and_none_twice() {
    let (machine, _) = Guest::alone();
    let create = |id: Option<u16>| {
        machine.hv.create_domain(&NewDomain { id: id.map(DomId), ..request() }).map(|domain| domain.id.0)
    };
    assert_eq!((create(None), create(None), create(Some(3)), create(None)), (Ok(1), Ok(2), Ok(3), Ok(4)));
    assert_eq!(create(Some(3)), Err(Errno::EEXIST));
    assert_eq!(create(Some(0)), Err(Errno::EINVAL));
    assert_eq!(create(Some(0x7ff0)), Err(Errno::EINVAL));
    assert_eq!(create(Some(0x7fef)), Ok(0x7fef));
    let listed: Vec<u16> = machine.hv.domains().map(|domain| domain.id.0).collect();
    assert_eq!(listed, [0, 1, 2, 3, 4, 0x7fef]);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn what_no_domain_can_be_is_refused_and_leaves_nothing() {
    let (machine, _) = Guest::alone();
    let free = machine.hv.frames.free_frames();
    let refused = [
        NewDomain { vcpus: 0, ..request() },
        NewDomain { vcpus: 129, ..request() },
        NewDomain { vcpus: u32::MAX, ..request() },
        NewDomain { arch: arch(None, 989), ..request() },
        NewDomain { grant_frames: Some(0), ..request() },
        NewDomain { grant_frames: Some(u32::MAX), ..request() },
        NewDomain { maptrack_frames: Some(u32::MAX), ..request() },
    ];
    for request in refused {
        assert_eq!(machine.hv.create_domain(&request).map(drop), Err(Errno::EINVAL), "{request:?}");
    }
    let other_gic = NewDomain { arch: arch(Some(GicVersion::V2), 32), ..request() };
    assert_eq!(machine.hv.create_domain(&other_gic).map(drop), Err(Errno::ENODEV));
    assert_eq!(machine.hv.frames.free_frames(), free);
    assert_eq!(machine.hv.vmids.lock().in_use(), 1);
    let machine = Machine::new(1, 4096);
    assert!(machine.hv.create_domain(&NewDomain { max_port: u32::MAX, ..request() }).is_ok());
}

#[test]
fn a_gicv2_has_the_machine_s_virtual_interface() {
    let (machine, _) = Guest::alone();
    sim::gic::be_version_2(Pa(0x0804_0000), 0x1_0000);
    let create =
        |vcpus, gic| machine.hv.create_domain(&NewDomain { vcpus, arch: arch(gic, 32), ..request() });
    assert_eq!(create(9, None).map(drop), Err(Errno::EINVAL));
    assert_eq!(create(1, Some(GicVersion::V3)).map(drop), Err(Errno::ENODEV));
    let domain = create(8, Some(GicVersion::V2)).unwrap();
    assert!(!domain.arch.gic_system_registers);
    let entry = domain.lookup(Gfn(GICV2_CPU.first_frame().0 + 1)).unwrap();
    assert_eq!((entry.mfn, entry.kind), (Mfn(0x8041), MapKind::StrictDevice));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn without_memory_nothing_is_left_of_the_attempt() {
    let (machine, _) = Guest::alone();
    let free = machine.hv.frames.available_frames();
    let mut hoard = Vec::new();
    // Each further frame lets the attempt fail a step later.
    while let Some(mfn) = machine.hv.frames.alloc(0, DomId::XEN, Kind::Ram, Content::Any) {
        hoard.push(mfn);
    }
    let mut left = 0;
    let domain = loop {
        match machine.hv.create_domain(&request()) {
            Err(errno) => assert_eq!(errno, Errno::ENOMEM),
            Ok(domain) => break domain,
        }
        assert_eq!(machine.hv.frames.available_frames(), left);
        assert_eq!(machine.hv.vmids.lock().in_use(), 1);
        machine.hv.frames.free(hoard.pop().unwrap(), 0, DomId::XEN).unwrap();
        left += 1;
    };
    assert!(left > 16);
    assert_eq!(domain.id, DomId(1));
    for mfn in hoard {
        machine.hv.frames.free(mfn, 0, DomId::XEN).unwrap();
    }
    assert_eq!(machine.hv.frames.available_frames(), free - left);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn the_pool_of_tables_is_made_larger_and_smaller() {
    let (machine, _) = Guest::alone();
    let domain = machine.hv.create_domain(&request()).unwrap();
    let free = machine.hv.frames.free_frames();
    let set = |bytes, budget| domain.on(&machine.hv).set_paging_pool(bytes, budget);
    assert_eq!(domain.paging_pool(), 16 << 12);
    assert_eq!(set(4097, 9), Err(Errno::EINVAL));
    assert_eq!(set(32 << 12, 9), Ok(Progress::Again));
    assert_eq!(set(32 << 12, 9), Ok(Progress::Done));
    assert_eq!((domain.paging_pool(), machine.hv.frames.free_frames()), (32 << 12, free - 16));
    domain.memory.lock().max_pages = 1;
    domain.on(&machine.hv).populate(RAM_BASE, 0).unwrap();
    let tables = domain.memory.lock().p2m.tables();
    assert_eq!(set(0, 99), Err(Errno::ENOMEM), "some are in use");
    assert_eq!(domain.paging_pool(), tables << 12);
    assert_eq!(domain.on(&machine.hv).populate(Gfn(0), 0), Err(Errno::ENOMEM));
    assert_eq!(set(1 << 40, u32::MAX), Err(Errno::ENOMEM));
    assert_eq!(machine.hv.frames.available_frames(), 0);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn pages_come_in_place_of_what_is_there() {
    let (machine, first) = Guest::alone();
    let hv = &machine.hv;
    let domain = hv.create_domain(&request()).unwrap();
    domain.memory.lock().max_pages = 16;
    let mfn = |page| domain.lookup(Gfn(RAM_BASE.0 + page)).unwrap().mfn;
    domain.on(hv).populate(RAM_BASE, 1).unwrap();
    let old = mfn(1);
    // What others hold of the page stays, and so does what the domain owns: it has one page more.
    first
        .domain
        .memory
        .lock()
        .map_referenced(first.domain.on(hv), Gfn(HOLE), old, domain.id, MapKind::Foreign)
        .unwrap();
    domain.on(hv).populate(Gfn(RAM_BASE.0 + 1), 0).unwrap();
    assert_ne!(mfn(1), old);
    assert_eq!((domain.memory.lock().pages, hv.frames.owner_of(old)), (3, Ok(domain.id)));
    assert_eq!(first.domain.lookup(Gfn(HOLE)).unwrap().mfn, old);
    assert_eq!(machine.audit(), Ok(()));
    // A frame of the grant table gives way, and is found nowhere.
    domain.on(hv).map_grant_frame(0, Gfn(RAM_BASE.0 + 5)).unwrap();
    domain.on(hv).populate(Gfn(RAM_BASE.0 + 4), 2).unwrap();
    assert_eq!(domain.lookup(Gfn(RAM_BASE.0 + 5)).unwrap().kind, MapKind::Ram);
    assert_eq!(domain.memory.lock().pages, 7);
    domain.on(hv).map_grant_frame(0, Gfn(RAM_BASE.0 + 9)).unwrap();
    assert_eq!(domain.lookup(Gfn(RAM_BASE.0 + 5)).unwrap().kind, MapKind::Ram, "it moved from elsewhere");
    assert_eq!(machine.audit(), Ok(()));
    // What it may not own it does not get, and what was there stays.
    domain.memory.lock().max_pages = 7;
    let here = mfn(0);
    assert_eq!(domain.on(hv).populate(RAM_BASE, 0), Err(Errno::ENOMEM));
    assert_eq!(mfn(0), here);
}
