//! Bringing up the further CPUs with the firmware's PSCI. One that does not come is reported and left out.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::types::{CpuId, Pa};

use super::{cpu, entry, mmu, power};

/// What a starting CPU loads before it can reach anything else. `entry.rs` reads the first six fields.
#[repr(C, align(64))]
pub struct Start {
    tables: u64,
    tcr: u64,
    mair: u64,
    sctlr: u64,
    vectors: u64,
    stack: u64,
    id: CpuId,
    up: AtomicBool,
}

/// Starts the CPU with this MPIDR as number `id`; true once it has reported itself.
pub fn start(id: CpuId, mpidr: u64) -> bool {
    let record = Box::leak(Box::new(Start {
        tables: mmu::root(),
        tcr: read_sysreg!("tcr_el2"),
        mair: read_sysreg!("mair_el2"),
        sctlr: read_sysreg!("sctlr_el2"),
        vectors: read_sysreg!("vbar_el2"),
        stack: mmu::image().stack_top(id),
        id,
        up: AtomicBool::new(false),
    }));
    let address = core::ptr::from_mut(record) as u64;
    // The new CPU reads the record with its caches off.
    super::clean_to_memory(Pa(address), size_of::<Start>() as u64);
    let entry = entry::start_secondary as *const () as u64;
    if let Err(error) = power::cpu_on(mpidr, entry, address) {
        log::warn!("cpu{} (mpidr {mpidr:#x}) does not start: PSCI CPU_ON says {error}; it is left out", id.0);
        return false;
    }
    let patience = super::now() + super::frequency();
    while !record.up.load(Ordering::Acquire) {
        if super::now() > patience {
            log::warn!(
                "cpu{} (mpidr {mpidr:#x}) was started and does not report itself; it is left out",
                id.0
            );
            return false;
        }
        super::relax();
    }
    true
}

/// The first Rust on a further CPU.
pub extern "C" fn main(record: &'static Start) -> ! {
    let hypervisor = super::boot::hypervisor();
    cpu::install(hypervisor.new_cpu(record.id));
    super::traps::init_cpu();
    super::gic::init_cpu(record.id);
    super::traps::enable_interrupts();
    record.up.store(true, Ordering::Release);
    while !hypervisor.is_open() {
        super::relax();
    }
    // SAFETY: this CPU's own stack, on which nothing is needed any more.
    unsafe { super::vectors::run_guests(mmu::image().stack_top(record.id)) }
}
