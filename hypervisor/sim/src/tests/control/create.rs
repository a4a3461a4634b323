//! The calls with which a toolstack builds a domain, in their order.

use xenolith_abi::control::Bitmap;
use xenolith_abi::domctl::{
    AFFINITY_SOFT, AddressSize, ArchDomainConfig, CONTEXT_ONLINE, CacheFlush, DomainSchedulerOp, MaxMem,
    MaxVcpus, NodeAffinity, PagingMempool, SetLlcColors, VcpuAffinity, VcpuContext, VcpuGuestContext,
    VcpuGuestCoreRegs, create_flag, info_flag,
};
use xenolith_abi::event::AllocUnbound;
use xenolith_abi::hvm::HvmParamArgument;
use xenolith_abi::memory::Reservation;
use xenolith_abi::multicall::MulticallEntry;
use xenolith_abi::sysctl::PhysInfo;
use xenolith_abi::{Errno, Port};

use super::*;
use xenolith_isa::regs::Pstate;

/// A multicall with one `populate_physmap`: what libxenctrl makes of it. How many extents were done.
fn populate(machine: &mut Machine, tools: &Toolstack, domain: u16, order: u32, frames: &[u64]) -> u64 {
    let list = tools.buffer(machine);
    machine.poke(&tools.guest.domain, list, frames);
    let at = tools.guest.page(machine, 6);
    let reservation = Reservation {
        extent_start: list.into(),
        nr_extents: frames.len() as u64,
        extent_order: order,
        domid: DomId(domain),
        ..Reservation::default()
    };
    machine.poke(&tools.guest.domain, at, &reservation);
    let call = tools.guest.page(machine, 7);
    let entry = MulticallEntry { op: 12, args: [6, at, 0, 0, 0, 0], ..MulticallEntry::default() };
    machine.poke(&tools.guest.domain, call, &entry);
    assert_eq!(tools.guest.plain(machine, Hypercall::Multicall, [call, 1, 0, 0, 0]), 0);
    machine.peek::<MulticallEntry>(&tools.guest.domain, call).result
}

/// Makes a domain with 2 MiB of RAM and the special pages, ready to go on; its number.
pub fn build(machine: &mut Machine, tools: &Toolstack) -> u16 {
    let id = tools.create(machine, plan()).expect("a domain");
    let buffer = tools.buffer(machine);
    if tools.version == VERSION_4_20 {
        let colours = tools.domctl(machine, DomctlOp::SetLlcColors, id, &mut SetLlcColors::default());
        assert_eq!(colours, error(Errno::EOPNOTSUPP));
    }
    let info = tools.info(machine, id).unwrap();
    assert_eq!(info.flags & info_flag::PAUSED, info_flag::PAUSED);
    assert_eq!(tools.domctl(machine, DomctlOp::MaxVcpus, id, &mut MaxVcpus { max: 2 }), 0);
    for vcpu in 0..2 {
        let cpumap_soft = Bitmap { bitmap: buffer.into(), nr_bits: 8, pad: 0xa5a5_a5a5 };
        machine.poke(&tools.guest.domain, buffer, &[0xff_u8, 0x77]);
        let mut affinity =
            VcpuAffinity { vcpu, flags: AFFINITY_SOFT, cpumap_soft, ..VcpuAffinity::default() };
        assert_eq!(tools.domctl(machine, DomctlOp::SetVcpuAffinity, id, &mut affinity), 0);
        assert_eq!(
            machine.peek::<[u8; 2]>(&tools.guest.domain, buffer),
            [3, 0x77],
            "two CPUs, and no more bytes"
        );
    }
    machine.poke(&tools.guest.domain, buffer, &1_u8);
    let mut nodes = NodeAffinity { nodemap: Bitmap { bitmap: buffer.into(), nr_bits: 8, pad: 0 } };
    assert_eq!(tools.domctl(machine, DomctlOp::SetNodeAffinity, id, &mut nodes), 0);
    assert_eq!(tools.domctl(machine, DomctlOp::MaxMem, id, &mut MaxMem { max_memkb: 0x800 + 1024 }), 0);
    for port in 1..=2 {
        let mut alloc = AllocUnbound { dom: DomId(id), remote_dom: DomId(0), port: Port(0) };
        assert_eq!(tools.guest.call(machine, Hypercall::EventChannelOp, 6, &mut alloc), 0);
        assert_eq!(alloc.port, Port(port));
    }
    let mut pool = PagingMempool { size: 0x8_0000 };
    assert_eq!(tools.domctl(machine, DomctlOp::SetPagingMempoolSize, id, &mut pool), 0);
    assert_eq!(tools.domctl(machine, DomctlOp::GetPagingMempoolSize, id, &mut pool), 0);
    assert_eq!(pool.size, 0x8_0000);
    set_parameter(machine, tools, id, 0, 0x0200_0000_0000_021f);
    assert_eq!(tools.domctl(machine, DomctlOp::SetAddressSize, id, &mut AddressSize { size: 64 }), 0);
    assert_eq!(populate(machine, tools, id, 9, &[0x4_0000]), 1);
    assert_eq!(populate(machine, tools, id, 0, &[0x3_9000, 0x3_9001, 0x3_9002, 0x3_9003]), 4);
    for start_pfn in 0x3_9000..0x3_9004 {
        let mut flush = CacheFlush { start_pfn: Gfn(start_pfn), nr_pfns: 1 };
        assert_eq!(tools.domctl(machine, DomctlOp::CacheFlush, id, &mut flush), 0);
    }
    for (index, value) in [(17, 0x3_9000), (1, 0x3_9001), (28, 0x3_9002), (18, 2), (2, 1)] {
        set_parameter(machine, tools, id, index, value);
    }
    let mut user_regs = VcpuGuestCoreRegs { pc: ENTRY, cpsr: 0x1c5, ..VcpuGuestCoreRegs::default() };
    user_regs.x[0] = 0x4000_1000;
    let context = VcpuGuestContext {
        flags: CONTEXT_ONLINE,
        user_regs,
        sctlr: 0x00c5_0078,
        ..VcpuGuestContext::default()
    };
    machine.poke(&tools.guest.domain, buffer, &context);
    let mut set = VcpuContext { vcpu: 0, ctxt: buffer.into(), pad: 0xa5a5_a5a5 };
    assert_eq!(tools.domctl(machine, DomctlOp::SetVcpuContext, id, &mut set), 0);
    let mut flush = CacheFlush { start_pfn: Gfn(0x4_0000), nr_pfns: 0x200 };
    assert_eq!(tools.domctl(machine, DomctlOp::CacheFlush, id, &mut flush), 0);
    let mut shares = DomainSchedulerOp { sched_id: 6, cmd: 1, ..DomainSchedulerOp::default() };
    assert_eq!(tools.domctl(machine, DomctlOp::SchedulerOp, id, &mut shares), 0);
    assert_eq!((shares.weight, shares.cap), (256, 0));
    shares.cmd = 0;
    assert_eq!(tools.domctl(machine, DomctlOp::SchedulerOp, id, &mut shares), 0);
    id
}

fn set_parameter(machine: &mut Machine, tools: &Toolstack, domid: u16, index: u32, value: u64) {
    let mut parameter = HvmParamArgument { domid: DomId(domid), index, value, ..HvmParamArgument::default() };
    assert_eq!(tools.guest.call(machine, Hypercall::HvmOp, 0, &mut parameter), 0);
}

#[test]
fn a_domain_is_built_and_begins_to_run() {
    for version in VERSIONS {
        let (mut machine, tools) = Toolstack::new(version);
        let id = build(&mut machine, &tools);
        assert_eq!(id, 1);
        let domain = machine.hv.domain(DomId(id)).unwrap();
        assert_eq!(machine.cpu_of(&domain, 0), None, "it is paused");
        let info = tools.info(&mut machine, id).unwrap();
        let flags = info_flag::HVM_GUEST | info_flag::HAP | info_flag::PAUSED | 0xff_0000;
        assert_eq!((info.domain, info.flags), (DomId(1), flags));
        assert_eq!((info.tot_pages, info.max_pages), (512 + 4, 512 + 256));
        assert_eq!((info.nr_online_vcpus, info.max_vcpu_id), (1, 1));
        assert_eq!((&info.handle, info.gpaddr_bits), (b"sixteen bytes id", 48));
        assert_eq!((info.shared_info_frame, info.cpupool, info.cpu_time), (Gfn(u64::MAX), 0, 0));
        assert_eq!(info.arch.gic_version, 2);

        assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, id), 0);
        let cpu = machine.cpu_of(&domain, 0).expect("it runs");
        let regs = *machine.regs(cpu);
        assert_eq!((regs.pc, regs.x[0], regs.pstate), (ENTRY, 0x4000_1000, Pstate(0x1c5)));
        let flags = tools.info(&mut machine, id).unwrap().flags;
        assert_eq!(flags & (info_flag::PAUSED | info_flag::RUNNING), info_flag::RUNNING);
        assert_eq!(machine.audit(), Ok(()));
    }
}

#[test]
fn the_guest_finds_what_the_toolstack_left() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let id = build(&mut machine, &tools);
    assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, id), 0);
    let domain = machine.hv.domain(DomId(id)).unwrap();
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    let at = ENTRY + 0x2000;
    for (index, value) in [(18, 2), (17, 0x3_9000), (2, 1), (1, 0x3_9001)] {
        let argument = HvmParamArgument { domid: SELF, index, ..HvmParamArgument::default() };
        machine.poke(&domain, at, &argument);
        assert_eq!(machine.hypercall(cpu, Hypercall::HvmOp.number(), [1, at, 0, 0, 0]), Some(0));
        assert_eq!(machine.peek::<HvmParamArgument>(&domain, at).value, value);
    }
    machine.poke(&domain, at, &[0_u32; 2]);
    assert_eq!(machine.hypercall(cpu, Hypercall::XenVersion.number(), [6, at, 0, 0, 0]), Some(0));
    assert_eq!(machine.peek::<[u32; 2]>(&domain, at)[1], 0x1_6005);
    for call in [Hypercall::Domctl, Hypercall::Sysctl, Hypercall::ConsoleIo] {
        let refused = machine.hypercall(cpu, call.number(), [at, 0, 0, 0, 0]);
        assert_eq!(refused, Some(error(Errno::EPERM)), "{call:?}");
    }
}

#[test]
fn what_is_told_of_a_new_domain() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let mut wanted = CreateDomainV15::from(plan());
    wanted.arch.nr_spis = 12;
    let (result, id) = tools.domctl_for(&mut machine, 1, 7, &mut wanted);
    assert_eq!((result, id), (0, 7));
    assert_eq!((wanted.arch.gic_version, wanted.arch.nr_spis, wanted.arch.clock_frequency), (2, 12, 0));
    assert_eq!(tools.domctl_for(&mut machine, 1, 7, &mut wanted).0, error(Errno::EEXIST));
    assert_eq!(tools.domctl_for(&mut machine, 1, 0x7ff0, &mut wanted), (0, 1));
}

#[test]
fn what_no_domain_is_is_refused() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_20);
    let arch = |gic_version, sve_vl, tee_type| xenolith_abi::domctl::ArchDomainConfig {
        gic_version,
        sve_vl,
        tee_type,
        ..Default::default()
    };
    let wrong = [
        CreateDomain { flags: 1, ..plan() },
        CreateDomain { flags: 3 | 1 << 5, ..plan() },
        CreateDomain { flags: 3 | 1 << 7, ..plan() },
        CreateDomain { iommu_opts: 1, ..plan() },
        CreateDomain { altp2m_opts: 1, ..plan() },
        CreateDomain { vmtrace_size: 4096, ..plan() },
        CreateDomain { grant_opts: 2, ..plan() },
        CreateDomain { grant_opts: 0x11, ..plan() },
        CreateDomain { max_vcpus: 0, ..plan() },
        CreateDomain { max_vcpus: 129, ..plan() },
        CreateDomain { max_grant_frames: 0, ..plan() },
        CreateDomain { arch: arch(3, 0, 0), ..plan() },
        CreateDomain { arch: arch(0, 1, 0), ..plan() },
        CreateDomain { arch: arch(0, 0, 1), ..plan() },
    ];
    for wanted in wrong {
        assert_eq!(tools.create(&mut machine, wanted), Err(error(Errno::EINVAL)), "{wanted:?}");
    }
    let other_gic = CreateDomain { arch: arch(1, 0, 0), ..plan() };
    assert_eq!(tools.create(&mut machine, other_gic), Err(error(Errno::ENODEV)));
    let pool = CreateDomain { cpupool_id: 1, ..plan() };
    assert_eq!(tools.create(&mut machine, pool), Err(error(Errno::ENOENT)));
    assert_eq!(machine.hv.domain_count(), 1);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn accesses_to_nowhere_abort_only_where_that_was_asked_for() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    for (more, traps) in [(0, false), (create_flag::TRAP_UNMAPPED, true)] {
        let wanted = CreateDomain { flags: plan().flags | more, ..plan() };
        let id = tools.create(&mut machine, wanted).expect("a domain");
        let domain = machine.hv.domain(xenolith_core::types::DomId(id)).expect("on the list");
        assert_eq!(domain.trap_unmapped, traps);
    }
}

/// A load where nothing is, in a domain that a toolstack has made and started.
#[test]
fn a_load_from_nowhere_is_an_abort_or_all_ones() {
    const NOWHERE: u64 = 0x0210_0000;
    for (more, aborts) in [(0, false), (create_flag::TRAP_UNMAPPED, true)] {
        let (mut machine, tools) = Toolstack::new(VERSION_4_20);
        let id = tools
            .create(&mut machine, CreateDomain { flags: plan().flags | more, ..plan() })
            .expect("a domain");
        let domain = machine.hv.domain(xenolith_core::types::DomId(id)).expect("on the list");
        assert!(domain.on(&machine.hv).start_vcpu(&domain.vcpus[0], ENTRY, 0));
        assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, id), 0);
        machine.settle();
        let cpu = machine.cpu_of(&domain, 0).expect("it runs");
        machine.regs(cpu).x[1] = 5;
        let loaded = machine.load(cpu, NOWHERE, 4);
        let pc = machine.regs(cpu).pc;
        assert_eq!((loaded, pc == ENTRY + 4), if aborts { (5, false) } else { (0xffff_ffff, true) });
        machine.regs(cpu).pc = ENTRY;
        machine.store(cpu, NOWHERE, 4, 7);
        assert_eq!(machine.regs(cpu).pc == ENTRY + 4, !aborts);
        assert_eq!(machine.next(cpu), Next::Guest);
    }
}

/// The vectors of SVE are no longer than the machine has, and what was granted is told.
#[test]
fn sve_is_given_up_to_what_the_machine_has() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_20);
    let with = |sve_vl| CreateDomain { arch: ArchDomainConfig { sve_vl, ..plan().arch }, ..plan() };
    assert_eq!(tools.create(&mut machine, with(1)), Err(error(Errno::EINVAL)), "a machine without it");
    sim::set_vector_granules(4);
    let mut physical = PhysInfo::default();
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::PhysInfo, &mut physical), 0);
    assert_eq!(physical.arch_capabilities, 4);
    for sve_vl in [0, 1, 3, 4] {
        let id = tools.create(&mut machine, with(sve_vl)).unwrap();
        assert_eq!(tools.info(&mut machine, id).unwrap().arch.sve_vl, sve_vl);
    }
    assert_eq!(tools.create(&mut machine, with(5)), Err(error(Errno::EINVAL)));
    assert_eq!(machine.audit(), Ok(()));
}
