//! The end of domains, whatever they and others have of each other.

use xenolith_abi::Errno;
use xenolith_abi::event::Virq;
use xenolith_abi::grant::{EntryV1, MapGrantRef, UnmapGrantRef, entry, map as flag};

use super::super::*;
use super::create::request;
use super::foreign::{HOLE, map_foreign, unmap};
use super::support::*;
use xenolith_domain::life::create::NewDomain;
use xenolith_domain::parts::progress::Progress;
use xenolith_memory::p2m::MapKind;
use xenolith_policy::event::{ConsumerTag, Port};

/// A domain as a toolstack makes it, with RAM from `RAM_BASE` on.
fn built(machine: &Machine, pages: u64) -> Arc<Domain> {
    let domain = machine.hv.create_domain(&request()).unwrap();
    assert_eq!(domain.on(&machine.hv).set_paging_pool(32 << 12, 99), Ok(Progress::Done));
    domain.memory.lock().max_pages = pages;
    for page in 0..pages {
        assert_eq!(domain.on(&machine.hv).populate(Gfn(RAM_BASE.0 + page), 0), Ok(()));
    }
    domain
}

/// Destroys a domain, a little at a time; the books must agree after each step. How many steps it took.
pub(super) fn destroy(machine: &mut Machine, domain: &Arc<Domain>) -> u32 {
    let mut steps = 1;
    while machine.hv.destroy_domain(domain, 0) == Ok(Progress::Again) {
        machine.settle();
        assert_eq!(machine.audit(), Ok(()), "step {steps}");
        steps += 1;
        assert!(steps < 1000, "it never ends");
    }
    assert_eq!(machine.audit(), Ok(()));
    assert!(domain.is_dead());
    steps
}

fn is_listed(machine: &Machine, id: u16) -> bool {
    machine.hv.domain(DomId(id)).is_some()
}

/// How often the control domain has heard of the end of a domain: its port is pending or not.
fn hears(machine: &Machine, guest: &Guest, port: Port) -> bool {
    let words = guest.domain.shared_info;
    let pending =
        words.word64(core::mem::offset_of!(xenolith_abi::shared::SharedInfo, evtchn_pending)).unwrap();
    let was = pending.load() & 1 << port.0 != 0;
    let _ = machine;
    pending.store(pending.load() & !(1 << port.0));
    was
}

#[test]
fn all_of_a_domain_comes_back() {
    let (mut machine, first) = Guest::alone();
    let port = first.domain.events.lock().bind_virq(Virq::DomExc.number(), VcpuId(0)).unwrap();
    let free = machine.hv.frames.free_frames();
    let domain = built(&machine, 300);
    assert!(destroy(&mut machine, &domain) > 3, "in small steps");
    assert!(hears(&machine, &first, port));
    assert!(!is_listed(&machine, 1));
    assert_eq!(machine.hv.frames.free_frames(), free);
    assert_eq!(machine.hv.destroy_domain(&domain, 0), Ok(Progress::Done), "again");
    assert_eq!(machine.hv.destroy_domain(&first.domain, 0), Err(Errno::EINVAL));
}

#[test]
fn a_domain_that_runs_leaves_its_cpus_first() {
    let (mut machine, _, second) = Guest::two();
    let unit = second.domain.vcpus[0].unit;
    assert_eq!(machine.hv.destroy_domain(&second.domain, 1000), Ok(Progress::Again));
    assert!(second.domain.is_dying() && !second.domain.is_dead());
    assert_eq!(machine.hv.destroy_domain(&second.domain, 1000), Ok(Progress::Again), "it is still there");
    assert_eq!(machine.running(second.cpu), Some((DomId(1), VcpuId(0))));
    machine.settle();
    assert_eq!(machine.next(second.cpu), Next::Idle);
    sim::on_cpu(CpuId(second.cpu));
    assert!(sim::guest::stage2().is_none(), "the CPU knows its tables no more");
    destroy(&mut machine, &second.domain);
    assert!(!is_listed(&machine, 1));
    assert!(machine.hv.vcpu(unit).is_none());
}

#[test]
fn two_hundred_rounds_leave_nothing() {
    let (mut machine, first) = Guest::alone();
    let free = machine.hv.frames.free_frames();
    let mut units = Vec::new();
    for round in 0..200_u16 {
        let domain = built(&machine, 8);
        assert_eq!(domain.id, DomId(round + 1));
        machine.hv.set_wall_clock(i64::from(round));
        let page = RAM_BASE.0 + 3;
        assert_eq!(map_foreign(&mut machine, &first, domain.id.0, &[(page, HOLE)]), Ok(vec![0]));
        units.push(domain.vcpus[0].unit.0);
        destroy(&mut machine, &domain);
        assert!(is_listed(&machine, domain.id.0));
        assert_eq!(unmap(&mut machine, &first, HOLE), 0);
        assert!(!is_listed(&machine, domain.id.0));
    }
    // Tables of the control domain's own, for the hole, were there before.
    assert_eq!(machine.hv.frames.free_frames(), free);
    assert!(units.iter().all(|&unit| unit < 8), "the scheduler's numbers are used again");
    assert_eq!(machine.hv.vmids.lock().in_use(), 1);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_domain_whose_pages_others_map_is_dead_until_they_let_go() {
    let (mut machine, first) = Guest::alone();
    let port = first.domain.events.lock().bind_virq(Virq::DomExc.number(), VcpuId(0)).unwrap();
    let free = machine.hv.frames.free_frames();
    let domain = built(&machine, 20);
    let page = RAM_BASE.0;
    machine.poke(&domain, (page + 5) << 12, b"still here");
    let pages = [(page + 5, HOLE), (page + 5, HOLE + 1), (page + 6, HOLE + 2)];
    assert_eq!(map_foreign(&mut machine, &first, 1, &pages), Ok(vec![0; 3]));
    first.domain.on(&machine.hv).map_grant_resource(&domain, 0, Gfn(HOLE + 3)).unwrap();
    destroy(&mut machine, &domain);
    assert!(hears(&machine, &first, port));
    assert!(is_listed(&machine, 1));
    assert_eq!(domain.memory.lock().pages, 0);
    assert_eq!(machine.hv.frames.free_frames(), free - 3);
    assert_eq!(machine.peek::<[u8; 10]>(&first.domain, HOLE << 12), *b"still here");

    // Nothing more can be done with it.
    let esrch = Errno::ESRCH.to_result();
    assert_eq!(map_foreign(&mut machine, &first, 1, &[(page + 5, HOLE + 9)]), Ok(vec![esrch]));
    let resource = first.domain.on(&machine.hv).map_grant_resource(&domain, 0, Gfn(HOLE + 9));
    assert_eq!(resource, Err(Errno::ESRCH));
    assert_eq!(domain.on(&machine.hv).populate(RAM_BASE, 0), Err(Errno::EINVAL));
    assert_eq!(domain.on(&machine.hv).map_foreign(&first.domain, RAM_BASE, Gfn(1)), Err(Errno::EPERM));
    assert_eq!(domain.on(&machine.hv).set_paging_pool(4096, 9), Err(Errno::EINVAL));
    assert_eq!(domain.events.lock().alloc_unbound(DomId(0)), Err(Errno::EINVAL));
    let same = machine.hv.create_domain(&NewDomain { id: Some(DomId(1)), ..request() });
    assert_eq!(same.map(drop), Err(Errno::EEXIST));
    assert_eq!(machine.audit(), Ok(()));

    for gfn in [HOLE, HOLE + 1, HOLE + 2] {
        assert_eq!(unmap(&mut machine, &first, gfn), 0);
        assert!(is_listed(&machine, 1) && !hears(&machine, &first, port));
        assert_eq!(machine.audit(), Ok(()));
    }
    assert_eq!(unmap(&mut machine, &first, HOLE + 3), 0);
    assert!(!is_listed(&machine, 1) && hears(&machine, &first, port));
    assert_eq!(machine.hv.frames.free_frames(), free);
    assert_eq!(machine.audit(), Ok(()));
    assert!(machine.hv.create_domain(&NewDomain { id: Some(DomId(1)), ..request() }).is_ok());
}

/// Domain `granter` grants its page 20 to domain `to` as reference 5.
fn grant(machine: &Machine, granter: &Domain, to: u16) {
    let table = machine.ram_of(granter).0 + 10;
    granter.on(&machine.hv).map_grant_frame(0, Gfn(table)).unwrap();
    let frame = (machine.ram_of(granter).0 + 20) as u32;
    machine.poke(
        granter,
        (table << 12) + 40,
        &EntryV1 { flags: entry::PERMIT_ACCESS, domid: DomId(to), frame },
    );
}

fn map_grant(machine: &mut Machine, mapper: &Guest, granter: u16, gfn: u64) -> MapGrantRef {
    let mut op = MapGrantRef {
        host_addr: gfn << 12,
        flags: flag::HOST,
        reference: 5,
        dom: DomId(granter),
        ..MapGrantRef::default()
    };
    assert_eq!(mapper.grant_op(machine, 0, &mut op), 0);
    op
}

#[test]
fn grants_that_others_have_mapped_outlive_the_granter() {
    let (mut machine, first, second) = Guest::two();
    grant(&machine, &second.domain, 0);
    let op = map_grant(&mut machine, &first, 1, HOLE);
    assert_eq!(op.status, 0);
    machine.poke(&first.domain, HOLE << 12, b"lent");
    destroy(&mut machine, &second.domain);
    assert!(is_listed(&machine, 1));
    assert_eq!(machine.peek::<[u8; 4]>(&first.domain, HOLE << 12), *b"lent");
    assert_eq!(map_grant(&mut machine, &first, 1, HOLE + 1).status, -2, "no such domain any more");
    let mut end = UnmapGrantRef { host_addr: HOLE << 12, handle: op.handle, ..UnmapGrantRef::default() };
    assert_eq!(first.grant_op(&mut machine, 1, &mut end), 0);
    assert_eq!(end.status, 0);
    assert!(!is_listed(&machine, 1));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn grants_that_it_has_mapped_end_with_the_mapper() {
    let (mut machine, first, second) = Guest::two();
    grant(&machine, &first.domain, 1);
    assert_eq!(map_grant(&mut machine, &second, 0, HOLE).status, 0);
    assert_eq!(map_grant(&mut machine, &second, 0, HOLE + 1).status, 0);
    // In the place of the second mapping there is something else by now.
    second.domain.on(&machine.hv).map_shared_info(Gfn(HOLE + 1)).unwrap();
    let entry = (machine.ram_of(&first.domain).0 + 10) << 12;
    assert_ne!(machine.peek::<u16>(&first.domain, entry + 40), entry::PERMIT_ACCESS);
    destroy(&mut machine, &second.domain);
    assert!(!is_listed(&machine, 1));
    assert_eq!(machine.peek::<u16>(&first.domain, entry + 40), entry::PERMIT_ACCESS, "not in use");
    assert_eq!(first.domain.grants.lock().in_use(), 0);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn connections_end_at_both_ends() {
    let (mut machine, first, second) = Guest::two();
    let hv = &machine.hv;
    let offered = first.domain.events.lock().alloc_unbound(DomId(1)).unwrap();
    second.domain.on(hv).bind_interdomain(&first.domain, offered).unwrap();
    let offered = second.domain.events.lock().alloc_unbound(DomId(0)).unwrap();
    let own = first.domain.on(hv).bind_interdomain(&second.domain, offered).unwrap();
    let _ = second.domain.events.lock().alloc_consumer(VcpuId(0), DomId(0), ConsumerTag(1)).unwrap();
    second.domain.on(hv).register_vcpu_info(VcpuId(0), Gfn(RAM_BASE.0 + 9), 0).unwrap();
    destroy(&mut machine, &second.domain);
    assert!(!is_listed(&machine, 1));
    assert_eq!(first.domain.on(&machine.hv).send_event(own), Ok(()), "to nobody");
    assert_eq!(first.domain.on(&machine.hv).close_port(own), Ok(()));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn what_it_has_mapped_of_others_goes_back() {
    let (mut machine, first) = Guest::alone();
    let (owner, mapper) = (built(&machine, 30), built(&machine, 4));
    assert_eq!(owner.allow_device_model(&mapper), Ok(()));
    let page = |number| Gfn(RAM_BASE.0 + number);
    for number in 0..20 {
        mapper.on(&machine.hv).map_foreign(&owner, page(number), Gfn(HOLE + number)).unwrap();
    }
    // Over its own RAM, which then is nowhere.
    mapper.on(&machine.hv).map_foreign(&owner, page(0), page(2)).unwrap();
    mapper.on(&machine.hv).map_shared_info(page(3)).unwrap();
    // And a device of the control domain.
    for (domain, at) in [(&first.domain, Gfn(0x900)), (&mapper, Gfn(HOLE + 100))] {
        domain.memory.lock().p2m.map(at, Mfn(0x900), 4, MapKind::StrictDevice).unwrap();
    }
    assert_eq!(machine.audit(), Ok(()));
    let free = machine.hv.frames.free_frames();
    destroy(&mut machine, &owner);
    assert!(is_listed(&machine, 1));
    destroy(&mut machine, &mapper);
    assert!(!is_listed(&machine, 1) && !is_listed(&machine, 2));
    assert!(machine.hv.frames.free_frames() > free);
    assert_eq!(machine.audit(), Ok(()));
    let _ = first;
}

#[test]
fn interrupts_of_its_devices_are_switched_off() {
    let (mut machine, _) = Guest::alone();
    let domain = built(&machine, 1);
    machine.hv.give_interrupt(Intid(40), domain.id).unwrap();
    machine.hv.give_interrupt(Intid(41), DomId(0)).unwrap();
    for intid in [40, 41] {
        sim::gic::enable(Intid(intid));
    }
    destroy(&mut machine, &domain);
    assert_eq!([40, 41].map(|intid| machine.hv.owner_of_interrupt(Intid(intid))), [None, Some(DomId(0))]);
    assert_eq!([40, 41].map(|intid| sim::gic::line(Intid(intid)).enabled), [false, true]);
}

#[test]
fn a_direct_mapped_domain_gives_all_its_frames_back() {
    let mut machine = Machine::new(1, 1024);
    let _first = Guest::boot(&mut machine, CONTROL);
    let free = machine.hv.frames.free_frames();
    let domain = machine.add(Plan { direct_mapped: true, pages: 64, ..OTHER });
    let ram = machine.ram_of(&domain);
    // It keeps the frames that it balloons away.
    domain.on(&machine.hv).give_page_back(Gfn(ram.0 + 7)).unwrap();
    domain.on(&machine.hv).remove_mapping(Gfn(ram.0 + 8)).unwrap();
    destroy(&mut machine, &domain);
    assert_eq!(machine.hv.frames.free_frames(), free);
    assert!(!is_listed(&machine, 1));
}

#[test]
fn shattered_blocks_use_up_only_the_domain_s_own_pool() {
    let mut machine = Machine::new(1, 8192);
    let first = Guest::boot(&mut machine, CONTROL);
    let domain = machine.hv.create_domain(&request()).unwrap();
    domain.memory.lock().max_pages = 4096;
    let mut blocks = Vec::new();
    for block in 0..4 {
        let gfn = Gfn(RAM_BASE.0 + block * 512);
        if domain.on(&machine.hv).populate(gfn, 9).is_ok() {
            blocks.push(gfn);
        }
    }
    // One page out of each, and pages far apart, until no table is left.
    let mut errors = 0;
    for gfn in &blocks {
        errors += u32::from(domain.on(&machine.hv).give_page_back(Gfn(gfn.0 + 9)).is_err());
    }
    for far in 1..40_u64 {
        errors += u32::from(domain.on(&machine.hv).populate(Gfn(far << 20), 0) == Err(Errno::ENOMEM));
    }
    assert!(errors > 0 && blocks.len() == 4);
    assert_eq!(domain.memory.lock().p2m.pool().len(), 0);
    assert_eq!(machine.audit(), Ok(()));
    let other = built(&machine, 20);
    assert_eq!(destroy(&mut machine, &other).min(1), 1);
    destroy(&mut machine, &domain);
    assert!(!is_listed(&machine, domain.id.0));
    let _ = first;
}

#[test]
fn what_a_domain_served_of_many_ends_in_pieces() {
    const GUESTS: u16 = 40;
    let steps = |guests: u16| {
        let mut machine = Machine::new(1, 1 << 14);
        let _first = Guest::boot(&mut machine, CONTROL);
        let driver = built(&machine, 4);
        for id in 2..2 + guests {
            let guest = machine.add(Plan { id, pages: 1, ..OTHER });
            assert_eq!(guest.allow_device_model(&driver), Ok(()));
        }
        let steps = destroy(&mut machine, &driver);
        for id in 2..2 + guests {
            assert!(!machine.hv.domain(DomId(id)).unwrap().has_device_model(&driver));
        }
        steps
    };
    assert!(steps(GUESTS) >= steps(0) + u32::from(GUESTS) / 8);
}
