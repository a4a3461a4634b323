//! The interrupt controller's registers, at every offset, by accesses of every size: each is answered or aborts.

use crate::cpu::{Outcome, execute, read_register};
use crate::report::{Complaint, Report, check};

/// The distributor of QEMU's `virt` board.
pub const DISTRIBUTOR: u64 = 0x0800_0000;
/// The CPU interface of its GICv2.
pub const CPU_INTERFACE: u64 = 0x0801_0000;
/// The first redistributor of its GICv3: 64 KiB of its own registers, 64 KiB of private interrupts.
pub const REDISTRIBUTOR: u64 = 0x080a_0000;

/// Loads into w1 or x1 from the address in x0: 8, 16, 32 and 64 bits.
const LOADS: [(u64, u32); 4] = [(1, 0x3940_0001), (2, 0x7940_0001), (4, 0xb940_0001), (8, 0xf940_0001)];
/// Stores of zero.
const STORES: [(u64, u32); 4] = [(1, 0x3900_001f), (2, 0x7900_001f), (4, 0xb900_001f), (8, 0xf900_001f)];

/// Whether system registers drive the interrupt controller: GICv3.
pub fn is_v3() -> bool {
    read_register!("id_aa64pfr0_el1") >> 24 & 0xf != 0
}

/// Regions and their sizes.
fn regions() -> [(u64, u64); 2] {
    if is_v3() {
        [(DISTRIBUTOR, 0x1_0000), (REDISTRIBUTOR, 0x2_0000)]
    } else {
        [(DISTRIBUTOR, 0x1000), (CPU_INTERFACE, 0x2000)]
    }
}

/// Runs all tests of the interrupt controller.
pub fn run(report: &mut Report) {
    report.test("reading the interrupt controller in every size", || sweep(&LOADS));
    report.test("writing the interrupt controller in every size", || sweep(&STORES));
}

/// Accesses every word of every region by each instruction; the odd sizes at the word's last place too.
fn sweep(accesses: &[(u64, u32)]) -> Result<(), Complaint> {
    for (base, size) in regions() {
        for &(width, word) in accesses {
            for offset in (0..size).step_by(4).filter(|offset| offset % width == 0) {
                // The wide regions repeat themselves: beyond the first page, every sixteenth place will do.
                if offset >= 0x1000 && offset % 64 != 0 {
                    continue;
                }
                let address = base + offset;
                // SAFETY: touches only the interrupt controller; interrupts are masked.
                let outcome = unsafe { execute(word, address) };
                let fine = matches!(outcome, Outcome::Value(_)) || outcome.is_data_abort(address);
                check(fine, "access at", address, outcome)?;
            }
        }
    }
    Ok(())
}
