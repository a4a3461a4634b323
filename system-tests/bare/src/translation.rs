//! Tables of this kernel's own that the hypervisor has the hardware walk, for a pointer in a hypercall: whatever they
//! say, and wherever they are, the call is answered by an error.

use core::arch::asm;
use core::cell::UnsafeCell;

use crate::calls::{CONSOLE_IO, hypercall};
use crate::cpu::{Outcome, read_register};
use crate::report::{Complaint, Report, check};

const EFAULT: u64 = -14_i64 as u64;

/// An address of the upper half, which TTBR1_EL1 translates: 39 bits of them here. Its descriptor is the ninth of the
/// first table, 64 bytes from the start.
const POINTER: u64 = !0 << 39 | 8 << 30;

/// Where a table may be that nobody can read, in QEMU's `virt`. The first domain has the page of `fw_cfg`, whose registers
/// end after 24 bytes: beyond them the bus answers by an external abort. In the PCI window it reads ones. The others are
/// not the domain's.
const NO_TABLES: [(&str, u64); 4] = [
    ("behind fw_cfg", 0x0902_0000),
    ("in a PCI window", 0x3000_0000),
    ("between devices", 0x0b00_0000),
    ("beyond RAM", 0x30_0000_0000),
];

/// One table of level 1, 512 blocks of 1 GiB at their own addresses.
#[repr(align(4096))]
struct Identity(UnsafeCell<[u64; 512]>);

// SAFETY: one CPU runs this kernel, and no reference to the content is ever made.
unsafe impl Sync for Identity {}

static IDENTITY: Identity = Identity(UnsafeCell::new([0; 512]));

/// Runs all tests of translation.
pub fn run(report: &mut Report) {
    report.test("a pointer whose translation table nobody can read is EFAULT", unreadable_tables);
}

fn unreadable_tables() -> Result<(), Complaint> {
    for (what, table) in NO_TABLES {
        let outcome = with_mmu(table, || hypercall(CONSOLE_IO, [0, 16, POINTER, 0]));
        check(outcome == Outcome::Value(EFAULT), what, table, outcome)?;
        // The registers that the hypervisor uses while it survives this are this kernel's own.
        let marks = [read_register!("tpidrro_el0"), read_register!("tpidr_el0")];
        check(marks == MARKS, "TPIDRRO_EL0 after", marks[0], outcome)?;
    }
    Ok(())
}

/// What is in TPIDRRO_EL0 and TPIDR_EL0 meanwhile.
const MARKS: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// Does something with the MMU on: every address of the lower half is its own, and the upper half is as the table at `upper` says.
fn with_mmu(upper: u64, action: impl FnOnce() -> Outcome) -> Outcome {
    /// Non-cacheable memory, as what this kernel writes with its MMU off is in no cache.
    const MAIR: u64 = 0x44;
    /// A valid block, with the access flag, inner shareable, memory of MAIR's first kind.
    const BLOCK: u64 = 1 | 0b11 << 8 | 1 << 10;
    /// T0SZ and T1SZ for 39 bits, granules of 4 KiB (TG1 is 0b10), 40 bits of physical addresses.
    const TCR: u64 = 25 | 25 << 16 | 0b10 << 30 | 0b010 << 32;
    const SCTLR_M: u64 = 1;

    let table = IDENTITY.0.get().cast::<u64>();
    for block in 0..512_u64 {
        // SAFETY: the index is within the table, which is ours alone; it is in use here only, with the same content.
        unsafe { table.add(block as usize).write_volatile(block << 30 | BLOCK) };
    }
    let sctlr = read_register!("sctlr_el1");
    // SAFETY: all of this kernel stays where it is, at the same addresses; what the upper half has it never uses. TPIDR*_EL0
    // mean nothing to it.
    unsafe {
        asm!(
            "msr tpidrro_el0, {mark0}",
            "msr tpidr_el0, {mark1}",
            "msr mair_el1, {mair}",
            "msr tcr_el1, {tcr}",
            "msr ttbr0_el1, {lower}",
            "msr ttbr1_el1, {upper}",
            "dsb sy",
            "tlbi vmalle1",
            "dsb sy",
            "isb",
            "msr sctlr_el1, {on}",
            "isb",
            mark0 = in(reg) MARKS[0],
            mark1 = in(reg) MARKS[1],
            mair = in(reg) MAIR,
            tcr = in(reg) TCR,
            lower = in(reg) table,
            upper = in(reg) upper,
            on = in(reg) sctlr | SCTLR_M,
            options(nostack)
        );
    }
    let outcome = action();
    // SAFETY: as before the action.
    unsafe {
        asm!("msr sctlr_el1, {off}", "isb", "tlbi vmalle1", "dsb sy", "isb", off = in(reg) sctlr, options(nostack))
    };
    outcome
}
