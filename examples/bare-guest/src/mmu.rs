//! Turning on the MMU and the caches.

use core::arch::asm;
use core::cell::UnsafeCell;

use bare_guest::machine::{Gic, Machine, Region};
use bare_guest::tables::{ADDRESS_BITS, Kind, MAIR, MapError, Tables};

use crate::cpu::read_register;
use crate::entry;

/// The tables, which the CPU reads as well.
struct Shared(UnsafeCell<Tables>);

// SAFETY: one CPU runs this program, and only `map` makes a reference to the content, for as long as it runs; the interrupt
// handler maps nothing.
unsafe impl Sync for Shared {}

static TABLES: Shared = Shared(UnsafeCell::new(Tables::new()));

/// Maps RAM, the interrupt controller and the UART, and turns the MMU and the caches on.
pub fn turn_on(machine: &Machine<'_>) {
    let registers = match &machine.gic {
        Gic::V2 { distributor, cpu } => [distributor, cpu],
        Gic::V3 { distributor, redistributors } => [distributor, redistributors],
    };
    let devices = registers.into_iter().chain(&machine.uart).map(|region| (region, Kind::Device));
    let memory = machine.memory.iter().map(|bank| (bank, Kind::Normal));
    for (region, kind) in memory.chain(devices) {
        map(region, kind).unwrap_or_else(|error| panic!("cannot map {region:#x?}: {error:?}"));
    }
    discard_cached_image();
    enable();
}

/// Maps a region, now or later.
///
/// # Errors
///
/// As [`Tables::map`].
pub fn map(region: &Region, kind: Kind) -> Result<(), MapError> {
    let tables = TABLES.0.get();
    // SAFETY: see `Shared`. The CPU may read entries meanwhile, which are written as whole words.
    let result = unsafe { (*tables).map(tables.addr() as u64, region.clone(), kind) };
    // SAFETY: barriers: the CPU sees the entries before the next access.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    result
}

/// What was written so far went past the caches, which may hold what was there before: they must forget it.
fn discard_cached_image() {
    const WORD: u64 = 4;
    let line = WORD << (read_register!("ctr_el0") >> 16 & 0xf);
    let image = entry::image();
    let mut address = image.start & !(line - 1);
    while address < image.end {
        // SAFETY: nothing was written to this memory through a cache: what is discarded is older than what is in memory.
        unsafe { asm!("dc ivac, {}", in(reg) address, options(nostack, preserves_flags)) };
        address += line;
    }
}

fn enable() {
    const NO_TTBR1: u64 = 1 << 23;
    // Table walks go by write-back caches, inner shareable, with 4 KiB pages.
    const WALKS: u64 = 1 << 8 | 1 << 10 | 3 << 12;
    const MMU_AND_CACHES: u64 = 1 | 1 << 2 | 1 << 12;
    const WRITABLE_IS_NEVER_EXECUTED: u64 = 1 << 19;
    let address_bits = u64::from(64 - ADDRESS_BITS);
    let physical = read_register!("id_aa64mmfr0_el1") & 0x7;
    let control = address_bits | WALKS | NO_TTBR1 | physical << 32;
    let system = read_register!("sctlr_el1") & !WRITABLE_IS_NEVER_EXECUTED | MMU_AND_CACHES;
    // SAFETY: the tables map the memory in which this program and its stack are to itself, so that the next instruction is
    // where it was.
    unsafe {
        asm!(
            "dsb sy",
            "msr mair_el1, {mair}",
            "msr tcr_el1, {control}",
            "msr ttbr0_el1, {tables}",
            "isb",
            "tlbi vmalle1",
            "ic iallu",
            "dsb nsh",
            "isb",
            "msr sctlr_el1, {system}",
            "isb",
            mair = in(reg) MAIR,
            control = in(reg) control,
            tables = in(reg) TABLES.0.get(),
            system = in(reg) system,
            options(nostack),
        );
    }
}
