use proptest::prelude::*;

use super::*;
use crate::sysreg::ids::COUNT;

const EL1: VcpuView = VcpuView { el0: false, gic_system_registers: true, actlr: 0xac };
const EL0: VcpuView = VcpuView { el0: true, ..EL1 };
const V2: VcpuView = VcpuView { gic_system_registers: false, ..EL1 };

fn ids() -> FilteredIds {
    let guest = Guest { gic_system_registers: true, ipa_bits: 40, sve: false };
    FilteredIds::new(&IdRegisters([0x1111_1111_1111_1112; COUNT]), &guest)
}

fn read(vcpu: &VcpuView, encoding: Encoding) -> Outcome {
    emulate(SysregAccess { encoding, register: 0, is_read: true }, 0xdead, vcpu, &ids())
}

fn write(vcpu: &VcpuView, encoding: Encoding, value: u64) -> Outcome {
    emulate(SysregAccess { encoding, register: 0, is_read: false }, value, vcpu, &ids())
}

const ZERO: Outcome = Outcome::Value(0);

#[test]
fn identification_registers_are_read_only_for_el1_only() {
    let pfr0 = Encoding::new(3, 0, 0, 4, 0);
    assert_eq!(read(&EL1, pfr0), Outcome::Value(ids().get(pfr0).unwrap()));
    assert_eq!(read(&EL1, Encoding::new(3, 0, 0, 7, 7)), ZERO);
    assert_eq!(write(&EL1, pfr0, 0), Outcome::Undefined);
    assert_eq!(read(&EL0, pfr0), Outcome::Undefined);
}

#[test]
fn debug_registers_have_no_effect() {
    let lock = Encoding::new(2, 0, 1, 0, 4);
    let lock_status = Encoding::new(2, 0, 1, 1, 4);
    assert_eq!(write(&EL1, lock, 1), Outcome::Ignored);
    assert_eq!(read(&EL1, lock), Outcome::Undefined);
    assert_eq!(read(&EL1, lock_status), Outcome::Value(8));
    assert_eq!(write(&EL1, lock_status, 0), Outcome::Undefined);
    assert_eq!(read(&EL1, Encoding::new(2, 0, 1, 0, 0)), ZERO);
    for encoding in [(3, 4), (2, 2)].map(|(crm, op2)| Encoding::new(2, 0, u8::from(op2 == 4), crm, op2)) {
        assert_eq!(read(&EL1, encoding), ZERO);
        assert_eq!(write(&EL1, encoding, 1), Outcome::Ignored);
    }
    for (number, kind) in (0..16).flat_map(|number| (4..8).map(move |kind| (number, kind))) {
        let breakpoint = Encoding::new(2, 0, 0, number, kind);
        assert_eq!(read(&EL1, breakpoint), ZERO);
        assert_eq!(write(&EL1, breakpoint, u64::MAX), Outcome::Ignored);
        assert_eq!(write(&EL0, breakpoint, u64::MAX), Outcome::Undefined);
    }
}

#[test]
fn the_debug_channel_is_full() {
    for vcpu in [EL1, EL0] {
        assert_eq!(read(&vcpu, Encoding::new(2, 3, 0, 1, 0)), Outcome::Value(1 << 29));
        assert_eq!(write(&vcpu, Encoding::new(2, 3, 0, 5, 0), 65), Outcome::Ignored);
    }
}

#[test]
fn performance_monitors_are_inert() {
    let control = Encoding::new(3, 3, 9, 12, 0);
    let user_enable = Encoding::new(3, 3, 9, 14, 0);
    assert_eq!((read(&EL1, control), write(&EL1, control, 1)), (ZERO, Outcome::Ignored));
    assert_eq!((read(&EL0, control), write(&EL0, control, 1)), (Outcome::Undefined, Outcome::Undefined));
    assert_eq!((read(&EL1, user_enable), write(&EL1, user_enable, 1)), (ZERO, Outcome::Ignored));
    assert_eq!((read(&EL0, user_enable), write(&EL0, user_enable, 1)), (ZERO, Outcome::Undefined));
    assert_eq!(read(&EL1, Encoding::new(3, 3, 14, 15, 7)), ZERO, "PMCCFILTR_EL0");
    assert_eq!(read(&EL1, Encoding::new(3, 0, 9, 9, 0)), Outcome::Undefined, "PMSCR_EL1, of profiling");
}

#[test]
fn interrupts_to_other_vcpus() {
    let groups = [(5, SgiGroup::Group1), (6, SgiGroup::Group1Other), (7, SgiGroup::Group0)];
    for (op2, group) in groups {
        let sgi = Encoding::new(3, 0, 12, 11, op2);
        assert_eq!(write(&EL1, sgi, 0x1234), Outcome::SendSgi { group, value: 0x1234 });
        assert_eq!(read(&EL1, sgi), Outcome::Undefined);
        assert_eq!(write(&EL0, sgi, 0), Outcome::Undefined);
        assert_eq!(write(&V2, sgi, 0), Outcome::Undefined);
    }
    let enable = Encoding::new(3, 0, 12, 12, 5);
    assert_eq!((read(&V2, enable), write(&V2, enable, 7)), (ZERO, Outcome::Ignored));
    assert_eq!((read(&EL1, enable), write(&EL1, enable, 0)), (Outcome::Value(7), Outcome::Ignored));
    assert_eq!((read(&EL0, enable), write(&EL0, enable, 0)), (Outcome::Undefined, Outcome::Undefined));
}

#[test]
fn the_physical_timer_serves_both_levels() {
    let registers =
        [(0, TimerRegister::TimerValue), (1, TimerRegister::Control), (2, TimerRegister::CompareValue)];
    for (op2, register) in registers {
        let encoding = Encoding::new(3, 3, 14, 2, op2);
        for vcpu in [EL1, EL0] {
            assert_eq!(read(&vcpu, encoding), Outcome::PhysicalTimer { register, write: None });
            assert_eq!(write(&vcpu, encoding, 9), Outcome::PhysicalTimer { register, write: Some(9) });
        }
    }
}

/// The operand of cache maintenance by set and way: the way is at the top, the set above the line, the level from 0 on.
fn set_way_operand(level: u64, (set, way): (u64, u64), ways: u64, line_bits: u32) -> u64 {
    let way_bits = ways.next_power_of_two().trailing_zeros();
    let way = if way_bits == 0 { 0 } else { way << (32 - way_bits) };
    way | set << line_bits | level << 1
}

proptest! {
    #[test]
    fn a_loop_over_sets_and_ways_cleans_all_memory_once_for_a_level(
        level in 0u64..7, sets in 1u64..300, ways in 1u64..17, line_bits in 4u32..9, downwards: bool, by_way: bool,
        crm in prop::sample::select(vec![6u8, 10, 14]),
    ) {
        let mut lines: Vec<(u64, u64)> = match by_way {
            true => (0..ways).flat_map(|way| (0..sets).map(move |set| (set, way))).collect(),
            false => (0..sets).flat_map(|set| (0..ways).map(move |way| (set, way))).collect(),
        };
        if downwards {
            lines.reverse();
        }
        let outcomes = lines.into_iter().map(|line| {
            write(&EL1, Encoding::new(1, 0, 7, crm, 2), set_way_operand(level, line, ways, line_bits))
        });
        let (cleans, rest): (Vec<Outcome>, Vec<Outcome>) = outcomes.partition(|outcome| *outcome == Outcome::SetWay);
        prop_assert_eq!(cleans.len(), 1);
        prop_assert!(rest.iter().all(|outcome| *outcome == Outcome::Ignored));
    }
}

#[test]
fn the_rest_of_the_table() {
    let actlr = Encoding::new(3, 0, 1, 0, 1);
    assert_eq!((read(&EL1, actlr), write(&EL1, actlr, 1)), (Outcome::Value(0xac), Outcome::Ignored));
    for crm in [6, 10, 14] {
        assert_eq!(write(&EL1, Encoding::new(1, 0, 7, crm, 2), 0), Outcome::SetWay);
    }
    let undefined = [
        Encoding::new(3, 0, 10, 4, 7), // LORID_EL1
        Encoding::new(3, 1, 15, 0, 0), // implementation-defined
        Encoding::new(2, 1, 0, 0, 0),  // trace
        Encoding::new(3, 0, 5, 3, 0),  // ERRIDR_EL1
        Encoding::new(3, 0, 1, 0, 0),  // SCTLR_EL1
        Encoding::new(1, 0, 7, 14, 6), // DC CIGDSW, of MTE
    ];
    for encoding in undefined {
        assert_eq!(read(&EL1, encoding), Outcome::Undefined);
        assert_eq!(write(&EL1, encoding, 0), Outcome::Undefined);
    }
}

proptest! {
    #[test]
    fn every_access_has_an_answer_of_its_kind(code: [u8; 5], written: u64, is_read: bool, el0: bool, v3: bool) {
        let [op0, op1, crn, crm, op2] = code;
        let access = SysregAccess { encoding: Encoding::new(op0, op1, crn, crm, op2), register: 0, is_read };
        let vcpu = VcpuView { el0, gic_system_registers: v3, actlr: 0 };
        match emulate(access, written, &vcpu, &ids()) {
            Outcome::Value(_) => prop_assert!(is_read),
            Outcome::Ignored | Outcome::SetWay | Outcome::SendSgi { .. } | Outcome::Deactivate { .. } => {
                prop_assert!(!is_read);
            }
            Outcome::PhysicalTimer { write, .. } => prop_assert_eq!(write.is_none(), is_read),
            Outcome::Undefined => {}
        }
    }
}

#[test]
fn el0_reaches_only_registers_of_el0() {
    for code in 0..=u16::MAX {
        let [low, high] = code.to_le_bytes();
        let (op0, op1, op2) = (high >> 6, high >> 3, high);
        let encoding = Encoding::new(op0, op1, low >> 4, low, op2);
        if op1 & 7 != 3 {
            assert_eq!(read(&EL0, encoding), Outcome::Undefined, "{encoding:?}");
            assert_eq!(write(&EL0, encoding, 0), Outcome::Undefined, "{encoding:?}");
        }
    }
}
