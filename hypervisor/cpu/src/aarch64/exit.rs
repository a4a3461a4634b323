//! What a guest trapped for: each kind goes to the part that answers it.

use core::sync::atomic::Ordering;

use xenolith_calls::{self as hypercall, Caller};
use xenolith_core::types::{Gfn, Intid};
use xenolith_domain::hypervisor::VcpuRef;
use xenolith_isa::regs::Length;
use xenolith_isa::sysreg::{self, Outcome, SgiGroup, SysregAccess, VcpuView};
use xenolith_isa::trap::{self, DataAbort, FaultStatus, Syndrome, Trap};
use xenolith_isa::vgic::SgiRegister;

use super::fault::may_retry;
use super::{Exit, device_access, firmware, inject, physical_timer};

/// Handles a synchronous exception of the vCPU that runs here.
pub fn handle(exit: &mut Exit<'_>, syndrome: &Syndrome) {
    // The most frequent first: each of these is one comparison, and the rest is decoded out of line.
    if syndrome.is_xen_hypercall() {
        // The return address of HVC lies behind it already.
        hypercall::call(Caller { hv: exit.hv, vcpu: exit.vcpu, local: exit.local, regs: exit.regs });
    } else if let Some((access, write)) = syndrome.described_access() {
        device_access::described(exit, syndrome, access, write);
    } else if syndrome.is_wait_for_interrupt() {
        exit.regs.advance(syndrome.length());
        exit.domain().wait_for_interrupt(exit.vcpu.vcpu(), exit.local);
    } else {
        handle_other(&mut exit.reborrow(), syndrome);
    }
}

/// Handles those that are not frequent. Kept out of line, so that those that are need no more of the stack than they use.
#[inline(never)]
fn handle_other(exit: &mut Exit<'_>, syndrome: &Syndrome) {
    let length = syndrome.length();
    // By reference: what describes an abort is large enough to be copied by a call.
    match &syndrome.decode() {
        Trap::Hypercall { immediate: trap::IMMEDIATE_SMCCC } => firmware::call(exit),
        Trap::Smc { immediate: trap::IMMEDIATE_SMCCC } => {
            // The return address of a trapped SMC lies at it.
            exit.regs.advance(Length::Four);
            firmware::call(exit);
        }
        Trap::SystemRegister(access) => system_register(exit, *access, length),
        Trap::DataAbort(abort) => data_abort(exit, abort, length),
        Trap::InstructionAbort(fault) => {
            if !may_retry(exit.vcpu, fault, false) {
                inject::instruction_abort(exit.regs, fault);
            }
        }
        Trap::Wait { event, condition } => {
            // A trapped instruction of AArch32 may have failed its condition: then it does nothing.
            let runs = condition.passes(exit.regs.pstate);
            exit.regs.advance(length);
            match (runs, *event) {
                (false, _) => (),
                (true, true) => {
                    exit.hv.scheduler.yield_now(exit.local.id());
                    exit.local.choose();
                }
                (true, false) => exit.domain().wait_for_interrupt(exit.vcpu.vcpu(), exit.local),
            }
        }
        // The first use of a vCPU that may: the instruction is made again.
        Trap::Sve => {
            if !exit.vcpu.vcpu().saved.lock().context.begin_sve() {
                inject::undefined(exit.regs);
            }
        }
        // HVC with another number, and never Xen's: the program counter is behind it.
        Trap::Hypercall { .. } => inject::undefined_behind(exit.regs),
        Trap::Coprocessor { .. }
        | Trap::Smc { .. }
        | Trap::FpSimd
        | Trap::Sme
        | Trap::PointerAuthentication
        | Trap::IllegalState
        | Trap::Other { .. } => inject::undefined(exit.regs),
    }
}

fn system_register(exit: &mut Exit<'_>, access: SysregAccess, length: Length) {
    let view = VcpuView {
        el0: exit.regs.pstate.is_el0(),
        gic_system_registers: exit.domain().arch.gic_system_registers,
        actlr: exit.hv.arch.actlr,
    };
    let written = exit.regs.get(access.register);
    let mut result = 0;
    match sysreg::emulate(access, written, &view, &exit.domain().arch.ids) {
        Outcome::Value(value) => result = value,
        Outcome::Ignored => (),
        Outcome::Undefined => return inject::undefined(exit.regs),
        Outcome::SendSgi { group, value } => {
            let register = match group {
                SgiGroup::Group0 => SgiRegister::Sgi0R,
                SgiGroup::Group1 => SgiRegister::Sgi1R,
                SgiGroup::Group1Other => SgiRegister::Asgi1R,
            };
            exit.domain().change_vgic(|vgic| vgic.send_sgi(exit.vcpu.id, register, value));
        }
        Outcome::PhysicalTimer { register, write } => {
            result = physical_timer::access(exit, register, write);
        }
        Outcome::Deactivate { value } => {
            // What the list registers know of it must be in the model before the model ends it (ICC_DIR_EL1).
            exit.domain().present_interrupts(exit.vcpu.vcpu());
            let intid = Intid((value & 0xff_ffff) as u32);
            exit.domain().change_vgic(|vgic| vgic.deactivate(exit.vcpu.id, intid));
            exit.vcpu.vcpu().mark_interrupts_changed();
        }
        // A set/way operation of one vCPU reaches no other CPU's caches: the memory is cleaned by address instead, a
        // part in each trap.
        Outcome::SetWay => {
            if !clean_step(exit.vcpu) {
                // The instruction is made again, after whatever interrupt waits.
                return;
            }
        }
    }
    if access.is_read {
        exit.regs.set(access.register, result);
    }
    exit.regs.advance(length);
}

/// Cleans the next part of the domain's memory, which is what a set/way operation means where caches are shared.
/// True at the end.
fn clean_step(vcpu: &VcpuRef) -> bool {
    let progress = &vcpu.vcpu().arch.cleaned_to;
    let next = vcpu.domain.clean_memory(Gfn(progress.load(Ordering::Relaxed)));
    progress.store(next.map_or(0, |gfn| gfn.0), Ordering::Relaxed);
    next.is_none()
}

fn data_abort(exit: &mut Exit<'_>, abort: &DataAbort, length: Length) {
    let translation = matches!(abort.fault.status, FaultStatus::Translation { .. });
    if let (true, Some(ipa), false) = (translation, abort.fault.ipa, abort.fault.stage1_walk) {
        return device_access::begin(exit, abort, ipa, length);
    }
    if !may_retry(exit.vcpu, &abort.fault, abort.write) {
        inject::data_abort(exit.regs, abort);
    }
}
