//! The registers of the EL1&0 translation regime ([`xenolith_isa::regime`]).

use xenolith_hw::isb;
use xenolith_isa::regime::{Regime, Register};
use xenolith_isa::stage2::Stage2;

use super::{errata, stage2};

/// Those of the calling CPU.
pub(super) struct El1;

impl Regime for El1 {
    #[inline(always)]
    fn read(&self, register: Register) -> u64 {
        match register {
            Register::Sctlr => read_sysreg!("sctlr_el1"),
            Register::Tcr => read_sysreg!("tcr_el1"),
            Register::Ttbr0 => read_sysreg!("ttbr0_el1"),
            Register::Ttbr1 => read_sysreg!("ttbr1_el1"),
            Register::Mair => read_sysreg!("mair_el1"),
        }
    }

    #[inline(always)]
    fn write(&mut self, register: Register, value: u64) {
        // SAFETY: the registers belong to guests; EL2 has its own tables.
        unsafe {
            match register {
                Register::Sctlr => write_sysreg!("sctlr_el1", value),
                Register::Tcr => write_sysreg!("tcr_el1", value),
                Register::Ttbr0 => write_sysreg!("ttbr0_el1", value),
                Register::Ttbr1 => write_sysreg!("ttbr1_el1", value),
                Register::Mair => write_sysreg!("mair_el1", value),
            }
        }
    }

    #[inline(always)]
    fn synchronize(&mut self) {
        isb();
    }

    #[inline(always)]
    fn vmid(&self) -> u16 {
        (read_sysreg!("vttbr_el2") >> 48) as u16
    }

    #[inline(always)]
    fn set_stage2(&mut self, stage2: Stage2) {
        stage2::activate(stage2);
    }

    fn must_hold_walks(&self) -> bool {
        errata::must_hold_walks()
    }
}
