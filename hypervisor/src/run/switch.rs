//! Changing the vCPU that a CPU runs, and presenting a vCPU's interrupts to it.

use core::ops::Range;
use core::sync::atomic::Ordering;

use xenolith_abi::event::Virq;

use crate::arch;
use crate::console::console;
use crate::hypervisor::{Hypervisor, VcpuRef};
use crate::regs::GuestRegs;
use crate::types::CpuId;
use crate::vgic::{Fill, ListRegister, Vgic};

use super::{Cpu, timers};

/// Chooses who runs next on this CPU and loads it. Kept out of line, so that a trap which changes nothing stays short.
#[inline(never)]
pub fn choose(hv: &Hypervisor, cpu: &mut Cpu, frame: &mut GuestRegs) {
    cpu.local.choose = false;
    let now = arch::now();
    let pick = hv.scheduler.pick(cpu.id, now);
    let current = cpu.running.as_ref().map(|running| running.vcpu().unit);
    if pick.unit != current {
        let old = cpu.running.take();
        if let Some(old) = &old {
            let deadline = save(hv, old, frame);
            timers::set_guest_timer(&mut cpu.local, old.vcpu().unit, deadline);
        }
        let new = pick.unit.and_then(|unit| hv.vcpu(unit));
        match &new {
            Some(new) => {
                timers::set_guest_timer(&mut cpu.local, new.vcpu().unit, None);
                load(new, frame);
            }
            None => arch::deactivate_stage2(),
        }
        // Only now: its tables may be taken apart as soon as no CPU has it.
        if let Some(old) = old {
            hv.kick(hv.scheduler.saved(cpu.id, old.vcpu().unit, now));
            old.domain.complete_shutdown(hv);
        }
        if let Some(new) = new {
            hv.write_runstate(&new);
            follow_interrupts(hv, &new, cpu.id);
            cpu.running = Some(new);
        }
    }
    let next = match (pick.deadline, cpu.local.alarms.next()) {
        (Some(slice), Some(alarm)) => Some(slice.min(alarm)),
        (slice, alarm) => slice.or(alarm),
    };
    arch::set_timer(next);
    if console().take_fresh() {
        hv.raise_global_virq(Virq::ConsoleRing);
    }
    // Only a turn that ends has somebody waiting for the CPU.
    arch::trap_wait_for_event(pick.deadline.is_some());
}

/// Takes a vCPU out of this CPU. Returns when its own timer will fire.
fn save(hv: &Hypervisor, vcpu: &VcpuRef, frame: &GuestRegs) -> Option<u64> {
    vcpu.domain.change_vgic(hv, |vgic| empty_list(vcpu, vgic));
    let mut saved = vcpu.vcpu().saved.lock();
    saved.regs = *frame;
    saved.context.save();
    saved.loaded = false;
    vcpu.vcpu().mark_interrupts_changed();
    // The timer's interrupt stays active until the guest ends it; the next vCPU here needs it inactive.
    keep_timer_line(hv, vcpu, false);
    saved.context.timer_deadline()
}

/// Reads the list registers back.
fn take_interrupts_back(vcpu: &VcpuRef, vgic: &mut Vgic) {
    let ended = arch::gic::unlisted_ends();
    if ended > 0 {
        vgic.drop_unlisted(vcpu.id, ended);
        // It counts from zero again, so that none is taken twice.
        arch::gic::set_maintenance(&Fill::default());
    }
    vgic.fold(vcpu.id, arch::gic::read_list);
}

/// Reads the list registers back and frees them: whoever fills them next writes no more than it needs, and must not
/// find these.
fn empty_list(vcpu: &VcpuRef, vgic: &mut Vgic) {
    let used = vgic.listed(vcpu.id);
    take_interrupts_back(vcpu, vgic);
    free_list(0..used);
}

fn free_list(registers: Range<usize>) {
    for index in registers {
        arch::gic::write_list(index, ListRegister::INVALID);
    }
}

/// Whether an interrupt waits for the vCPU that runs here. Its list registers are free afterwards, until
/// [`present_interrupts`].
pub fn interrupt_waits(hv: &Hypervisor, vcpu: &VcpuRef) -> bool {
    vcpu.vcpu().mark_interrupts_changed();
    vcpu.domain.change_vgic(hv, |vgic| {
        empty_list(vcpu, vgic);
        vgic.deliverable(vcpu.id)
    })
}

/// Puts a vCPU into this CPU.
fn load(vcpu: &VcpuRef, frame: &mut GuestRegs) {
    let mut saved = vcpu.vcpu().saved.lock();
    arch::activate_stage2(vcpu.domain.stage2);
    *frame = saved.regs;
    saved.context.load();
    saved.loaded = true;
    drop(saved);
    if vcpu.vcpu().polling.swap(false, Ordering::Relaxed) {
        vcpu.domain.events.lock().stop_polling(vcpu.id);
    }
}

/// Sends the vCPU's shared interrupts to the CPU that it now runs on, if they went elsewhere.
fn follow_interrupts(hv: &Hypervisor, vcpu: &VcpuRef, cpu: CpuId) {
    let last = vcpu.vcpu().last_cpu.swap(cpu.0, Ordering::Relaxed);
    if last != cpu.0 {
        vcpu.domain.change_vgic(hv, |vgic| vgic.reroute(vcpu.id));
    }
}

/// Brings the list registers of the vCPU that runs here up to date.
pub fn present_interrupts(hv: &Hypervisor, vcpu: &VcpuRef) {
    vcpu.domain.change_vgic(hv, |vgic| {
        let before = vgic.listed(vcpu.id);
        take_interrupts_back(vcpu, vgic);
        let fill = vgic.fill(vcpu.id, arch::gic::list_registers(), arch::gic::write_list);
        free_list(fill.used..before);
        arch::gic::set_maintenance(&fill);
        // The timer's physical interrupt is active while the virtual one is anywhere between its cause and its end.
        keep_timer_line(hv, vcpu, vgic.in_flight(Some(vcpu.id), vcpu.domain.guest_timer));
    });
}

/// Makes the physical interrupt of the virtual timer on this CPU active or inactive for the vCPU that runs here. It is
/// left alone only where nobody can have made it active since it was last made inactive, whatever the guest has written
/// about the virtual one.
fn keep_timer_line(hv: &Hypervisor, vcpu: &VcpuRef, active: bool) {
    let raised = &vcpu.vcpu().timer_raised;
    if active || raised.load(Ordering::Relaxed) {
        arch::gic::set_active(hv.lines().guest_timer, active);
        raised.store(active, Ordering::Relaxed);
    }
}
