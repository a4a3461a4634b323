//! Pausing, and vCPUs: registers, affinity, shares.

use xenolith_abi::control::Bitmap;
use xenolith_abi::domctl::{
    AFFINITY_FORCE, AFFINITY_HARD, AFFINITY_SOFT, CONTEXT_ONLINE, DomainSchedulerOp, NodeAffinity,
    VcpuAffinity, VcpuContext, VcpuGuestContext, VcpuInfo, info_flag,
};
use xenolith_abi::{Errno, GuestPtr};

use super::*;

/// A toolstack and a domain that runs, with the CPU that it runs on.
fn running(version: u32) -> (Machine, Toolstack, Arc<Domain>, u16) {
    let (mut machine, tools) = Toolstack::new(version);
    let id = create::build(&mut machine, &tools);
    assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, id), 0);
    let domain = machine.hv.domain(DomId(id)).unwrap();
    let cpu = machine.cpu_of(&domain, 0).unwrap();
    (machine, tools, domain, cpu)
}

#[test]
fn a_pause_returns_when_the_vcpus_have_stopped() {
    let (mut machine, tools, domain, cpu) = running(VERSION_4_17);
    machine.regs(cpu).x[9] = 99;
    assert_eq!(tools.simple(&mut machine, DomctlOp::PauseDomain, 1), 0);
    assert!(domain.on(&machine.hv).is_stopped());
    assert_eq!(machine.regs_of(&domain, 0).x[9], 99);
    assert_eq!(tools.simple(&mut machine, DomctlOp::PauseDomain, 1), 0);
    assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, 1), 0);
    assert_eq!(machine.cpu_of(&domain, 0), None, "it was paused twice");
    assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, 1), 0);
    let cpu = machine.cpu_of(&domain, 0).expect("it runs again");
    assert_eq!(machine.regs(cpu).x[9], 99);
    assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, 1), error(Errno::EINVAL));
}

#[test]
fn a_call_that_waits_for_a_vcpu_is_made_again() {
    let (mut machine, tools, domain, _) = running(VERSION_4_17);
    let at = tools.guest.scratch(&machine);
    let request = Domctl {
        cmd: DomctlOp::PauseDomain.number(),
        interface_version: VERSION_4_17,
        domain: DomId(1),
        ..Domctl::default()
    };
    machine.poke(&tools.guest.domain, at, &request);
    let cpu = tools.guest.cpu;
    let (pc, before) = (machine.regs(cpu).pc, [at, 0, 0, 0, 0]);
    machine.regs(cpu).x[16] = Hypercall::Domctl.number();
    machine.regs(cpu).x[..5].copy_from_slice(&before);
    machine.regs(cpu).pc = pc.wrapping_add(4);
    machine.trap(cpu, 0x16 << 26 | 1 << 25 | 0xea1);
    assert_eq!(machine.regs(cpu).pc, pc, "the call is made again");
    assert!(!domain.on(&machine.hv).is_stopped());
    machine.settle();
    machine.regs(cpu).pc = pc.wrapping_add(4);
    machine.trap(cpu, 0x16 << 26 | 1 << 25 | 0xea1);
    assert_eq!((machine.regs(cpu).pc, machine.regs(cpu).x[0]), (pc.wrapping_add(4), 0));
    assert!(domain.on(&machine.hv).is_stopped());
    assert_eq!(*domain.controller_pauses.lock(), 1, "however often it was made");
}

#[test]
fn registers_are_set_and_read() {
    for version in VERSIONS {
        let (mut machine, tools, domain, cpu) = running(version);
        let buffer = tools.buffer(&machine);
        machine.regs(cpu).x[30] = 0x3030;
        let mut argument = VcpuContext { vcpu: 0, ctxt: buffer.into(), ..VcpuContext::default() };
        assert_eq!(tools.domctl(&mut machine, DomctlOp::GetVcpuContext, 1, &mut argument), 0);
        let mut context: VcpuGuestContext = machine.peek(&tools.guest.domain, buffer);
        assert_eq!((context.user_regs.x[30], context.user_regs.pc, context.flags), (0x3030, ENTRY, 1));
        assert_eq!(context.sctlr, 0x00c5_0078);
        assert!(machine.cpu_of(&domain, 0).is_some(), "it goes on after it was read");

        context.user_regs.x = core::array::from_fn(|number| number as u64);
        context.user_regs.pc = 0x8000;
        context.user_regs.cpsr = 0xffff_ffff_0000_03c5;
        context.user_regs.spsr_el1 = 0x11;
        (context.user_regs.sp_el0, context.user_regs.sp_el1, context.user_regs.elr_el1) = (1, 2, 3);
        (context.ttbcr, context.ttbr0, context.ttbr1) = (4, 5, 6);
        machine.poke(&tools.guest.domain, buffer, &context);
        assert_eq!(tools.domctl(&mut machine, DomctlOp::SetVcpuContext, 1, &mut argument), 0);
        assert_eq!(tools.domctl(&mut machine, DomctlOp::GetVcpuContext, 1, &mut argument), 0);
        let read: VcpuGuestContext = machine.peek(&tools.guest.domain, buffer);
        context.user_regs.cpsr = 0x3c5;
        assert_eq!(read, context);
        let cpu = machine.cpu_of(&domain, 0).expect("it runs with them");
        assert_eq!((machine.regs(cpu).pc, machine.regs(cpu).x[17]), (0x8000, 17));
    }
}

#[test]
fn registers_that_cannot_be() {
    let (mut machine, tools, domain, _) = running(VERSION_4_17);
    let buffer = tools.buffer(&machine);
    let mut context = VcpuGuestContext { flags: CONTEXT_ONLINE, ..VcpuGuestContext::default() };
    let mut argument = VcpuContext { vcpu: 1, ctxt: buffer.into(), ..VcpuContext::default() };
    let none = tools.domctl(&mut machine, DomctlOp::GetVcpuContext, 1, &mut argument);
    assert_eq!(none, error(Errno::ENODATA));
    // EL2, EL3, AArch32.
    for cpsr in [0x3c9, 0x3c8, 0x3cd, 0x1d0, 0x1d3] {
        context.user_regs.cpsr = cpsr;
        machine.poke(&tools.guest.domain, buffer, &context);
        let result = tools.domctl(&mut machine, DomctlOp::SetVcpuContext, 1, &mut argument);
        assert_eq!(result, error(Errno::EINVAL), "{cpsr:#x}");
    }
    assert_eq!(tools.info(&mut machine, 1).unwrap().nr_online_vcpus, 1);
    context.user_regs.cpsr = 0x3c5;
    machine.poke(&tools.guest.domain, buffer, &context);
    assert_eq!(tools.domctl(&mut machine, DomctlOp::SetVcpuContext, 1, &mut argument), 0);
    assert_eq!(tools.info(&mut machine, 1).unwrap().nr_online_vcpus, 2, "it is on now");
    argument.ctxt = GuestPtr::NULL;
    assert_eq!(tools.domctl(&mut machine, DomctlOp::SetVcpuContext, 1, &mut argument), 0);
    assert_eq!(tools.info(&mut machine, 1).unwrap().nr_online_vcpus, 1, "and was reset");
    assert!(!domain.vcpus[1].saved.lock().defined);
    argument.vcpu = 2;
    for op in [DomctlOp::SetVcpuContext, DomctlOp::GetVcpuContext] {
        assert_eq!(tools.domctl(&mut machine, op, 1, &mut argument), error(Errno::EINVAL));
    }
    argument = VcpuContext { vcpu: 0, ctxt: GuestPtr::new(8), ..VcpuContext::default() };
    for op in [DomctlOp::SetVcpuContext, DomctlOp::GetVcpuContext] {
        assert_eq!(tools.domctl(&mut machine, op, 1, &mut argument), error(Errno::EFAULT));
    }
    assert_eq!(*domain.controller_pauses.lock(), 0, "no pause is left behind");
}

#[test]
fn what_a_vcpu_is_doing() {
    let (mut machine, tools, _, cpu) = running(VERSION_4_20);
    sim::advance(1_000_000);
    let mut info = VcpuInfo { vcpu: 0, ..VcpuInfo::default() };
    assert_eq!(tools.domctl(&mut machine, DomctlOp::GetVcpuInfo, 1, &mut info), 0);
    assert_eq!((info.online, info.blocked, info.running, info.cpu), (1, 0, 1, cpu.into()));
    assert!(info.cpu_time >= xenolith_arch::nanoseconds(1_000_000));
    assert!(tools.info(&mut machine, 1).unwrap().cpu_time >= info.cpu_time);
    machine.wait(cpu);
    machine.settle();
    assert_eq!(tools.domctl(&mut machine, DomctlOp::GetVcpuInfo, 1, &mut info), 0);
    assert_eq!((info.online, info.blocked, info.running), (1, 1, 0));
    let flags = tools.info(&mut machine, 1).unwrap().flags;
    assert_eq!(flags & (info_flag::BLOCKED | info_flag::RUNNING), info_flag::BLOCKED);
    info.vcpu = 1;
    assert_eq!(tools.domctl(&mut machine, DomctlOp::GetVcpuInfo, 1, &mut info), 0);
    assert_eq!((info.online, info.blocked, info.running, info.cpu_time), (0, 0, 0, 0));
    info.vcpu = 2;
    assert_eq!(tools.domctl(&mut machine, DomctlOp::GetVcpuInfo, 1, &mut info), error(Errno::EINVAL));
}

#[test]
fn affinity_moves_a_vcpu() {
    let (mut machine, tools, domain, cpu) = running(VERSION_4_17);
    let buffer = tools.buffer(&machine);
    let hard = Bitmap { bitmap: buffer.into(), nr_bits: 64, pad: 0 };
    let soft = Bitmap { bitmap: (buffer + 64).into(), nr_bits: 9, pad: 0 };
    let both =
        VcpuAffinity { vcpu: 0, flags: AFFINITY_HARD | AFFINITY_SOFT, cpumap_hard: hard, cpumap_soft: soft };
    let other = 1 - cpu;
    machine.poke(&tools.guest.domain, buffer, &(1_u64 << other | 1 << 40));
    machine.poke(&tools.guest.domain, buffer + 64, &[0xffff_u16; 2]);
    assert_eq!(tools.domctl(&mut machine, DomctlOp::SetVcpuAffinity, 1, &mut both.clone()), 0);
    assert_eq!(machine.peek::<u64>(&tools.guest.domain, buffer), 1 << other);
    assert_eq!(
        machine.peek::<[u16; 2]>(&tools.guest.domain, buffer + 64),
        [3, 0xffff],
        "9 bits are two bytes"
    );
    assert_eq!(machine.cpu_of(&domain, 0).filter(|&now| now == cpu), None);
    machine.poke(&tools.guest.domain, buffer, &[0xff_u8; 80]);
    assert_eq!(tools.domctl(&mut machine, DomctlOp::GetVcpuAffinity, 1, &mut both.clone()), 0);
    assert_eq!(machine.peek::<u64>(&tools.guest.domain, buffer), 1 << other);

    let mut call = |change: fn(&mut VcpuAffinity), bits: u64, op| {
        machine.poke(&tools.guest.domain, buffer, &bits);
        let mut affinity = both;
        change(&mut affinity);
        tools.domctl(&mut machine, op, 1, &mut affinity)
    };
    let invalid = error(Errno::EINVAL);
    assert_eq!(call(|_| (), 0, DomctlOp::SetVcpuAffinity), invalid);
    assert_eq!(call(|_| (), 1 << 40, DomctlOp::SetVcpuAffinity), invalid, "there is no such CPU");
    for op in [DomctlOp::SetVcpuAffinity, DomctlOp::GetVcpuAffinity] {
        assert_eq!(call(|affinity| affinity.flags = 0, 1, op), invalid);
        assert_eq!(call(|affinity| affinity.flags = 1 << 3 | AFFINITY_HARD, 1, op), invalid);
        assert_eq!(call(|affinity| affinity.flags |= AFFINITY_FORCE, 1, op), 0);
        assert_eq!(call(|affinity| affinity.vcpu = 2, 1, op), invalid);
        assert_eq!(call(|affinity| affinity.cpumap_hard.nr_bits = u32::MAX, 1, op), invalid);
        assert_eq!(
            call(|affinity| affinity.cpumap_hard.bitmap = GuestPtr::new(8), 1, op),
            error(Errno::EFAULT)
        );
    }
    assert_eq!(call(|affinity| affinity.cpumap_hard.nr_bits = 0, 1, DomctlOp::SetVcpuAffinity), invalid);
}

#[test]
fn nodes_and_shares() {
    let (mut machine, tools, domain, _) = running(VERSION_4_17);
    let buffer = tools.buffer(&machine);
    let mut nodes = NodeAffinity { nodemap: Bitmap { bitmap: buffer.into(), nr_bits: 64, pad: 0 } };
    machine.poke(&tools.guest.domain, buffer, &2_u64);
    let invalid = error(Errno::EINVAL);
    assert_eq!(tools.domctl(&mut machine, DomctlOp::SetNodeAffinity, 1, &mut nodes), invalid);
    assert_eq!(tools.domctl(&mut machine, DomctlOp::GetNodeAffinity, 1, &mut nodes), 0);
    assert_eq!(machine.peek::<u64>(&tools.guest.domain, buffer), 1);

    let put = DomainSchedulerOp { sched_id: 6, cmd: 0, weight: 512, ..DomainSchedulerOp::default() };
    assert_eq!(tools.domctl(&mut machine, DomctlOp::SchedulerOp, 1, &mut put.clone()), 0);
    let weights = domain.vcpus.iter().map(|vcpu| machine.hv.scheduler.parameters(vcpu.unit).unwrap().1);
    assert_eq!(weights.collect::<Vec<_>>(), [512, 512]);
    let mut unchanged = DomainSchedulerOp { weight: 0, cap: 0xffff, ..put };
    assert_eq!(tools.domctl(&mut machine, DomctlOp::SchedulerOp, 1, &mut unchanged), 0);
    let mut get = DomainSchedulerOp { cmd: 1, ..put };
    assert_eq!(tools.domctl(&mut machine, DomctlOp::SchedulerOp, 1, &mut get), 0);
    assert_eq!((get.weight, get.cap), (512, 0));
    let mut capped = DomainSchedulerOp { cap: 50, ..put };
    let result = tools.domctl(&mut machine, DomctlOp::SchedulerOp, 1, &mut capped);
    assert_eq!(result, error(Errno::EOPNOTSUPP));
    for wrong in [
        DomainSchedulerOp { sched_id: 5, ..put },
        DomainSchedulerOp { cmd: 2, ..put },
        DomainSchedulerOp { cmd: 9, ..put },
    ] {
        assert_eq!(tools.domctl(&mut machine, DomctlOp::SchedulerOp, 1, &mut wrong.clone()), invalid);
    }
}
