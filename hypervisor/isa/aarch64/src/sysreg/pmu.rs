//! Performance monitors: the identification registers hide them, and a kernel that looks anyway finds none at work.

use super::names::PMUSERENR_EL0;
use super::{Outcome, SysregAccess, read_only};

/// PMUSERENR_EL0, which EL0 may read: EL0 may use no other register of the PMU.
pub(super) fn el0(access: SysregAccess) -> Option<Outcome> {
    (access.encoding == PMUSERENR_EL0 && access.is_read).then_some(Outcome::Value(0))
}

/// The PMUv3 registers as EL1 sees them: all read as zero and ignore writes.
pub(super) fn el1(access: SysregAccess) -> Option<Outcome> {
    match access.encoding.parts() {
        // PMCR to PMCEID1, PMCCNTR to PMXEVCNTR, PMUSERENR, PMOVSSET.
        (3, 3, 9, 12, _) | (3, 3, 9, 13, 0..=2) | (3, 3, 9, 14, 0 | 3) => Some(read_only(access, 0)),
        // PMINTENSET, PMINTENCLR.
        (3, 0, 9, 14, 1..=2) => Some(read_only(access, 0)),
        // PMEVCNTR<n>, PMEVTYPER<n>, PMCCFILTR.
        (3, 3, 14, 8..=15, _) => Some(read_only(access, 0)),
        _ => None,
    }
}
