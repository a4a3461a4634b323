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
    assert_eq!(numbers(0x411f_d070), [832_075, 1_319_537], "Cortex-A57 r1p0");
    assert_eq!(numbers(0x411f_d073), [1_319_537], "Cortex-A57 r1p3");
    assert_eq!(numbers(0x410f_d083), [1_319_367], "Cortex-A72 r0p3");
    assert_eq!(numbers(0x410f_d034), [1_530_924], "Cortex-A53 r0p4");
    assert_eq!(numbers(0x414f_d0b1), [1_165_522, 4_193_800], "Cortex-A76 r4p1");
    assert_eq!(numbers(0x412f_d0b0), [1_165_522, 1_286_807, 4_193_800], "Cortex-A76 r2p0");
    assert_eq!(numbers(0x411f_d050), [1_530_923, 2_441_007], "Cortex-A55 r1p0");
    assert_eq!(numbers(0x411f_d0d0), [1_508_412, 4_193_798], "Cortex-A77 r1p0");
    assert_eq!(numbers(0x411f_d0d1), [4_193_798], "Cortex-A77 r1p1");
    assert_eq!(numbers(0x413f_d0c1), [4_193_800], "Neoverse-N1 r3p1");
    assert_eq!(numbers(0x411f_d461), [2_441_009], "Cortex-A510 r1p1");
    assert_eq!(numbers(0x6d0f_d490), [4_193_789], "Azure Cobalt 100");
    assert_eq!(numbers(0x4e0f_0100), [1029], "Olympus");
    assert_eq!(numbers(0x000f_0510), [], "an emulator's own");
}
