//! Interrupts between vCPUs, timers, and more vCPUs than CPUs.

use xenolith_abi::hypercall::Hypercall;

use super::super::*;
use super::support::*;

const CPU_ON: u64 = 0xc400_0003;
const SGI1R: (u8, u8, u8, u8, u8) = (3, 0, 12, 11, 5);
const CNTP_CTL: (u8, u8, u8, u8, u8) = (3, 3, 14, 2, 1);
const CNTP_CVAL: (u8, u8, u8, u8, u8) = (3, 3, 14, 2, 2);

/// The interrupt controller as Linux sets it up on the vCPU that a CPU runs.
fn enable_interrupts(machine: &mut Machine, cpu: u16) {
    let Some((_, vcpu)) = machine.running(cpu) else { panic!("nobody runs on cpu{cpu}") };
    let frame = REDISTRIBUTORS + u64::from(vcpu.0) * 0x2_0000 + 0x1_0000;
    machine.store(cpu, DISTRIBUTOR, 4, 0x12);
    machine.store(cpu, frame + 0x80, 4, 0xffff_ffff);
    machine.store(cpu, frame + 0x100, 4, 0xffff_ffff);
}

fn take(cpu: u16) -> Option<u32> {
    sim::on_cpu(CpuId(cpu));
    sim::guest::take().map(|intid| intid.0)
}

#[test]
fn vcpus_interrupt_each_other() {
    let mut machine = Machine::new(2, 1024);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 2, ..CONTROL });
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 1, 0x1000, 0]), Some(0));
    machine.settle();
    let other = machine.cpu_of(&guest.domain, 1).unwrap();
    enable_interrupts(&mut machine, guest.cpu);
    enable_interrupts(&mut machine, other);
    // SGI 5 to the vCPU with affinity 1: it runs, so it is made to leave its guest.
    machine.write_register(guest.cpu, SGI1R, 5 << 24 | 1 << 1);
    machine.settle();
    assert_eq!((take(other), take(guest.cpu)), (Some(5), None));
    // It sleeps, so it is woken.
    assert_eq!(machine.wait(other), Next::Idle);
    machine.write_register(guest.cpu, SGI1R, 6 << 24 | 1 << 1);
    machine.settle();
    assert_eq!(machine.running(other), Some((DomId(0), VcpuId(1))));
    assert_eq!(take(other), Some(6));
    // To itself.
    machine.write_register(other, SGI1R, 7 << 24 | 1 << 1);
    assert_eq!(take(other), Some(7));
}

/// Has the timer of the vCPU that a CPU runs fire, with everything that follows from it.
fn let_timer_fire(machine: &mut Machine, cpu: u16) {
    sim::on_cpu(CpuId(cpu));
    let compare = sim::guest::counter() + 10;
    sim::guest::change_registers(|registers| {
        (registers.timer_control, registers.timer_compare) = (1, compare);
    });
    sim::advance(100);
    machine.settle();
    sim::on_cpu(CpuId(cpu));
}

#[test]
fn a_timer_that_another_vcpu_clears_stays_no_obstacle_to_other_domains() {
    let mut machine = Machine::new(2, 1024);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 2, ..OTHER });
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 1, 0x1000, 0]), Some(0));
    machine.settle();
    let cpu = machine.cpu_of(&guest.domain, 1).unwrap();
    // vCPU 1 has the interrupt of its timer pending and not enabled, so that it never takes it.
    machine.store(cpu, DISTRIBUTOR, 4, 0x12);
    let_timer_fire(&mut machine, cpu);
    assert!(sim::gic::line(Intid(27)).active);
    sim::guest::change_registers(|registers| registers.timer_control = 0);
    // vCPU 0 clears it, from another CPU.
    machine.store(guest.cpu, REDISTRIBUTORS + 0x2_0000 + 0x1_0280, 4, 1 << 27);
    machine.settle();
    sim::on_cpu(CpuId(cpu));
    assert!(!sim::gic::line(Intid(27)).active, "the CPU that has the line follows");
    // The same again, and vCPU 1 leaves its CPU before that one hears of it.
    let_timer_fire(&mut machine, cpu);
    sim::guest::change_registers(|registers| registers.timer_control = 0);
    machine.store(guest.cpu, REDISTRIBUTORS + 0x2_0000 + 0x1_0280, 4, 1 << 27);
    assert_eq!(machine.wait(cpu), Next::Idle);
    let second = Guest::boot(&mut machine, Plan { id: 2, ..CONTROL });
    assert_eq!(second.cpu, cpu);
    enable_interrupts(&mut machine, cpu);
    let_timer_fire(&mut machine, cpu);
    assert_eq!(take(cpu), Some(27));
}

#[test]
fn the_virtual_timer_fires_while_its_vcpu_runs_and_while_it_sleeps() {
    let (mut machine, _guest) = Guest::alone();
    enable_interrupts(&mut machine, 0);
    let set = |after: u64| {
        let compare = sim::guest::counter() + after;
        sim::guest::change_registers(|registers| {
            (registers.timer_control, registers.timer_compare) = (1, compare);
        });
    };
    set(1000);
    sim::advance(2000);
    machine.settle();
    assert_eq!(machine.next(0), Next::Guest);
    sim::on_cpu(CpuId(0));
    assert_eq!(sim::guest::acknowledge(), Some(Intid(27)));
    assert!(sim::gic::line(Intid(27)).active, "EL2 is not asked again while the guest handles it");
    set(5000);
    sim::guest::end(Intid(27));
    assert!(!sim::gic::line(Intid(27)).active);

    assert_eq!(machine.wait(0), Next::Idle);
    machine.settle();
    assert_eq!(machine.next(0), Next::Idle);
    sim::advance(6000);
    machine.settle();
    assert_eq!(machine.next(0), Next::Guest);
    assert_eq!(sim::guest::acknowledge(), Some(Intid(27)));
    set(5000);
    sim::guest::end(Intid(27));
    assert_eq!(machine.wait(0), Next::Idle);
    // What the processor does by itself: it sleeps until its timer.
    xenolith_arch::wait_for_interrupt();
    machine.settle();
    assert_eq!(machine.next(0), Next::Guest);
    assert_eq!(take(0), Some(27));
}

#[test]
fn the_emulated_physical_timer_fires() {
    let (mut machine, _guest) = Guest::alone();
    enable_interrupts(&mut machine, 0);
    let soon = xenolith_arch::now() + 10_000;
    machine.write_register(0, CNTP_CVAL, soon);
    machine.write_register(0, CNTP_CTL, 1);
    assert_eq!(machine.wait(0), Next::Idle);
    machine.settle();
    assert_eq!(machine.next(0), Next::Idle);
    sim::advance(20_000);
    machine.settle();
    assert_eq!(machine.next(0), Next::Guest);
    assert_eq!(machine.read_register(0, CNTP_CTL), 1 | 1 << 2, "its condition holds");
    assert_eq!(sim::guest::acknowledge(), Some(PHYSICAL_TIMER));
    machine.write_register(0, CNTP_CTL, 0);
    sim::guest::end(PHYSICAL_TIMER);
    machine.settle();
    assert_eq!(take(0), None);
}

#[test]
fn more_vcpus_than_cpus_share_them() {
    let mut machine = Machine::new(2, 1024);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 5, ..CONTROL });
    for vcpu in 1..5 {
        assert_eq!(machine.firmware(guest.cpu, [CPU_ON, vcpu, 0x1000 * vcpu, vcpu]), Some(0));
    }
    let mut turns = [0; 5];
    for _ in 0..200 {
        sim::advance(xenolith_arch::ticks(1_000_000));
        machine.settle();
        for cpu in 0..2 {
            let (_, vcpu) = machine.running(cpu).expect("there is work for all");
            turns[usize::from(vcpu.0)] += 1;
            if vcpu.0 > 0 {
                assert_eq!(machine.regs(cpu).pc, 0x1000 * u64::from(vcpu.0));
            }
        }
    }
    assert!(turns.iter().all(|&turns| turns > 50), "{turns:?}");
    // Yielding lets others run.
    let before = machine.running(0);
    assert_eq!(machine.hypercall(0, Hypercall::SchedOp.number(), [0; 5]), None);
    assert_ne!(machine.running(0), before);
}

#[test]
fn a_domain_of_many_vcpus_has_the_share_of_one_with_the_same_weight() {
    let mut machine = Machine::new(1, 1024);
    let single = machine.boot(OTHER);
    let many = machine.add(Plan { id: 2, vcpus: 16, ..OTHER });
    for vcpu in &many.vcpus {
        assert!(many.on(&machine.hv).start_vcpu(vcpu, 0x1000, 0));
    }
    // In thousandths of the CPU, as the toolstack reads them.
    let mut shares = |weight: u16| {
        for vcpu in &many.vcpus {
            machine.hv.scheduler.set_weight(vcpu.unit, weight, xenolith_arch::now());
        }
        let times = |machine: &Machine| {
            let domains = [&single, &many].map(|domain| domain.on(&machine.hv).info().cpu_time);
            let own = |vcpu| many.on(&machine.hv).vcpu_info(vcpu).cpu_time;
            domains.into_iter().chain(many.vcpus.iter().map(own)).collect::<Vec<_>>()
        };
        let before = times(&machine);
        for _ in 0..8000 {
            sim::advance(xenolith_arch::ticks(1_000_000));
            machine.settle();
        }
        let ran = times(&machine).into_iter().zip(before).map(|(now, before)| now - before);
        ran.map(|ran| ran / 8_000_000).collect::<Vec<_>>()
    };
    for (weight, due) in [(256, 500), (768, 750), (128, 333)] {
        let shares = shares(weight);
        assert!(shares[1].abs_diff(due) <= 10, "{} of {due} thousandths at weight {weight}", shares[1]);
        assert!(
            shares[0].abs_diff(1000 - due) <= 10,
            "{} thousandths are left at weight {weight}",
            shares[0]
        );
        let own = &shares[2..];
        assert!(own.iter().all(|own| own.abs_diff(due / 16) <= 5), "{own:?} at weight {weight}");
    }
}

#[test]
fn timers_of_vcpus_that_do_not_run_wake_them_in_time() {
    let mut machine = Machine::new(1, 1024);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 3, ..CONTROL });
    for vcpu in 1..3 {
        assert_eq!(machine.firmware(0, [CPU_ON, vcpu, 0x1000, 0]), Some(0));
    }
    let start = sim::guest::counter();
    for _ in 0..3 {
        let (_, vcpu) = machine.running(0).unwrap();
        enable_interrupts(&mut machine, 0);
        sim::guest::change_registers(|registers| {
            registers.timer_control = 1;
            registers.timer_compare = start + 1_000_000 * u64::from(3 - vcpu.0);
        });
        machine.wait(0);
    }
    assert_eq!(machine.next(0), Next::Idle);
    for expected in [2, 1, 0] {
        machine.settle();
        xenolith_arch::wait_for_interrupt();
        machine.settle();
        assert_eq!(machine.running(0), Some((guest.domain.id, VcpuId(expected))));
        assert_eq!(take(0), Some(27));
        sim::guest::change_registers(|registers| registers.timer_control = 0);
        assert_eq!(machine.wait(0), Next::Idle);
    }
}

#[test]
fn a_vcpu_is_not_shown_the_interrupts_of_the_one_before_it() {
    let mut machine = Machine::new(1, 1024);
    let _guest = Guest::boot(&mut machine, Plan { vcpus: 2, ..CONTROL });
    enable_interrupts(&mut machine, 0);
    // Three interrupts stand in list registers, masked by the guest, when the other vCPU takes over.
    for sgi in 1..4 {
        machine.write_register(0, SGI1R, sgi << 24 | 1);
    }
    assert_eq!(machine.firmware(0, [CPU_ON, 1, 0x1000, 0]), Some(0));
    assert_eq!(machine.hypercall(0, Hypercall::SchedOp.number(), [0; 5]), None);
    assert_eq!(machine.running(0), Some((DomId(0), VcpuId(1))));
    assert_eq!(take(0), None);
    assert_eq!(machine.hypercall(0, Hypercall::SchedOp.number(), [0; 5]), None);
    assert_eq!([take(0), take(0), take(0), take(0)], [Some(1), Some(2), Some(3), None]);
}

#[test]
fn a_vcpu_that_is_turned_on_again_has_no_timer_from_before() {
    const CPU_OFF: u64 = 0x8400_0002;
    let mut machine = Machine::new(2, 1024);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 2, ..CONTROL });
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 1, 0x1000, 0]), Some(0));
    machine.settle();
    let other = machine.cpu_of(&guest.domain, 1).unwrap();
    machine.write_register(other, CNTP_CVAL, xenolith_arch::now() + 1000);
    machine.write_register(other, CNTP_CTL, 1);
    sim::guest::change_registers(|registers| {
        (registers.timer_control, registers.timer_compare) = (1, 1 << 40)
    });
    assert_eq!(machine.firmware(other, [CPU_OFF, 0, 0, 0]), None);
    assert_eq!(machine.firmware(guest.cpu, [CPU_ON, 1, 0x1000, 0]), Some(0));
    machine.settle();
    let other = machine.cpu_of(&guest.domain, 1).unwrap();
    assert_eq!(machine.read_register(other, CNTP_CTL), 0);
    assert_eq!(sim::guest::registers().timer_control, 0);
}

#[test]
fn a_cpu_that_watches_is_kicked_without_an_interrupt() {
    let machine = Machine::new(2, 1024);
    let other = CpuId(1);
    let kick = || {
        sim::on_cpu(CpuId(0));
        machine.hv.kick(xenolith_policy::sched::CpuMask::one(other));
        sim::on_cpu(other);
        (machine.hv.kicks.is_kicked(other), sim::gic::pending())
    };
    assert!(machine.hv.kicks.poll(other, || assert_eq!(kick(), (true, false))));
    machine.hv.kicks.take(other);
    assert_eq!(kick(), (false, true));
}
