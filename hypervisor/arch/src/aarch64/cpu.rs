//! What belongs to one physical CPU, found through TPIDR_EL2.

use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_core::types::CpuId;

/// The head of a CPU's record: what EL2 reads of it at any time. Whoever keeps more of a CPU puts this first.
#[repr(C)]
#[derive(Debug)]
pub struct PerCpu {
    /// Where a stack for faults of EL2 itself begins. The vectors read this, the first field.
    pub emergency_stack: u64,
    /// What is done when a guest is left ([`xenolith_host::branch_prediction::AtExit`]). The second field; some vectors read it.
    pub at_exit: AtomicU64,
    /// The CPU's number.
    pub id: CpuId,
}

/// Points TPIDR_EL2 of the calling CPU at its record.
pub fn install(record: &'static PerCpu) {
    // SAFETY: TPIDR_EL2 is ours to use, and the record lives for ever.
    unsafe { write_sysreg!("tpidr_el2", core::ptr::from_ref(record) as u64) };
}

/// The calling CPU's record, null before it has one.
pub fn record() -> *const PerCpu {
    core::ptr::with_exposed_provenance(read_sysreg!("tpidr_el2") as usize)
}

/// Sets what the vectors do on the calling CPU when a guest is left.
pub fn set_at_exit(encoded: u64) {
    let record = record();
    if !record.is_null() {
        // SAFETY: TPIDR_EL2 is null or points at a record that lives for ever.
        unsafe { (*record).at_exit.store(encoded, Ordering::Relaxed) };
    }
}

/// The number of the CPU that asks; the boot CPU's before it has a record.
pub fn this_cpu() -> CpuId {
    let record = record();
    // SAFETY: TPIDR_EL2 is null or points at a record that lives for ever, and `id` never changes.
    if record.is_null() { CpuId(0) } else { unsafe { (*record).id } }
}
