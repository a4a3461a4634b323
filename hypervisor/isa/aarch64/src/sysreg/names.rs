//! The registers and instructions that the emulation tells apart, by their encodings (Arm ARM, D24).
//!
//! The one table of them: `arm_sysregs` has the fields of registers, but says for none how an instruction names it.

use super::Encoding;

pub const DC_ISW: Encoding = Encoding::new(1, 0, 7, 6, 2);
pub const DC_CSW: Encoding = Encoding::new(1, 0, 7, 10, 2);
pub const DC_CISW: Encoding = Encoding::new(1, 0, 7, 14, 2);
pub const OSDTRRX_EL1: Encoding = Encoding::new(2, 0, 0, 0, 2);
pub const MDCCINT_EL1: Encoding = Encoding::new(2, 0, 0, 2, 0);
pub const MDSCR_EL1: Encoding = Encoding::new(2, 0, 0, 2, 2);
pub const OSDTRTX_EL1: Encoding = Encoding::new(2, 0, 0, 3, 2);
pub const OSECCR_EL1: Encoding = Encoding::new(2, 0, 0, 6, 2);
pub const MDRAR_EL1: Encoding = Encoding::new(2, 0, 1, 0, 0);
pub const OSLAR_EL1: Encoding = Encoding::new(2, 0, 1, 0, 4);
pub const OSLSR_EL1: Encoding = Encoding::new(2, 0, 1, 1, 4);
pub const OSDLR_EL1: Encoding = Encoding::new(2, 0, 1, 3, 4);
pub const DBGPRCR_EL1: Encoding = Encoding::new(2, 0, 1, 4, 4);
pub const DBGCLAIMSET_EL1: Encoding = Encoding::new(2, 0, 7, 8, 6);
pub const DBGCLAIMCLR_EL1: Encoding = Encoding::new(2, 0, 7, 9, 6);
pub const DBGAUTHSTATUS_EL1: Encoding = Encoding::new(2, 0, 7, 14, 6);
pub const MDCCSR_EL0: Encoding = Encoding::new(2, 3, 0, 1, 0);
pub const DBGDTR_EL0: Encoding = Encoding::new(2, 3, 0, 4, 0);
pub const DBGDTRRX_TX_EL0: Encoding = Encoding::new(2, 3, 0, 5, 0);
pub const ID_AA64PFR0_EL1: Encoding = Encoding::new(3, 0, 0, 4, 0);
pub const ACTLR_EL1: Encoding = Encoding::new(3, 0, 1, 0, 1);
pub const ICC_DIR_EL1: Encoding = Encoding::new(3, 0, 12, 11, 1);
pub const ICC_SGI1R_EL1: Encoding = Encoding::new(3, 0, 12, 11, 5);
pub const ICC_ASGI1R_EL1: Encoding = Encoding::new(3, 0, 12, 11, 6);
pub const ICC_SGI0R_EL1: Encoding = Encoding::new(3, 0, 12, 11, 7);
pub const ICC_SRE_EL1: Encoding = Encoding::new(3, 0, 12, 12, 5);
pub const PMUSERENR_EL0: Encoding = Encoding::new(3, 3, 9, 14, 0);
pub const CNTP_TVAL_EL0: Encoding = Encoding::new(3, 3, 14, 2, 0);
pub const CNTP_CTL_EL0: Encoding = Encoding::new(3, 3, 14, 2, 1);
pub const CNTP_CVAL_EL0: Encoding = Encoding::new(3, 3, 14, 2, 2);
