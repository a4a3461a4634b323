//! Bringing up the further CPUs, by the firmware's PSCI or out of a spin table. One that does not come is reported and left
//! out.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU8, Ordering};

use xenolith_core::types::CpuId;
use xenolith_cpu::Cpu;
use xenolith_host::platform::{Mpidr, Platform, StartMethod};

use xenolith_arch::aarch64::{mmu, power};

use crate::{percpu, spin_table};

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
    state: AtomicU8,
}

/// The CPU was told to start; nobody knows more.
const STARTING: u8 = 0;
/// The CPU has reported itself, and takes part.
const UP: u8 = 1;
/// The boot CPU has lost patience: a CPU that comes now stops.
const LEFT_OUT: u8 = 2;

unsafe extern "C" {
    /// The physical address that PSCI CPU_ON is given, in `entry.rs`, which ends in [`main`]; a symbol, because the way up from
    /// there to here is the other one.
    #[link_name = "_start_secondary"]
    fn start_secondary();
}

/// How long a CPU may take to report itself, in nanoseconds: an emulated one may have to wait for a turn.
const PATIENCE: u64 = 5_000_000_000;

/// Starts the CPU with this MPIDR as number `id`; true once it has reported itself.
pub fn start(platform: &Platform, id: CpuId, mpidr: Mpidr) -> bool {
    let Some(Ok(method)) = platform.cpus.iter().find(|cpu| cpu.mpidr == mpidr).map(|cpu| cpu.start) else {
        return false;
    };
    let mpidr = mpidr.affinity();
    let record = Box::leak(Box::new(Start {
        tables: mmu::root(),
        tcr: read_sysreg!("tcr_el2"),
        mair: read_sysreg!("mair_el2"),
        sctlr: read_sysreg!("sctlr_el2"),
        vectors: read_sysreg!("vbar_el2"),
        stack: mmu::image().stack_top(id),
        id,
        state: AtomicU8::new(STARTING),
    }));
    let address = core::ptr::from_mut(record) as u64;
    // The new CPU reads the record with its caches off.
    xenolith_hw::clean_to_memory(address, size_of::<Start>() as u64);
    match method {
        StartMethod::Psci => {
            let entry = start_secondary as *const () as u64;
            if let Err(error) = power::cpu_on(mpidr, entry, address) {
                log::warn!(
                    "cpu{} (mpidr {mpidr:#x}) does not start: PSCI CPU_ON says {error}; it is left out",
                    id.0
                );
                return false;
            }
        }
        StartMethod::SpinTable { release } => spin_table::start(platform, release, mpidr, address),
    }
    let deadline = xenolith_arch::now().saturating_add(xenolith_arch::ticks(PATIENCE));
    while record.state.load(Ordering::Acquire) == STARTING {
        let late = xenolith_arch::now() > deadline;
        if late && record.settle(LEFT_OUT) {
            log::warn!(
                "cpu{} (mpidr {mpidr:#x}) was started and does not report itself; it is left out",
                id.0
            );
            return false;
        }
        xenolith_hw::relax();
    }
    true
}

impl Start {
    /// Decides whether the CPU takes part, if nobody has; true when this call did.
    fn settle(&self, state: u8) -> bool {
        self.state.compare_exchange(STARTING, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The first Rust on a further CPU.
pub extern "C" fn main(record: &'static Start) -> ! {
    let hypervisor = crate::hypervisor::get();
    percpu::install(Cpu::new(&hypervisor.timers, record.id));
    crate::vectors::install(crate::traps::init_cpu());
    xenolith_arch::aarch64::gic::init_cpu(record.id);
    crate::traps::enable_interrupts();
    // Only now: with `UP` the boot CPU goes on and counts on this one, whose interrupts must be able to come.
    if !record.settle(UP) {
        power::halt();
    }
    // SAFETY: this CPU's own stack, on which nothing is needed any more.
    unsafe { crate::vectors::run_guests(mmu::image().stack_top(record.id)) }
}
