//! The registers and descriptors by the numbers that the architecture gives.

use super::*;

#[test]
fn every_physical_address_size_has_the_shape_that_the_architecture_allows() {
    // PARange, guest bits, T0SZ, SL0, tables in a row, VTCR_EL2 with 8-bit VMIDs.
    let rows = [
        (0, 32, 32, 1, 1, 0x8000_3560),
        (1, 36, 28, 1, 1, 0x8001_355c),
        (2, 40, 24, 1, 2, 0x8002_3558),
        (3, 42, 22, 1, 8, 0x8003_3556),
        (4, 44, 20, 2, 1, 0x8004_3594),
        (5, 48, 16, 2, 1, 0x8005_3590),
        (6, 48, 16, 2, 1, 0x8005_3590),
        (7, 48, 16, 2, 1, 0x8005_3590),
    ];
    for (range, bits, t0sz, sl0, tables, value) in rows {
        let shape = geometry(physical_bits(range).unwrap()).unwrap();
        assert_eq!(shape.bits(), bits);
        assert_eq!(vtcr(shape, false) & 0x3f, t0sz);
        assert_eq!(vtcr(shape, false) >> 6 & 3, sl0);
        assert_eq!(1 << shape.root_order(), tables);
        assert_eq!(vtcr(shape, false), value, "PARange {range}");
        assert_eq!(vtcr(shape, true), value | 1 << 19);
        // The tables reach exactly the guest's addresses, or the root is partly unused.
        let reach = shape.level().slot_pages() * 512 * tables;
        assert!(reach >= shape.end().0);
        assert!(tables == 1 || reach == shape.end().0);
    }
    assert_eq!(physical_bits(8), None);
    assert_eq!(geometry(41), None);
}

#[test]
fn the_base_register_names_the_root_and_the_vmid() {
    let space = AddressSpace { root: Mfn(0x12346), vmid: Vmid(0xabcd) };
    assert_eq!(Vttbr::new(space), Vttbr(0xabcd_0000_1234_6000));
    assert_eq!(Vttbr::new(space).space(), space);
}

#[test]
fn kinds_survive_in_the_descriptor() {
    for kind in MapKind::ALL {
        assert_eq!(Stage2Descriptor::kind(Stage2Descriptor::attributes(kind)), kind);
    }
    assert_eq!(Stage2Descriptor::kind(0), MapKind::StrictDevice);
}

#[test]
fn permissions_and_types_are_those_that_linux_sees_under_xen() {
    // Descriptor bits without the software field: RAM, RAM read-only, foreign, grant read-only, device, strict.
    let rows = [
        (MapKind::Ram, 0x7fc),
        (MapKind::RamReadOnly, 0x77c),
        (MapKind::Foreign, 0x40_0000_0000_07fc),
        (MapKind::GrantReadOnly, 0x40_0000_0000_077c),
        (MapKind::Device, 0x40_0000_0000_06fc),
        (MapKind::StrictDevice, 0x40_0000_0000_06c4),
        (MapKind::Shared, 0x40_0000_0000_07fc),
        (MapKind::StaticShm, 0x40_0000_0000_07fc),
    ];
    for (kind, bits) in rows {
        assert_eq!(Stage2Descriptor::attributes(kind) & !(KIND_MASK << KIND_SHIFT), bits, "{kind:?}");
    }
}

#[test]
fn only_own_ram_is_executable() {
    for kind in MapKind::ALL {
        assert_eq!(Stage2Descriptor::attributes(kind) & NEVER_EXECUTE == 0, kind.is_ram());
    }
}
