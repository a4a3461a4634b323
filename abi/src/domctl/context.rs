//! The registers of a vCPU, as a toolstack sets and reads them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::GuestPtr;

/// Bit of [`VcpuGuestContext::flags`]: the vCPU is on.
pub const CONTEXT_ONLINE: u32 = 1 << 0;

/// Payload of `setvcpucontext` and `getvcpucontext`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuContext {
    /// The vCPU.
    pub vcpu: u32,
    /// Ignored.
    pub pad: u32,
    /// The registers; null in a call that sets resets the vCPU.
    pub ctxt: GuestPtr<VcpuGuestContext>,
}

/// General registers, and those that an exception banks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuGuestCoreRegs {
    /// x0 to x30.
    pub x: [u64; 31],
    /// The program counter.
    pub pc: u64,
    /// PSTATE, in the form of a saved one.
    pub cpsr: u64,
    /// SPSR_EL1.
    pub spsr_el1: u64,
    /// SPSR_fiq of AArch32.
    pub spsr_fiq: u32,
    /// SPSR_irq of AArch32.
    pub spsr_irq: u32,
    /// SPSR_und of AArch32.
    pub spsr_und: u32,
    /// SPSR_abt of AArch32.
    pub spsr_abt: u32,
    /// SP_EL0.
    pub sp_el0: u64,
    /// SP_EL1.
    pub sp_el1: u64,
    /// ELR_EL1.
    pub elr_el1: u64,
}

/// The registers of a vCPU (`vcpu_guest_context`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuGuestContext {
    /// [`CONTEXT_ONLINE`].
    pub flags: u32,
    /// Ignored.
    pub pad: u32,
    /// General registers.
    pub user_regs: VcpuGuestCoreRegs,
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub ttbcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(VcpuContext, 16, 8, { vcpu: 0, ctxt: 8 });
        assert_layout!(VcpuGuestCoreRegs, 312, 8, {
            x: 0, pc: 248, cpsr: 256, spsr_el1: 264, spsr_fiq: 272, spsr_irq: 276, spsr_und: 280, spsr_abt: 284,
            sp_el0: 288, sp_el1: 296, elr_el1: 304,
        });
        assert_layout!(VcpuGuestContext, 352, 8, {
            flags: 0, user_regs: 8, sctlr: 320, ttbcr: 328, ttbr0: 336, ttbr1: 344,
        });
    }
}
