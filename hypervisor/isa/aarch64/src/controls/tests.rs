use super::*;
use crate::sysreg::ids::{COUNT, samples};
use disarm64::registers::get_sys_reg_name;

fn value(register: Register, features: &Features) -> Option<u64> {
    let control = CONTROLS.iter().find(|control| control.register == register).unwrap();
    control.value(features)
}

#[test]
fn each_register_has_one_row_and_its_own_name() {
    for register in Register::ALL {
        assert_eq!(CONTROLS.iter().filter(|row| row.register == *register).count(), 1, "{register:?}");
        let (op0, op1, crn, crm, op2) = register.encoding().parts();
        let number = disarm64::registers::sys_reg_number(op0, op1, crn, crm, op2);
        // The list does not know all of the latest.
        if let Some(known) = get_sys_reg_name(number) {
            assert_eq!(known.1, register.name());
        }
    }
    assert_eq!(CONTROLS.first().unwrap().register, Register::Hcr, "before those whose layout it decides");
}

#[test]
fn a_cpu_without_a_feature_is_not_asked_for_its_registers() {
    let features = Features { ids: &samples::CORTEX_A53, mpamidr: u64::MAX, pmbidr: 0 };
    let written = CONTROLS.iter().filter(|row| row.value(&features).is_some()).map(|row| row.register);
    let every_cpu = [Register::Hcr, Register::Mdcr, Register::Cptr, Register::Hstr, Register::Cnthctl];
    assert_eq!(written.collect::<Vec<_>>(), every_cpu);
    // Bits of later features are reserved there.
    assert_eq!(value(Register::Hcr, &features), Some(GUEST_HCR.bits()));
    assert_eq!(value(Register::Mdcr, &features), Some(0xe60));
}

#[test]
fn what_a_cpu_has_besides_is_kept_from_guests() {
    let ids = IdRegisters([u64::MAX; COUNT]);
    let features = Features { ids: &ids, mpamidr: u64::MAX, pmbidr: 0 };
    assert!(CONTROLS.iter().all(|row| row.value(&features).is_some()));
    assert_eq!(value(Register::Hcr, &features), Some(GUEST_HCR.bits() | 1 << 35 | 1 << 36));
    assert_eq!(value(Register::Mdcr, &features), Some(0xe60 | 1 << 14 | 1 << 19));
    assert_eq!(value(Register::Mpam2, &features), Some(3 << 48));
    assert_eq!(value(Register::Hfgrtr, &features), Some(0));
    let not_owned = Features { pmbidr: 1 << 4, mpamidr: 0, ..features };
    assert_eq!(value(Register::Pmscr, &not_owned), None, "EL3's buffer");
    assert_eq!(value(Register::Mpamhcr, &not_owned), None, "no such register");
}

#[test]
fn a_guest_cannot_turn_system_registers_off() {
    for firmware in 0..16 {
        let value = interrupt_registers(firmware);
        assert_eq!((value & 1, value & 8, value & 6), (1, 0, firmware & 6));
    }
}

#[test]
fn what_guests_need_stands_from_the_start() {
    let ids = IdRegisters([u64::MAX; COUNT]);
    let boot = value(Register::Hcr, &Features { ids: &ids, mpamidr: 0, pmbidr: 0 }).unwrap();
    let of_cpu = HcrEl2::TERR.union(HcrEl2::TLOR);
    assert_eq!(boot, GUEST_HCR.union(of_cpu).bits());
    assert!(!GUEST_HCR.intersects(of_cpu.union(HcrEl2::TWE).union(HcrEl2::VSE)));
}
