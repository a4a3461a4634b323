//! Errata of CPUs by which one domain could reach another, or stop the machine: what a CPU says that it is, looked up in one
//! table, and what is done about each.
//!
//! Sources: Arm's errata notices of the CPUs, and Arm's bulletin on CVE-2025-10263. What only a program of the same domain
//! notices is not here: that is the domain's own kernel's to know.

/// What the hypervisor does about an erratum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Each invalidation of TLBs is followed by a second one.
    RepeatTlbi,
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

const MIXED: Remedy = Remedy::Warning("a guest may use translations that mix its own with another's");
const STUCK: Remedy = Remedy::Warning("a guest that mixes exclusive and device loads may stop the machine");

const fn arm(number: u32, cpu: &'static str, part: u16, last: u8, remedy: Remedy) -> Erratum {
    Erratum { number, cpu, model: (ARM, part), last, remedy }
}

/// The table.
pub const ERRATA: [Erratum; 32] = [
    arm(832_075, "Cortex-A57", 0xd07, 0x12, STUCK),
    arm(1_319_367, "Cortex-A57", 0xd07, ALL, MIXED),
    arm(1_319_537, "Cortex-A72", 0xd08, ALL, MIXED),
    arm(1_530_923, "Cortex-A55", 0xd05, 0x20, MIXED),
    arm(1_165_522, "Cortex-A76", 0xd0b, 0x20, MIXED),
    arm(1_165_522, "Neoverse-N1", 0xd0c, 0x20, MIXED),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn midr(model: (u8, u16), revision: u8) -> u64 {
        let (variant, revision) = (u64::from(revision >> 4), u64::from(revision & 0xf));
        u64::from(model.0) << 24 | variant << 20 | 0xf << 16 | u64::from(model.1) << 4 | revision
    }

    fn numbers(midr: u64) -> Vec<u32> {
        of(midr).map(|(_, erratum)| erratum.number).collect()
    }

    #[test]
    fn each_is_found_up_to_its_last_revision_and_nowhere_else() {
        for (index, erratum) in ERRATA.iter().enumerate() {
            let has = |midr| of(midr).any(|found| found == (index, erratum));
            assert!(has(midr(erratum.model, 0)) && has(midr(erratum.model, erratum.last)), "{erratum:?}");
            if erratum.last != ALL {
                assert!(!has(midr(erratum.model, erratum.last + 1)), "{erratum:?}");
                assert!(!has(midr(erratum.model, 0xff)), "{erratum:?}");
            }
            let (implementer, part) = erratum.model;
            assert!(!has(midr((implementer ^ 1, part), 0)) && !has(midr((implementer, part ^ 1), 0)));
        }
    }

    #[test]
    fn cpus_have_the_errata_of_their_notices() {
        // As emulators and boards show them.
        assert_eq!(numbers(0x411f_d070), [832_075, 1_319_367], "Cortex-A57 r1p0");
        assert_eq!(numbers(0x411f_d073), [1_319_367], "Cortex-A57 r1p3");
        assert_eq!(numbers(0x410f_d083), [1_319_537], "Cortex-A72 r0p3");
        assert_eq!(numbers(0x410f_d034), [], "Cortex-A53 r0p4");
        assert_eq!(numbers(0x414f_d0b1), [4_193_800], "Cortex-A76 r4p1");
        assert_eq!(numbers(0x412f_d0b0), [1_165_522, 1_286_807, 4_193_800], "Cortex-A76 r2p0");
        assert_eq!(numbers(0x411f_d050), [1_530_923, 2_441_007], "Cortex-A55 r1p0");
        assert_eq!(numbers(0x413f_d0c1), [4_193_800], "Neoverse-N1 r3p1");
        assert_eq!(numbers(0x411f_d461), [2_441_009], "Cortex-A510 r1p1");
        assert_eq!(numbers(0x6d0f_d490), [4_193_789], "Azure Cobalt 100");
        assert_eq!(numbers(0x4e0f_0100), [1029], "Olympus");
        assert_eq!(numbers(0x000f_0510), [], "an emulator's own");
    }
}
