//! Self-hosted debug registers: present, as the architecture demands, and without effect.
//!
//! Breakpoints and watchpoints of a guest would be state of the physical CPU that nobody switches, so none can be
//! set. The debug communications channel is always full, so that a kernel's probe of it gives up.

use super::names::{
    DBGAUTHSTATUS_EL1, DBGCLAIMCLR_EL1, DBGCLAIMSET_EL1, DBGDTR_EL0, DBGDTRRX_TX_EL0, DBGPRCR_EL1,
    MDCCINT_EL1, MDCCSR_EL0, MDRAR_EL1, MDSCR_EL1, OSDLR_EL1, OSDTRRX_EL1, OSDTRTX_EL1, OSECCR_EL1,
    OSLAR_EL1, OSLSR_EL1,
};
use super::{Encoding, Outcome, SysregAccess, read_only};

/// OSLSR_EL1.OSLM = 0b10: the OS lock exists, and is not held.
const OS_LOCK_FREE: u64 = 1 << 3;
/// MDCCSR_EL0.TXfull.
const TRANSMIT_FULL: u64 = 1 << 29;

/// Registers of EL1; `None` if `access` is to none of them.
pub(super) fn el1(access: SysregAccess) -> Option<Outcome> {
    Some(match access.encoding {
        MDSCR_EL1 | MDCCINT_EL1 | OSDTRRX_EL1 | OSDTRTX_EL1 | OSECCR_EL1 | OSDLR_EL1 | DBGPRCR_EL1
        | DBGCLAIMSET_EL1 | DBGCLAIMCLR_EL1 => read_only(access, 0),
        OSLAR_EL1 if !access.is_read => Outcome::Ignored,
        OSLSR_EL1 if access.is_read => Outcome::Value(OS_LOCK_FREE),
        MDRAR_EL1 | DBGAUTHSTATUS_EL1 if access.is_read => Outcome::Value(0),
        encoding if is_breakpoint(encoding) => read_only(access, 0),
        _ => return None,
    })
}

/// The communications channel, which EL0 may use while MDSCR_EL1.TDCC is 0, as it always is here.
pub(super) fn el0(access: SysregAccess) -> Option<Outcome> {
    match access.encoding {
        MDCCSR_EL0 if access.is_read => Some(Outcome::Value(TRANSMIT_FULL)),
        DBGDTR_EL0 | DBGDTRRX_TX_EL0 => Some(read_only(access, 0)),
        _ => None,
    }
}

/// DBGBVR, DBGBCR, DBGWVR and DBGWCR, sixteen of each: CRm is the number, op2 (4 to 7) the kind.
const fn is_breakpoint(encoding: Encoding) -> bool {
    matches!(encoding.parts(), (2, 0, 0, _, 4..=7))
}
