//! The specification of stage 2 finds faults: words of tables are changed behind the hypervisor's back.

use xenolith_abi::grant::{entry, map as flag};

use super::super::*;
use super::foreign::{HOLE, map_foreign};
use super::grants::{granted, map};
use super::support::*;
use xenolith_core::types::Pa;
use xenolith_isa::mmu::WalkError;
use xenolith_memory::frames::FrameState;
use xenolith_memory::p2m::MapKind;
use xenolith_memory::page::Page;

const VALID: u64 = 1;
const WRITE: u64 = 1 << 7;
const ACCESS_FLAG: u64 = 1 << 10;
const NEVER_EXECUTE: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// MemAttr, and SH.
const MEMORY: u64 = 0xf << 2;
const SHAREABILITY: u64 = 3 << 8;
/// The control domain has a device here.
const DEVICE: u64 = 0x900;
/// Nobody has one here.
const NO_DEVICE: u64 = 0x990;

fn page_at(address: u64) -> Page {
    xenolith_memory::arena::at(Mfn(address >> PAGE_SHIFT)).expect("a table")
}

/// The descriptors that a walk of four levels for a frame goes through: each table, and the place in it.
fn path(domain: &Domain, gfn: Gfn) -> Vec<(Page, usize)> {
    let mut table = domain.arch.stage2.vttbr.0 & ADDRESS;
    let mut path = Vec::new();
    for level in 0..4 {
        let place = (gfn.0 >> (9 * (3 - level)) & 511) as usize * 8;
        let page = page_at(table);
        path.push((page, place));
        table = page.word64(place).expect("inside").load() & ADDRESS;
    }
    path
}

/// Changes the word of a page's leaf for the time of a look at all tables. What the look finds, and what a machine's build for
/// tests finds of it.
fn with_leaf_of(
    machine: &Machine,
    domain: &Domain,
    gfn: Gfn,
    change: impl FnOnce(u64) -> u64,
) -> [Result<(), Breach>; 2] {
    let (page, place) = path(domain, gfn)[3];
    let word = page.word64(place).expect("inside");
    let before = word.load();
    assert_ne!(before & VALID, 0, "{gfn} is mapped");
    word.store(change(before));
    let found = [machine.check_stage2(), domain.on(&machine.hv).check_all_tables()];
    word.store(before);
    found
}

fn with_leaf(
    machine: &Machine,
    domain: &Domain,
    gfn: Gfn,
    change: impl FnOnce(u64) -> u64,
) -> Result<(), Breach> {
    let [found, on_machine] = with_leaf_of(machine, domain, gfn, change);
    // A machine sees no rights, but that the mark of the leaf is not what the MMU does; and not whose a device is.
    let expected = match found {
        Err(Breach::Write(id, gfn, _) | Breach::Right(id, gfn, _)) => Err(Breach::Belief(id, gfn)),
        Err(Breach::Device(..)) => Ok(()),
        other => other,
    };
    assert_eq!(on_machine, expected);
    found
}

fn frame(machine: &Machine, is_wanted: impl Fn(FrameState) -> bool) -> Mfn {
    machine.all_frames().find(|&mfn| machine.hv.frames.state(mfn).is_ok_and(&is_wanted)).expect("a frame")
}

/// Two domains: the first has a grant of the second's page 20 to read, at `HOLE + 1`, and its page 21, at `HOLE`.
fn machine() -> (Machine, Guest, Guest) {
    let (mut machine, first, second) = Guest::two();
    let from = second.page(&machine, 21) >> PAGE_SHIFT;
    assert_eq!(map_foreign(&mut machine, &first, 1, &[(from, HOLE)]), Ok(vec![0]));
    granted(&mut machine, &second, entry::READ_ONLY);
    let grant = map(&mut machine, &first, (HOLE + 1) << PAGE_SHIFT, flag::HOST | flag::READ_ONLY);
    assert_eq!(grant.status, 0);
    let device = |gfn, mfn| first.domain.memory.lock().p2m.map(gfn, mfn, 1, MapKind::StrictDevice);
    assert_eq!(device(Gfn(DEVICE), Mfn(DEVICE)), Ok(()));
    let passed_on = second.domain.memory.lock().p2m.map(Gfn(HOLE), Mfn(DEVICE), 1, MapKind::StrictDevice);
    assert_eq!(passed_on, Ok(()));
    assert_eq!(machine.check_stage2(), Ok(()));
    (machine, first, second)
}

#[test]
fn a_wrong_bit_in_a_leaf_is_found() {
    let (machine, first, second) = machine();
    let (one, two) = (DomId(0), DomId(1));
    let own = Gfn(second.page(&machine, 5) >> PAGE_SHIFT);
    let mfn = second.domain.lookup(own).unwrap().mfn;
    let flip = |bits: u64| with_leaf(&machine, &second.domain, own, |word| word ^ bits);
    assert_eq!(flip(0), Ok(()));
    assert_eq!(flip(ACCESS_FLAG), Err(Breach::Walk(two, WalkError::NoAccessFlag(own.base().0))));
    assert!(matches!(flip(1 << 48), Err(Breach::Walk(_, WalkError::Reserved(..)))));
    assert!(matches!(flip(1 << 52), Err(Breach::Walk(_, WalkError::Reserved(..)))), "Contiguous");
    assert_eq!(flip(MEMORY), Err(Breach::Type(two, own, mfn)));
    assert_eq!(flip(SHAREABILITY), Err(Breach::Type(two, own, mfn)));
    assert_eq!(flip(NEVER_EXECUTE), Err(Breach::Belief(two, own)), "its RAM is to be executed");
    assert_eq!(flip(WRITE), Err(Breach::Belief(two, own)), "and written");
    assert_eq!(flip(1 << 57), Err(Breach::Belief(two, own)), "the hypervisor's own mark");

    for (gfn, of) in [(Gfn(HOLE), 21), (Gfn(HOLE + 1), 20)] {
        let mfn = second.domain.lookup(Gfn(second.page(&machine, of) >> PAGE_SHIFT)).unwrap().mfn;
        let flip = |bits: u64| with_leaf(&machine, &first.domain, gfn, |word| word ^ bits);
        assert_eq!(flip(NEVER_EXECUTE), Err(Breach::Execute(one, gfn, mfn)));
        assert_eq!(
            flip(1 << 53 | NEVER_EXECUTE),
            Err(Breach::Execute(one, gfn, mfn)),
            "by one of the levels"
        );
        let written = if of == 20 { Breach::Write(one, gfn, mfn) } else { Breach::Belief(one, gfn) };
        assert_eq!(flip(WRITE), Err(written));
    }
    let device = |domain, bits: u64| with_leaf(&machine, domain, Gfn(HOLE), |word| word ^ bits);
    assert_eq!(
        device(&second.domain, MEMORY & !(1 << 2)),
        Err(Breach::Type(two, Gfn(HOLE), Mfn(DEVICE))),
        "normal memory"
    );
    assert_eq!(device(&second.domain, NEVER_EXECUTE), Err(Breach::Execute(two, Gfn(HOLE), Mfn(DEVICE))));
}

#[test]
fn a_leaf_that_leads_to_what_is_not_the_domains_is_found() {
    let (machine, first, second) = machine();
    let two = DomId(1);
    let own = Gfn(second.page(&machine, 5) >> PAGE_SHIFT);
    let lead_to = |mfn: Mfn| with_leaf(&machine, &second.domain, own, |word| word & !ADDRESS | mfn.base().0);
    let free = frame(&machine, |state| matches!(state, FrameState::Free { .. }));
    assert_eq!(lead_to(free), Err(Breach::Kind(two, own, free)));
    let is_table = |state| matches!(state, FrameState::Used(used) if used.kind == Kind::Table);
    let table = frame(&machine, is_table);
    assert_eq!(lead_to(table), Err(Breach::Kind(two, own, table)));
    let heap = machine.hv.frames.alloc(0, DomId::XEN, Kind::Hypervisor, Content::Any).unwrap();
    assert_eq!(lead_to(heap), Err(Breach::Kind(two, own, heap)));
    let other = first.domain.lookup(Gfn(first.page(&machine, 5) >> PAGE_SHIFT)).unwrap().mfn;
    assert_eq!(lead_to(other), Err(Breach::Execute(two, own, other)));
    let quiet = |mfn: Mfn| {
        with_leaf(&machine, &second.domain, own, |word| word & !ADDRESS | mfn.base().0 | NEVER_EXECUTE)
    };
    assert_eq!(quiet(other), Err(Breach::Right(two, own, other)));
    assert_eq!(
        quiet(first.domain.shared_info.mfn()),
        Err(Breach::Right(two, own, first.domain.shared_info.mfn()))
    );
    // It has given the page up, and another's mapping keeps it.
    let lent = Gfn(second.page(&machine, 21) >> PAGE_SHIFT);
    let lent = (lent, second.domain.lookup(lent).unwrap().mfn);
    assert_eq!(second.domain.on(&machine.hv).give_page_back(lent.0), Ok(()));
    assert_eq!(machine.check_stage2(), Ok(()));
    assert_eq!(quiet(lent.1), Err(Breach::Right(two, own, lent.1)));

    let device =
        with_leaf(&machine, &second.domain, Gfn(HOLE), |word| word & !ADDRESS | Mfn(NO_DEVICE).base().0);
    assert_eq!(device, Err(Breach::Device(two, Gfn(HOLE), Mfn(NO_DEVICE))));
    assert_eq!(machine.check_stage2(), Ok(()));
}

#[test]
fn rights_that_end_leave_no_mapping() {
    let (mut machine, first, second) = machine();
    let third = machine.add(Plan { id: 2, ..OTHER });
    second.domain.allow_device_model(&third).unwrap();
    let from = Gfn(second.page(&machine, 7) >> PAGE_SHIFT);
    let mfn = second.domain.lookup(from).unwrap().mfn;
    third.on(&machine.hv).map_foreign(&second.domain, from, Gfn(HOLE)).unwrap();
    assert_eq!(machine.check_stage2(), Ok(()));
    second.domain.device_models.lock().clear();
    assert_eq!(machine.check_stage2(), Err(Breach::Right(third.id, Gfn(HOLE), mfn)));
    // A grant without a handle.
    second.domain.allow_device_model(&third).unwrap();
    let grants = core::mem::replace(
        &mut *first.domain.maptrack.lock(),
        xenolith_policy::grant::Maptrack::new(1).unwrap(),
    );
    let granted = second.domain.lookup(Gfn(second.page(&machine, 20) >> PAGE_SHIFT)).unwrap().mfn;
    // The control domain may have any domain's memory, but nothing takes from it what is marked as a grant.
    assert_eq!(machine.check_stage2(), Err(Breach::Right(DomId(0), Gfn(HOLE + 1), granted)));
    *first.domain.maptrack.lock() = grants;
    assert_eq!(machine.check_stage2(), Ok(()));
}

#[test]
fn tables_are_one_domains_and_linked_once() {
    let (machine, first, second) = machine();
    let own = Gfn(second.page(&machine, 5) >> PAGE_SHIFT);
    let (page, place) = path(&second.domain, own)[2];
    let elsewhere = page.word64(place + 8).unwrap();
    assert_eq!(elsewhere.load(), 0);
    let link = page.word64(place).unwrap().load();
    elsewhere.store(link);
    assert_eq!(machine.check_stage2(), Err(Breach::Table(DomId(1), Pa(link & ADDRESS).frame())));
    let (page, place) = path(&first.domain, Gfn(first.page(&machine, 5) >> PAGE_SHIFT))[2];
    let link = page.word64(place).unwrap().load();
    elsewhere.store(link);
    assert_eq!(machine.check_stage2(), Err(Breach::Table(DomId(1), Pa(link & ADDRESS).frame())));
    elsewhere.store(1 << 62 | 3);
    assert!(matches!(machine.check_stage2(), Err(Breach::Walk(DomId(1), WalkError::Reserved(..)))));
    elsewhere.store(0x9_0000_0003);
    assert_eq!(machine.check_stage2(), Err(Breach::Walk(DomId(1), WalkError::NoTable(0x9_0000_0000))));
    elsewhere.store(0);
    assert_eq!(machine.check_stage2(), Ok(()));

    sim::on_cpu(CpuId(first.cpu));
    let vcpu = second.domain.vcpu(VcpuId(0)).unwrap();
    vcpu.saved.lock().context.load(second.domain.arch.stage2);
    assert_eq!(machine.check_stage2(), Err(Breach::Loaded(CpuId(first.cpu))));
}

#[test]
fn a_machine_finds_what_a_frame_does_not_allow_though_the_mapping_says_so() {
    let (machine, first, second) = machine();
    let two = DomId(1);
    let own = Gfn(second.page(&machine, 5) >> PAGE_SHIFT);
    let quiet = |mfn: Mfn, kind: MapKind| {
        let marked =
            |word: u64| word & !(ADDRESS | 0xf << 55) | mfn.base().0 | NEVER_EXECUTE | kind.number() << 55;
        let [_, on_machine] = with_leaf_of(&machine, &second.domain, own, marked);
        on_machine
    };
    let other = first.domain.lookup(Gfn(first.page(&machine, 5) >> PAGE_SHIFT)).unwrap().mfn;
    let mine = second.domain.lookup(own).unwrap().mfn;
    for kind in [MapKind::Foreign, MapKind::Grant, MapKind::StaticShm, MapKind::Shared] {
        assert_eq!(quiet(other, kind), Err(Breach::Right(two, own, other)), "{kind:?} without a reference");
        assert_eq!(quiet(mine, kind), Err(Breach::Right(two, own, mine)), "{kind:?} of itself");
    }
    let info = first.domain.shared_info.mfn();
    assert_eq!(quiet(info, MapKind::Foreign), Err(Breach::Right(two, own, info)));
    let lent = machine.hv.frames.lend_promised(two).expect("it was promised");
    assert_eq!(quiet(lent, MapKind::Shared), Err(Breach::Right(two, own, lent)), "a page for device models");
    machine.hv.frames.free(lent, 0, two).unwrap();
    assert_eq!(second.domain.on(&machine.hv).check_all_tables(), Ok(()));
}

#[test]
fn looks_at_parts_come_by_everything() {
    let mut machine = Machine::new(2, 8192);
    let small = Guest::boot(&mut machine, CONTROL).domain;
    let large = machine.add(Plan { id: 1, pages: 1500, ..OTHER });
    let hv = &machine.hv;
    for domain in [&large, &small] {
        let own = if domain.id == large.id { Gfn(RAM_BASE.0 + 1400) } else { Gfn(RAM_BASE.0 + 5) };
        let (page, place) = path(domain, own)[3];
        let word = page.word64(place).expect("inside");
        word.store(word.load() ^ ACCESS_FLAG);
        let looks = (0..32).map(|_| domain.on(hv).check_next_tables());
        let (good, bad): (Vec<_>, Vec<_>) = looks.partition(|look| look.is_ok());
        let wrong = Err(Breach::Walk(domain.id, WalkError::NoAccessFlag(own.base().0)));
        assert!(!bad.is_empty() && bad.iter().all(|&look| look == wrong), "{bad:?}");
        assert!(domain.id != large.id || !good.is_empty(), "a look is at a part only");
        word.store(word.load() ^ ACCESS_FLAG);
        assert!((0..32).all(|_| domain.on(hv).check_next_tables().is_ok()));
    }
}

#[test]
#[should_panic(
    expected = "found after hypercall 12 of d0: d1: gfn 0x40005 leads to mfn 0x99, which no domain may reach"
)]
fn the_culprit_is_named() {
    let breach = Breach::Kind(DomId(1), Gfn(0x40005), Mfn(0x99));
    xenolith_domain::arch::demand(Err(breach), format_args!("hypercall 12 of {}", DomId(0)));
}
