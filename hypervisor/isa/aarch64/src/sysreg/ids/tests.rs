use proptest::prelude::*;

use super::samples::{ALL, CORTEX_A53, CORTEX_A76, MAX};
use super::*;

const V3: Guest = Guest { gic_system_registers: true, ipa_bits: 40 };
const V2: Guest = Guest { gic_system_registers: false, ipa_bits: 48 };

fn register(crm: u8, op2: u8) -> Encoding {
    Encoding::new(3, 0, 0, crm, op2)
}

fn field(ids: &FilteredIds, (crm, op2, low): (u8, u8, u32)) -> u64 {
    ids.get(register(crm, op2)).unwrap() >> low & 0xf
}

/// Features that would need an enable of EL2, or state that is not switched, or that stage 2 cannot promise. This list
/// repeats the decisions of `fields` on purpose.
const HIDDEN: &[(u8, u8, u32)] = &[
    (4, 0, 12), // EL3
    (4, 0, 28), // RAS
    (4, 0, 32), // SVE
    (4, 0, 36), // SEL2
    (4, 0, 40), // MPAM
    (4, 0, 44), // AMU
    (4, 0, 52), // RME
    (4, 1, 8),  // MTE
    (4, 1, 12), // RAS_frac
    (4, 1, 16), // MPAM_frac
    (4, 1, 24), // SME
    (4, 1, 28), // RNDR_trap
    (4, 1, 36), // NMI
    (4, 1, 44), // GCS
    (4, 4, 0),  // SVEver
    (5, 0, 4),  // TraceVer
    (5, 0, 8),  // PMUVer
    (5, 0, 32), // PMSVer
    (5, 0, 40), // TraceFilt
    (5, 0, 44), // TraceBuffer
    (5, 0, 48), // MTPMU
    (5, 0, 52), // BRBE
    (6, 0, 24), // TME
    (6, 1, 4),  // APA
    (6, 1, 8),  // API
    (6, 1, 24), // GPA
    (6, 1, 28), // GPI
    (6, 1, 56), // XS
    (6, 1, 60), // LS64
    (6, 2, 0),  // WFxT
    (6, 2, 8),  // GPA3
    (6, 2, 12), // APA3
    (6, 2, 16), // MOPS
    (7, 0, 32), // TGran16_2
    (7, 0, 40), // TGran4_2
    (7, 0, 56), // FGT
    (7, 0, 60), // ECV
    (7, 1, 8),  // VH
    (7, 1, 16), // LO
    (7, 1, 28), // XNX
    (7, 1, 32), // TWED
    (7, 1, 36), // ETS
    (7, 1, 40), // HCX
    (7, 1, 56), // CMOW
    (7, 2, 12), // IESB
    (7, 2, 24), // NV
    (7, 2, 40), // FWB
    (7, 2, 56), // EVT
    (7, 3, 0),  // TCRX
    (7, 3, 4),  // SCTLRX
    (7, 3, 8),  // S1PIE
    (7, 3, 16), // S1POE
    (2, 4, 12), // AArch32 SMC
    (1, 1, 4),  // AArch32 Security
    (1, 1, 12), // AArch32 Virtualization
    (1, 2, 24), // AArch32 PerfMon
];

#[test]
fn what_a_cortex_a53_shows() {
    let ids = FilteredIds::new(&CORTEX_A53, &V3);
    let get = |crm, op2| ids.get(register(crm, op2)).unwrap();
    assert_eq!(get(4, 0), 0x0100_0112);
    assert_eq!(get(4, 1), 0);
    assert_eq!(get(5, 0), 0xf0_0010_1006);
    assert_eq!(get(6, 0), 0x0001_1120);
    assert_eq!(get(7, 0), 0x122, "40 bits of physical address, as the CPU has");
    assert_eq!(get(7, 1), 0);
    assert_eq!(get(2, 5), 0x0001_1121, "AArch32 cryptography");
    assert_eq!(get(3, 0), 0x1011_0222);
}

#[test]
fn what_a_cortex_a76_shows() {
    let ids = FilteredIds::new(&CORTEX_A76, &V2);
    let get = |crm, op2| ids.get(register(crm, op2)).unwrap();
    assert_eq!(get(4, 0), 0x1100_0000_0011_0112);
    assert_eq!(get(4, 1), 0x10);
    assert_eq!(get(6, 0), 0x1000_1021_1120);
    assert_eq!(get(6, 1), 0x0010_0001);
    assert_eq!(get(7, 0), 0x0010_0122);
    assert_eq!(get(7, 1), 0x0020_2002);
    assert_eq!(get(7, 2), 0x11);
}

#[test]
fn hidden_features_stay_hidden() {
    let everything = IdRegisters([0x1111_1111_1111_1111; COUNT]);
    for (name, cpu) in ALL.into_iter().chain([("everything", everything)]) {
        for guest in [V3, V2] {
            let ids = FilteredIds::new(&cpu, &guest);
            for &place in HIDDEN {
                assert_eq!(field(&ids, place), 0, "{name}: {place:?}");
            }
        }
    }
}

#[test]
fn what_software_relies_on_is_shown() {
    for (name, cpu) in ALL {
        let ids = FilteredIds::new(&cpu, &V3);
        assert!(field(&ids, (5, 0, 0)) >= 6, "{name}: DebugVer");
        assert_eq!(field(&ids, (4, 0, 4)), 1, "{name}: EL1");
        assert_eq!(field(&ids, (4, 0, 24)), 1, "{name}: GIC");
        assert_eq!(field(&ids, (4, 0, 16)), field(&ids, (4, 0, 20)), "{name}: FP and AdvSIMD go together");
        assert_eq!(field(&ids, (7, 0, 28)), 0, "{name}: 4 KiB pages");
        for crypto in [(6, 0, 16), (4, 0, 16)] {
            let host = IdRegisters(cpu.0).0[index(register(crypto.0, crypto.1)).unwrap()] >> crypto.2 & 0xf;
            assert_eq!(field(&ids, crypto), host, "{name}");
        }
    }
    let ids = FilteredIds::new(&MAX, &V2);
    assert_eq!(field(&ids, (4, 0, 24)), 0, "no system registers without a GICv3");
    assert_eq!(field(&ids, (6, 0, 20)), 2, "LSE atomics");
    assert_eq!(field(&ids, (6, 0, 60)), 1, "RNDR");
    assert_eq!(field(&ids, (4, 1, 0)), 1, "BTI");
}

#[test]
fn the_physical_range_fits_stage_2() {
    let range = |cpu, ipa_bits| field(&FilteredIds::new(cpu, &Guest { ipa_bits, ..V3 }), (7, 0, 0));
    let widths = [(32, 0), (36, 1), (39, 1), (40, 2), (42, 3), (44, 4), (48, 5), (52, 5)];
    for (ipa_bits, expected) in widths {
        assert_eq!(range(&MAX, ipa_bits), expected);
    }
    assert_eq!(range(&CORTEX_A53, 48), 2, "the CPU has 40 bits");
}

#[test]
fn a_signed_not_implemented_is_kept() {
    let mut cpu = CORTEX_A53;
    cpu.0[index(register(4, 0)).unwrap()] |= 0xff << 16;
    cpu.0[index(register(7, 0)).unwrap()] |= 0xf << 28 | 0xf << 24;
    let ids = FilteredIds::new(&cpu, &V3);
    for place in [(4, 0, 16), (4, 0, 20), (7, 0, 24), (7, 0, 28)] {
        assert_eq!(field(&ids, place), 0xf, "{place:?}");
    }
}

#[test]
fn a_cpu_without_aarch32_shows_none() {
    let mut cpu = CORTEX_A76;
    cpu.0[index(register(4, 0)).unwrap()] &= !0xf;
    cpu.0[index(register(4, 0)).unwrap()] |= 1;
    let ids = FilteredIds::new(&cpu, &V3);
    for (crm, op2) in (1..=3).flat_map(|crm| (0..8).map(move |op2| (crm, op2))) {
        assert_eq!(ids.get(register(crm, op2)), Some(0));
    }
}

#[test]
fn different_cpus_agree_on_the_less() {
    let mut ids = FilteredIds::new(&CORTEX_A76, &V3);
    ids.restrict(&FilteredIds::new(&CORTEX_A53, &V3));
    assert_eq!(field(&ids, (6, 0, 20)), 0, "no atomics on the smaller one");
    assert_eq!(field(&ids, (6, 0, 4)), 2, "AES on both");
    assert_eq!(field(&ids, (4, 0, 24)), 1);
    assert_eq!(field(&ids, (5, 0, 0)), 6);
}

#[test]
fn only_the_group_is_answered() {
    let ids = FilteredIds::new(&MAX, &V3);
    assert_eq!(ids.get(register(0, 0)), None, "MIDR_EL1");
    assert_eq!(ids.get(register(8, 0)), None);
    assert_eq!(ids.get(Encoding::new(3, 1, 0, 4, 0)), None);
    assert_eq!(ids.get(register(3, 3)), Some(0), "unallocated");
}

#[test]
fn the_table_is_well_formed() {
    for index in 0..COUNT {
        let mut seen = 0;
        for field in fields::allowed(index) {
            assert!(field.low.is_multiple_of(4) && field.low < 64);
            assert_eq!(seen & field.place(0xf), 0, "register {index} names bit {} twice", field.low);
            seen |= field.place(0xf);
        }
    }
    assert!(fields::allowed(COUNT).is_empty());
}

fn any_cpu() -> impl Strategy<Value = IdRegisters> {
    prop::collection::vec(any::<u64>(), COUNT).prop_map(|values| IdRegisters(values.try_into().unwrap()))
}

proptest! {
    #[test]
    fn nothing_outside_the_allow_list_leaks(cpu in any_cpu(), gic_system_registers: bool, ipa_bits in 32u8..=52) {
        let ids = FilteredIds::new(&cpu, &Guest { gic_system_registers, ipa_bits });
        for (index, value) in ids.0.into_iter().enumerate() {
            let mask = fields::allowed(index).iter().fold(0, |mask, field| mask | field.place(0xf));
            prop_assert_eq!(value & !mask, 0);
        }
        for &place in HIDDEN {
            prop_assert_eq!(field(&ids, place), 0);
        }
    }

    #[test]
    fn restriction_is_a_meet(one in any_cpu(), other in any_cpu()) {
        let (a, b) = (FilteredIds::new(&one, &V3), FilteredIds::new(&other, &V3));
        let (mut ab, mut ba, mut aa) = (a, b, a);
        ab.restrict(&b);
        ba.restrict(&a);
        aa.restrict(&a);
        prop_assert_eq!(ab, ba);
        prop_assert_eq!(aa, a);
        let mut again = ab;
        again.restrict(&b);
        prop_assert_eq!(again, ab);
    }
}
