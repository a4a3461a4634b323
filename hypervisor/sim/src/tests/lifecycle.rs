//! Domains made, filled, mapped by one another and destroyed in any order; and all of that on several CPUs at once.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use xenolith_abi::grant::{EntryV1, MapGrantRef, UnmapGrantRef, entry, map as flag};

use super::super::*;
use super::create::request;
use super::support::*;
use xenolith_domain::life::create::NewDomain;
use xenolith_domain::parts::progress::Progress;
use xenolith_policy::event::Port;
use xenolith_policy::grant;

/// Domains that a history may have besides the control domain.
const SLOTS: usize = 3;
/// Frames that are of interest in each.
const FRAMES: u64 = 12;
/// Where a domain's grant table is mapped.
const TABLE: Gfn = Gfn(0x3_8000);

#[derive(Clone, Debug)]
enum Op {
    Create(usize, u32),
    Pool(usize, u64),
    Populate(usize, u64, u8),
    Decrease(usize, u64),
    Remove(usize, u64),
    MapForeign(usize, usize, u64, u64),
    MapTable(usize, usize, u64),
    SharedInfo(usize, u64),
    Grant(usize, usize, u64, u32),
    MapGrant(usize, usize, u32, u64),
    UnmapGrant(usize, u32, u64),
    Connect(usize, usize),
    Close(usize, u32),
    Hold(usize, u64),
    Destroy(usize, u32),
}

fn op() -> impl Strategy<Value = Op> {
    let (slot, gfn) = (0..=SLOTS, 0..FRAMES);
    let (to, reference) = (0..=SLOTS, 0..3_u32);
    prop_oneof![
        2 => (1..=SLOTS, 1..3_u32).prop_map(|(slot, vcpus)| Op::Create(slot, vcpus)),
        1 => (1..=SLOTS, 0..24_u64).prop_map(|(slot, pages)| Op::Pool(slot, pages)),
        6 => (1..=SLOTS, gfn.clone(), 0..3_u8).prop_map(|(slot, gfn, order)| Op::Populate(slot, gfn, order)),
        2 => (1..=SLOTS, gfn.clone()).prop_map(|(slot, gfn)| Op::Decrease(slot, gfn)),
        2 => (slot.clone(), gfn.clone()).prop_map(|(slot, gfn)| Op::Remove(slot, gfn)),
        6 => (slot.clone(), to.clone(), gfn.clone(), gfn.clone())
            .prop_map(|(slot, from, gfn, at)| Op::MapForeign(slot, from, gfn, at)),
        2 => (slot.clone(), to.clone(), gfn.clone()).prop_map(|(slot, from, at)| Op::MapTable(slot, from, at)),
        1 => (1..=SLOTS, gfn.clone()).prop_map(|(slot, gfn)| Op::SharedInfo(slot, gfn)),
        3 => (1..=SLOTS, to.clone(), gfn.clone(), reference.clone())
            .prop_map(|(slot, to, gfn, reference)| Op::Grant(slot, to, gfn, reference)),
        4 => (slot.clone(), to.clone(), reference.clone(), gfn.clone())
            .prop_map(|(slot, from, reference, at)| Op::MapGrant(slot, from, reference, at)),
        2 => (slot.clone(), 0..4_u32, gfn.clone())
            .prop_map(|(slot, handle, gfn)| Op::UnmapGrant(slot, handle, gfn)),
        2 => (slot.clone(), to.clone()).prop_map(|(slot, to)| Op::Connect(slot, to)),
        1 => (slot.clone(), 1..4_u32).prop_map(|(slot, port)| Op::Close(slot, port)),
        1 => (1..=SLOTS, gfn).prop_map(|(slot, gfn)| Op::Hold(slot, gfn)),
        3 => (1..=SLOTS, 0..4_u32).prop_map(|(slot, steps)| Op::Destroy(slot, steps)),
    ]
}

/// What a history plays with.
struct World {
    machine: Machine,
    slots: Vec<Option<Arc<Domain>>>,
    free: u64,
}

impl World {
    fn new() -> Self {
        let (machine, first) = Guest::alone();
        let free = machine.hv.frames.free_frames();
        let slots = core::iter::once(Some(first.domain)).chain((0..SLOTS).map(|_| None)).collect();
        World { machine, slots, free }
    }

    /// A frame of interest: in the control domain, where it has nothing of its own.
    fn gfn(slot: usize, number: u64) -> Gfn {
        Gfn(if slot == 0 { super::foreign::HOLE } else { RAM_BASE.0 } + number)
    }

    /// Plays a step. Whether a call succeeds is the domain's state's business; the books tell whether it was right.
    fn play(&mut self, op: &Op) {
        let hv = &self.machine.hv;
        let get = |slot: usize| self.slots[slot].clone();
        match *op {
            Op::Create(slot, vcpus) if self.slots[slot].is_none() => {
                let domain = hv.create_domain(&NewDomain { vcpus, ..request() });
                if let Ok(domain) = &domain {
                    domain.memory.lock().max_pages = 24;
                    let _ = domain.on(hv).map_grant_frame(0, TABLE);
                }
                self.slots[slot] = domain.ok();
            }
            Op::Pool(slot, pages) => {
                if let Some(domain) = get(slot) {
                    let _ = domain.on(hv).set_paging_pool(pages << 12, 16);
                }
            }
            Op::Populate(slot, gfn, order) => {
                if let Some(domain) = get(slot) {
                    let _ = domain.on(hv).populate(Gfn(Self::gfn(slot, gfn).0 >> order << order), order);
                }
            }
            Op::Decrease(slot, gfn) => {
                if let Some(domain) = get(slot) {
                    let _ = domain.on(hv).give_page_back(Self::gfn(slot, gfn));
                }
            }
            Op::Remove(slot, gfn) => {
                if let Some(domain) = get(slot) {
                    let _ = domain.on(hv).remove_mapping(Self::gfn(slot, gfn));
                }
            }
            Op::MapForeign(slot, from, gfn, at) => {
                if let (Some(domain), Some(owner)) = (get(slot), get(from)) {
                    let _ = owner.allow_device_model(&domain);
                    let _ = domain.on(hv).map_foreign(&owner, Self::gfn(from, gfn), Self::gfn(slot, at));
                }
            }
            Op::MapTable(slot, from, at) => {
                if let (Some(domain), Some(owner)) = (get(slot), get(from)) {
                    let _ = owner.allow_device_model(&domain);
                    let _ = domain.on(hv).map_grant_resource(&owner, at % 3, Self::gfn(slot, at));
                }
            }
            Op::SharedInfo(slot, gfn) => {
                if let Some(domain) = get(slot) {
                    let _ = domain.on(hv).map_shared_info(Self::gfn(slot, gfn));
                }
            }
            Op::Grant(slot, to, gfn, reference) => {
                if let (Some(domain), Some(to)) = (get(slot), get(to)) {
                    let frame = Self::gfn(slot, gfn).0 as u32;
                    let grant = EntryV1 { flags: entry::PERMIT_ACCESS, domid: to.id, frame };
                    let at = Ipa(TABLE.base().0 + 8 * u64::from(reference));
                    let _ = domain.on(hv).write_memory(at, zerocopy::IntoBytes::as_bytes(&grant));
                }
            }
            Op::MapGrant(slot, from, reference, at) => {
                if let (Some(domain), Some(granter)) = (get(slot), get(from))
                    && !domain.is_dying()
                {
                    let mut op = MapGrantRef {
                        host_addr: Self::gfn(slot, at).base().0,
                        flags: flag::HOST,
                        reference,
                        dom: granter.id,
                        ..MapGrantRef::default()
                    };
                    grant::map(&domain.on(hv), &mut op);
                }
            }
            Op::UnmapGrant(slot, handle, gfn) => {
                if let Some(domain) = get(slot).filter(|domain| !domain.is_dying()) {
                    let host_addr = Self::gfn(slot, gfn).base().0;
                    let mut op = UnmapGrantRef { host_addr, handle, ..UnmapGrantRef::default() };
                    grant::unmap(&domain.on(hv), &mut op);
                }
            }
            Op::Connect(slot, to) => {
                if let (Some(domain), Some(other)) = (get(slot), get(to)) {
                    let offered = other.events.lock().alloc_unbound(domain.id);
                    if let Ok(port) = offered {
                        let _ = domain.on(hv).bind_interdomain(&other, port);
                    }
                }
            }
            Op::Close(slot, port) => {
                if let Some(domain) = get(slot) {
                    let _ = domain.on(hv).close_port(Port(port));
                }
            }
            Op::Hold(slot, gfn) => {
                if let Some(domain) = get(slot) {
                    let _ = domain.on(hv).register_vcpu_info(VcpuId(0), Self::gfn(slot, gfn), 64);
                }
            }
            Op::Destroy(slot, steps) => {
                let Some(domain) = get(slot) else { return };
                for _ in 0..=steps {
                    if hv.destroy_domain(&domain, 0) == Ok(Progress::Done) {
                        self.slots[slot] = None;
                    }
                }
            }
            Op::Create(..) => (),
        }
    }

    /// Ends everything: then all memory is back, but for tables of the control domain's.
    fn end(mut self) {
        for slot in 1..=SLOTS {
            if let Some(domain) = self.slots[slot].take() {
                while self.machine.hv.destroy_domain(&domain, 0) == Ok(Progress::Again) {}
            }
        }
        let hv = &self.machine.hv;
        let control = self.slots[0].take().unwrap();
        for handle in 0..64 {
            for gfn in 0..FRAMES {
                let host_addr = World::gfn(0, gfn).base().0;
                let mut op = UnmapGrantRef { host_addr, handle, ..UnmapGrantRef::default() };
                grant::unmap(&control.on(hv), &mut op);
            }
        }
        for gfn in 0..FRAMES {
            let _ = control.on(hv).remove_mapping(World::gfn(0, gfn));
        }
        let left: Vec<_> = hv.domains().map(|domain| domain.id).collect();
        assert_eq!(left, [DomId(0)]);
        assert_eq!(self.machine.audit(), Ok(()));
        let own = u64::from(control.grants.lock().size().0);
        assert_eq!(hv.frames.free_frames() + own, self.free);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn the_books_agree_after_every_step_of_every_history(history in proptest::collection::vec(op(), 0..60)) {
        let mut world = World::new();
        for (number, op) in history.iter().enumerate() {
            world.play(op);
            prop_assert_eq!(world.machine.audit(), Ok(()), "after step {} of {:?}", number, history);
        }
        world.end();
    }
}

/// Threads are CPUs here that really run at the same time: one changes the owner's memory, two map it, and two destroy the
/// owner in the middle of that.
#[test]
fn memory_is_mapped_while_it_changes_and_its_owner_dies() {
    for round in 0..8 {
        let (machine, first) = Guest::alone();
        let free = machine.hv.frames.free_frames();
        let owner = machine.hv.create_domain(&request()).unwrap();
        owner.memory.lock().max_pages = 16;
        let page = |number: u64| Gfn(RAM_BASE.0 + number);
        for number in 0..16 {
            owner.on(&machine.hv).populate(page(number), 0).unwrap();
        }
        let (hv, control) = (&machine.hv, &first.domain);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for number in 0..16 {
                        let _ = owner.on(hv).give_page_back(page(number));
                        let _ = owner.on(hv).populate(page(number), 0);
                    }
                }
            });
            for cpu in 0..2_u64 {
                let (over, owner) = (&over, &owner);
                scope.spawn(move || {
                    let at = |number: u64| Gfn(super::foreign::HOLE + cpu * 16 + number);
                    while !over.load(Ordering::Relaxed) {
                        for number in 0..16 {
                            let _ = control.on(hv).map_foreign(owner, page(number), at(number));
                        }
                        for number in 0..16 {
                            let _ = control.on(hv).remove_mapping(at(number));
                        }
                    }
                    for number in 0..16 {
                        let _ = control.on(hv).remove_mapping(at(number));
                    }
                });
            }
            for _ in 0..2 {
                let (over, owner) = (&over, &owner);
                scope.spawn(move || {
                    for _ in 0..round * 50 {
                        std::thread::yield_now();
                    }
                    while hv.destroy_domain(owner, 0) == Ok(Progress::Again) {
                        std::thread::yield_now();
                    }
                    over.store(true, Ordering::Relaxed);
                });
            }
        });
        assert!(hv.domain(owner.id).is_none(), "round {round}");
        assert_eq!(hv.frames.free_frames(), free, "round {round}");
        assert_eq!(machine.audit(), Ok(()), "round {round}");
    }
}
