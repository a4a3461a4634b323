//! Exceptions that the hypervisor gives to the vCPU that runs here (`xenolith_isa::exception` says how each looks).

use xenolith_arch::context;
use xenolith_isa::exception::{self, Cause, Exception};
use xenolith_isa::regs::{ByteOrder, GuestRegs};
use xenolith_isa::trap::{DataAbort, Fault, FaultStatus};

fn give(regs: &mut GuestRegs, exception: Exception) {
    let entry = exception::take(exception, regs.pc, regs.pstate, &context::el1_state());
    context::set_exception(&entry);
    regs.pc = entry.pc;
    regs.pstate = entry.pstate;
}

/// The instruction at the program counter does not exist.
pub fn undefined(regs: &mut GuestRegs) {
    give(regs, Exception::Undefined);
}

/// As [`undefined`], for an instruction that the program counter has left behind already.
pub fn undefined_behind(regs: &mut GuestRegs) {
    regs.pc = regs.pc.wrapping_sub(4);
    undefined(regs);
}

/// An instruction fetch that leads nowhere.
pub fn instruction_abort(regs: &mut GuestRegs, fault: &Fault) {
    give(regs, Exception::InstructionAbort { cause: cause(fault), address: fault.gva });
}

/// A data access that leads nowhere, or that the device behind it refuses.
pub fn data_abort(regs: &mut GuestRegs, abort: &DataAbort) {
    let fault = &abort.fault;
    give(regs, Exception::DataAbort { cause: cause(fault), address: fault.gva, write: abort.write });
}

/// The guest physical address space has no memory there: what a bus would answer is an external abort.
fn cause(fault: &Fault) -> Cause {
    match fault.status {
        FaultStatus::Alignment => Cause::Alignment,
        _ if fault.stage1_walk => Cause::ExternalOnWalk { level: 3 },
        _ => Cause::External,
    }
}

/// The order of bytes in which the guest's loads and stores are made.
pub fn byte_order(regs: &GuestRegs) -> ByteOrder {
    ByteOrder::of(regs.pstate, context::el1_state().sctlr)
}
