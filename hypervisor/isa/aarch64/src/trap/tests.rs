//! Decoding of whole syndromes; the values were composed from the field tables of the Arm ARM.

use proptest::prelude::*;

use super::mmio::{LoadStore, Size};
use super::*;
use crate::sysreg::{Encoding, SysregAccess};
use xenolith_core::types::{Gva, Ipa};

fn esr(class: u64, iss: u64) -> u64 {
    class << 26 | 1 << 25 | iss
}

#[test]
fn calls_carry_their_immediate() {
    assert_eq!(decode(esr(0x16, 0xea1), 0, 0), Trap::Hypercall { immediate: IMMEDIATE_XEN });
    assert_eq!(decode(esr(0x17, 0), 0, 0), Trap::Smc { immediate: IMMEDIATE_SMCCC });
}

#[test]
fn wfi_and_wfe() {
    let always = Condition::Code(14);
    assert_eq!(decode(esr(0x01, 0x1e0_0000), 0, 0), Trap::Wait { event: false, condition: always });
    assert_eq!(decode(esr(0x01, 0x1e0_0001), 0, 0), Trap::Wait { event: true, condition: always });
    assert_eq!(decode(esr(0x01, 0), 0, 0), Trap::Wait { event: false, condition: Condition::ItBlock });
}

#[test]
fn system_register_fields() {
    // mrs x5, id_aa64mmfr0_el1
    let iss = 3 << 20 | 7 << 1 | 5 << 5 | 1;
    let access = SysregAccess { encoding: Encoding::new(3, 0, 0, 7, 0), register: 5, is_read: true };
    assert_eq!(decode(esr(0x18, iss), 0, 0), Trap::SystemRegister(access));
    // dc cisw, xzr
    let iss = 1 << 20 | 2 << 17 | 7 << 10 | 14 << 1 | 31 << 5;
    let access = SysregAccess { encoding: Encoding::new(1, 0, 7, 14, 2), register: 31, is_read: false };
    assert_eq!(decode(esr(0x18, iss), 0, 0), Trap::SystemRegister(access));
}

#[test]
fn translation_fault_of_a_store() {
    // str w3, [x0]: ISV, word, SRT 3, write, translation fault at level 3.
    let iss = 1 << 24 | 2 << 22 | 3 << 16 | 1 << 6 | 0b000111;
    let trap = decode(esr(0x24, iss), 0xffff_8000_0900_0018, 0x9_0000);
    let access = LoadStore { size: Size::Word, sign_extend: false, sixty_four: false, register: 3 };
    let fault = Fault {
        status: FaultStatus::Translation { level: 3 },
        stage1_walk: false,
        gva: Some(Gva(0xffff_8000_0900_0018)),
        ipa: Some(Ipa(0x0900_0018)),
    };
    assert_eq!(
        trap,
        Trap::DataAbort(DataAbort { fault, write: true, cache_maintenance: false, access: Some(access) })
    );
}

#[test]
fn permission_fault_has_no_ipa_except_on_a_walk() {
    let Trap::DataAbort(abort) = decode(esr(0x24, 0b001111), 0x1234, 0x9_0000) else { panic!() };
    assert_eq!(abort.fault.status, FaultStatus::Permission { level: 3 });
    assert_eq!(abort.fault.ipa, None);
    let Trap::DataAbort(abort) = decode(esr(0x24, 1 << 7 | 0b001111), 0x1234, 0x9_0000) else { panic!() };
    assert_eq!(
        abort.fault.ipa,
        Some(Ipa(0x0900_0000)),
        "the frame of the table; the offset is not the table's"
    );
    assert!(abort.fault.stage1_walk);
}

#[test]
fn a_walk_or_a_cache_instruction_is_no_register_access() {
    for flag in [1 << 7, 1 << 8] {
        let Trap::DataAbort(abort) = decode(esr(0x24, 1 << 24 | flag | 0b000111), 0, 0) else { panic!() };
        assert_eq!(abort.access, None);
        assert_eq!(abort.cache_maintenance, flag == 1 << 8);
    }
}

#[test]
fn external_abort_without_an_address() {
    let Trap::DataAbort(abort) = decode(esr(0x24, 1 << 10 | 0b010000), 0x1234, 0x9_0000) else { panic!() };
    assert_eq!(abort.fault.status, FaultStatus::External { walk: false });
    assert_eq!((abort.fault.gva, abort.fault.ipa), (None, None));
}

#[test]
fn fetch_of_an_unmapped_frame() {
    let Trap::InstructionAbort(fault) = decode(esr(0x20, 0b000101), 0xffff_0abc, 0x10) else { panic!() };
    assert_eq!(fault.status, FaultStatus::Translation { level: 1 });
    assert_eq!(fault.ipa, Some(Ipa(0x1abc)));
}

#[test]
fn reserved_classes_are_kept() {
    for class in [0x00, 0x02, 0x12, 0x13, 0x1a, 0x21, 0x25, 0x3f] {
        assert_eq!(decode(esr(class, 0), 0, 0), Trap::Other { class: class as u8 });
    }
}

proptest! {
    #[test]
    fn any_syndrome_decodes(esr: u64, far: u64, hpfar: u64) {
        let _ = length(esr);
        match decode(esr, far, hpfar) {
            Trap::DataAbort(abort) => {
                prop_assert!(abort.access.is_none_or(|access| access.register < 32));
                prop_assert!(abort.fault.ipa.is_none_or(|ipa| ipa.0 < 1 << 56));
            }
            Trap::SystemRegister(access) => prop_assert!(access.register < 32),
            _ => {}
        }
    }

    #[test]
    fn encodings_survive_the_syndrome(op0 in 0u8..4, op1 in 0u8..8, crn in 0u8..16, crm in 0u8..16, op2 in 0u8..8) {
        let iss = u64::from(op0) << 20 | u64::from(op2) << 17 | u64::from(op1) << 14
            | u64::from(crn) << 10 | u64::from(crm) << 1;
        let Trap::SystemRegister(access) = decode(esr(0x18, iss), 0, 0) else { panic!() };
        prop_assert_eq!(access.encoding, Encoding::new(op0, op1, crn, crm, op2));
        prop_assert_eq!(access.encoding.parts(), (op0, op1, crn, crm, op2));
    }
}
