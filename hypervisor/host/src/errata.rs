//! Errata of CPUs by which one domain could reach another, or stop the machine: what a CPU says that it is, looked up in one
//! table, and what is done about each.
//!
//! Sources: Arm's errata notices of the CPUs, and Arm's bulletin on CVE-2025-10263. What only a program of the same domain
//! notices is not here: that is the domain's own kernel's to know.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[cfg(test)]
mod tests;

/// What the hypervisor does about an erratum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Each invalidation of TLBs is followed by a second one.
    RepeatTlbi,
    /// Walks of stage 1 are held while the registers are of two vCPUs.
    HoldWalks,
    /// Nothing: the log says what can happen.
    Warning(&'static str),
}

/// An erratum of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erratum {
    /// Its number in the CPU's errata notice.
    pub number: u32,
    /// The CPU.
    pub cpu: &'static str,
    /// Implementer and part, as MIDR_EL1 has them: bits 31 to 24, and 15 to 4.
    model: (u8, u16),
    /// The last variant and revision that has it, a digit each; all before it have it too.
    last: u8,
    /// What is done.
    pub remedy: Remedy,
}

const ARM: u8 = 0x41;
const MICROSOFT: u8 = 0x6d;
const NVIDIA: u8 = 0x4e;

/// All revisions.
const ALL: u8 = 0xff;

// Neither can be kept from a guest: it chooses the type of its memory by its own tables, and stage 2 can only make it stricter.
const STUCK: Remedy = Remedy::Warning("a guest that mixes exclusive and device loads may stop the machine");
const STUCK_PAR: Remedy = Remedy::Warning(
    "a guest that mixes store-exclusives or PAR_EL1 with loads of devices may stop the machine",
);

const fn arm(number: u32, cpu: &'static str, part: u16, last: u8, remedy: Remedy) -> Erratum {
    Erratum { number, cpu, model: (ARM, part), last, remedy }
}

/// The table.
pub const ERRATA: [Erratum; 34] = [
    arm(832_075, "Cortex-A57", 0xd07, 0x12, STUCK),
    arm(1_508_412, "Cortex-A77", 0xd0d, 0x10, STUCK_PAR),
    arm(1_530_924, "Cortex-A53", 0xd03, ALL, Remedy::HoldWalks),
    arm(1_530_923, "Cortex-A55", 0xd05, ALL, Remedy::HoldWalks),
    arm(1_319_537, "Cortex-A57", 0xd07, ALL, Remedy::HoldWalks),
    arm(1_319_367, "Cortex-A72", 0xd08, ALL, Remedy::HoldWalks),
    arm(1_165_522, "Cortex-A76", 0xd0b, ALL, Remedy::HoldWalks),
    arm(1_165_522, "Neoverse-N1", 0xd0c, 0x20, Remedy::HoldWalks),
    // The second invalidation is Arm's workaround for these, and for those of CVE-2025-10263 below.
    arm(1_286_807, "Cortex-A76", 0xd0b, 0x30, Remedy::RepeatTlbi),
    arm(2_441_007, "Cortex-A55", 0xd05, ALL, Remedy::RepeatTlbi),
    arm(2_441_009, "Cortex-A510", 0xd46, 0x11, Remedy::RepeatTlbi),
    arm(4_193_800, "Cortex-A76", 0xd0b, ALL, Remedy::RepeatTlbi),
    arm(4_193_801, "Cortex-A76AE", 0xd0e, ALL, Remedy::RepeatTlbi),
    arm(4_193_798, "Cortex-A77", 0xd0d, ALL, Remedy::RepeatTlbi),
    arm(4_193_791, "Cortex-A78", 0xd41, ALL, Remedy::RepeatTlbi),
    arm(4_193_793, "Cortex-A78AE", 0xd42, ALL, Remedy::RepeatTlbi),
    arm(4_193_794, "Cortex-A78C", 0xd4b, ALL, Remedy::RepeatTlbi),
    arm(4_193_788, "Cortex-A710", 0xd47, ALL, Remedy::RepeatTlbi),
    arm(4_193_791, "Cortex-X1", 0xd44, ALL, Remedy::RepeatTlbi),
    arm(4_193_792, "Cortex-X1C", 0xd4c, ALL, Remedy::RepeatTlbi),
    arm(4_193_788, "Cortex-X2", 0xd48, ALL, Remedy::RepeatTlbi),
    arm(4_193_786, "Cortex-X3", 0xd4e, ALL, Remedy::RepeatTlbi),
    arm(4_118_414, "Cortex-X4", 0xd82, ALL, Remedy::RepeatTlbi),
    arm(4_193_781, "Cortex-X925", 0xd85, ALL, Remedy::RepeatTlbi),
    arm(4_193_800, "Neoverse-N1", 0xd0c, ALL, Remedy::RepeatTlbi),
    arm(4_193_789, "Neoverse-N2", 0xd49, ALL, Remedy::RepeatTlbi),
    arm(4_193_790, "Neoverse-V1", 0xd40, ALL, Remedy::RepeatTlbi),
    arm(4_193_787, "Neoverse-V2", 0xd4f, ALL, Remedy::RepeatTlbi),
    arm(4_193_784, "Neoverse-V3", 0xd84, ALL, Remedy::RepeatTlbi),
    arm(4_193_784, "Neoverse-V3AE", 0xd83, ALL, Remedy::RepeatTlbi),
    arm(4_193_780, "C1-Premium", 0xd90, ALL, Remedy::RepeatTlbi),
    arm(4_193_780, "C1-Ultra", 0xd8c, ALL, Remedy::RepeatTlbi),
    Erratum {
        number: 4_193_789,
        cpu: "Azure Cobalt 100",
        model: (MICROSOFT, 0xd49),
        last: ALL,
        remedy: Remedy::RepeatTlbi,
    },
    // Its notice calls it T410-OLY-1029.
    Erratum { number: 1029, cpu: "Olympus", model: (NVIDIA, 0x010), last: ALL, remedy: Remedy::RepeatTlbi },
];

/// The errata of the CPU whose MIDR_EL1 this is, each with its place in [`ERRATA`].
pub fn of(midr: u64) -> impl Iterator<Item = (usize, &'static Erratum)> {
    let bits = |low: u32, count: u32| midr >> low & ((1 << count) - 1);
    let model = (bits(24, 8) as u8, bits(4, 12) as u16);
    let revision = (bits(20, 4) << 4 | bits(0, 4)) as u8;
    ERRATA.iter().enumerate().filter(move |(_, erratum)| erratum.model == model && revision <= erratum.last)
}

/// What the CPUs of a machine need that have come up.
#[derive(Debug, Default)]
pub struct Needs {
    repeat_tlbi: AtomicBool,
    hold_walks: AtomicBool,
    /// The errata of the table that some CPU has, a bit each.
    found: AtomicU64,
}
const _: () = assert!(ERRATA.len() <= u64::BITS as usize);

impl Needs {
    /// No CPU has come up.
    pub const fn new() -> Self {
        Needs {
            repeat_tlbi: AtomicBool::new(false),
            hold_walks: AtomicBool::new(false),
            found: AtomicU64::new(0),
        }
    }

    /// Adds a CPU that is about to run its first guest. `tell` hears of each erratum from the first CPU that has it.
    pub fn add_cpu(&self, midr: u64, tell: impl Fn(&Erratum)) {
        for (index, erratum) in of(midr) {
            let bit = 1_u64.unbounded_shl(index as u32);
            if self.found.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
                continue;
            }
            match erratum.remedy {
                Remedy::RepeatTlbi => self.repeat_tlbi.store(true, Ordering::Relaxed),
                Remedy::HoldWalks => self.hold_walks.store(true, Ordering::Relaxed),
                Remedy::Warning(_) => {}
            }
            tell(erratum);
        }
    }

    /// Whether invalidations of TLBs are to be repeated, by whichever CPU.
    #[inline]
    pub fn repeat_tlbi(&self) -> bool {
        // Relaxed, here and below: the CPU that set it had run no guest before, so that its TLBs held no translation of one.
        self.repeat_tlbi.load(Ordering::Relaxed)
    }

    /// Whether walks of stage 1 are to be held while the registers are of two vCPUs.
    #[inline]
    pub fn hold_walks(&self) -> bool {
        self.hold_walks.load(Ordering::Relaxed)
    }
}
