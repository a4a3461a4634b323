use proptest::prelude::*;

use super::*;
use crate::regs::GuestRegs;

fn reply(function: u32, argument: u64) -> PsciAnswer {
    reply_to(false, function, argument)
}

fn reply_to(can_suspend: bool, function: u32, argument: u64) -> PsciAnswer {
    let mitigations = Mitigations {
        branch_predictor: Workaround::Effective,
        store_bypass: Workaround::NotNeeded,
        branch_history: Workaround::Unknown,
    };
    let firmware = Firmware { smccc_version: SMCCC_1_1, mitigations: &mitigations, can_suspend };
    answer(decode([function.into(), argument, 0, 0]), &firmware).unwrap()
}

const MINUS_ONE: PsciAnswer = PsciAnswer::X0(u64::MAX);

#[test]
fn versions() {
    assert_eq!(reply(0x8400_0000, 0), PsciAnswer::X0(0x1_0001));
    assert_eq!(reply(0x8000_0000, 0), PsciAnswer::X0(0x1_0001));
    assert_eq!(reply(0x8400_0006, 0), PsciAnswer::X0(2));
}

#[test]
fn features_of_psci() {
    let known = [
        0x8400_0000,
        0x8400_0001,
        0xc400_0001,
        0x8400_0002,
        0x8400_0003,
        0xc400_0003,
        0x8400_0004,
        0xc400_0004,
        0x8400_0006,
        0x8400_0008,
        0x8400_0009,
        0x8400_000a,
        0x8000_0000,
    ];
    for function in known {
        assert_eq!(reply(0x8400_000a, function), PsciAnswer::X0(0), "{function:#x}");
    }
    for function in [1, 2, 0x8400_0005, 0x8400_0007, 0xc400_0002, 0xc400_000e, 0x8400_ff01, 0x8000_0001] {
        assert_eq!(reply(0x8400_000a, function), MINUS_ONE, "{function:#x}");
    }
}

#[test]
fn only_a_domain_that_can_suspend_itself_finds_the_call() {
    for function in [0x8400_000e, 0xc400_000e] {
        assert_eq!(reply_to(true, 0x8400_000a, function), PsciAnswer::X0(0));
        assert_eq!(reply_to(false, 0x8400_000a, function), MINUS_ONE);
    }
    let wide = [0xc400_000e, 0x1_4000_0000, u64::MAX, 9];
    assert_eq!(decode(wide), Call::SystemSuspend(SystemSuspend { entry: wide[1], context: wide[2] }));
    let narrow = [0x8400_000e, wide[1], wide[2], 9];
    let expected = SystemSuspend { entry: 0x4000_0000, context: 0xffff_ffff };
    assert_eq!(decode(narrow), Call::SystemSuspend(expected));
    assert_eq!(
        (expected.check(), SystemSuspend { entry: 1, ..expected }.check()),
        (Ok(()), Err(ErrorCode::InvalidAddress))
    );
}

#[test]
fn features_of_the_architecture() {
    assert_eq!(reply(0x8000_0001, 0x8000_8000), PsciAnswer::X0(0));
    assert_eq!(reply(0x8000_0001, 0x8000_7fff), PsciAnswer::X0(1));
    assert_eq!(reply(0x8000_0001, 0x8000_3fff), MINUS_ONE);
    assert_eq!(reply(0x8000_0001, 0x8000_0050), MINUS_ONE);
    assert_eq!(reply(0x8000_8000, 0), PsciAnswer::None);
}

#[test]
fn probes_of_other_services_find_nothing() {
    for function in [0x8400_0050, 0x8600_ff01, 0, 3, 0xffff_ffff, 0xc500_ff01] {
        assert_eq!(reply(function, 0), MINUS_ONE, "{function:#x}");
    }
}

#[test]
fn identities_of_the_services() {
    assert_eq!(
        reply(0x8500_ff01, 0),
        PsciAnswer::X0To3([0xdc12_18a7, 0x6943_98c6, 0xd179_cf9a, 0x67e6_de8d])
    );
    assert_eq!(
        reply(0x8400_ff01, 0),
        PsciAnswer::X0To3([0x6f38_63f8, 0xbd4c_394b, 0x16ce_2092, 0x6f9f_e541])
    );
    assert_eq!(reply(0x8500_ff00, 0), PsciAnswer::X0(3));
    assert_eq!(reply(0x8500_ff03, 0), PsciAnswer::X0To3([0, 1, 0, 0]));
}

#[test]
fn a_narrow_call_has_narrow_arguments() {
    let wide = [0xc400_0003, 0x1_0000_0001, 0xffff_8000_0000_0000, u64::MAX];
    let expected = CpuOn { target: wide[1], entry: wide[2], context: wide[3], legacy: false };
    assert_eq!(decode(wide), Call::CpuOn(expected));
    let narrow = [0xdead_0000_8400_0003, wide[1], wide[2], wide[3]];
    let expected = CpuOn { target: 1, entry: 0, context: 0xffff_ffff, legacy: false };
    assert_eq!(decode(narrow), Call::CpuOn(expected), "the upper half of X0 does not count either");
    assert_eq!(decode([0x8400_0004, 1 << 32 | 3, 1 << 32, 0]), Call::AffinityInfo { target: 3, level: 0 });
}

#[test]
fn an_answer_changes_only_its_registers() {
    let stored = |answer: PsciAnswer| {
        let mut regs = GuestRegs { x: [7; 31], ..Default::default() };
        answer.store(&mut regs);
        (regs.x[..5].to_vec(), regs.x[5..].iter().all(|x| *x == 7))
    };
    assert_eq!(stored(PsciAnswer::None), (vec![7; 5], true));
    assert_eq!(stored(PsciAnswer::X0(1)), (vec![1, 7, 7, 7, 7], true));
    assert_eq!(stored(PsciAnswer::X0To3([1, 2, 3, 4])), (vec![1, 2, 3, 4, 7], true));
}

#[test]
fn starting_a_vcpu() {
    let call = CpuOn { target: 0x101, entry: 0x4008_0000, context: 0, legacy: false };
    assert_eq!(call.check(), Ok(VcpuId(17)));
    assert_eq!(CpuOn { entry: 1, ..call }.check(), Err(ErrorCode::InvalidAddress));
    assert_eq!(CpuOn { target: 0x10, ..call }.check(), Err(ErrorCode::InvalidParameters));
    assert_eq!(x0(call.result(Err(ErrorCode::AlreadyOn))) as i64, -4);
    assert_eq!(x0(CpuOn { legacy: true, ..call }.result(Err(ErrorCode::AlreadyOn))) as i64, -2);
}

#[test]
fn legacy_calls() {
    assert_eq!(decode([1, 0, 0, 0]), Call::CpuOff);
    let expected = CpuOn { target: 3, entry: 0xffff_0000_0000, context: 0, legacy: true };
    assert_eq!(decode([2, 3, 0xffff_0000_0000, 9]), Call::CpuOn(expected));
}

#[test]
fn every_vcpu_has_an_affinity_of_its_own() {
    for number in 0..4096 {
        let mpidr = mpidr_of(VcpuId(number));
        assert_ne!(mpidr & 1 << 31, 0);
        assert_eq!(vcpu_of(mpidr & !(1 << 31)), Some(VcpuId(number)));
    }
    assert_eq!(mpidr_of(VcpuId(0x12)), 0x8000_0102);
}

proptest! {
    #[test]
    fn any_call_decodes_and_any_affinity_is_safe(x: [u64; 4], affinity: u64) {
        let mitigations = Mitigations::default();
        let firmware = Firmware { smccc_version: SMCCC_1_2, mitigations: &mitigations, can_suspend: true };
        let _ = answer(decode(x), &firmware);
        if let Some(vcpu) = vcpu_of(affinity) {
            prop_assert_eq!(mpidr_of(vcpu), affinity | 1 << 31);
        }
    }

    #[test]
    fn unknown_functions_change_x0_only(function: u32) {
        if decode([function.into(), 0, 0, 0]) == Call::Unknown {
            prop_assert_eq!(reply(function, 0), MINUS_ONE);
        }
    }
}
