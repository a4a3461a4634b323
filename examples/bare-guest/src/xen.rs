//! The hypercalls that a console needs, and the end of a program that is broken.
//!
//! A hypercall is `hvc #0xea1`, its number in x16, its arguments in x0 to x4, its result in x0. Memory that an argument
//! points to must be in the caches, as that of a guest with its MMU on is.

use core::arch::asm;

use xenolith_abi::console::ConsoleOp;
use xenolith_abi::event::{EventOp, PortArgument};
use xenolith_abi::hvm::{HvmOp, HvmParam, HvmParamArgument};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sched::{SchedOp, Shutdown, ShutdownReason};
use xenolith_abi::{DomId, Port};

/// A parameter of this domain, if there is such a thing and it is set.
pub fn parameter(parameter: HvmParam) -> Option<u64> {
    let mut argument =
        HvmParamArgument { domid: DomId::SELF, index: parameter.number(), ..HvmParamArgument::default() };
    let result = with(Hypercall::HvmOp, HvmOp::GetParam.number(), &mut argument);
    (result == 0 && ![0, u64::MAX].contains(&argument.value)).then_some(argument.value)
}

/// Sends an event to the other end of a port.
pub fn send(port: Port) {
    with(Hypercall::EventChannelOp, EventOp::Send.number(), &mut PortArgument { port });
}

/// Lets others run.
pub fn give_way() {
    call(Hypercall::SchedOp, [SchedOp::Yield.number().into(), 0, 0]);
}

/// Ends this domain as one that is broken: `on_crash` of its description says what follows.
pub fn crash() {
    let mut argument = Shutdown { reason: ShutdownReason::Crash.number() };
    with(Hypercall::SchedOp, SchedOp::Shutdown.number(), &mut argument);
}

/// Writes to the hypervisor's console.
pub fn write(text: &[u8]) {
    call(
        Hypercall::ConsoleIo,
        [ConsoleOp::Write.number().into(), text.len() as u64, text.as_ptr().addr() as u64],
    );
}

/// A call with a sub-operation, and a structure that the hypervisor reads and may write.
fn with<T>(number: Hypercall, operation: u32, argument: &mut T) -> i64 {
    call(number, [operation.into(), (&raw mut *argument).expose_provenance() as u64, 0])
}

fn call(number: Hypercall, arguments: [u64; 3]) -> i64 {
    let [first, second, third] = arguments;
    let result: i64;
    // SAFETY: of the calls in this file, none writes to other memory than the structure that its caller has borrowed. The
    // hypervisor may leave anything in the registers of arguments.
    unsafe {
        asm!(
            "hvc #0xea1",
            inout("x0") first => result,
            inout("x1") second => _,
            inout("x2") third => _,
            out("x3") _,
            out("x4") _,
            inout("x16") number.number() => _,
            options(nostack),
        );
    }
    result
}
