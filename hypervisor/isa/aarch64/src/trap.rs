//! Why a guest stopped: the syndrome registers of EL2 as one typed value.
//!
//! Decoding is total and happens once. Every bit pattern gives a value, and what the hardware leaves unknown is
//! `None`, so that no handler can read a field that is not valid. Layouts: Arm ARM, D24.2.40 "ESR_EL2".

pub mod abort;
pub mod mmio;
mod syndrome;

pub use abort::{DataAbort, Fault, FaultStatus};
pub use syndrome::Syndrome;

use arm_sysregs::el2::registers::EsrEl2;

use crate::regs::{Condition, Length};
use crate::sysreg::SysregAccess;

/// The immediate of an HVC or SMC that carries an SMCCC call.
pub const IMMEDIATE_SMCCC: u16 = 0;
/// The immediate of an HVC that carries a Xen hypercall (Xen header `arch-arm.h`, `XEN_HYPERCALL_TAG`).
pub const IMMEDIATE_XEN: u16 = 0xea1;

/// A synchronous exception that a guest took to EL2.
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
    if EsrEl2::from_bits_retain(esr).contains(EsrEl2::IL) { Length::Four } else { Length::Two }
}

/// Decodes ESR_EL2, with FAR_EL2 and HPFAR_EL2 for aborts, as they stand after an exception from a lower level.
pub fn decode(esr: u64, far: u64, hpfar: u64) -> Trap {
    let syndrome = EsrEl2::from_bits_retain(esr);
    let immediate = (esr & 0xffff) as u16;
    let coprocessor = |space| Trap::Coprocessor { space, condition: condition(esr) };
    if let Some(access) = syndrome.iss_sysreg() {
        return Trap::SystemRegister(SysregAccess::of_syndrome(access));
    }
    match syndrome.ec() {
        class::WFX => Trap::Wait { event: esr & 1 != 0, condition: condition(esr) },
        class::CP15 => coprocessor(Coprocessor::Cp15),
        class::CP15_PAIR => coprocessor(Coprocessor::Cp15Pair),
        class::CP14 => coprocessor(Coprocessor::Cp14),
        class::CP14_MEMORY => coprocessor(Coprocessor::Cp14Memory),
        class::FP_SIMD => Trap::FpSimd,
        class::FP_ID => coprocessor(Coprocessor::FpId),
        class::POINTER_AUTHENTICATION => Trap::PointerAuthentication,
        class::CP14_PAIR => coprocessor(Coprocessor::Cp14Pair),
        class::ILLEGAL_STATE => Trap::IllegalState,
        class::HVC64 => Trap::Hypercall { immediate },
        class::SMC64 => Trap::Smc { immediate },
        class::SVE => Trap::Sve,
        class::SME => Trap::Sme,
        class::INSTRUCTION_ABORT_LOWER => Trap::InstructionAbort(Fault::decode(esr, far, hpfar)),
        class::DATA_ABORT_LOWER => Trap::DataAbort(DataAbort::decode(esr, far, hpfar)),
        class => Trap::Other { class },
    }
}

/// ESR_EL2.EC: the exception classes that a guest causes (Arm ARM, D24.2.40). `arm_sysregs` has no names for them.
mod class {
    pub const WFX: u8 = 0x01;
    pub const CP15: u8 = 0x03;
    pub const CP15_PAIR: u8 = 0x04;
    pub const CP14: u8 = 0x05;
    pub const CP14_MEMORY: u8 = 0x06;
    pub const FP_SIMD: u8 = 0x07;
    pub const FP_ID: u8 = 0x08;
    pub const POINTER_AUTHENTICATION: u8 = 0x09;
    pub const CP14_PAIR: u8 = 0x0c;
    pub const ILLEGAL_STATE: u8 = 0x0e;
    pub const HVC64: u8 = 0x16;
    pub const SMC64: u8 = 0x17;
    pub const SVE: u8 = 0x19;
    pub const SME: u8 = 0x1d;
    pub const INSTRUCTION_ABORT_LOWER: u8 = 0x20;
    pub const DATA_ABORT_LOWER: u8 = 0x24;
}

/// CV (bit 24) and COND (23 to 20), for the classes that have them.
const fn condition(esr: u64) -> Condition {
    if esr >> 24 & 1 == 0 { Condition::ItBlock } else { Condition::Code(bits(esr, 20, 4)) }
}

#[cfg(test)]
mod tests;
