//! What a guest trapped for: each kind goes to the part that answers it.

use core::sync::atomic::Ordering;

use xenolith_calls as hypercall;
use xenolith_core::types::{Gfn, Intid};
use xenolith_domain::cpu::Local;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_isa::regs::{GuestRegs, Length};
use xenolith_isa::sysreg::{self, Outcome, SgiGroup, SysregAccess, VcpuView};
use xenolith_isa::trap::{self, DataAbort, FaultStatus, Syndrome, Trap};
use xenolith_isa::vgic::SgiRegister;

use super::fault::may_retry;
use super::{device_access, firmware, inject, physical_timer};

/// Handles a synchronous exception of the vCPU that runs here.
pub fn handle(hv: &Hypervisor, vcpu: &VcpuRef, local: &mut Local, regs: &mut GuestRegs, syndrome: &Syndrome) {
    if syndrome.is_xen_hypercall() {
        // The return address of HVC lies behind it already.
        hypercall::call(hv, vcpu, local, regs);
    } else if let Some((access, write)) = syndrome.described_access() {
        device_access::described(hv, vcpu, local, regs, syndrome, access, write);
    } else {
        handle_other(hv, vcpu, local, regs, syndrome);
    }
}

/// Handles those that are not frequent. Kept out of line, so that those that are need no more of the stack than they use.
#[inline(never)]
fn handle_other(
    hv: &Hypervisor,
    vcpu: &VcpuRef,
    local: &mut Local,
    regs: &mut GuestRegs,
    syndrome: &Syndrome,
) {
    let length = syndrome.length();
    // By reference: what describes an abort is large enough to be copied by a call.
    match &syndrome.decode() {
        Trap::Hypercall { immediate: trap::IMMEDIATE_SMCCC } => firmware::call(hv, vcpu, local, regs),
        Trap::Smc { immediate: trap::IMMEDIATE_SMCCC } => {
            // The return address of a trapped SMC lies at it.
            regs.advance(Length::Four);
            firmware::call(hv, vcpu, local, regs);
        }
        Trap::SystemRegister(access) => system_register(hv, vcpu, local, regs, *access, length),
        Trap::DataAbort(abort) => data_abort(hv, vcpu, local, regs, abort, length),
        Trap::InstructionAbort(fault) => {
            if !may_retry(vcpu, fault, false) {
                inject::instruction_abort(regs, fault);
            }
        }
        Trap::Wait { event, condition } => {
            // A trapped instruction of AArch32 may have failed its condition: then it does nothing.
            let runs = condition.passes(regs.pstate);
            regs.advance(length);
            match (runs, *event) {
                (false, _) => (),
                (true, true) => {
                    hv.scheduler.yield_now(local.id());
                    local.choose();
                }
                (true, false) => vcpu.domain.on(hv).wait_for_interrupt(vcpu.vcpu(), local),
            }
        }
        Trap::SError { .. } => inject::system_error(vcpu, regs, syndrome),
        // HVC with another number, and never Xen's: the program counter is behind it.
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
        gic_system_registers: vcpu.domain.arch.gic_system_registers,
        actlr: hv.arch.actlr,
    };
    let written = regs.get(access.register);
    let mut result = 0;
    match sysreg::emulate(access, written, &view, &vcpu.domain.arch.ids) {
        Outcome::Value(value) => result = value,
        Outcome::Ignored => (),
        Outcome::Undefined => return inject::undefined(regs),
        Outcome::SendSgi { group, value } => {
            let register = match group {
                SgiGroup::Group0 => SgiRegister::Sgi0R,
                SgiGroup::Group1 => SgiRegister::Sgi1R,
                SgiGroup::Group1Other => SgiRegister::Asgi1R,
            };
            vcpu.domain.on(hv).change_vgic(|vgic| vgic.send_sgi(vcpu.id, register, value));
        }
        Outcome::PhysicalTimer { register, write } => {
            result = physical_timer::access(hv, vcpu, local, register, write);
        }
        Outcome::Deactivate { value } => {
            vcpu.domain.on(hv).present_interrupts(vcpu.vcpu());
            let intid = Intid((value & 0xff_ffff) as u32);
            vcpu.domain.on(hv).change_vgic(|vgic| vgic.deactivate(vcpu.id, intid));
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
    let progress = &vcpu.vcpu().arch.cleaned_to;
    let next = vcpu.domain.clean_memory(Gfn(progress.load(Ordering::Relaxed)));
    progress.store(next.map_or(0, |gfn| gfn.0), Ordering::Relaxed);
    next.is_none()
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
