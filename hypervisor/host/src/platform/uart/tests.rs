use dtoolkit::model::DeviceTreeProperty;
use proptest::prelude::*;

use super::*;
use crate::platform::console;
use crate::platform::fixtures::{GICV3, cells, damaged, edited, nonsensical, string};
use xenolith_core::types::Pa;

/// The machine's tree with a UART of another kind.
fn with_uart(compatible: &[&str], size: u32, properties: &[(&str, u32)]) -> Vec<u8> {
    edited(GICV3, |root| {
        let uart = root.child_mut("pl011@9000000").unwrap();
        let names: Vec<u8> = compatible.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
        uart.add_property(DeviceTreeProperty::new("compatible", names.as_slice()).unwrap());
        uart.add_property(cells("reg", &[0, 0x0900_0040, 0, size]));
        properties.iter().for_each(|&(name, value)| uart.add_property(cells(name, &[value])));
    })
}

/// What both readers make of it.
fn device(compatible: &[&str], size: u32, properties: &[(&str, u32)]) -> Option<UartDevice> {
    let tree = with_uart(compatible, size, properties);
    let found = console(&tree).map(|uart| uart.device);
    assert_eq!(found, early_console(&tree));
    found
}

fn at(kind: UartKind, base: u64, shift: u8, width: u8) -> Option<UartDevice> {
    Some(UartDevice { kind, base: Pa(base), shift, width })
}

const BASE: u64 = 0x0900_0040;

#[test]
fn uarts_are_told_apart_by_compatible() {
    let kind = |compatible: &[&str]| device(compatible, 0x1000, &[]).map(|device| device.kind);
    assert_eq!(kind(&["arm,sbsa-uart"]), Some(UartKind::Pl011));
    assert_eq!(kind(&["xlnx,zynqmp-uart", "cdns,uart-r1p12"]), Some(UartKind::Cadence));
    assert_eq!(kind(&["vendor,newer-uart", "cdns,uart-r1p8"]), Some(UartKind::Cadence));
    assert_eq!(kind(&["ns16550a"]), Some(UartKind::Ns16550));
    assert_eq!(kind(&["rockchip,rk3399-uart", "snps,dw-apb-uart"]), Some(UartKind::DesignWare));
    assert_eq!(kind(&["fsl,imx8mp-uart", "fsl,imx6q-uart"]), Some(UartKind::Imx));
    assert_eq!(kind(&["amlogic,meson-gx-uart", "amlogic,meson-ao-uart"]), Some(UartKind::Meson));
    assert_eq!(kind(&["vendor,unknown-uart"]), None);
}

#[test]
fn registers_lie_as_the_tree_says() {
    use UartKind::{DesignWare, Lpuart, Ns16550};
    assert_eq!(device(&["ns16550a"], 8, &[]), at(Ns16550, BASE, 0, 1));
    assert_eq!(device(&["ns16550a"], 0x20, &[("reg-shift", 2)]), at(Ns16550, BASE, 2, 1));
    let words = [("reg-shift", 2), ("reg-io-width", 4)];
    assert_eq!(device(&["snps,dw-apb-uart"], 0x100, &words), at(DesignWare, BASE, 2, 4));
    assert_eq!(device(&["snps,dw-apb-uart"], 0x20, &words), at(Ns16550, BASE, 2, 4), "no room for its own");
    assert_eq!(device(&["ns16550"], 0x1000, &[("reg-offset", 0x400)]), at(Ns16550, BASE + 0x400, 0, 1));
    assert_eq!(device(&["brcm,bcm2835-aux-uart"], 0x40, &[]), at(Ns16550, BASE, 2, 4));
    assert_eq!(device(&["ti,am654-uart"], 0x100, &[]), at(Ns16550, BASE, 2, 4));
    assert_eq!(
        device(&["fsl,imx93-lpuart", "fsl,imx7ulp-lpuart"], 0x1000, &[]),
        at(Lpuart, BASE + 0x10, 0, 4)
    );
    assert_eq!(device(&["fsl,ls1028a-lpuart"], 0x1000, &[]), at(Lpuart, BASE, 0, 4));
}

#[test]
fn a_uart_whose_properties_make_no_sense_is_not_driven() {
    assert_eq!(device(&["ns16550a"], 7, &[]), None, "the registers end too early");
    assert_eq!(device(&["ns16550a"], 0x1f, &[("reg-shift", 2)]), None, "likewise");
    assert_eq!(device(&["ns16550a"], 0x1000, &[("reg-io-width", 2)]), None);
    assert_eq!(device(&["ns16550a"], 0x1000, &[("reg-io-width", 4)]), None, "words side by side");
    for shift in [13, 31, 64, 255, 256, u32::MAX] {
        assert_eq!(device(&["ns16550a"], u32::MAX, &[("reg-shift", shift)]), None, "{shift}");
    }
    assert_eq!(device(&["ns16550a"], 0x1000, &[("reg-offset", 0xff9)]), None);
    assert_eq!(device(&["fsl,imx7ulp-lpuart"], 0x20, &[]), None);
    let disabled = edited(&with_uart(&["ns16550a"], 8, &[]), |root| {
        root.child_mut("pl011@9000000").unwrap().add_property(string("status", "disabled"));
    });
    assert_eq!((console(&disabled), early_console(&disabled)), (None, None));
}

#[test]
fn the_early_console_is_the_one_that_is_named() {
    let named = |property: &str, arguments: &str| {
        let tree = edited(GICV3, |root| {
            root.child_mut("chosen").unwrap().add_property(string(property, arguments));
        });
        early_console(&tree).map(|device| device.base)
    };
    let there = Some(Pa(0x0900_0000));
    assert_eq!(named("xen,xen-bootargs", "dom0_mem=1G dtuart=/nowhere"), None);
    assert_eq!(named("xen,xen-bootargs", "dtuart=/nowhere dtuart=//pl011/"), there);
    assert_eq!(named("xen,xen-bootargs", "-- dtuart=/nowhere"), there);
    assert_eq!(named("bootargs", "dtuart="), there);
    assert_eq!(named("stdout-path", "/pl011@9000000:115200n8"), there);
    assert_eq!(named("stdout-path", "serial0"), None, "no such alias");
    assert_eq!(early_console(&[]), None);
}

#[test]
fn a_path_leads_as_deep_as_walks_do() {
    let nested = |levels: usize| {
        let tree = edited(GICV3, |root| {
            let mut node = root.child_mut("pl011@9000000").unwrap().clone();
            for _ in 1..levels {
                let sizes = [cells("#address-cells", &[2]), cells("#size-cells", &[2]), cells("ranges", &[])];
                let mut bus = crate::platform::fixtures::node("bus", sizes);
                bus.add_child(node);
                node = bus;
            }
            root.add_child(node);
            let path = "/bus".repeat(levels - 1) + "/pl011@9000000";
            root.child_mut("chosen").unwrap().add_property(string("stdout-path", &path));
        });
        early_console(&tree).map(|device| device.base)
    };
    assert_eq!([1, 2, 16].map(nested), [Some(Pa(0x0900_0000)); 3]);
    assert_eq!([17, 18, 40].map(nested), [None; 3]);
}

#[test]
fn an_image_can_be_told_of_an_early_console() {
    let padded = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(EARLY_LENGTH, 0);
        parse_early(&bytes)
    };
    assert_eq!(padded("pl011,0x9000000"), at(UartKind::Pl011, 0x0900_0000, 0, 4));
    assert_eq!(padded("16550,0xfe215040,2,4\n"), at(UartKind::Ns16550, 0xfe21_5040, 2, 4));
    assert_eq!(padded("dw,4278190080,2"), at(UartKind::DesignWare, 0xff00_0000, 2, 1));
    assert_eq!(parse_early(b"16550,0x3f8"), at(UartKind::Ns16550, 0x3f8, 0, 1));
    for wrong in [
        "",
        "pl011",
        "pl011,",
        "pl011,0",
        "pl011,0x",
        "pl012,0x9000000",
        "pl011,0x9000000,2",
        "pl011,0x9000001",
        "16550,0x1000,2,2",
        "16550,0x1000,0,4",
        "16550,0x1000,2,4,",
        "16550,0x1000,300",
        "16550,0xffffffffffffffff",
    ] {
        assert_eq!(padded(wrong), None, "{wrong:?}");
    }
    assert_eq!(parse_early(&[0xff; EARLY_LENGTH]), None);
}

proptest! {
    /// Whatever the tree is, both readers say the same, and what they say can be driven without leaving `reg`.
    #[test]
    fn readers_agree_on_any_tree(tree in prop_oneof![damaged(), nonsensical()]) {
        let found = console(&tree);
        if let Some(uart) = &found {
            let used = Region::new(uart.device.base, uart.device.size()).unwrap();
            prop_assert!(uart.registers.contains(used));
        }
        prop_assert_eq!(found.map(|uart| uart.device), early_console(&tree));
    }
}
