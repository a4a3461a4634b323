//! Domains that start with the machine, and the console that they share.

use dtoolkit::model::DeviceTreeNode;
use xenolith_abi::Port;
use xenolith_abi::event::{BindInterdomain, EventOp, PortArgument, Status};
use xenolith_abi::hvm::HvmParamArgument;
use xenolith_abi::hypercall::Hypercall;

use super::super::*;
use super::first::kernel;
use super::support::*;
use xenolith_boot::{Modules, StaticShm, build_boot_domains, build_first};
use xenolith_core::types::Pa;
use xenolith_host::platform::fixtures::domains::{
    KERNEL, boot_domain, device, first_page, flag, host, module, partial,
};
use xenolith_host::platform::fixtures::{cells, string};
use xenolith_host::platform::{Platform, Region};
use xenolith_memory::p2m::MapKind;

/// Where the partial tree is that gives slot 2 of the first page away.
const PARTIAL: u32 = 0x5200_0000;
/// The host's distributor, which a directly mapped domain has.
const HOST_DISTRIBUTOR: u64 = 0x0800_0000;
/// The emulated UART of a domain that is not directly mapped.
pub(super) const UART: u64 = 0x2200_0000;

/// A domain of 4 MiB with a UART.
pub(super) fn small(name: &str) -> DeviceTreeNode {
    boot_domain(name, [cells("memory", &[4096]), cells("cpus", &[1]), flag("vpl011")])
}

fn with(mut domain: DeviceTreeNode, property: dtoolkit::model::DeviceTreeProperty) -> DeviceTreeNode {
    domain.add_property(property);
    domain
}

/// A domain that drives a disk of the machine.
fn driver() -> DeviceTreeNode {
    let mut domain = with(with(small("driver"), flag("direct-map")), string("xen,enhanced", "no-xenstore"));
    domain.remove_property("vpl011");
    domain.add_child(module("multiboot,device-tree", PARTIAL, 0x1000));
    domain
}

/// A machine with the first domain and these.
pub(super) fn booted(domains: impl IntoIterator<Item = DeviceTreeNode>) -> (Machine, Guest) {
    booted_with(|_| domains.into_iter().collect())
}

/// The same, with nodes that depend on where the machine's memory is.
pub(super) fn booted_with(nodes: impl FnOnce(&Machine) -> Vec<DeviceTreeNode>) -> (Machine, Guest) {
    booted_from(&kernel(), nodes)
}

/// The same, all from that kernel.
fn booted_from(kernel: &[u8], nodes: impl FnOnce(&Machine) -> Vec<DeviceTreeNode>) -> (Machine, Guest) {
    let options = Options { dom0_memory: Some(4 << 20), dom0_vcpus: Some(1), ..Options::default() };
    let mut machine = Machine::with_options(4, 16384, options);
    let tree = host(&first_page(), nodes(&machine));
    let platform = Platform::parse(&tree).unwrap();
    let partial = partial([device(2)]);
    let modules = Modules {
        device_tree: &tree,
        kernel,
        ramdisk: None,
        grant_window: Region::between(0x4020_0000, 0x4024_0000).unwrap(),
    };
    let common = StaticShm::take(&machine.hv.frames, &platform);
    let first = build_first(&machine.hv, &platform, &modules, &common).unwrap();
    let others = build_boot_domains(&machine.hv, &platform, &tree, &common, &|region| {
        if region.start() == Pa(KERNEL.into()) { kernel } else { partial.as_slice() }
    });
    let first = first.start(&machine.hv);
    for ready in others {
        let domain = ready.start(&machine.hv);
        domain.offer_console();
    }
    machine.note_boot_mappings();
    machine.settle();
    let cpu = machine.cpu_of(&first, 0).unwrap();
    (machine, Guest { domain: first, cpu })
}

pub(super) fn guest(machine: &Machine, id: u16) -> Guest {
    let domain = machine.hv.domain(DomId(id)).unwrap();
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    Guest { domain, cpu }
}

#[test]
fn they_start_as_the_boot_protocol_says_and_the_wrong_one_is_left_out() {
    let wrong = with(small("wrong"), cells("cpus", &[1000]));
    let (mut machine, _first) = booted([small("plain"), wrong, driver()]);
    let ids: Vec<u16> = machine.hv.domains().map(|domain| domain.id.0).collect();
    assert_eq!(ids, [0, 1, 3]);
    for id in [1, 3] {
        let guest = guest(&machine, id);
        let regs = *machine.regs(guest.cpu);
        assert_eq!(machine.peek::<[u8; 4]>(&guest.domain, regs.x[0]), [0xd0, 0x0d, 0xfe, 0xed]);
        assert_eq!(machine.peek::<[u8; 4]>(&guest.domain, regs.pc + 0x2ffc), *b"text");
        let entry = guest.domain.lookup(Ipa(regs.pc).frame()).unwrap();
        assert_eq!(entry.mfn.0 == Ipa(regs.pc).frame().0, id == 3, "directly mapped");
        assert!(!guest.domain.is_control);
    }
    assert_eq!(machine.regs(guest(&machine, 1).cpu).pc, 0x4008_0000);
    assert_eq!(machine.audit(), Ok(()));
}

/// An EFI zboot program that holds the kernel, compressed by gzip.
fn zboot(kernel: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for &byte in kernel {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 != 0 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        }
    }
    let mut payload = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    payload.extend(miniz_oxide::deflate::compress_to_vec(kernel, 6));
    payload.extend((!crc).to_le_bytes());
    payload.extend(u32::try_from(kernel.len()).unwrap().to_le_bytes());
    let mut program = vec![0; 64];
    program[..8].copy_from_slice(b"MZ\0\0zimg");
    program[8..12].copy_from_slice(&64u32.to_le_bytes());
    program[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    program[24..28].copy_from_slice(b"gzip");
    program.extend(payload);
    program
}

#[test]
fn all_of_them_start_from_an_efi_zboot_kernel() {
    let (mut machine, first) = booted_from(&zboot(&kernel()), |_| vec![small("plain"), driver()]);
    for guest in [first, guest(&machine, 1), guest(&machine, 2)] {
        let entry = machine.regs(guest.cpu).pc;
        assert_eq!(machine.peek::<[u8; 4]>(&guest.domain, entry + 0x2ffc), *b"text", "{:?}", guest.domain.id);
    }
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn one_that_cannot_be_filled_gives_everything_back() {
    // A packed kernel whose end is missing: that shows when the domain is there.
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    packed.extend(miniz_oxide::deflate::compress_to_vec(&kernel(), 6));
    let tree = host(&first_page(), [driver()]);
    let platform = Platform::parse(&tree).unwrap();
    let machine = Machine::new(1, 4096);
    let free = machine.hv.frames.free_frames();
    let partial = partial([device(2)]);
    let common = StaticShm::take(&machine.hv.frames, &platform);
    let others = build_boot_domains(&machine.hv, &platform, &tree, &common, &|region| {
        if region.start() == Pa(KERNEL.into()) { packed.as_slice() } else { partial.as_slice() }
    });
    assert_eq!(others.len(), 0);
    assert!(machine.hv.domain(DomId(1)).is_none());
    assert_eq!(machine.hv.owner_of_interrupt(Intid(50)), None);
    assert_eq!(machine.hv.frames.free_frames(), free);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_device_that_is_passed_through_is_one_domains() {
    let (mut machine, first) = booted([driver()]);
    let driver = guest(&machine, 1);
    let page = Ipa(0x0a00_0000).frame();
    let entry = driver.domain.lookup(page).unwrap();
    assert_eq!((entry.mfn.0, entry.kind), (page.0, MapKind::StrictDevice));
    assert!(first.domain.lookup(page).is_err());
    assert_eq!(machine.hv.owner_of_interrupt(Intid(50)), Some(DomId(1)));
    assert_eq!(machine.hv.owner_of_interrupt(Intid(48)), None, "nobody has the first slot");
    // It enables the interrupt and gets it.
    machine.store(driver.cpu, HOST_DISTRIBUTOR, 4, 0x12);
    let cpu = driver.cpu;
    machine.store(cpu, HOST_DISTRIBUTOR + 0x100 + 4, 4, 1 << 18);
    assert!(sim::gic::line(Intid(50)).enabled);
    sim::gic::set_line(Intid(50), true);
    machine.settle();
    sim::on_cpu(CpuId(cpu));
    assert_eq!(sim::guest::take(), Some(Intid(50)));
}

#[test]
fn the_store_may_come_later() {
    for (value, has) in [("enabled", true), ("no-xenstore", false)] {
        let (mut machine, _) = booted([with(small("d"), string("xen,enhanced", value))]);
        let guest = guest(&machine, 1);
        let mut get = |index| {
            let mut parameter = HvmParamArgument { domid: SELF, index, ..HvmParamArgument::default() };
            assert_eq!(guest.call(&mut machine, Hypercall::HvmOp, 1, &mut parameter), 0);
            parameter.value
        };
        let (page, port) = (get(1), get(2));
        assert_eq!((page == u64::MAX, port != 0), (has, has));
        if has {
            let mut status = Status { dom: SELF, port: Port(port as u32), ..Status::default() };
            assert_eq!(guest.call(&mut machine, Hypercall::EventChannelOp, 5, &mut status), 0);
            assert_eq!(status.status, 1, "unbound, for the control domain");
        }
    }
}

#[test]
fn lines_and_keys_go_their_ways() {
    let (mut machine, first) = booted([small("one"), small("two")]);
    let (one, two) = (guest(&machine, 1), guest(&machine, 2));
    sim::console_output();
    let say = |machine: &mut Machine, guest: &Guest, text: &[u8]| {
        text.iter().for_each(|&byte| machine.store(guest.cpu, UART, 1, byte.into()));
        sim::console_output()
    };
    assert_eq!(say(&mut machine, &one, b"log"), b"");
    assert_eq!(say(&mut machine, &two, b"other\r\n"), b"(d2) other\r\n");
    assert_eq!(say(&mut machine, &one, b"in: \r\n"), b"(d1) login: \r\n");
    // What is typed is the first domain's until the key is pressed three times.
    sim::type_on_console(b"a\x01\x01b");
    machine.settle();
    assert_eq!(machine.load(one.cpu, UART + 0x18, 4), 0x90);
    say(&mut machine, &one, b"$ ");
    sim::type_on_console(b"\x01\x01\x01ls");
    machine.settle();
    let said = String::from_utf8(sim::console_output()).unwrap();
    assert!(said.ends_with("(d1) $ "), "{said}");
    assert_eq!(say(&mut machine, &one, b"l"), b"l", "at once");
    let typed: Vec<u64> = (0..3).map(|_| machine.load(one.cpu, UART, 4)).collect();
    assert_eq!(typed, [b'l'.into(), b's'.into(), 0]);
    sim::type_on_console(b"\x01\x01\x01x");
    machine.settle();
    assert_eq!(machine.load(two.cpu, UART, 4), b'x'.into());
    // The first domain gets all that came before, and no more.
    let at = first.page(&machine, 3);
    assert_eq!(first.plain(&mut machine, Hypercall::ConsoleIo, [1, 16, at, 0, 0]), 4);
    assert_eq!(machine.peek::<[u8; 4]>(&first.domain, at), *b"a\x01\x01b");
    two.domain.on(&machine.hv).withdraw_console();
    sim::type_on_console(b"back");
    machine.settle();
    assert_eq!(first.plain(&mut machine, Hypercall::ConsoleIo, [1, 16, at, 0, 0]), 4);
}

#[test]
fn the_uart_interrupts_while_something_waits() {
    let (mut machine, _) = booted([small("one")]);
    let one = guest(&machine, 1);
    machine.store(one.cpu, DISTRIBUTOR, 4, 0x12);
    machine.store(one.cpu, DISTRIBUTOR + 0x84, 4, u64::from(u32::MAX));
    machine.store(one.cpu, DISTRIBUTOR + 0x104, 4, 1);
    machine.store(one.cpu, UART + 0x38, 4, 0x50);
    sim::type_on_console(b"\x01\x01\x01q");
    machine.settle();
    sim::on_cpu(CpuId(one.cpu));
    assert_eq!(sim::guest::take(), Some(Intid(32)));
    assert_eq!(machine.load(one.cpu, UART, 1), b'q'.into());
    machine.settle();
    sim::on_cpu(CpuId(one.cpu));
    assert_eq!(sim::guest::take(), None);
}

#[test]
fn one_has_as_many_vcpus_as_its_node_says() {
    let mut domain = small("two");
    domain.remove_property("cpus");
    domain.add_property(cells("cpus", &[2]));
    let (mut machine, _) = booted([domain]);
    let guest = guest(&machine, 1);
    assert_eq!(guest.domain.vcpus.len(), 2);
    assert_eq!(machine.cpu_of(&guest.domain, 1), None, "it is off until the kernel starts it");
    const CPU_ON: u64 = 0xc400_0003;
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 1, 0x4009_0000, 77]), Some(0));
    machine.settle();
    let cpu = machine.cpu_of(&guest.domain, 1).expect("it runs");
    assert_eq!((machine.regs(cpu).pc, machine.regs(cpu).x[0]), (0x4009_0000, 77));
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 2, 0x4009_0000, 0]), Some(-2_i64 as u64), "no third one");
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn one_may_have_128_vcpus() {
    let vcpus = |count: u32| {
        let mut domain = small("many");
        domain.remove_property("cpus");
        domain.add_property(cells("cpus", &[count]));
        booted([domain])
    };
    let (machine, _) = vcpus(129);
    assert!(machine.hv.domain(DomId(1)).is_none());
    let (mut machine, _) = vcpus(128);
    let guest = guest(&machine, 1);
    const CPU_ON: u64 = 0xc400_0003;
    const AFFINITY_INFO: u64 = 0xc400_0004;
    for vcpu in 1..128_u64 {
        let mpidr = vcpu / 16 * 0x100 + vcpu % 16;
        assert_eq!(machine.firmware(guest.cpu, [CPU_ON, mpidr, 0x4009_0000, vcpu]), Some(0), "{vcpu}");
        assert_eq!(machine.firmware(guest.cpu, [AFFINITY_INFO, mpidr, 0, 0]), Some(0), "{vcpu} is on");
    }
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 0x800, 0x4009_0000, 0]), Some(-2_i64 as u64));
    machine.settle();
    assert_eq!(machine.audit(), Ok(()));
}

/// A store that comes later: the control domain finds the domain on the list and the port in its parameters, connects, gives
/// it a page, and says so by an event.
#[test]
fn the_control_domain_connects_a_store_afterwards() {
    let (mut machine, first) = booted([with(small("d"), string("xen,enhanced", "enabled"))]);
    let guest = guest(&machine, 1);
    let mut port = HvmParamArgument { domid: DomId(1), index: 2, ..HvmParamArgument::default() };
    assert_eq!(first.call(&mut machine, Hypercall::HvmOp, 1, &mut port), 0);
    let remote_port = port.value as u32;
    let mut bind = BindInterdomain {
        remote_dom: DomId(1),
        remote_port: Port(remote_port),
        ..BindInterdomain::default()
    };
    let op = EventOp::BindInterdomain.number().into();
    assert_eq!(first.call(&mut machine, Hypercall::EventChannelOp, op, &mut bind), 0);
    let mut status = Status { dom: SELF, port: Port(remote_port), ..Status::default() };
    assert_eq!(guest.call(&mut machine, Hypercall::EventChannelOp, 5, &mut status), 0);
    assert_eq!(status.status, 2, "connected to another domain");
    // A page of the domain's own becomes the ring.
    let ring = guest.page(&machine, 30) >> 12;
    let hole = super::foreign::HOLE;
    assert_eq!(super::foreign::map_foreign(&mut machine, &first, 1, &[(ring, hole)]), Ok(vec![0]));
    let mut page = HvmParamArgument { domid: DomId(1), index: 1, value: ring, ..HvmParamArgument::default() };
    assert_eq!(first.call(&mut machine, Hypercall::HvmOp, 0, &mut page), 0);
    machine.poke(&first.domain, hole << 12, b"store");
    let mut told = HvmParamArgument { domid: SELF, index: 1, ..HvmParamArgument::default() };
    assert_eq!(guest.call(&mut machine, Hypercall::HvmOp, 1, &mut told), 0);
    assert_eq!(machine.peek::<[u8; 5]>(&guest.domain, told.value << 12), *b"store");
    // Each side hears the other.
    for (from, local, to, remote) in [
        (&first, bind.local_port, &guest, remote_port),
        (&guest, Port(remote_port), &first, bind.local_port.0),
    ] {
        let mut send = PortArgument { port: local };
        let op = EventOp::Send.number().into();
        assert_eq!(from.call(&mut machine, Hypercall::EventChannelOp, op, &mut send), 0);
        let pending = core::mem::offset_of!(xenolith_abi::shared::SharedInfo, evtchn_pending);
        let word = to.domain.shared_info.word64(pending).unwrap().load();
        assert_ne!(word & 1 << remote, 0, "d{}", to.domain.id.0);
    }
    assert_eq!(machine.audit(), Ok(()));
}
