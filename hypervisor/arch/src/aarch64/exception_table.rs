//! Instructions of EL2 whose outcome a guest decides, and where each goes on if it takes an exception.
//!
//! EL2's own exceptions are faults of ours and end the machine, but for these: an address translation (`AT`) walks the
//! guest's tables, and where the walk meets an external abort, because the tables are in registers of a device or in memory with an
//! error, the abort is taken to EL2 and not reported in PAR_EL1 (Arm ARM, address translation instructions).
//!
//! So does a system error that EL2 lets in (`system_error`): it is taken at an instruction that has nothing to do with it.
//!
//! Such an instruction adds an [`Entry`] to the section `.ex_table`, next to itself in one `asm!`. The vectors have used up
//! TPIDRRO_EL0 and TPIDR_EL0 when execution goes on at the fix-up, which therefore puts both back.

/// An instruction and its fix-up, each as its distance from the field: the image runs at any address.
#[repr(C)]
struct Entry {
    instruction: i32,
    fixup: i32,
}

unsafe extern "C" {
    static __ex_table_start: Entry;
    static __ex_table_end: Entry;
}

/// Adds an entry for the instruction at label `$instruction` with the fix-up at label `$fixup`, both before or behind it
/// in the same `asm!`.
macro_rules! ex_table {
    ($instruction:literal, $fixup:literal) => {
        concat!(
            ".pushsection .ex_table, \"a\"\n",
            ".balign 4\n",
            ".word ",
            $instruction,
            " - .\n",
            ".word ",
            $fixup,
            " - .\n",
            ".popsection"
        )
    };
}
pub(super) use ex_table;

/// Where execution goes on when the instruction at `pc` has taken an exception. `None`: nowhere, the fault is ours.
pub fn fixup(pc: u64) -> Option<u64> {
    entries().iter().find(|entry| target(&entry.instruction) == pc).map(|entry| target(&entry.fixup))
}

fn entries() -> &'static [Entry] {
    let start = &raw const __ex_table_start;
    let bytes = (&raw const __ex_table_end) as usize - start as usize;
    // SAFETY: between the linker's symbols (`image.ld`) are whole entries, which nobody writes.
    unsafe { core::slice::from_raw_parts(start, bytes / size_of::<Entry>()) }
}

/// What a field stands for.
fn target(field: &i32) -> u64 {
    (core::ptr::from_ref(field) as u64).wrapping_add_signed((*field).into())
}
