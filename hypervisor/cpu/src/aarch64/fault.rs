//! Faults that end by themselves.

use xenolith_domain::hypervisor::VcpuRef;
use xenolith_isa::trap::{Fault, FaultStatus};

/// Whether the instruction can be made again with success: another CPU was changing the entry when the guest came by.
pub fn may_retry(vcpu: &VcpuRef, fault: &Fault, write: bool) -> bool {
    if !matches!(fault.status, FaultStatus::Translation { .. }) {
        return false;
    }
    let Some(ipa) = fault.ipa else { return false };
    vcpu.domain.is_mapped(ipa.frame(), write)
}
