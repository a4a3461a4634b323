use disarm64::registers::{SYS_REGS, SysReg};

use super::*;
use crate::controls::{CONTROLS, Features, GUEST_HCR, interrupt_registers};
use crate::sysreg::IdRegisters;
use crate::sysreg::ids::COUNT;

/// Arm's registers that an instruction of EL1 or EL0 can name: op1 0 to 3. Those with another are undefined there.
fn registers() -> impl Iterator<Item = (Encoding, &'static str)> {
    SYS_REGS.iter().filter_map(|&SysReg(number, name)| {
        let part = |low: u32, mask: u32| (number >> low & mask) as u8;
        let encoding = Encoding::new(part(14, 3), part(11, 7), part(7, 15), part(3, 15), part(0, 7));
        (part(14, 3) >= 2 && part(11, 7) <= 3).then_some((encoding, name))
    })
}

#[test]
fn every_register_of_arms_list_is_in_one_column() {
    assert!(registers().count() > 800);
    let wrong: Vec<_> = registers()
        .map(|(encoding, name)| (name, encoding.parts(), ROWS.iter().filter(|row| row.has(encoding)).count()))
        .filter(|(.., rows)| *rows != 1)
        .collect();
    assert!(wrong.is_empty(), "in no row, or in several: {wrong:?}");
}

#[test]
fn every_row_has_a_register() {
    for row in ROWS {
        assert!(registers().any(|(encoding, _)| row.has(encoding)), "{row:?}");
    }
}

/// What a control register holds while a guest runs, on a CPU that has everything.
fn control(register: Register) -> u64 {
    let ids = IdRegisters([u64::MAX; COUNT]);
    let features = Features { ids: &ids, mpamidr: u64::MAX, pmbidr: 0 };
    let row = CONTROLS.iter().find(|row| row.register == register).unwrap();
    let value = row.value(&features).unwrap();
    if register == Register::Hcr { value | GUEST_HCR.bits() } else { value }
}

#[test]
fn what_is_to_trap_traps() {
    for row in ROWS {
        match row.column() {
            Column::TrappedBySet(register, bits) => assert_eq!(control(register) & bits, bits, "{row:?}"),
            Column::TrappedByClear(register, bits) => assert_eq!(control(register) & bits, 0, "{row:?}"),
            Column::TrappedBySre => assert_eq!(interrupt_registers(u64::MAX) & 1 << 3, 0),
            Column::Switched(..) | Column::Harmless(_) | Column::Absent(_) => {}
        }
    }
}

#[test]
fn what_is_to_be_switched_is_saved_and_loaded() {
    let text = |file| match file {
        File::Context => include_str!("../../../../../arch/src/aarch64/context.rs"),
        File::Regime => include_str!("../../../../../arch/src/aarch64/regime.rs"),
        File::Sve => include_str!("../../../../../arch/src/aarch64/sve.rs"),
        File::SystemError => include_str!("../../../../../arch/src/aarch64/system_error.rs"),
        File::Gic => include_str!("../../../../../arch/src/aarch64/gic/v3.rs"),
        File::Vectors => include_str!("../../../../../image/src/vectors.rs"),
    };
    for row in ROWS {
        let Column::Switched(file, name) = row.column() else { continue };
        let names = |line: &&str| line.contains(name) && !line.trim_start().starts_with("//");
        assert!(text(file).lines().any(|line| names(&line)), "{file:?} does not switch {name}: {row:?}");
    }
}
