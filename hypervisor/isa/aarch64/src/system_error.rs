//! System errors (SError): what the memory system reports of an access long after the instruction, and how bad it is.
//!
//! Source: Arm ARM, D24.2.40 "ISS encoding for an SError exception" and D24.2.32 "DISR_EL1"; where a CPU has no RAS extension,
//! all of the ISS is implementation-defined.

/// A system error, as its syndrome describes it: ISS, of which bit 24 says that the rest is implementation-defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemError(u32);

const ISS: u64 = 0x1ff_ffff;
const IDS: u32 = 1 << 24;
/// DFSC, and its value where AET means something.
const STATUS: u32 = 0x3f;
const ASYNCHRONOUS: u32 = 0x11;
/// DISR_EL1.A: an error barrier has put off a system error.
const DEFERRED: u64 = 1 << 31;

impl SystemError {
    /// That of ESR_ELx.
    pub const fn of_syndrome(esr: u64) -> Self {
        SystemError((esr & ISS) as u32)
    }

    /// That of DISR_EL1 behind an error barrier (ESB), if there was one. Its fields lie as in the ISS.
    pub const fn deferred(disr: u64) -> Option<Self> {
        if disr & DEFERRED == 0 { None } else { Some(SystemError((disr & ISS) as u32)) }
    }

    /// The syndrome's 25 bits.
    pub const fn iss(self) -> u32 {
        self.0
    }

    /// Whether whoever ran can go on as if nothing had happened: the error was corrected, or nobody has used what is wrong
    /// yet (AET: 6 corrected, 2 restartable). All else has lost or spoilt something, above all a store that was refused, which
    /// CPUs report as uncontainable.
    pub const fn is_harmless(self) -> bool {
        let severity = self.0 >> 10 & 7;
        self.0 & IDS == 0 && self.0 & STATUS == ASYNCHRONOUS && (severity == 6 || severity == 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_corrected_and_restartable_errors_are_harmless() {
        let harmless = |esr| SystemError::of_syndrome(esr).is_harmless();
        // As CPUs report refused stores: Cortex-A53 and its like, and those with RAS.
        assert!(!harmless(0xbf00_0002));
        assert!(!harmless(0xbe00_0011));
        for severity in 0..8 {
            assert_eq!(harmless(0xbe00_0011 | severity << 10), [2, 6].contains(&severity), "AET {severity}");
            assert!(!harmless(0xbf00_0011 | severity << 10), "implementation-defined");
            assert!(!harmless(0xbe00_0010 | severity << 10), "another status says nothing of AET");
        }
    }

    #[test]
    fn a_barrier_defers_a_whole_syndrome_or_nothing() {
        assert_eq!(SystemError::deferred(0x7fff_ffff), None);
        assert_eq!(SystemError::deferred(0x8000_1a11), Some(SystemError::of_syndrome(0xbe00_1a11)));
        assert_eq!(SystemError::deferred(0x8100_0002).map(SystemError::iss), Some(0x100_0002));
    }
}
