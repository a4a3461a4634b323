//! Memory and event channels that domains which start with the machine have in common.

use dtoolkit::model::DeviceTreeNode;
use xenolith_abi::Port;
use xenolith_abi::event::{EventOp, PortArgument, Status};
use xenolith_abi::hypercall::Hypercall;

use super::super::*;
use super::boot_domains::{booted, booted_with, guest, small};
use super::first::kernel;
use super::support::*;
use xenolith_boot::{Modules, StaticShm, build_boot_domains, build_first};
use xenolith_domain::parts::progress::Progress;
use xenolith_host::platform::fixtures::domains::{KERNEL, event_end, first_page, host, shared_memory};
use xenolith_host::platform::fixtures::{cells, string};
use xenolith_host::platform::{Platform, Region};
use xenolith_memory::frames::FrameState;
use xenolith_memory::p2m::MapKind;

/// Where the memory is for the domains.
const PLACE: u64 = 0x7000_0000;
/// Its bytes: more than a page, and no block.
const SIZE: u32 = 0x3000;
/// Connected to another domain (`EVTCHNSTAT_interdomain`), and waiting for one.
const CONNECTED: u32 = 2;
const UNBOUND: u32 = 1;

/// The last machine addresses that are RAM, far from what the first domain takes.
fn machine_address(machine: &Machine) -> u64 {
    (machine.hv.frames.last().0 - 7) << PAGE_SHIFT
}

fn replace(mut node: DeviceTreeNode, name: &str, value: &[u32]) -> DeviceTreeNode {
    node.remove_property(name);
    node.add_property(cells(name, value));
    node
}

/// A node for the memory, with numbers of two cells.
fn at(name: &str, machine: u64, guest: u64) -> DeviceTreeNode {
    let halves = |value: u64| [(value >> 32) as u32, value as u32];
    let numbers = [machine, guest, SIZE.into()].map(halves).concat();
    replace(shared_memory(name, 0, guest as u32, SIZE), "xen,shared-mem", &numbers)
}

/// A domain whose nodes have numbers of two cells.
fn wide(name: &str) -> DeviceTreeNode {
    let domain = replace(replace(small(name), "#address-cells", &[2]), "#size-cells", &[2]);
    let mut domain = domain;
    let name = alloc::format!("module@{KERNEL:x}");
    let kernel = domain.remove_child(&name).unwrap();
    domain.add_child(replace(kernel, "reg", &[0, KERNEL, 0, 0x10_0000]));
    domain
}

fn with(mut domain: DeviceTreeNode, children: impl IntoIterator<Item = DeviceTreeNode>) -> DeviceTreeNode {
    children.into_iter().for_each(|child| domain.add_child(child));
    domain
}

fn owner(mut node: DeviceTreeNode) -> DeviceTreeNode {
    node.add_property(string("role", "owner"));
    node
}

/// The memory without an address of its own.
fn anywhere(name: &str) -> DeviceTreeNode {
    replace(shared_memory(name, 0, PLACE as u32, SIZE), "xen,shared-mem", &[PLACE as u32, SIZE])
}

fn status(machine: &mut Machine, of: &Guest, port: u32) -> (u32, u32, u32) {
    let mut status = Status { dom: SELF, port: Port(port), ..Status::default() };
    let op = EventOp::Status.number().into();
    assert_eq!(of.call(machine, Hypercall::EventChannelOp, op, &mut status), 0);
    (status.status, status.bound_to, status.remote_port.0)
}

/// Whether a port is pending, which is forgotten.
fn take_event(of: &Guest, port: u32) -> bool {
    let pending = core::mem::offset_of!(xenolith_abi::shared::SharedInfo, evtchn_pending);
    let word = of.domain.shared_info.word64(pending + 8 * (port as usize / 64)).unwrap();
    let found = word.load();
    word.store(found & !(1 << (port % 64)));
    found & 1 << (port % 64) != 0
}

fn send(machine: &mut Machine, from: &Guest, port: u32) {
    let op = EventOp::Send.number().into();
    assert_eq!(from.call(machine, Hypercall::EventChannelOp, op, &mut PortArgument { port: Port(port) }), 0);
}

fn destroy(machine: &mut Machine, domain: &Arc<Domain>) {
    for _ in 0..1000 {
        if machine.hv.destroy_domain(domain, 512) == Ok(Progress::Done) {
            return;
        }
        machine.settle();
    }
    panic!("the domain is never destroyed");
}

fn mfn(domain: &Domain) -> Mfn {
    domain.lookup(Ipa(PLACE).frame()).unwrap().mfn
}

#[test]
fn two_domains_have_memory_in_common_that_is_nobodys() {
    let (mut machine, _first) =
        booted([with(small("one"), [anywhere("a")]), with(small("two"), [anywhere("a")])]);
    let (one, two) = (guest(&machine, 1), guest(&machine, 2));
    assert_eq!(mfn(&one.domain), mfn(&two.domain));
    assert_eq!(one.domain.lookup(Ipa(PLACE).frame()).unwrap().kind, MapKind::StaticShm);
    for offset in [0, 0x1000, 0x2ff8] {
        assert_eq!(machine.peek::<u64>(&two.domain, PLACE + offset), 0, "wiped");
        machine.poke(&one.domain, PLACE + offset, &offset.to_le_bytes());
        assert_eq!(machine.peek::<u64>(&two.domain, PLACE + offset), offset);
    }
    assert!(one.domain.lookup(Ipa(PLACE + u64::from(SIZE)).frame()).is_err());
    let pages = |guest: &Guest| {
        let memory = guest.domain.memory.lock();
        (memory.pages, memory.max_pages)
    };
    assert_eq!([&one, &two].map(pages), [(1024, 1024); 2], "it is charged to nobody");
    assert_eq!(machine.audit(), Ok(()));
    // The end of one leaves the other what it has; the end of both leaves nothing to anybody else.
    let frames: Vec<Mfn> = (0..3).map(|page| Mfn(mfn(&one.domain).0 + page)).collect();
    destroy(&mut machine, &one.domain);
    assert!(machine.hv.domain(DomId(1)).is_none(), "nothing of it is left");
    machine.poke(&two.domain, PLACE, b"still");
    assert_eq!(machine.peek::<[u8; 5]>(&two.domain, PLACE), *b"still");
    assert_eq!(machine.audit(), Ok(()));
    destroy(&mut machine, &two.domain);
    for mfn in frames {
        let Ok(FrameState::Used(used)) = machine.hv.frames.state(mfn) else { panic!("{mfn:?} is free") };
        assert_eq!((used.owner, used.references), (DomId::IO, 1));
    }
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_role_says_whose_memory_it_is() {
    for owner_ends_first in [true, false] {
        let (mut machine, _first) =
            booted([with(small("one"), [anywhere("a")]), with(small("two"), [owner(anywhere("a"))])]);
        let (one, two) = (guest(&machine, 1), guest(&machine, 2));
        let frame = mfn(&one.domain);
        assert_eq!((mfn(&two.domain), machine.hv.frames.owner_of(frame)), (frame, Ok(DomId(2))));
        let entry = two.domain.lookup(Ipa(PLACE).frame()).unwrap();
        assert_eq!(entry.kind, MapKind::Ram);
        assert_eq!([&one, &two].map(|guest| guest.domain.memory.lock().pages), [1024, 1027]);
        assert_eq!(machine.audit(), Ok(()));
        machine.poke(&two.domain, PLACE, b"words");
        let (dies, lives) = if owner_ends_first { (&two, &one) } else { (&one, &two) };
        destroy(&mut machine, &dies.domain);
        assert_eq!(machine.peek::<[u8; 5]>(&lives.domain, PLACE), *b"words");
        assert_eq!(machine.audit(), Ok(()));
        // Whoever gets memory now does not get this.
        while let Some(taken) = machine.hv.frames.alloc(0, DomId::XEN, Kind::Hypervisor, Content::Any) {
            assert!(!(frame.0..frame.0 + 3).contains(&taken.0));
        }
        assert_eq!(machine.hv.domain(dies.domain.id).is_some(), owner_ends_first, "its frames are in use");
        destroy(&mut machine, &lives.domain);
        assert!(machine.hv.domain(DomId(1)).is_none() && machine.hv.domain(DomId(2)).is_none());
        assert_eq!(machine.hv.frames.state(frame), Ok(FrameState::Free { dirty: false }));
    }
}

#[test]
fn the_first_domain_has_memory_at_its_machine_address() {
    let mut place = 0;
    let (mut machine, first) = booted_with(|machine| {
        place = machine_address(machine);
        vec![owner(at("a", place, place)), with(wide("one"), [at("a", place, PLACE)])]
    });
    let one = guest(&machine, 1);
    assert_eq!(mfn(&one.domain).base().0, place);
    assert_eq!(first.domain.lookup(Ipa(place).frame()).unwrap().kind, MapKind::Ram);
    assert_eq!(first.domain.memory.lock().pages, 1027);
    machine.poke(&one.domain, PLACE + 8, b"hello");
    assert_eq!(machine.peek::<[u8; 5]>(&first.domain, place + 8), *b"hello");
    assert_eq!(machine.audit(), Ok(()));
    destroy(&mut machine, &one.domain);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_domain_whose_memory_cannot_be_had_is_left_out() {
    let huge = replace(anywhere("h"), "xen,shared-mem", &[PLACE as u32, 0x7000_0000]);
    let (machine, first) = booted_with(|machine| {
        let place = machine_address(machine);
        vec![
            at("n", 0x1000, 0x1000),
            with(wide("one"), [at("n", 0x1000, PLACE)]),
            with(small("two"), [huge]),
            // Where its RAM is.
            with(wide("three"), [at("r", place, 0x4000_0000)]),
            with(small("four"), [anywhere("a")]),
        ]
    });
    let ids: Vec<u16> = machine.hv.domains().map(|domain| domain.id.0).collect();
    assert_eq!(ids, [0, 4]);
    assert!(!first.domain.lookup(Gfn(1)).is_ok_and(|entry| entry.kind == MapKind::StaticShm));
    assert_eq!(machine.audit(), Ok(()), "and what nobody uses is free");
}

/// What became of regions when they were connected.
struct Connected {
    /// Domain 1 is there.
    is_there: bool,
    /// Frames that are free.
    free: u64,
    /// Frames that are free when nobody has a region: all but those which cannot be had, the first domain's, and domain 1's
    /// if that is there.
    without: u64,
}

/// Connects the regions of the first domain and of domain 1 when so many frames are left.
fn connect(first: Vec<DeviceTreeNode>, of_one: Vec<DeviceTreeNode>, left: u64) -> Connected {
    let options = Options { dom0_memory: Some(4 << 20), dom0_vcpus: Some(1), ..Options::default() };
    let machine = Machine::with_options(1, 16384, options);
    let tree = host(&first_page(), first.into_iter().chain([with(small("one"), of_one)]));
    let platform = Platform::parse(&tree).unwrap();
    let mut bare = platform.clone();
    bare.first_shared.memory.clear();
    bare.boot_domains.iter_mut().flatten().for_each(|domain| domain.shared.memory.clear());
    let kernel = kernel();
    let modules = Modules {
        device_tree: &tree,
        kernel: &kernel,
        ramdisk: None,
        grant_window: Region::between(0x4020_0000, 0x4024_0000).unwrap(),
    };
    let frames = &machine.hv.frames;
    let untouched = frames.available_frames();
    let common = StaticShm::take(frames, &platform);
    let regions = untouched - frames.available_frames();
    let _first = build_first(&machine.hv, &platform, &modules, &common).unwrap();
    let before = frames.available_frames();
    let no_regions = StaticShm::take(frames, &bare);
    let mut ready = build_boot_domains(&machine.hv, &bare, &tree, &no_regions, &|_| kernel.as_slice());
    let of_one = before - frames.available_frames();
    assert_eq!(ready.len(), 1);
    while frames.available_frames() > left {
        frames.alloc(0, DomId::XEN, Kind::Hypervisor, Content::Any).unwrap();
    }
    common.connect(&machine.hv, &platform, &mut ready);
    machine.note_boot_mappings();
    // What ended is gone once nobody refers to it.
    machine.hv.reap();
    let is_there = machine.hv.domain(DomId(1)).is_some();
    assert_eq!((ready.len() == 1, machine.audit()), (is_there, Ok(())));
    let without = left + regions + if is_there { 0 } else { of_one };
    Connected { is_there, free: frames.available_frames(), without }
}

/// What the first domain cannot map leaves nothing behind, not even tables in its pool.
#[test]
fn a_region_that_cannot_be_mapped_gives_everything_back() {
    // The first domain has the page of a device there.
    let numbers = [0, 0x0901_0000, 0, SIZE];
    let node = || replace(at("o", 0, 0x0901_0000), "xen,shared-mem", &numbers);
    for node in [node(), owner(node())] {
        let connected = connect(vec![node], Vec::new(), 64);
        assert_eq!((connected.is_there, connected.free), (true, connected.without));
    }
}

/// Memory runs out at every step of the way.
#[test]
fn a_domain_that_has_one_of_its_regions_gives_it_back_with_the_others() {
    let region = |name: &str, guest: u32| {
        replace(shared_memory(name, 0, guest, SIZE), "xen,shared-mem", &[guest, SIZE])
    };
    for first_is_owned in [false, true] {
        let mut outcomes = [0; 2];
        for left in 0..16 {
            let a = region("a", PLACE as u32);
            let a = if first_is_owned { owner(a) } else { a };
            let connected = connect(Vec::new(), vec![a, region("b", PLACE as u32 + 0x10_0000)], left);
            outcomes[usize::from(connected.is_there)] += 1;
            if !connected.is_there {
                assert_eq!(connected.free, connected.without, "{left} frames were left");
            }
        }
        assert!(outcomes[0] > 4 && outcomes[1] > 0, "{outcomes:?}");
    }
}

#[test]
fn they_signal_each_other_without_a_call_before() {
    let (mut machine, first) = booted([
        event_end(1, 60, 2),
        with(small("one"), [event_end(2, 61, 1), event_end(3, 7, 4)]),
        with(small("two"), [event_end(4, 1023, 3)]),
    ]);
    let (one, two) = (guest(&machine, 1), guest(&machine, 2));
    let pairs = [((&first, 60), (&one, 61)), ((&one, 7), (&two, 1023))];
    for (here, there) in pairs.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]) {
        let ((from, port), (to, remote)) = (here, there);
        let expected = (CONNECTED, to.domain.id.0.into(), remote);
        assert_eq!(status(&mut machine, from, port), expected);
        assert!(!take_event(to, remote), "not pending from the start");
        send(&mut machine, from, port);
        assert!(take_event(to, remote) && !take_event(from, port));
    }
    // Other ports are given out around them.
    let op = EventOp::AllocUnbound.number().into();
    let mut taken = Vec::new();
    for _ in 0..8 {
        let mut argument =
            xenolith_abi::event::AllocUnbound { dom: SELF, remote_dom: DomId(2), ..Default::default() };
        assert_eq!(one.call(&mut machine, Hypercall::EventChannelOp, op, &mut argument), 0);
        taken.push(argument.port);
    }
    assert_eq!(taken, [1, 2, 3, 4, 5, 6, 8, 9].map(Port));
    assert_eq!(machine.audit(), Ok(()));
    // The end of one leaves the other's port waiting for it.
    destroy(&mut machine, &two.domain);
    assert_eq!(status(&mut machine, &one, 7), (UNBOUND, 2, 0));
    send(&mut machine, &one, 7);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn the_store_s_port_gives_way_to_a_static_one() {
    let mut domain = with(small("one"), [event_end(2, 1, 1)]);
    domain.add_property(string("xen,enhanced", "enabled"));
    let (mut machine, _first) = booted([event_end(1, 3, 2), domain]);
    let one = guest(&machine, 1);
    assert_eq!(status(&mut machine, &one, 1), (CONNECTED, 0, 3));
    assert_eq!(one.domain.parameters.lock().get(xenolith_abi::hvm::HvmParam::StoreEvtchn), 2);
    assert_eq!(status(&mut machine, &one, 2), (UNBOUND, 0, 0));
}

#[test]
fn a_port_that_a_domain_cannot_have_costs_it_and_leaves_the_other_waiting() {
    let (mut machine, first) =
        booted([event_end(1, 3, 2), with(small("one"), [event_end(2, 1024, 1)]), small("two")]);
    let ids: Vec<u16> = machine.hv.domains().map(|domain| domain.id.0).collect();
    assert_eq!(ids, [0, 2]);
    assert_eq!(status(&mut machine, &first, 3), (UNBOUND, 1, 0));
    assert_eq!(machine.audit(), Ok(()));
}
