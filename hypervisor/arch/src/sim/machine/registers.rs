//! What a CPU holds in its registers for a vCPU.

use xenolith_isa::regime::Stage1;
use xenolith_isa::system_error::SystemError;

/// What a CPU holds for a vCPU, named as the registers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
    /// MAIR_EL1.
    pub mair: u64,
    /// SP_EL0.
    pub sp_el0: u64,
    /// SP_EL1.
    pub sp_el1: u64,
    /// VBAR_EL1.
    pub vbar: u64,
    /// ELR_EL1.
    pub elr: u64,
    /// SPSR_EL1.
    pub spsr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// SP_EL0 and SP_EL1.
    pub sp: [u64; 2],
    /// TPIDR_EL1: stands for all the registers that are only kept.
    pub tpidr: u64,
    /// CNTV_CVAL_EL0.
    pub timer_compare: u64,
    /// CNTV_CTL_EL0.
    pub timer_control: u64,
    /// VMPIDR_EL2.
    pub vmpidr: u64,
    /// CNTVOFF_EL2.
    pub counter_offset: u64,
    /// SVE does not trap, and vectors have so many 128 bits; 0: it traps.
    pub vector_granules: u8,
    /// Stands for the Z and P registers.
    pub vectors: u64,
    /// HCR_EL2.VSE, and VSESR_EL2: a virtual system error that the guest has not taken.
    pub virtual_error: Option<SystemError>,
}

impl Registers {
    /// What stage 1 translates by.
    pub fn stage1(&self) -> Stage1 {
        let Registers { sctlr, tcr, ttbr0, ttbr1, mair, .. } = *self;
        Stage1 { sctlr, tcr, ttbr0, ttbr1, mair }
    }

    /// When the virtual timer fires, by the physical counter, if it is on and not masked (CNTV_CTL_EL0: bit 0 ENABLE, bit 1 IMASK).
    pub fn timer_deadline(&self) -> Option<u64> {
        (self.timer_control & 3 == 1).then(|| self.timer_compare.saturating_add(self.counter_offset))
    }
}
