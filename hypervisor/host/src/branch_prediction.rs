//! What a CPU needs when a guest is left, so that the guest does not choose where EL2 branches ahead of its program (Spectre,
//! variant 2, and branch history, CVE-2022-23960).
//!
//! Sources: the features that the identification registers show; Arm's lists of affected CPUs, with how often its loop is to
//! be run; and what the firmware says of SMCCC_ARCH_WORKAROUND_1 and 3 (Arm DEN 0028, 7.4 to 7.6).

use core::sync::atomic::{AtomicU8, Ordering};

use xenolith_isa::psci::{ARCH_WORKAROUNDS, Mitigations, Workaround};
use xenolith_isa::sysreg::IdRegisters;

#[cfg(test)]
mod tests;

/// What is done when a guest is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtExit {
    /// Nothing.
    Nothing,
    /// The CPU's instruction that clears its branch history (CLRBHB).
    Clear,
    /// So many turns of a loop with two branches, which fill the history with EL2's own.
    Loop(u8),
    /// The firmware is called, with this function.
    Call(u32),
}

impl AtExit {
    /// As the vectors read it: a function has bit 31 set, and 0 is the instruction.
    pub const fn encode(self) -> u64 {
        match self {
            AtExit::Nothing | AtExit::Clear => 0,
            AtExit::Loop(turns) => turns as u64,
            AtExit::Call(function) => function as u64,
        }
    }
}

/// What a CPU needs, and what guests are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is done when a guest is left.
    pub at_exit: AtExit,
    /// What guests are told.
    pub mitigations: Mitigations,
}

/// What is known of the branch history of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    /// It predicts no indirect branches by it.
    Unused,
    /// These turns of the loop replace it.
    Loop(u8),
}

const ARCH_WORKAROUND_1: u32 = ARCH_WORKAROUNDS[0];
const ARCH_WORKAROUND_2: u32 = ARCH_WORKAROUNDS[1];
const ARCH_WORKAROUND_3: u32 = ARCH_WORKAROUNDS[2];

const ARM: u8 = 0x41;
const AMPERE: u8 = 0xc0;

/// Arm's list: implementer and part of MIDR_EL1. Of the others only the firmware knows.
const HISTORIES: [(u8, u16, History); 25] = [
    (ARM, 0xd04, History::Unused),      // Cortex-A35
    (ARM, 0xd03, History::Unused),      // A53
    (ARM, 0xd05, History::Unused),      // A55
    (ARM, 0xd46, History::Unused),      // A510
    (ARM, 0xd80, History::Unused),      // A520
    (ARM, 0xd07, History::Loop(8)),     // A57
    (ARM, 0xd08, History::Loop(8)),     // A72
    (AMPERE, 0xac3, History::Loop(11)), // AmpereOne
    (ARM, 0xd0b, History::Loop(24)),    // A76
    (ARM, 0xd0e, History::Loop(24)),    // A76AE
    (ARM, 0xd0d, History::Loop(24)),    // A77
    (ARM, 0xd0c, History::Loop(24)),    // Neoverse N1
    (ARM, 0xd41, History::Loop(32)),    // A78
    (ARM, 0xd42, History::Loop(32)),    // A78AE
    (ARM, 0xd4b, History::Loop(32)),    // A78C
    (ARM, 0xd44, History::Loop(32)),    // X1
    (ARM, 0xd4c, History::Loop(32)),    // X1C
    (ARM, 0xd47, History::Loop(32)),    // A710
    (ARM, 0xd48, History::Loop(32)),    // X2
    (ARM, 0xd49, History::Loop(32)),    // Neoverse N2
    (ARM, 0xd40, History::Loop(32)),    // Neoverse V1
    (ARM, 0xd4d, History::Loop(38)),    // A715
    (ARM, 0xd81, History::Loop(38)),    // A720
    (ARM, 0xd4e, History::Loop(132)),   // X3
    (ARM, 0xd4f, History::Loop(132)),   // Neoverse V2
];

/// CPUs without ID_AA64PFR0_EL1.CSV2 that predict no branches of one context by another's: Cortex-A35, A53, A55.
const SOUND: [u16; 3] = [0xd04, 0xd03, 0xd05];

/// SMCCC_ARCH_FEATURES: the function is there, and this CPU needs it.
const IS_NEEDED: i32 = 0;
/// SMCCC_ARCH_FEATURES: the firmware has the function, and this CPU does not need it.
const IS_NOT_NEEDED: i32 = 1;

fn told(answer: i32) -> Workaround {
    match answer {
        IS_NEEDED => Workaround::Effective,
        IS_NOT_NEEDED => Workaround::NotNeeded,
        _ => Workaround::Unknown,
    }
}

/// Decides for a CPU. `features`: what its firmware answers to SMCCC_ARCH_FEATURES of a function, negative without one.
pub fn decide(midr: u64, ids: &IdRegisters, features: impl Fn(u32) -> i32) -> Verdict {
    let (implementer, part) = ((midr >> 24 & 0xff) as u8, (midr >> 4 & 0xfff) as u16);
    let csv2 = ids.field(4, 0, 56);
    let (ecbhb, clrbhb) = (ids.field(7, 1, 60) != 0, ids.field(6, 2, 28) != 0);
    let known = HISTORIES.iter().find(|row| (row.0, row.1) == (implementer, part)).map(|row| row.2);
    let of_firmware = told(features(ARCH_WORKAROUND_3));

    let branch_predictor = match csv2 {
        0 if implementer == ARM && SOUND.contains(&part) => Workaround::NotNeeded,
        0 => told(features(ARCH_WORKAROUND_1)),
        _ => Workaround::NotNeeded,
    };
    let (at_exit, branch_history) = match branch_predictor {
        // The call forgets all predictions, so that no history leads to one. 3 does what 1 does and more.
        Workaround::Effective if of_firmware == Workaround::Effective => {
            (AtExit::Call(ARCH_WORKAROUND_3), Workaround::Effective)
        }
        Workaround::Effective => (AtExit::Call(ARCH_WORKAROUND_1), Workaround::Effective),
        _ if csv2 >= 3 || ecbhb || known == Some(History::Unused) => (AtExit::Nothing, Workaround::NotNeeded),
        // Clearing the history alone closes nothing.
        Workaround::Unknown => (AtExit::Nothing, Workaround::Unknown),
        Workaround::NotNeeded => match (known, of_firmware) {
            _ if clrbhb => (AtExit::Clear, Workaround::Effective),
            (Some(History::Loop(turns)), _) => (AtExit::Loop(turns), Workaround::Effective),
            (_, Workaround::Effective) => (AtExit::Call(ARCH_WORKAROUND_3), Workaround::Effective),
            (_, other) => (AtExit::Nothing, other),
        },
    };
    // Nothing is switched on and off for guests: only what the firmware always does helps them.
    let store_bypass = match told(features(ARCH_WORKAROUND_2)) {
        Workaround::NotNeeded => Workaround::NotNeeded,
        _ => Workaround::Unknown,
    };
    Verdict { at_exit, mitigations: Mitigations { branch_predictor, store_bypass, branch_history } }
}

/// What guests are told of all CPUs that have come up: a workaround is needed if one needs it, and not known if it is not of one.
#[derive(Debug, Default)]
pub struct Joined([AtomicU8; 3]);

/// From the best to the worst.
const ORDER: [Workaround; 3] = [Workaround::NotNeeded, Workaround::Effective, Workaround::Unknown];

impl Joined {
    /// No CPU has come up.
    pub const fn new() -> Self {
        Joined([const { AtomicU8::new(0) }; 3])
    }

    /// Adds a CPU. True if guests are told something worse than before.
    pub fn add(&self, of_cpu: &Mitigations) -> bool {
        let Mitigations { branch_predictor, store_bypass, branch_history } = *of_cpu;
        let rank = |workaround| ORDER.iter().position(|&one| one == workaround).unwrap_or(0) as u8;
        self.0
            .iter()
            .zip([branch_predictor, store_bypass, branch_history])
            .fold(false, |worse, (joined, new)| {
                worse | (joined.fetch_max(rank(new), Ordering::Relaxed) < rank(new))
            })
    }

    /// What guests are told.
    pub fn get(&self) -> Mitigations {
        let [branch_predictor, store_bypass, branch_history] = &self.0;
        let of = |joined: &AtomicU8| {
            ORDER.get(usize::from(joined.load(Ordering::Relaxed))).copied().unwrap_or_default()
        };
        Mitigations {
            branch_predictor: of(branch_predictor),
            store_bypass: of(store_bypass),
            branch_history: of(branch_history),
        }
    }
}
