//! Changing the vCPU that a CPU runs, and presenting a vCPU's interrupts to it.

use core::sync::atomic::Ordering;

use xenolith_abi::event::Virq;

use xenolith_arch as arch;
use xenolith_core::types::CpuId;
use xenolith_domain::console::console;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_domain::vcpu::Vcpu;
use xenolith_isa::regs::GuestRegs;
use xenolith_policy::sched::UnitId;

use super::{Cpu, guest, timers};

/// Chooses who runs next on this CPU and loads it. Kept out of line, so that a trap which changes nothing stays short.
#[inline(never)]
pub fn choose(hv: &Hypervisor, cpu: &mut Cpu, frame: &mut GuestRegs) {
    cpu.local.begin_choice();
    let now = arch::now();
    let pick = hv.scheduler.pick(cpu.id, now);
    let current = cpu.running.as_ref().map(|running| running.vcpu().unit);
    // Often the same is chosen again: then nothing is saved.
    if pick.unit != current {
        change(hv, cpu, frame, pick.unit, now);
    }
    let mut next = earlier(pick.deadline, cpu.local.next_timer());
    if console().has_news() {
        next = earlier(next, serve_console(hv, now));
    }
    // One timer of the CPU serves all: the end of the slice, the first of what vCPUs wait for, the console.
    arch::set_timer(next);
    // Only a turn that ends has somebody waiting for the CPU.
    arch::trap_wait_for_event(pick.deadline.is_some());
}

/// The earlier of two times, if there is one.
#[inline(always)]
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Output was written, or waits for the UART. Returns when the CPU is to look again.
#[inline(never)]
fn serve_console(hv: &Hypervisor, now: u64) -> Option<u64> {
    let again = console().drain_some(now);
    if console().take_fresh() {
        hv.raise_global_virq(Virq::ConsoleRing);
    }
    if console().take_held() {
        hv.release_uarts();
    }
    again
}

/// Has this CPU run `unit`, or nothing, in place of what it runs.
fn change(hv: &Hypervisor, cpu: &mut Cpu, frame: &mut GuestRegs, unit: Option<UnitId>, now: u64) {
    guest::settle_system_errors(hv, cpu.id, cpu.running.as_ref());
    let old = cpu.running.take();
    let old = old.as_ref().map(|old| (old, old.vcpu()));
    if let Some((old, vcpu)) = old {
        // Its virtual timer is in the hardware only while it runs; from here on the CPU's own timer stands in for it.
        let deadline = save(old.domain.on(hv), vcpu, frame);
        timers::set_guest_timer(&mut cpu.local, vcpu, deadline);
    }
    let new = unit.and_then(|unit| hv.vcpu(unit));
    match &new {
        Some(new) => {
            let vcpu = new.vcpu();
            // The hardware has its timer again: what the CPU watched in its place goes.
            timers::set_guest_timer(&mut cpu.local, vcpu, None);
            load(&new.domain, vcpu, frame);
        }
        None => guest::unload_p2m(),
    }
    // Only now: its tables may be taken apart as soon as no CPU has it.
    if let Some((old, vcpu)) = old {
        hv.kick(hv.scheduler.saved(cpu.id, vcpu.unit, now));
        old.domain.on(hv).complete_shutdown();
    }
    if let Some(new) = new {
        hv.write_runstate(&new);
        follow_interrupts(new.domain.on(hv), new.vcpu(), cpu.id);
        cpu.running = Some(new);
    }
}

/// Takes a vCPU out of this CPU. Returns when its own timer will fire.
fn save(domain: DomainRef<'_>, vcpu: &Vcpu, frame: &GuestRegs) -> Option<u64> {
    // Before the registers: what it has done about its interrupts stands in this CPU's interface, which the next vCPU
    // gets.
    domain.withdraw_interrupts(vcpu);
    let mut saved = vcpu.saved.lock();
    saved.regs.copy_from(frame);
    saved.context.save();
    saved.loaded = false;
    // The interface is empty now, so it is filled anew on whatever CPU runs it next.
    vcpu.mark_interrupts_changed();
    // The timer's interrupt stays active until the guest ends it; the next vCPU here needs it inactive.
    domain.keep_timer_line(vcpu, false);
    saved.context.timer_deadline()
}

/// Puts a vCPU into this CPU.
fn load(domain: &Domain, vcpu: &Vcpu, frame: &mut GuestRegs) {
    let mut saved = vcpu.saved.lock();
    frame.copy_from(&saved.regs);
    guest::load(domain, &saved.context);
    saved.loaded = true;
    drop(saved);
    // It runs, so its poll is over, whatever ended it. The load spares the common way the atomic write; the lock of
    // `saved` is free by now, which comes after that of events.
    if vcpu.polling.load(Ordering::Relaxed) && vcpu.polling.swap(false, Ordering::Relaxed) {
        domain.events.lock().stop_polling(vcpu.id);
    }
}

/// Sends the vCPU's shared interrupts to the CPU that it now runs on, if they went elsewhere.
fn follow_interrupts(domain: DomainRef<'_>, vcpu: &Vcpu, cpu: CpuId) {
    let last = vcpu.last_cpu.swap(cpu.0, Ordering::Relaxed);
    if last != cpu.0 {
        domain.move_interrupts(vcpu.id);
    }
}
