//! Each call that becomes a hypercall continuation, put off at each place where it can be, and at all of them: the result, what it
//! did, and the books are those of a call that nothing disturbs.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use xenolith_abi::Port;
use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{CacheFlush, Domctl, DomctlOp, PagingMempool, VERSION_4_17};
use xenolith_abi::event::{AllocUnbound, EventOp, Reset, Status};
use xenolith_abi::grant::{
    CopySide, EntryV1, GrantCopy, GrantOp, MapGrantRef, UnmapGrantRef, entry, map as flag,
};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{AcquireResource, AddToPhysmap, AddToPhysmapBatch, Reservation};
use xenolith_abi::multicall::MulticallEntry;
use xenolith_abi::xenolith::{DeviceModel, XenolithOp};

use super::super::*;
use super::foreign::HOLE;
use super::support::*;
use xenolith_core::types::PAGE_SIZE;
use xenolith_memory::p2m::MapKind;

const DECREASE: u64 = 1;
const POPULATE: u64 = 6;
const BATCH: u64 = 23;
const ACQUIRE: u64 = 28;
/// Elements of a list.
const COUNT: u64 = 12;

/// The control domain on a CPU, another domain on another.
struct Scene {
    machine: Machine,
    control: Guest,
    other: Guest,
}

/// A call: its number, and its arguments.
type Made = (Hypercall, [u64; 5]);

/// Makes all that a call needs, and its arguments, for the control domain to call.
type Prepare = fn(&mut Scene) -> Made;

impl Scene {
    fn new() -> Self {
        let mut machine = Machine::new(2, 3072);
        let control = Guest::boot(&mut machine, CONTROL);
        let other = Guest::boot(&mut machine, OTHER);
        Scene { machine, control, other }
    }

    fn page(&self, number: u64) -> u64 {
        self.control.page(&self.machine, number)
    }

    fn poke<T: zerocopy::IntoBytes + zerocopy::Immutable + ?Sized>(&self, at: u64, value: &T) {
        self.machine.poke(&self.control.domain, at, value);
    }

    /// A call before the one that is disturbed.
    fn call(&mut self, (number, arguments): Made, wanted: i64) {
        assert_eq!(self.control.clone().plain(&mut self.machine, number, arguments), wanted);
    }

    /// Numbers of frames, on page 2.
    fn frames(&self, first: u64) -> u64 {
        let list: Vec<u64> = (first..first + COUNT).collect();
        self.poke(self.page(2), list.as_slice());
        self.page(2)
    }

    fn reservation(&self) {
        let first = self.page(20) >> PAGE_SHIFT;
        let request = Reservation {
            extent_start: self.frames(first).into(),
            nr_extents: COUNT,
            domid: SELF,
            ..Reservation::default()
        };
        self.poke(self.page(1), &request);
    }

    fn memory_op(&self, op: u64) -> Made {
        (Hypercall::MemoryOp, [op, self.page(1), 0, 0, 0])
    }

    fn domctl<T: zerocopy::IntoBytes + zerocopy::Immutable>(&self, op: DomctlOp, of: &T) -> Made {
        self.domctl_on(1, op, of)
    }

    fn domctl_on<T>(&self, domain: u16, op: DomctlOp, of: &T) -> Made
    where
        T: zerocopy::IntoBytes + zerocopy::Immutable,
    {
        let mut payload = Payload::default();
        payload.set(of);
        let (cmd, interface_version) = (op.number(), VERSION_4_17);
        let request = Domctl { cmd, interface_version, domain: DomId(domain), pad: [0; 3], payload };
        self.poke(self.page(1), &request);
        (Hypercall::Domctl, [self.page(1), 0, 0, 0, 0])
    }

    /// The other domain grants its pages from 20 on by references from 8 on.
    fn grant(&mut self) {
        let (other, table) = (self.other.clone(), self.other.page(&self.machine, 10));
        let gpfn = Gfn(table >> PAGE_SHIFT);
        let mut add = AddToPhysmap { domid: SELF, space: 1, gpfn, ..AddToPhysmap::default() };
        assert_eq!(other.call(&mut self.machine, Hypercall::MemoryOp, 7, &mut add), 0);
        for number in 0..COUNT {
            let frame = (other.page(&self.machine, 20 + number) >> PAGE_SHIFT) as u32;
            let grant = EntryV1 { flags: entry::PERMIT_ACCESS, domid: DomId(0), frame };
            self.machine.poke(&other.domain, table + (8 + number) * 8, &grant);
        }
    }

    fn grant_op<T: zerocopy::IntoBytes + zerocopy::Immutable>(&self, op: GrantOp, list: &[T]) -> Made {
        self.poke(self.page(3), list);
        (Hypercall::GrantTableOp, [op.number().into(), self.page(3), list.len() as u64, 0, 0])
    }
}

fn decrease(scene: &mut Scene) -> Made {
    scene.reservation();
    scene.memory_op(DECREASE)
}

fn populate(scene: &mut Scene) -> Made {
    let before = decrease(scene);
    scene.call(before, COUNT as i64);
    scene.memory_op(POPULATE)
}

fn map_batch(scene: &mut Scene) -> Made {
    let from = scene.other.page(&scene.machine, 20) >> PAGE_SHIFT;
    let idxs = scene.frames(from);
    let gpfns: Vec<u64> = (HOLE..HOLE + COUNT).collect();
    scene.poke(scene.page(3), gpfns.as_slice());
    let batch = AddToPhysmapBatch {
        domid: SELF,
        space: 4,
        size: COUNT as u16,
        foreign_domid: DomId(1),
        idxs: idxs.into(),
        gpfns: scene.page(3).into(),
        errs: scene.page(4).into(),
    };
    scene.poke(scene.page(1), &batch);
    scene.memory_op(BATCH)
}

fn acquire(scene: &mut Scene) -> Made {
    let frame_list = scene.frames(HOLE).into();
    let request =
        AcquireResource { domid: DomId(1), kind: 1, id: 0, nr_frames: 4, pad: 0, frame: 0, frame_list };
    scene.poke(scene.page(1), &request);
    scene.memory_op(ACQUIRE)
}

fn map_grants(scene: &mut Scene) -> Made {
    scene.grant();
    let map = |number: u64| MapGrantRef {
        host_addr: (HOLE + number) << PAGE_SHIFT,
        flags: flag::HOST,
        reference: 8 + number as u32,
        dom: DomId(1),
        ..MapGrantRef::default()
    };
    let list: Vec<_> = (0..COUNT).map(map).collect();
    scene.grant_op(GrantOp::MapGrantRef, &list)
}

fn unmap_grants(scene: &mut Scene) -> Made {
    let before = map_grants(scene);
    scene.call(before, 0);
    let unmap = |number: u64| UnmapGrantRef {
        host_addr: (HOLE + number) << PAGE_SHIFT,
        handle: number as u32,
        ..UnmapGrantRef::default()
    };
    let list: Vec<_> = (0..COUNT).map(unmap).collect();
    scene.grant_op(GrantOp::UnmapGrantRef, &list)
}

fn copy_grants(scene: &mut Scene) -> Made {
    scene.grant();
    let from = scene.other.page(&scene.machine, 20);
    scene.machine.poke(&scene.other.domain, from, &[0x77_u8; 200]);
    let to = scene.page(4) >> PAGE_SHIFT;
    let copy = |number: u64| GrantCopy {
        source: CopySide {
            frame_or_reference: 8 + number % 2,
            domid: DomId(1),
            offset: number as u16,
            ..CopySide::default()
        },
        dest: CopySide {
            frame_or_reference: to,
            domid: SELF,
            offset: number as u16 * 100,
            ..CopySide::default()
        },
        len: 100,
        flags: 1,
        ..GrantCopy::default()
    };
    let list: Vec<_> = (0..COUNT).map(copy).collect();
    scene.grant_op(GrantOp::Copy, &list)
}

fn multicall(scene: &mut Scene) -> Made {
    scene.reservation();
    let entry = |call: Hypercall, [first, second]: [u64; 2]| MulticallEntry {
        op: call.number(),
        result: 0x1111,
        args: [first, second, 0, 0, 0, 0],
    };
    let entries = [
        entry(Hypercall::MemoryOp, [DECREASE, scene.page(1)]),
        entry(Hypercall::XenVersion, [0, 0]),
        entry(Hypercall::MemoryOp, [POPULATE, scene.page(1)]),
        entry(Hypercall::MemoryOp, [DECREASE, scene.page(1)]),
    ];
    scene.poke(scene.page(8), &entries);
    (Hypercall::Multicall, [scene.page(8), 4, 0, 0, 0])
}

fn write(scene: &mut Scene) -> Made {
    let text: Vec<u8> = (0..1000_u32).map(|number| b'a' + (number % 26) as u8).collect();
    scene.poke(scene.page(5), text.as_slice());
    (Hypercall::ConsoleIo, [0, text.len() as u64, scene.page(5), 0, 0])
}

fn reset_ports(scene: &mut Scene) -> Made {
    let control = scene.control.clone();
    let mut offer = AllocUnbound { dom: SELF, remote_dom: DomId(1), ..AllocUnbound::default() };
    for _ in 0..300 {
        let op = EventOp::AllocUnbound.number().into();
        assert_eq!(control.call(&mut scene.machine, Hypercall::EventChannelOp, op, &mut offer), 0);
    }
    scene.poke(scene.page(1), &Reset { dom: SELF });
    (Hypercall::EventChannelOp, [EventOp::Reset.number().into(), scene.page(1), 0, 0, 0])
}

fn destroy(scene: &mut Scene) -> Made {
    scene.grant();
    scene.domctl(DomctlOp::DestroyDomain, &0_u64)
}

fn more_tables(scene: &mut Scene) -> Made {
    scene.domctl(DomctlOp::SetPagingMempoolSize, &PagingMempool { size: 1700 * PAGE_SIZE })
}

fn fewer_tables(scene: &mut Scene) -> Made {
    let before = more_tables(scene);
    scene.call(before, 0);
    scene.domctl(DomctlOp::SetPagingMempoolSize, &PagingMempool { size: 16 * PAGE_SIZE })
}

/// In many pieces: more than one step.
fn clean(scene: &mut Scene) -> Made {
    let from = Gfn(scene.other.page(&scene.machine, 20) >> PAGE_SHIFT);
    for number in 0..300 {
        let control = scene.control.domain.on(&scene.machine.hv);
        control.map_foreign(&scene.other.domain, from, Gfn(HOLE + number)).expect("its right");
    }
    let flush = CacheFlush { start_pfn: Gfn(HOLE), nr_pfns: 400 };
    scene.domctl_on(0, DomctlOp::CacheFlush, &flush)
}

/// A driver domain that has a page of the other one in more places than one call takes away.
fn forbid(scene: &mut Scene) -> Made {
    let driver = scene.machine.add(Plan { id: 2, ..OTHER });
    let other = scene.other.domain.clone();
    assert_eq!(other.allow_device_model(&driver), Ok(()));
    let from = Gfn(scene.other.page(&scene.machine, 20) >> PAGE_SHIFT);
    for number in 0..1300 {
        driver.on(&scene.machine.hv).map_foreign(&other, from, Gfn(HOLE + number)).expect("its right");
    }
    scene.poke(scene.page(1), &DeviceModel { guest: DomId(1), backend: DomId(2), pad: 0 });
    (Hypercall::Xenolith, [XenolithOp::ForbidDeviceModel.number(), scene.page(1), 0, 0, 0])
}

const CALLS: &[(&str, Prepare)] = &[
    ("decrease_reservation", decrease),
    ("populate_physmap", populate),
    ("add_to_physmap_batch", map_batch),
    ("acquire_resource", acquire),
    ("map_grant_ref", map_grants),
    ("unmap_grant_ref", unmap_grants),
    ("grant copy", copy_grants),
    ("multicall", multicall),
    ("console write", write),
    ("evtchn reset", reset_ports),
    ("destroydomain", destroy),
    ("set_paging_mempool_size, more", more_tables),
    ("set_paging_mempool_size, less", fewer_tables),
    ("cacheflush", clean),
    ("forbid_device_model", forbid),
];

/// These return after so much work, whether an interrupt waits or not.
const UNASKED: [&str; 2] = ["destroydomain", "forbid_device_model"];

/// What a call has left of itself.
#[derive(Debug, PartialEq)]
struct Left {
    result: Option<i64>,
    /// Of the pages with lists, where answers are: a sum.
    answers: u64,
    /// Of a list of calls, which also keeps what is left of them.
    results: [u64; 4],
    console: Vec<u8>,
    free: u64,
    promised: u64,
    domains: Vec<LeftOf>,
}

/// Of one domain.
#[derive(Debug, PartialEq)]
struct LeftOf {
    id: DomId,
    pages: u64,
    tables: (u64, u64),
    mapped: Vec<(Gfn, MapKind)>,
    grants: (u32, u32),
    ports: usize,
}

/// What a domain has mapped, whatever the frames' numbers are.
fn mapped(domain: &Domain) -> Vec<(Gfn, MapKind)> {
    let memory = domain.memory.lock();
    let (mut from, end, mut found) = (0, memory.p2m.geometry().end().0, Vec::new());
    while from < end {
        let Ok((runs, reached)) = memory.p2m.scan(Gfn(from), end - from) else { break };
        for run in &runs {
            found.extend((0..run.pages).map(|page| (Gfn(run.gfn.0 + page), run.kind)));
        }
        from += reached.max(1);
    }
    found
}

fn left_of(domain: &Domain) -> LeftOf {
    let (pages, tables) = {
        let memory = domain.memory.lock();
        (memory.pages, (memory.p2m.tables(), memory.pool_pages()))
    };
    let in_use = domain.grants.lock().in_use();
    let live = domain.maptrack.lock().live();
    let events = domain.events.lock();
    let is_used = |&port: &u32| {
        let mut status = Status { dom: SELF, port: Port(port), ..Status::default() };
        events.status(&mut status).is_ok() && status.status != 0
    };
    let ports = (0..400).filter(is_used).count();
    drop(events);
    LeftOf { id: domain.id, pages, tables, mapped: mapped(domain), grants: (in_use, live), ports }
}

/// Makes a call in a scene of its own, with interrupts as `disturb` says. What is left, and how often it looked for them.
fn make(prepare: Prepare, name: &str, disturb: impl FnOnce()) -> (Left, u32) {
    let mut scene = Scene::new();
    let (number, arguments) = prepare(&mut scene);
    scene.machine.settle();
    let _ = sim::console_output();
    disturb();
    let result = scene.machine.hypercall(scene.control.cpu, number.number(), arguments);
    let asked = sim::asked();
    sim::pause_every(None);
    scene.machine.settle();
    assert_eq!(scene.machine.audit(), Ok(()), "{name}");
    let (machine, hv) = (&scene.machine, &scene.machine.hv);
    let answers: [u8; 5 * PAGE_SIZE as usize] = machine.peek(&scene.control.domain, scene.page(2));
    let list: [MulticallEntry; 4] = machine.peek(&scene.control.domain, scene.page(8));
    let left = Left {
        result,
        answers: BuildHasherDefault::<DefaultHasher>::default().hash_one(answers),
        results: list.map(|entry| entry.result),
        console: sim::console_output(),
        free: hv.frames.free_frames(),
        promised: hv.frames.promised_frames(),
        domains: hv.domains().map(|domain| left_of(&domain)).collect(),
    };
    (left, asked)
}

#[test]
fn a_call_that_is_put_off_anywhere_ends_as_if_it_were_not() {
    let mut cuts = 0;
    for &(name, prepare) in CALLS {
        let (whole, asked) = make(prepare, name, || sim::pause_at(None));
        println!("{name}: {asked} places");
        assert!(whole.result.is_some_and(|result| result >= 0), "{name}: {:?}", whole.result);
        assert!(asked > 0 || UNASKED.contains(&name), "{name} never looks for interrupts");
        for at in 1..=asked {
            let (cut, _) = make(prepare, name, || sim::pause_at(Some(at)));
            assert_eq!(cut, whole, "{name}, put off at place {at} of {asked}");
        }
        let (cut, _) = make(prepare, name, || sim::pause_every(Some(1)));
        assert_eq!(cut, whole, "{name}, put off at each place");
        cuts += asked;
    }
    assert!(cuts > 80, "only {cuts} places");
}
