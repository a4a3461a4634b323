//! The first domain, built from a machine's device tree, and the calls that Linux makes in it, in their order.

use xenolith_abi::event::{AllocUnbound, BindVcpu, BindVirq, ExpandArray, InitControl, Status, fifo};
use xenolith_abi::grant::{CacheFlush, QuerySize, SetVersion};
use xenolith_abi::hvm::HvmParamArgument;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{AddToPhysmap, MemoryDomain};
use xenolith_abi::platform::{INTERFACE_VERSION, PlatformHeader, SetTime64};
use xenolith_abi::shared::RunStateInfo;
use xenolith_abi::vcpu::{RegisterRunstateMemoryArea, RegisterVcpuInfo};
use xenolith_abi::version::FeatureInfo;
use xenolith_abi::{Errno, Port};

use super::super::*;
use super::support::*;
use xenolith_boot::{Modules, StaticShm, build_first};
use xenolith_host::command_line::XenVersion;
use xenolith_host::platform::fixtures::{GICV2, GICV3};
use xenolith_host::platform::{Platform, Region};
use xenolith_isa::regs::Pstate;
use xenolith_memory::p2m::MapKind;

/// Where a kernel is loaded above a 2 MiB boundary.
const TEXT_OFFSET: u64 = 0x8_0000;

/// A kernel image: a header and a little text.
pub fn kernel() -> Vec<u8> {
    let mut image = vec![0_u8; 0x3000];
    image[8..16].copy_from_slice(&TEXT_OFFSET.to_le_bytes());
    image[16..24].copy_from_slice(&0x10_0000_u64.to_le_bytes());
    image[24..32].copy_from_slice(&0xa_u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image[0x2ffc..].copy_from_slice(b"text");
    image
}

/// A machine whose tree is a fixture, with a first domain of 16 MiB.
fn built(tree: &[u8], version: XenVersion) -> (Machine, Guest) {
    let options = Options {
        dom0_memory: Some(16 << 20),
        dom0_vcpus: Some(2),
        xen_version: version,
        ..Options::default()
    };
    let mut machine = Machine::with_options(2, 8192, options);
    let platform = Platform::parse(tree).unwrap();
    if let Some(extensions) = platform.gic.extensions {
        sim::gic::be_version_2(extensions.cpu.start(), extensions.cpu.size());
    }
    let ramdisk = vec![0x5a; 5000];
    let modules = Modules {
        device_tree: tree,
        kernel: &kernel(),
        ramdisk: Some(&ramdisk),
        grant_window: Region::between(0x4020_0000, 0x4024_0000).unwrap(),
    };
    let domain =
        build_first(&machine.hv, &platform, &modules, &StaticShm::take(&machine.hv.frames, &platform))
            .unwrap()
            .start(&machine.hv);
    machine.settle();
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    (machine, Guest { domain, cpu })
}

#[test]
fn the_first_domain_starts_as_the_boot_protocol_says() {
    for tree in [GICV2, GICV3] {
        let (mut machine, guest) = built(tree, XenVersion::V4_17);
        let regs = *machine.regs(guest.cpu);
        assert_eq!(regs.pstate, Pstate::EL1_ENTRY);
        assert_eq!(regs.pc % (2 << 20), TEXT_OFFSET);
        assert_eq!(regs.x[1..4], [0; 3]);
        assert!(regs.x[0].is_multiple_of(8));
        assert_eq!(machine.peek::<[u8; 4]>(&guest.domain, regs.x[0]), [0xd0, 0x0d, 0xfe, 0xed]);
        assert_eq!(machine.peek::<[u8; 4]>(&guest.domain, regs.pc + 0x2ffc), *b"text");
        let entry = guest.domain.lookup(Ipa(regs.pc).frame()).unwrap();
        assert_eq!(entry.mfn.0, Ipa(regs.pc).frame().0, "directly mapped");
        assert_eq!(sim::guest::registers().sctlr & 5, 0, "MMU and caches are off");
        assert_eq!(machine.audit(), Ok(()));
    }
}

#[test]
fn registers_are_strict_device_memory_and_what_is_memory_is_the_domains_to_choose() {
    for tree in [GICV2, GICV3] {
        let (_machine, guest) = built(tree, XenVersion::V4_17);
        let kind = |address| guest.domain.lookup(Ipa(address).frame()).unwrap().kind;
        let [rtc, io, config] = [0x0901_0000, 0x3eff_0000, 0x40_1000_0000];
        assert_eq!([rtc, io, config].map(kind), [MapKind::StrictDevice; 3]);
        assert_eq!([0x1000_0000, 0x3efe_f000].map(kind), [MapKind::Device; 2], "PCI memory");
    }
}

#[test]
fn the_calls_of_linux_have_the_results_that_it_needs() {
    for (version, number) in [(XenVersion::V4_17, 0x4_0011), (XenVersion::V4_20, 0x4_0014)] {
        let (mut machine, guest) = built(GICV3, version);
        let machine = &mut machine;
        let ram = |page: u64| guest.page(machine, page) >> 12;
        let [shared_info, info0, info1, control0, control1, array] = [600, 601, 602, 603, 604, 605].map(ram);

        // 1. What kind of domain this is.
        let mut features = FeatureInfo::default();
        assert_eq!(guest.call(machine, Hypercall::XenVersion, 6, &mut features), 0);
        assert_eq!(features.submap, 0x2_6805);
        // 2. Firmware that is not there.
        for probe in [0x8400_0050, 0x8600_ff01] {
            assert_eq!(machine.firmware(guest.cpu, [probe, 0, 0, 0]), Some(u64::MAX));
        }
        // 3. The early console.
        let text = guest.page(machine, 620);
        machine.poke(&guest.domain, text, b"Booting Linux");
        sim::console_output();
        assert_eq!(guest.plain(machine, Hypercall::ConsoleIo, [0, 13, text, 0, 0]), 0);
        assert_eq!(sim::console_output(), b"Booting Linux");
        // 4. Shared info.
        let mut add = AddToPhysmap { domid: SELF, gpfn: Gfn(shared_info), ..AddToPhysmap::default() };
        assert_eq!(guest.call(machine, Hypercall::MemoryOp, 7, &mut add), 0);
        // 5 to 7. Grants, in the window that the tree names.
        let mut size = QuerySize { dom: SELF, ..QuerySize::default() };
        assert_eq!(guest.grant_op(machine, 6, &mut size), 0);
        assert_eq!((size.status, size.max_nr_frames), (0, 64));
        let mut set_version = SetVersion { version: 1 };
        assert_eq!(guest.grant_op(machine, 8, &mut set_version), 0);
        let mut add = AddToPhysmap { domid: SELF, space: 1, gpfn: Gfn(0x4_0200), ..AddToPhysmap::default() };
        assert_eq!(guest.call(machine, Hypercall::MemoryOp, 7, &mut add), 0);
        // 8. Events of CPU 0.
        let mut control = InitControl { control_gfn: Gfn(control0), ..InitControl::default() };
        assert_eq!(guest.call(machine, Hypercall::EventChannelOp, 11, &mut control), 0);
        assert_eq!(u32::from(control.link_bits), fifo::LINK_BITS);
        // 9. The wall clock: 100 s after the machine was switched on it is 1000 s past 1970.
        let at = guest.scratch(machine);
        machine.poke(&guest.domain, at, &PlatformHeader { cmd: 62, interface_version: INTERFACE_VERSION });
        let time = SetTime64 { secs: 1000, nsecs: 7, system_time: 100_000_000_000, ..SetTime64::default() };
        machine.poke(&guest.domain, at + size_of::<PlatformHeader>() as u64, &time);
        assert_eq!(guest.plain(machine, Hypercall::PlatformOp, [at, 0, 0, 0, 0]), 0);
        let clock: [u32; 4] = machine.peek(&guest.domain, (shared_info << 12) + 1072);
        assert_eq!(clock[1..3], [900, 7]);
        assert_eq!(clock[0] % 2, 0);
        // 10. Where each CPU looks for events.
        for (vcpu, gfn) in [(0, info0), (1, info1)] {
            let at = guest.scratch(machine);
            machine.poke(&guest.domain, at, &RegisterVcpuInfo { gfn: Gfn(gfn), offset: 0x580, rsvd: 0 });
            assert_eq!(guest.plain(machine, Hypercall::VcpuOp, [10, vcpu, at, 0, 0]), 0);
            assert_eq!(machine.peek::<u8>(&guest.domain, (gfn << 12) + 0x580), 1);
        }
        // 11. Events of CPU 1.
        let mut control = InitControl { control_gfn: Gfn(control1), vcpu: 1, ..InitControl::default() };
        assert_eq!(guest.call(machine, Hypercall::EventChannelOp, 11, &mut control), 0);
        // 12. There is no store in another domain.
        let mut parameter = HvmParamArgument { domid: SELF, index: 2, ..HvmParamArgument::default() };
        parameter.value = 77;
        assert_eq!(guest.call(machine, Hypercall::HvmOp, 1, &mut parameter), 0);
        assert_eq!(parameter.value, 0);
        // 13 to 15. The port of the local store.
        let mut port = AllocUnbound { dom: SELF, remote_dom: SELF, ..AllocUnbound::default() };
        assert_eq!(guest.call(machine, Hypercall::EventChannelOp, 6, &mut port), 0);
        assert_eq!(port.port, Port(1));
        let mut expand = ExpandArray { array_gfn: Gfn(array) };
        assert_eq!(guest.call(machine, Hypercall::EventChannelOp, 12, &mut expand), 0);
        let mut bind = BindVcpu { port: Port(1), vcpu: 1 };
        assert_eq!(guest.call(machine, Hypercall::EventChannelOp, 8, &mut bind), 0);
        let mut status = Status { dom: SELF, port: Port(1), ..Status::default() };
        assert_eq!(guest.call(machine, Hypercall::EventChannelOp, 5, &mut status), 0);
        assert_eq!((status.status, status.vcpu), (1, 1), "unbound, on the second vCPU");
        // 16. Whether caches can be cleaned on request.
        assert_ne!(guest.grant_op(machine, 12, &mut CacheFlush::default()), error(Errno::ENOSYS));
        // 17. What the balloon starts from.
        let mut own = MemoryDomain { domid: SELF };
        assert_eq!(guest.call(machine, Hypercall::MemoryOp, 3, &mut own), 4096);
        // 18. Physical devices are its own business: what it finds and loses is heard, and needs no more.
        for op in [25, 26, 15, 16] {
            assert_eq!(guest.call(machine, Hypercall::PhysdevOp, op, &mut [0_u8; 16]), 0, "{op}");
            let nowhere = [op, 0x10, 0, 0, 0];
            assert_eq!(guest.plain(machine, Hypercall::PhysdevOp, nowhere), error(Errno::EFAULT), "{op}");
        }
        for op in [20, 32, 33] {
            assert_eq!(guest.call(machine, Hypercall::PhysdevOp, op, &mut [0_u8; 16]), error(Errno::ENOSYS));
        }
        // 19. Input of the console.
        let mut console = BindVirq { virq: 2, vcpu: 0, ..BindVirq::default() };
        assert_eq!(guest.call(machine, Hypercall::EventChannelOp, 1, &mut console), 0);
        assert_eq!(guest.call(machine, Hypercall::EventChannelOp, 1, &mut console), error(Errno::EEXIST));
        // 20 and 21. Run states, with their flag.
        assert_eq!(guest.plain(machine, Hypercall::VmAssist, [0, 5, 0, 0, 0]), 0);
        let (at, area) = (guest.scratch(machine), guest.page(machine, 610) + 8);
        machine.poke(&guest.domain, at, &RegisterRunstateMemoryArea { addr: area.into() });
        assert_eq!(guest.plain(machine, Hypercall::VcpuOp, [5, 0, at, 0, 0]), 0);
        let times: RunStateInfo = machine.peek(&guest.domain, area);
        assert_eq!(times.state, 0);
        assert_eq!(times.state_entry_time >> 63, 0, "the update is over");
        // 22. Nothing has been typed.
        assert_eq!(guest.plain(machine, Hypercall::ConsoleIo, [1, 16, text, 0, 0]), 0);
        // 23. What /sys/hypervisor and the tools ask for.
        assert_eq!(guest.plain(machine, Hypercall::XenVersion, [0, 0, 0, 0, 0]), number);
        for op in [1, 2, 3, 4, 5, 8, 9] {
            assert_eq!(guest.call(machine, Hypercall::XenVersion, op, &mut [0xff_u8; 1024]), 0, "{op}");
        }
        assert_eq!(guest.plain(machine, Hypercall::XenVersion, [7, 0, 0, 0, 0]), 4096);
        assert_eq!(guest.plain(machine, Hypercall::XenVersion, [10, 0, 0, 0, 0]), error(Errno::ENODATA));
        // The security module.
        assert_eq!(guest.plain(machine, Hypercall::XsmOp, [at, 0, 0, 0, 0]), error(Errno::ENOSYS));
        assert_eq!(machine.audit(), Ok(()));
    }
}

#[test]
fn a_device_s_interrupt_reaches_the_domain_and_ends_with_it() {
    let (mut machine, guest) = built(GICV3, XenVersion::V4_17);
    // The interrupt controller of QEMU's virt machine, and the first virtio device's line.
    let (distributor, redistributor, line) = (0x0800_0000, 0x080a_0000, 48);
    let cpu = guest.cpu;
    machine.store(cpu, distributor, 4, 0x12);
    machine.store(cpu, redistributor + 0x1_0100, 4, 0xffff_ffff);
    machine.store(cpu, distributor + 0x6000 + 8 * line, 8, 0);
    machine.store(cpu, distributor + 0xc00 + line / 16 * 4, 4, 2 << (line % 16 * 2));
    machine.store(cpu, distributor + 0x100 + line / 32 * 4, 4, 1 << (line % 32));
    let line = line as u32;
    assert!(sim::gic::line(Intid(line)).enabled && sim::gic::line(Intid(line)).edge);
    sim::gic::set_line(Intid(line), true);
    machine.settle();
    sim::on_cpu(CpuId(cpu));
    assert!(sim::gic::line(Intid(line)).active, "until the guest ends it");
    assert_eq!(sim::guest::take(), Some(Intid(line)));
    assert!(!sim::gic::line(Intid(line)).active);
}

#[test]
fn a_device_s_level_that_has_fallen_is_not_pending() {
    let (mut machine, guest) = built(GICV3, XenVersion::V4_17);
    let (distributor, redistributor, line) = (0x0800_0000, 0x080a_0000, 48_u64);
    let (cpu, intid) = (guest.cpu, Intid(48));
    let (word, bit) = (line / 32 * 4, 1 << (line % 32));
    let (enable, disable, pending) =
        (distributor + 0x100 + word, distributor + 0x180 + word, distributor + 0x200 + word);
    // Other interrupts of the group come, and this one waits, as its group is off.
    machine.store(cpu, redistributor + 0x1_0100, 4, 0xffff_ffff);
    machine.store(cpu, distributor + 0x6000 + 8 * line, 8, 0);
    machine.store(cpu, enable, 4, bit);
    for later_enabled in [false, true] {
        sim::gic::set_line(intid, true);
        machine.settle();
        sim::on_cpu(CpuId(cpu));
        assert!(sim::gic::line(intid).active, "EL2 has taken it");
        assert_eq!(machine.load(cpu, pending, 4), bit);
        if later_enabled {
            machine.store(cpu, disable, 4, bit);
        }
        sim::gic::set_line(intid, false);
        match later_enabled {
            true => machine.store(cpu, enable, 4, bit),
            false => assert_eq!(machine.load(cpu, pending, 4), 0),
        }
        machine.settle();
        sim::on_cpu(CpuId(cpu));
        assert!(!sim::gic::line(intid).active);
    }
    machine.store(cpu, distributor, 4, 0x12);
    machine.settle();
    sim::on_cpu(CpuId(cpu));
    assert_eq!(sim::guest::take(), None);
}

#[test]
fn a_line_is_disabled_while_the_guest_changes_its_trigger() {
    let (mut machine, guest) = built(GICV3, XenVersion::V4_17);
    let (distributor, line) = (0x0800_0000, 48_u64);
    let (cpu, intid) = (guest.cpu, Intid(48));
    machine.store(cpu, distributor + 0x100 + line / 32 * 4, 4, 1 << (line % 32));
    let trigger = distributor + 0xc00 + line / 16 * 4;
    // The model panics where the trigger of an enabled line changes.
    for edge in [true, false, true] {
        machine.store(cpu, trigger, 4, u64::from(edge) << 1 << (line % 16 * 2));
        let now = sim::gic::line(intid);
        assert_eq!((now.edge, now.enabled), (edge, true));
    }
    machine.store(cpu, distributor + 0x180 + line / 32 * 4, 4, 1 << (line % 32));
    machine.store(cpu, trigger, 4, 0);
    let now = sim::gic::line(intid);
    assert_eq!((now.edge, now.enabled), (false, false));
}
