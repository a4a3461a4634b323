//! CPUs that the firmware left waiting at an address each (`enable-method = "spin-table"`).
//!
//! Several may wait at the same address, so that they come by themselves and all at once: they wait again, in a pen of our
//! own, until it says whose turn it is. A CPU whose turn never comes stays there.

use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_arch::aarch64::mmu;
use xenolith_core::types::{PAGE_SIZE, Pa};
use xenolith_host::platform::Platform;

/// What a CPU in the pen looks at, with its caches off; `entry.rs` knows the fields. It has its cache line for itself.
#[repr(C, align(128))]
pub struct Pen {
    /// The MPIDR of the CPU whose turn it is.
    mpidr: AtomicU64,
    /// Its `Start` record.
    record: AtomicU64,
}

/// No CPU's MPIDR.
const NOBODY: u64 = u64::MAX;

/// The pen.
pub static PEN: Pen = Pen { mpidr: AtomicU64::new(NOBODY), record: AtomicU64::new(0) };

unsafe extern "C" {
    /// Where a released CPU goes on, in `entry.rs`; a symbol, because the way up from there to here is the other one.
    #[link_name = "_start_spin_table"]
    fn start_spin_table();
}

/// Lets the CPU with this MPIDR, which waits at `release`, start with this record.
pub fn start(platform: &Platform, release: Pa, mpidr: u64, record: u64) {
    PEN.record.store(record, Ordering::Relaxed);
    // Whoever sees that it is its turn must find its record.
    PEN.mpidr.store(mpidr, Ordering::Release);
    xenolith_hw::clean_to_memory(core::ptr::from_ref(&PEN).addr() as u64, size_of::<Pen>() as u64);
    let is_ram = platform.memory.iter().any(|bank| bank.start() <= release && release < bank.end());
    if !is_ram {
        mmu::map_device(Pa(release.0 & !(PAGE_SIZE - 1)), PAGE_SIZE);
    }
    let entry = start_spin_table as *const () as u64;
    let word = release.0 as *mut u64;
    // SAFETY: the word is mapped, as RAM for ever or as a device just now. The platform keeps it reserved: nobody but the
    // CPU that waits has any business there.
    unsafe { word.write_volatile(entry) };
    if is_ram {
        // The CPU that waits reads it with its caches off.
        xenolith_hw::clean_to_memory(release.0, 8);
    }
    xenolith_hw::dsb();
    xenolith_hw::send_event();
}
