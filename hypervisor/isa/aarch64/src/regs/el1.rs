//! The EL1 registers of a vCPU that a toolstack sets and reads (`vcpu_guest_context`).

/// Registers of EL1, and the stack pointer of EL0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct El1Registers {
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
    /// SP_EL0.
    pub sp_el0: u64,
    /// SP_EL1.
    pub sp_el1: u64,
    /// ELR_EL1.
    pub elr: u64,
    /// SPSR_EL1.
    pub spsr: u64,
}
