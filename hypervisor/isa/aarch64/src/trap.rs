//! Why a guest stopped: the syndrome registers of EL2 as one typed value.
//!
//! Decoding is total and happens once. Every bit pattern gives a value, and what the hardware leaves unknown is
//! `None`, so that no handler can read a field that is not valid. Layouts: Arm ARM, D24.2.40 "ESR_EL2".

pub mod abort;
pub mod mmio;
mod syndrome;

pub use abort::{DataAbort, Fault, FaultStatus};
pub use syndrome::Syndrome;

use crate::regs::{Condition, Length};
use crate::sysreg::{Encoding, SysregAccess};

/// The immediate of an HVC or SMC that carries an SMCCC call.
pub const IMMEDIATE_SMCCC: u16 = 0;
/// The immediate of an HVC that carries a Xen hypercall (Xen header `arch-arm.h`, `XEN_HYPERCALL_TAG`).
pub const IMMEDIATE_XEN: u16 = 0xea1;

/// A synchronous exception, or an SError, that a guest took to EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// HVC from AArch64. The saved PC already points after the instruction.
    Hypercall {
        /// The instruction's immediate.
        immediate: u16,
    },
    /// SMC from AArch64, trapped by HCR_EL2.TSC. The saved PC points at the instruction.
    Smc {
        /// The instruction's immediate.
        immediate: u16,
    },
    /// A trapped MSR, MRS or system instruction.
    SystemRegister(SysregAccess),
    /// A fault, or an emulated access, of a load, store or cache instruction.
    DataAbort(DataAbort),
    /// A fault of an instruction fetch.
    InstructionAbort(Fault),
    /// WFI, WFE, or one of their variants with a timeout.
    Wait {
        /// WFE or WFET, else WFI or WFIT.
        event: bool,
        /// Whether the instruction executes at all.
        condition: Condition,
    },
    /// FP or Advanced SIMD use, while CPTR_EL2 traps it.
    FpSimd,
    /// SVE use.
    Sve,
    /// SME use.
    Sme,
    /// Use of a pointer authentication instruction or key.
    PointerAuthentication,
    /// Execution with PSTATE.IL set.
    IllegalState,
    /// A trapped coprocessor access of AArch32 EL0.
    Coprocessor {
        /// The coprocessor that it names.
        space: Coprocessor,
        /// Whether the instruction executes at all.
        condition: Condition,
    },
    /// An SError of the guest's own, or one that surfaced while it ran.
    SError {
        /// ISS of the syndrome; bit 24 says that the rest is implementation-defined.
        iss: u32,
    },
    /// Any other exception class, reserved ones included.
    Other {
        /// ESR_EL2.EC.
        class: u8,
    },
}

/// The target of an AArch32 coprocessor instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coprocessor {
    /// MCR or MRC to coprocessor 15.
    Cp15,
    /// MCRR or MRRC to coprocessor 15.
    Cp15Pair,
    /// MCR or MRC to coprocessor 14.
    Cp14,
    /// MRRC to coprocessor 14.
    Cp14Pair,
    /// LDC or STC to coprocessor 14.
    Cp14Memory,
    /// VMRS of a floating-point identification register.
    FpId,
}

/// `count` bits of `value` from bit `low` up, at most 8.
const fn bits(value: u64, low: u32, count: u32) -> u8 {
    (value >> low & ((1 << count) - 1)) as u8
}

/// The size of the instruction that `esr` reports.
pub const fn length(esr: u64) -> Length {
    if esr >> 25 & 1 == 0 { Length::Two } else { Length::Four }
}

/// Decodes ESR_EL2, with FAR_EL2 and HPFAR_EL2 for aborts, as they stand after an exception from a lower level.
pub fn decode(esr: u64, far: u64, hpfar: u64) -> Trap {
    let class = bits(esr, 26, 6);
    let immediate = (esr & 0xffff) as u16;
    let coprocessor = |space| Trap::Coprocessor { space, condition: condition(esr) };
    match class {
        0x01 => Trap::Wait { event: esr & 1 != 0, condition: condition(esr) },
        0x03 => coprocessor(Coprocessor::Cp15),
        0x04 => coprocessor(Coprocessor::Cp15Pair),
        0x05 => coprocessor(Coprocessor::Cp14),
        0x06 => coprocessor(Coprocessor::Cp14Memory),
        0x07 => Trap::FpSimd,
        0x08 => coprocessor(Coprocessor::FpId),
        0x09 => Trap::PointerAuthentication,
        0x0c => coprocessor(Coprocessor::Cp14Pair),
        0x0e => Trap::IllegalState,
        0x16 => Trap::Hypercall { immediate },
        0x17 => Trap::Smc { immediate },
        0x18 => Trap::SystemRegister(system_register(esr)),
        0x19 => Trap::Sve,
        0x1d => Trap::Sme,
        0x20 => Trap::InstructionAbort(Fault::decode(esr, far, hpfar)),
        0x24 => Trap::DataAbort(DataAbort::decode(esr, far, hpfar)),
        0x2f => Trap::SError { iss: (esr & 0x1ff_ffff) as u32 },
        class => Trap::Other { class },
    }
}

/// CV (bit 24) and COND (23 to 20), for the classes that have them.
const fn condition(esr: u64) -> Condition {
    if esr >> 24 & 1 == 0 { Condition::ItBlock } else { Condition::Code(bits(esr, 20, 4)) }
}

/// ISS of class 0x18.
const fn system_register(esr: u64) -> SysregAccess {
    let op0 = bits(esr, 20, 2);
    let op2 = bits(esr, 17, 3);
    let op1 = bits(esr, 14, 3);
    let crn = bits(esr, 10, 4);
    let crm = bits(esr, 1, 4);
    SysregAccess {
        encoding: Encoding::new(op0, op1, crn, crm, op2),
        register: bits(esr, 5, 5),
        is_read: esr & 1 != 0,
    }
}

#[cfg(test)]
mod tests;
