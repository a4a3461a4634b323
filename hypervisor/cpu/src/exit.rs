//! What a guest trapped for: each kind goes to the part that answers it.

use core::sync::atomic::Ordering;

use xenolith_arch as arch;
use xenolith_calls as hypercall;
use xenolith_core::types::Gfn;
use xenolith_domain::cpu::Local;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_domain::list_registers::{self, wait_for_interrupt};
use xenolith_domain::timers::TimerKind;
use xenolith_isa::physical_timer::TimerRegister;
use xenolith_isa::regs::{GuestRegs, Length};
use xenolith_isa::sysreg::{self, Outcome, SgiGroup, SysregAccess, VcpuView};
use xenolith_isa::trap::{self, DataAbort, Fault, FaultStatus, Trap};
use xenolith_isa::vgic::SgiRegister;

use super::{device_access, firmware, inject};

/// Handles a synchronous exception of the vCPU that runs here.
pub fn handle(
    hv: &Hypervisor,
    vcpu: &VcpuRef,
    local: &mut Local,
    regs: &mut GuestRegs,
    esr: u64,
    far: u64,
    hpfar: u64,
) {
    // By reference: what describes an abort is large enough to be copied by a call.
    match &trap::decode(esr, far, hpfar) {
        // The return address of HVC lies behind it, that of a trapped SMC at it.
        Trap::Hypercall { immediate: trap::IMMEDIATE_XEN } => hypercall::call(hv, vcpu, local, regs),
        Trap::Hypercall { immediate: trap::IMMEDIATE_SMCCC } => firmware::call(hv, vcpu, local, regs),
        Trap::Smc { immediate: trap::IMMEDIATE_SMCCC } => {
            regs.advance(Length::Four);
            firmware::call(hv, vcpu, local, regs);
        }
        Trap::SystemRegister(access) => system_register(hv, vcpu, local, regs, *access, trap::length(esr)),
        Trap::DataAbort(abort) => data_abort(hv, vcpu, local, regs, abort, trap::length(esr)),
        Trap::InstructionAbort(fault) => {
            if !may_retry(vcpu, fault, false) {
                inject::instruction_abort(regs, fault);
            }
        }
        Trap::Wait { event, condition } => {
            // A trapped instruction of AArch32 may have failed its condition: then it does nothing.
            let runs = condition.passes(regs.pstate);
            regs.advance(trap::length(esr));
            match (runs, *event) {
                (false, _) => (),
                (true, true) => {
                    hv.scheduler.yield_now(local.id());
                    local.choose();
                }
                (true, false) => wait_for_interrupt(hv, vcpu, local),
            }
        }
        Trap::SError { .. } => inject::system_error(vcpu, regs, esr),
        // HVC with another number: the program counter is behind it.
        Trap::Hypercall { .. } => inject::undefined_behind(regs),
        Trap::Coprocessor { .. }
        | Trap::Smc { .. }
        | Trap::FpSimd
        | Trap::Sve
        | Trap::Sme
        | Trap::PointerAuthentication
        | Trap::IllegalState
        | Trap::Other { .. } => inject::undefined(regs),
    }
}

fn system_register(
    hv: &Hypervisor,
    vcpu: &VcpuRef,
    local: &mut Local,
    regs: &mut GuestRegs,
    access: SysregAccess,
    length: Length,
) {
    let view = VcpuView {
        el0: regs.pstate.is_el0(),
        gic_system_registers: vcpu.domain.gic_system_registers,
        actlr: hv.actlr,
    };
    let written = regs.get(access.register);
    let mut result = 0;
    match sysreg::emulate(access, written, &view, &vcpu.domain.ids) {
        Outcome::Value(value) => result = value,
        Outcome::Ignored => (),
        Outcome::Undefined => return inject::undefined(regs),
        Outcome::SendSgi { group, value } => {
            let register = match group {
                SgiGroup::Group0 => SgiRegister::Sgi0R,
                SgiGroup::Group1 => SgiRegister::Sgi1R,
                SgiGroup::Group1Other => SgiRegister::Asgi1R,
            };
            vcpu.domain.change_vgic(hv, |vgic| vgic.send_sgi(vcpu.id, register, value));
        }
        Outcome::PhysicalTimer { register, write } => {
            result = physical_timer(hv, vcpu, local, register, write)
        }
        Outcome::Deactivate { value } => {
            list_registers::present_interrupts(hv, vcpu);
            let intid = (value & 0xff_ffff) as u32;
            vcpu.domain.change_vgic(hv, |vgic| vgic.deactivate(vcpu.id, intid));
            vcpu.vcpu().mark_interrupts_changed();
        }
        Outcome::SetWay => {
            if !clean_step(vcpu) {
                // The instruction is made again, after whatever interrupt waits.
                return;
            }
        }
    }
    if access.is_read {
        regs.set(access.register, result);
    }
    regs.advance(length);
}

/// Cleans the next part of the domain's memory, which is what a set/way operation means where caches are shared.
/// True at the end.
fn clean_step(vcpu: &VcpuRef) -> bool {
    let progress = &vcpu.vcpu().cleaned_to;
    let next = vcpu.domain.clean_memory(Gfn(progress.load(Ordering::Relaxed)));
    progress.store(next.map_or(0, |gfn| gfn.0), Ordering::Relaxed);
    next.is_none()
}

fn physical_timer(
    hv: &Hypervisor,
    vcpu: &VcpuRef,
    local: &mut Local,
    register: TimerRegister,
    write: Option<u64>,
) -> u64 {
    let now = arch::now();
    let timer = {
        let mut timer = vcpu.vcpu().timer.lock();
        let Some(value) = write else { return timer.read(register, now) };
        timer.write(register, value, now);
        *timer
    };
    local.set_timer(vcpu.vcpu().unit, TimerKind::Physical, timer.deadline(now));
    local.choose();
    vcpu.domain.set_private_level(hv, vcpu.id, vcpu.domain.physical_timer, timer.line(now));
    0
}

/// The emulated physical timer of a vCPU, which may not be running, has come to its time.
pub fn physical_timer_due(hv: &Hypervisor, vcpu: &VcpuRef, local: &mut Local, now: u64) {
    let timer = *vcpu.vcpu().timer.lock();
    local.set_timer(vcpu.vcpu().unit, TimerKind::Physical, timer.deadline(now));
    if timer.line(now) {
        vcpu.domain.set_private_level(hv, vcpu.id, vcpu.domain.physical_timer, true);
    }
}

fn data_abort(
    hv: &Hypervisor,
    vcpu: &VcpuRef,
    local: &mut Local,
    regs: &mut GuestRegs,
    abort: &DataAbort,
    length: Length,
) {
    let translation = matches!(abort.fault.status, FaultStatus::Translation { .. });
    if let (true, Some(ipa), false) = (translation, abort.fault.ipa, abort.fault.stage1_walk) {
        return device_access::begin(hv, vcpu, local, regs, abort, ipa, length);
    }
    if !may_retry(vcpu, &abort.fault, abort.write) {
        inject::data_abort(regs, abort);
    }
}

/// Whether the fault has gone away by itself: another CPU was changing the entry when the guest came by.
pub fn may_retry(vcpu: &VcpuRef, fault: &Fault, write: bool) -> bool {
    if !matches!(fault.status, FaultStatus::Translation { .. }) {
        return false;
    }
    let Some(ipa) = fault.ipa else { return false };
    vcpu.domain.is_mapped(ipa.frame(), write)
}
