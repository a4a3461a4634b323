//! A guest's load or store where no memory is: which instruction it is, who answers it, and how it ends.
//!
//! The order of those who may answer is fixed: what the hypervisor emulates, then the device models of the domain, then
//! nobody (loads read all ones and stores go nowhere, or the guest gets an abort if its domain was made so). An
//! instruction that moves two registers asks once for each. While a device model has the question, the vCPU is paused and
//! the instruction waits in it; nothing of it is done again when the answer comes.

use xenolith_arch::{self as arch, context};
use xenolith_core::types::{Gva, Ipa};
use xenolith_domain::cpu::Local;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_domain::parts::io_state::IoState;
use xenolith_isa::device_access::{DeviceAccess, MmioAccess};
use xenolith_isa::instruction;
use xenolith_isa::regs::{GuestRegs, Length};
use xenolith_isa::trap::DataAbort;

use super::{exit, inject};

/// Who answered one transfer, and what.
enum Answer {
    /// Done. A load got this value.
    Value(u64),
    /// A device model has been asked; the vCPU is paused.
    Later,
    /// The device does not take such an access.
    Refused,
    /// Nobody is there.
    Nobody,
}

/// The device does not take such an access.
struct Refused;

/// What is answered where nothing is.
const NOTHING: u64 = u64::MAX;

/// The instruction behind a fault at `ipa`, whose syndrome does not say what it moves. `None`: it is none that can be
/// emulated.
fn decoded(
    vcpu: &VcpuRef,
    hv: &Hypervisor,
    regs: &GuestRegs,
    abort: &DataAbort,
    ipa: Ipa,
    length: Length,
) -> Option<DeviceAccess> {
    let transfer = fetch(vcpu, hv, regs).and_then(instruction::decode)?;
    DeviceAccess::decoded(abort, ipa, length, transfer, regs, context::stack_pointer(regs.pstate))
}

/// Ends the current transfer.
fn complete(access: &mut DeviceAccess, regs: &mut GuestRegs, value: u64) {
    access.complete(regs, value, inject::byte_order(regs));
}

/// Ends the instruction.
fn finish(access: &DeviceAccess, regs: &mut GuestRegs) {
    let before = context::stack_pointer(regs.pstate);
    let after = access.finish(regs, before);
    if after != before {
        context::set_stack_pointer(regs.pstate, after);
    }
}

/// Handles a translation fault at `ipa`.
pub fn begin(
    hv: &Hypervisor,
    vcpu: &VcpuRef,
    local: &mut Local,
    regs: &mut GuestRegs,
    abort: &DataAbort,
    ipa: Ipa,
    length: Length,
) {
    if abort.cache_maintenance {
        // There is no cache over a device. Where memory has come up meanwhile, the instruction is made again.
        if !exit::may_retry(vcpu, &abort.fault, false) {
            regs.advance(length);
        }
        return;
    }
    // The common case needs no record of how far it has come.
    if let Some(access) = abort.access
        && let Some(done) = emulated(hv, vcpu, regs, MmioAccess { at: ipa, access }, abort.write)
    {
        return match done {
            Ok(value) => {
                if !abort.write {
                    access.complete_load(regs, value, inject::byte_order(regs));
                }
                regs.advance(length);
            }
            Err(Refused) => inject::data_abort(regs, abort),
        };
    }
    begin_other(hv, vcpu, local, regs, abort, ipa, length);
}

/// What is left: nothing that the hypervisor emulates is at the address, or the syndrome does not say what is moved.
#[inline(never)]
fn begin_other(
    hv: &Hypervisor,
    vcpu: &VcpuRef,
    local: &mut Local,
    regs: &mut GuestRegs,
    abort: &DataAbort,
    ipa: Ipa,
    length: Length,
) {
    let mut access = match abort.access {
        Some(access) => Some(DeviceAccess::described(abort, MmioAccess { at: ipa, access }, length)),
        None => decoded(vcpu, hv, regs, abort, ipa, length),
    };
    match &mut access {
        Some(access) => carry_on(hv, vcpu, local, regs, access),
        None if exit::may_retry(vcpu, &abort.fault, abort.write) => (),
        None => inject::data_abort(regs, abort),
    }
}

/// A device model has answered, or will never answer: the vCPU, which runs on this CPU again, goes on. Kept out of line, so
/// that a trap which no device model has to do with stays short.
#[inline(never)]
pub fn resume(hv: &Hypervisor, vcpu: &VcpuRef, local: &mut Local, regs: &mut GuestRegs) {
    let Some(value) = vcpu.domain.take_answer(vcpu.id) else { return };
    // Without an instruction the wait was for something else, and is over now.
    let Some(mut access) = vcpu.vcpu().access.lock().take() else { return };
    complete(&mut access, regs, value);
    carry_on(hv, vcpu, local, regs, &mut access);
}

fn carry_on(
    hv: &Hypervisor,
    vcpu: &VcpuRef,
    local: &mut Local,
    regs: &mut GuestRegs,
    access: &mut DeviceAccess,
) {
    while let Some(current) = access.current() {
        // What the syndrome describes is one transfer, and `begin` has found that it is not the hypervisor's.
        let own = match access.is_decoded() {
            true => emulated(hv, vcpu, regs, *current, access.write),
            false => None,
        };
        let answer = match own {
            Some(Ok(value)) => Answer::Value(value),
            Some(Err(Refused)) => Answer::Refused,
            None => ask(hv, vcpu, regs, current, access.write),
        };
        match answer {
            Answer::Value(value) => complete(access, regs, value),
            Answer::Later => {
                // Locked first, so that it is copied once.
                let mut waiting = vcpu.vcpu().access.lock();
                *waiting = Some(*access);
                return local.choose();
            }
            // Another CPU was changing the entry when the guest came by: the instruction is made again.
            Answer::Nobody if exit::may_retry(vcpu, &access.abort.fault, access.write) => return,
            Answer::Nobody if !vcpu.domain.trap_unmapped => complete(access, regs, NOTHING),
            Answer::Nobody | Answer::Refused => return inject::data_abort(regs, &access.abort),
        }
    }
    finish(access, regs);
}

/// Asks the domain's device models for one transfer.
fn ask(hv: &Hypervisor, vcpu: &VcpuRef, regs: &GuestRegs, current: &MmioAccess, write: bool) -> Answer {
    let size = current.access.size.bytes();
    match vcpu.domain.ask_device_model(
        hv,
        vcpu.id,
        current.at,
        size,
        current.stored(regs, write, inject::byte_order),
    ) {
        IoState::Unhandled => Answer::Nobody,
        IoState::Dropped => Answer::Value(NOTHING),
        IoState::Pending => Answer::Later,
    }
}

/// A device that the hypervisor emulates: `None` if there is none at the address, `Err` if it refuses the access.
fn emulated(
    hv: &Hypervisor,
    vcpu: &VcpuRef,
    regs: &GuestRegs,
    current: MmioAccess,
    write: bool,
) -> Option<Result<u64, Refused>> {
    let MmioAccess { at, access } = current;
    let size = access.size.bytes();
    if let Some(value) = current.stored(regs, write, inject::byte_order) {
        if let Some(done) = vcpu.domain.write_uart(hv, at, size, value) {
            return Some(done.map(|()| 0).map_err(|_| Refused));
        }
        let done = vcpu.domain.change_vgic(hv, |vgic| vgic.write(vcpu.id, at, size, value))?;
        return Some(done.map(|()| 0).map_err(|_| Refused));
    }
    if let Some(done) = vcpu.domain.read_uart(hv, at, size) {
        return Some(done.map_err(|_| Refused));
    }
    let done = vcpu.domain.change_vgic(hv, |vgic| vgic.read(vcpu.id, at, size))?;
    Some(done.map_err(|_| Refused))
}

/// The A64 instruction at the program counter. The guest may have changed it since it was executed.
fn fetch(vcpu: &VcpuRef, hv: &Hypervisor, regs: &GuestRegs) -> Option<u32> {
    if regs.pstate.is_aarch32() || !regs.pc.is_multiple_of(4) {
        return None;
    }
    let at = arch::translate(Gva(regs.pc), false)?;
    let mut word = [0; 4];
    vcpu.domain.read_memory(hv, at, &mut word).ok()?;
    Some(u32::from_le_bytes(word))
}
