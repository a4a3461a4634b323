//! A guest's load or store where no memory is: which instruction it is, who answers it, and how it ends.
//!
//! The domain's table of addresses says who answers; where nobody does, loads read all ones and stores go nowhere, or the
//! guest gets an abort if its domain was made so. An instruction that moves two registers asks once for each. While an
//! ioreq server has the question, the vCPU is paused and the instruction waits in it; nothing of it is done again when the
//! answer comes.

use xenolith_arch::{self as arch, context};
use xenolith_core::types::{Gva, Ipa};
use xenolith_domain::parts::io_state::IoState;
use xenolith_isa::device_access::{DeviceAccess, MmioAccess};
use xenolith_isa::instruction;
use xenolith_isa::regs::{GuestRegs, Length};
use xenolith_isa::trap::{DataAbort, Syndrome};

use super::fault::may_retry;
use super::{Exit, inject};

/// What is answered where nothing is.
const NOTHING: u64 = u64::MAX;

/// The instruction behind a fault at `ipa`, whose syndrome does not say what it moves. `None`: it is none that can be
/// emulated.
fn decoded(exit: &Exit<'_>, abort: &DataAbort, ipa: Ipa, length: Length) -> Option<DeviceAccess> {
    let transfer = fetch(exit).and_then(instruction::decode)?;
    DeviceAccess::decoded(abort, ipa, length, transfer, exit.regs, context::stack_pointer(exit.regs.pstate))
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

/// Handles an access of which the syndrome says everything.
pub fn described(exit: &mut Exit<'_>, syndrome: &Syndrome, current: MmioAccess, write: bool) {
    match ask(exit, &current, write) {
        // What the hypervisor emulates itself needs no record of how far it has come.
        IoState::Done(value) => {
            if !write {
                current.access.complete_load(exit.regs, value, inject::byte_order(exit.regs));
            }
            exit.regs.advance(syndrome.length());
        }
        state => conclude(&mut exit.reborrow(), syndrome, current, state),
    }
}

/// Ends an access for which another domain has been asked, or which nobody takes.
#[inline(never)]
fn conclude(exit: &mut Exit<'_>, syndrome: &Syndrome, current: MmioAccess, state: IoState) {
    let mut access = DeviceAccess::described(&syndrome.data_abort(), current, syndrome.length());
    carry_on(exit, &mut access, Some(state));
}

/// Handles any other translation fault at `ipa`; mostly, the syndrome does not say what is moved.
pub fn begin(exit: &mut Exit<'_>, abort: &DataAbort, ipa: Ipa, length: Length) {
    if abort.cache_maintenance {
        // There is no cache over a device. Where memory has come up meanwhile, the instruction is made again.
        if !may_retry(exit.vcpu, &abort.fault, false) {
            exit.regs.advance(length);
        }
        return;
    }
    let access = match abort.access {
        Some(access) => Some(DeviceAccess::described(abort, MmioAccess { at: ipa, access }, length)),
        None => decoded(exit, abort, ipa, length),
    };
    match access {
        Some(mut access) => carry_on(exit, &mut access, None),
        None if may_retry(exit.vcpu, &abort.fault, abort.write) => (),
        None => inject::data_abort(exit.regs, abort),
    }
}

/// A device model has answered, or will never answer: the vCPU, which runs on this CPU again, goes on. Kept out of line, so
/// that a trap which no device model has to do with stays short.
#[inline(never)]
pub fn resume(exit: &mut Exit<'_>) {
    let Some(value) = exit.domain().take_answer(exit.vcpu.id) else { return };
    // Without an instruction the wait was for something else, and is over now.
    let Some(mut access) = exit.vcpu.vcpu().access.lock().take() else { return };
    complete(&mut access, exit.regs, value);
    carry_on(exit, &mut access, None);
}

/// Makes the transfers that are left. `asked` is what became of the first of them, if it has been asked for.
fn carry_on(exit: &mut Exit<'_>, access: &mut DeviceAccess, mut asked: Option<IoState>) {
    while let Some(current) = access.current() {
        let state = asked.take().unwrap_or_else(|| ask_again(exit, current, access.write));
        match state {
            IoState::Done(value) => complete(access, exit.regs, value),
            IoState::Dropped => complete(access, exit.regs, NOTHING),
            IoState::Pending => {
                // Locked first, so that it is copied once.
                let mut waiting = exit.vcpu.vcpu().access.lock();
                *waiting = Some(*access);
                return exit.local.choose();
            }
            // Another CPU was changing the entry when the guest came by: the instruction is made again.
            IoState::Unhandled if may_retry(exit.vcpu, &access.abort.fault, access.write) => return,
            IoState::Unhandled if !exit.domain().trap_unmapped => complete(access, exit.regs, NOTHING),
            IoState::Unhandled | IoState::Refused => return inject::data_abort(exit.regs, &access.abort),
        }
    }
    finish(access, exit.regs);
}

/// Makes one transfer, if somebody answers at its address. Part of its caller: most accesses to what is emulated end there.
#[inline(always)]
fn ask(exit: &Exit<'_>, current: &MmioAccess, write: bool) -> IoState {
    let stored = current.stored(exit.regs, write, inject::byte_order);
    exit.domain().access(exit.vcpu.id, current.at, current.access.size.bytes(), stored)
}

/// The same out of line, for the transfers of an instruction that moves two registers, and those that were put off.
#[inline(never)]
fn ask_again(exit: &Exit<'_>, current: &MmioAccess, write: bool) -> IoState {
    ask(exit, current, write)
}

/// The A64 instruction at the program counter. The guest may have changed it since it was executed.
fn fetch(exit: &Exit<'_>) -> Option<u32> {
    if exit.regs.pstate.is_aarch32() || !exit.regs.pc.is_multiple_of(4) {
        return None;
    }
    let at = arch::translate(Gva(exit.regs.pc), false)?;
    let mut word = [0; 4];
    exit.domain().read_memory(at, &mut word).ok()?;
    Some(u32::from_le_bytes(word))
}
