use super::*;
use Workaround::{Effective, NotNeeded, Unknown};

const A35: u64 = 0x410f_d040;
const A53: u64 = 0x410f_d034;
const A57: u64 = 0x411f_d070;
const A72: u64 = 0x410f_d083;
const A73: u64 = 0x410f_d092;
const A76: u64 = 0x414f_d0b1;
const V2: u64 = 0x410f_d4f1;
const N3: u64 = 0x410f_d8e0;

/// Identification registers with CSV2, ECBHB and CLRBHB.
fn ids(csv2: u64, ecbhb: u64, clrbhb: u64) -> IdRegisters {
    let mut ids = IdRegisters([0; _]);
    // ID_AA64PFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64ISAR2_EL1.
    ids.0[3 * 8] = csv2 << 56;
    ids.0[6 * 8 + 1] = ecbhb << 60;
    ids.0[5 * 8 + 2] = clrbhb << 28;
    ids
}

/// Firmware that answers so of the three workarounds.
fn answers(first: i32, second: i32, third: i32) -> impl Fn(u32) -> i32 {
    move |function| match function {
        ARCH_WORKAROUND_1 => first,
        ARCH_WORKAROUND_2 => second,
        ARCH_WORKAROUND_3 => third,
        other => panic!("{other:#x} is asked for"),
    }
}

/// What is done, and what is known of predictor and history.
fn decided(midr: u64, ids: IdRegisters, features: impl Fn(u32) -> i32) -> (AtExit, Workaround, Workaround) {
    let Verdict { at_exit, mitigations } = decide(midr, &ids, features);
    (at_exit, mitigations.branch_predictor, mitigations.branch_history)
}

#[test]
fn cpus_need_what_arm_says() {
    let none = || answers(-1, -1, -1);
    let (first, third) = (AtExit::Call(0x8000_8000), AtExit::Call(0x8000_3fff));
    for in_order in [A35, A53] {
        assert_eq!(decided(in_order, ids(0, 0, 0), none()), (AtExit::Nothing, NotNeeded, NotNeeded));
    }
    // Both are affected by either; an emulator's firmware has no calls.
    for midr in [A57, A72, A73] {
        assert_eq!(decided(midr, ids(0, 0, 0), none()), (AtExit::Nothing, Unknown, Unknown));
        assert_eq!(decided(midr, ids(0, 0, 0), answers(0, -1, -1)), (first, Effective, Effective));
        assert_eq!(decided(midr, ids(0, 0, 0), answers(0, -1, 0)), (third, Effective, Effective));
    }
    // Revisions with CSV2 have their history cleared, by whatever there is.
    assert_eq!(decided(A72, ids(1, 0, 0), none()), (AtExit::Loop(8), NotNeeded, Effective));
    assert_eq!(decided(A73, ids(1, 0, 0), answers(1, -1, 0)), (third, NotNeeded, Effective));
    assert_eq!(decided(A73, ids(1, 0, 0), none()), (AtExit::Nothing, NotNeeded, Unknown));
    assert_eq!(decided(A76, ids(1, 0, 0), none()), (AtExit::Loop(24), NotNeeded, Effective));
    assert_eq!(decided(V2, ids(2, 0, 0), none()), (AtExit::Loop(132), NotNeeded, Effective));
    assert_eq!(decided(V2, ids(2, 0, 1), none()), (AtExit::Clear, NotNeeded, Effective));
    // What the CPU does by itself.
    for sound in [ids(2, 1, 0), ids(3, 0, 0), ids(3, 1, 1)] {
        assert_eq!(decided(V2, sound, none()), (AtExit::Nothing, NotNeeded, NotNeeded));
    }
    // A CPU of which only its firmware knows.
    assert_eq!(decided(N3, ids(2, 0, 0), none()), (AtExit::Nothing, NotNeeded, Unknown));
    assert_eq!(decided(N3, ids(2, 0, 0), answers(1, 1, 1)), (AtExit::Nothing, NotNeeded, NotNeeded));
    assert_eq!(decided(N3, ids(0, 0, 0), answers(1, 1, 1)), (AtExit::Nothing, NotNeeded, NotNeeded));
}

#[test]
fn a_guest_hears_of_store_bypass_what_needs_no_call() {
    let heard = |answer| decide(A76, &ids(1, 0, 0), answers(1, answer, 1)).mitigations.store_bypass;
    assert_eq!([heard(1), heard(0), heard(-1), heard(-2)], [NotNeeded, Unknown, Unknown, Unknown]);
}

#[test]
fn the_vectors_tell_the_ways_apart() {
    for call in [ARCH_WORKAROUND_1, ARCH_WORKAROUND_3] {
        assert_eq!(AtExit::Call(call).encode() >> 31, 1);
    }
    assert_eq!(AtExit::Clear.encode(), 0);
    for (_, _, history) in HISTORIES {
        let History::Loop(turns) = history else { continue };
        assert!(turns > 0);
        assert_eq!(AtExit::Loop(turns).encode(), turns.into());
    }
}

#[test]
fn the_worst_cpu_decides_what_guests_are_told() {
    let of = |branch_predictor, branch_history| Mitigations {
        branch_predictor,
        branch_history,
        store_bypass: Unknown,
    };
    let joined = Joined::new();
    assert!(joined.add(&of(NotNeeded, NotNeeded)), "nothing is known of store bypass");
    assert!(!joined.add(&of(NotNeeded, NotNeeded)));
    assert!(joined.add(&of(NotNeeded, Effective)));
    assert!(!joined.add(&of(NotNeeded, NotNeeded)));
    assert_eq!(joined.get(), of(NotNeeded, Effective));
    assert!(joined.add(&of(Unknown, NotNeeded)));
    assert!(!joined.add(&of(Effective, Effective)));
    assert_eq!(joined.get(), of(Unknown, Effective));
}
