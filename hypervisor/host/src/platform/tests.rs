use alloc::string::ToString;

use proptest::prelude::*;

use super::fixtures::{GICV2, GICV3, cells, damaged, edited, node, nonsensical, string, with, without};
use super::*;
use machine_model::Region as Range;
use machine_model::gic::{Gic, Redistributors};
use xenolith_core::types::{Intid, Pa};

fn region(start: u64, size: u64) -> Region {
    Region::new(Pa(start), size).unwrap()
}

fn error(dtb: &[u8]) -> PlatformError {
    Platform::parse(dtb).unwrap_err()
}

#[test]
fn a_gicv3_machine_is_read() {
    let platform = Platform::parse(GICV3).unwrap();
    assert_eq!(platform.memory, [region(0x4000_0000, 1 << 30)]);
    assert_eq!(platform.reserved, []);
    assert_eq!(platform.cpus.as_slice(), [0, 1, 2, 3].map(Mpidr::new));
    assert_eq!(platform.gic.path, "/intc@8000000");
    assert_eq!(platform.gic.phandle, Some(0x8005));
    assert_eq!(platform.gic.maintenance, Intid(25));
    let redistributors = Redistributors::one(Range::new(0x080a_0000, 0xf6_0000));
    let layout = Gic::V3 { distributor: Range::new(0x0800_0000, 0x1_0000), redistributors };
    assert_eq!((platform.gic.layout, platform.gic.extensions, platform.gic.stride), (layout, None, None));
    assert_eq!(
        platform.gic.regions().as_slice(),
        [region(0x0800_0000, 0x1_0000), region(0x080a_0000, 0xf6_0000)]
    );
    let timer = Timer {
        secure_physical: Intid(29),
        physical: Intid(30),
        r#virtual: Intid(27),
        hypervisor: Intid(26),
        frequency: None,
    };
    assert_eq!(platform.timer, timer);
    assert_eq!(platform.psci, Psci { conduit: Conduit::Smc, version: (1, 0) });
    let uart = platform.uart.as_ref().unwrap();
    assert_eq!(
        (uart.path.as_str(), uart.registers, uart.device.kind),
        ("/pl011@9000000", region(0x0900_0000, 0x1000), UartKind::Pl011)
    );
    assert_eq!(uart.interrupt, Some(Interrupt { intid: Intid(33), trigger: Trigger::Level }));
    assert_eq!(platform.command_line, "console=dtuart dom0_mem=512M");
    assert_eq!(platform.domain_arguments, "console=hvc0 root=/dev/vda");
    assert_eq!(platform.kernel().unwrap().region, region(0x4600_0000, 30000));
    assert_eq!(platform.ramdisk().unwrap().region, region(0x4800_0000, 50000));
    assert_eq!(platform.ramdisk().unwrap().arguments, None);
}

#[test]
fn a_gicv2_machine_is_read() {
    let platform = Platform::parse(GICV2).unwrap();
    let layout =
        Gic::V2 { distributor: Range::new(0x0800_0000, 0x1_0000), cpu: Range::new(0x0801_0000, 0x1_0000) };
    let extensions =
        GicExtensions { control: region(0x0803_0000, 0x1_0000), cpu: region(0x0804_0000, 0x1_0000) };
    assert_eq!((platform.gic.layout, platform.gic.extensions), (layout, Some(extensions)));
    assert_eq!(platform.gic.regions().len(), 4);
    assert_eq!(platform.gic.maintenance, Intid(25));
    assert_eq!(platform.modules.len(), 2);
}

#[test]
fn bytes_behind_the_tree_are_ignored() {
    let mut padded = GICV3.to_vec();
    padded.resize(1 << 20, 0xff);
    assert_eq!(Platform::parse(&padded), Platform::parse(GICV3));
}

#[test]
fn what_is_missing_is_named() {
    let intc = without(GICV3, "", "intc@8000000");
    assert_eq!(error(&intc), PlatformError::NoInterruptController);
    assert!(error(&intc).to_string().starts_with("the device tree has no interrupt controller that"));
    assert_eq!(error(&without(GICV3, "", "timer")), PlatformError::NoTimer);
    assert_eq!(error(&without(GICV3, "", "psci")), PlatformError::NoPsci);
    assert_eq!(error(&without(GICV3, "", "memory@40000000")), PlatformError::NoMemory);
    assert_eq!(error(&without(GICV3, "", "cpus")), PlatformError::NoCpu);
    assert_eq!(error(&without(GICV3, "chosen", "module@0x46000000")), PlatformError::NoKernel);
    assert_eq!(error(&without(GICV3, "", "chosen")), PlatformError::NoKernel);
}

#[test]
fn a_damaged_header_is_named() {
    assert_eq!(error(&[]), PlatformError::Truncated { has: 0, wants: 40 });
    assert_eq!(error(&GICV3[..39]), PlatformError::Truncated { has: 39, wants: GICV3.len() });
    let cut = GICV3.len() - 1;
    assert_eq!(error(&GICV3[..cut]), PlatformError::Truncated { has: cut, wants: GICV3.len() });
    assert_eq!(error(b"MZ\x00\x91more"), PlatformError::BadMagic(0x4d5a_0091));
    let mut large = GICV3.to_vec();
    large[4] = 1;
    assert!(matches!(error(&large), PlatformError::TooLarge(_)));
    let mut token = GICV3.to_vec();
    token[0x40..][..4].copy_from_slice(&7u32.to_be_bytes());
    assert_eq!(error(&token).to_string(), "the device tree is damaged: it has no root node (byte 0x40)");
}

#[test]
fn a_node_that_lacks_what_is_needed_is_named() {
    let problem = |dtb: &[u8]| error(dtb).to_string();
    let reg = [0, 0x0800_0000, 0, 0x1_0000, 0, 0x0801_0000, 0, 0x1_0000];
    let message = problem(&with(GICV2, "intc@8000000", "reg", &reg));
    assert_eq!(message, "device tree node /intc@8000000: `reg` has no hypervisor interface (GICH)");
    let message = problem(&with(GICV3, "intc@8000000", "interrupts", &[0, 9, 4]));
    assert_eq!(message, "device tree node /intc@8000000: `interrupts` does not name the maintenance PPI");
    let message = problem(&with(GICV3, "timer", "interrupts", &[1, 13, 4, 1, 14, 4, 1, 11, 4]));
    assert_eq!(message, "device tree node /timer: `interrupts` does not name the hypervisor timer's PPI");
    let message =
        problem(&edited(GICV3, |root| root.child_mut("psci").unwrap().add_property(string("method", "svc"))));
    assert!(message.starts_with("device tree node /psci: `method`"), "{message}");
}

#[test]
fn modules_must_lie_in_memory_apart_from_each_other() {
    let moved = |start: u32, size: u32| {
        edited(GICV3, |root| {
            let kernel = root.child_mut("chosen").unwrap().child_mut("module@0x46000000").unwrap();
            kernel.add_property(cells("reg", &[0, start, 0, size]));
        })
    };
    let outside = error(&moved(0x3fff_f000, 0x2000)).to_string();
    assert!(outside.contains("/chosen/module@0x46000000 (kernel) at 0x3ffff000-0x40000fff"), "{outside}");
    assert!(error(&moved(0x47ff_ffff, 2)).to_string().ends_with("overlap"));
    assert!(Platform::parse(&moved(0x47ff_ffff, 1)).is_ok());
    assert!(error(&moved(0x4600_0000, 0)).to_string().contains("`reg` is not the module's address and size"));
}

#[test]
fn modules_without_a_kind_are_kernel_and_ramdisk_in_order() {
    let dtb = edited(GICV3, |root| {
        let chosen = root.child_mut("chosen").unwrap();
        for name in ["module@0x46000000", "module@0x48000000"] {
            chosen.child_mut(name).unwrap().add_property(string("compatible", "multiboot,module"));
        }
        chosen.add_property(string("xen,xen-bootargs", "loglvl=debug"));
    });
    let platform = Platform::parse(&dtb).unwrap();
    assert_eq!(platform.kernel().unwrap().region.start(), Pa(0x4800_0000));
    assert_eq!(platform.ramdisk().unwrap().region.start(), Pa(0x4600_0000));
    assert_eq!(platform.command_line, "loglvl=debug");
    // The kernel's node has none now, so what a bare kernel would get is the domain's.
    assert_eq!(platform.domain_arguments, "console=dtuart dom0_mem=512M");
}

#[test]
fn addresses_go_through_ranges() {
    let bus = |ranges: &[u32]| {
        edited(GICV3, |root| {
            let uart = root.remove_child("pl011@9000000").unwrap();
            let mut uart = uart;
            uart.add_property(cells("reg", &[0x100, 0x1000]));
            let mut soc = node(
                "soc@0",
                [cells("#address-cells", &[1]), cells("#size-cells", &[1]), cells("ranges", ranges)],
            );
            soc.add_child(uart);
            root.add_child(soc);
            root.add_child(node("aliases", [string("serial0", "/soc@0/pl011@9000000")]));
            root.child_mut("chosen").unwrap().add_property(string("stdout-path", "serial0:115200n8"));
        })
    };
    let uart = |ranges: &[u32]| Platform::parse(&bus(ranges)).unwrap().uart.map(|uart| uart.registers);
    assert_eq!(uart(&[0, 1, 0, 0x2000]), Some(region(0x1_0000_0100, 0x1000)));
    assert_eq!(uart(&[]), Some(region(0x100, 0x1000)));
    assert_eq!(uart(&[0, 1, 0, 0x1000]), None, "the window is shorter than the registers");
    assert_eq!(uart(&[0x200, 1, 0, 0x2000]), None, "the window starts behind them");
}

#[test]
fn the_command_line_chooses_the_uart() {
    let uart = |arguments: &str| {
        let dtb = edited(GICV3, |root| {
            root.child_mut("chosen").unwrap().add_property(string("bootargs", arguments))
        });
        Platform::parse(&dtb).unwrap().uart.map(|uart| uart.path)
    };
    assert_eq!(uart("dtuart=/pl011").as_deref(), Some("/pl011@9000000"));
    assert_eq!(uart("dtuart=/pl031@9010000"), None);
    assert_eq!(uart("dtuart=serial0"), None);
}

#[test]
fn the_console_is_found_in_a_tree_that_lacks_all_else() {
    let bare = without(&without(&without(GICV2, "", "intc@8000000"), "", "timer"), "", "cpus");
    assert_eq!(console(&bare).map(|uart| uart.registers), Some(region(0x0900_0000, 0x1000)));
    assert_eq!(console(&[]), None);
}

#[test]
fn reserved_memory_and_cpus_beyond_the_limit_are_counted() {
    let dtb = edited(GICV3, |root| {
        let mut reserved = node(
            "reserved-memory",
            [cells("#address-cells", &[2]), cells("#size-cells", &[2]), cells("ranges", &[])],
        );
        reserved.add_child(node("secure@50000000", [cells("reg", &[0, 0x5000_0000, 0, 0x10_0000])]));
        reserved.add_child(node("pool", [cells("size", &[0, 0x10_0000])]));
        root.add_child(reserved);
        let cpus = root.child_mut("cpus").unwrap();
        for id in 4..70u32 {
            cpus.add_child(node(
                &format!("cpu@{id}"),
                [string("device_type", "cpu"), cells("reg", &[id << 8])],
            ));
        }
    });
    let platform = Platform::parse(&dtb).unwrap();
    assert_eq!(platform.reserved, [region(0x5000_0000, 0x10_0000)]);
    assert_eq!((platform.cpus.len(), platform.cpus_left_out), (64, 6));
    let twins = edited(GICV3, |root| {
        root.child_mut("cpus").unwrap().child_mut("cpu@3").unwrap().add_property(cells("reg", &[2]));
    });
    assert!(error(&twins).to_string().contains("another CPU"));
}

fn with_reserved(count: u32) -> Vec<u8> {
    edited(GICV3, |root| {
        let mut reserved = node(
            "reserved-memory",
            [cells("#address-cells", &[2]), cells("#size-cells", &[2]), cells("ranges", &[])],
        );
        for index in 0..count {
            let start = 0x5000_0000 + index * 0x2000;
            reserved.add_child(node(&format!("r@{start:x}"), [cells("reg", &[0, start, 0, 0x1000])]));
        }
        root.add_child(reserved);
    })
}

#[test]
fn every_reserved_range_is_kept_or_the_tree_is_refused() {
    let platform = Platform::parse(&with_reserved(1024)).unwrap();
    assert_eq!(platform.reserved.len(), 1024);
    assert_eq!(platform.reserved[1023], region(0x5000_0000 + 1023 * 0x2000, 0x1000));
    let refused = error(&with_reserved(1025)).to_string();
    assert_eq!(
        refused,
        "device tree node /reserved-memory/r@50800000: there are more than 1024 ranges of memory of its kind"
    );
    let one_node = edited(&with_reserved(0), |root| {
        let reg: Vec<u32> = (0..300).flat_map(|index| [0, 0x5000_0000 + index * 0x2000, 0, 0x1000]).collect();
        root.child_mut("reserved-memory").unwrap().add_child(node("many", [cells("reg", &reg)]));
    });
    let refused = error(&one_node).to_string();
    assert_eq!(refused, "device tree node /reserved-memory/many: `reg` has more entries than are looked at");
}

#[test]
fn memory_below_the_root_alone_is_ram() {
    let dtb = edited(GICV3, |root| {
        let mut soc =
            node("soc2", [cells("#address-cells", &[1]), cells("#size-cells", &[1]), cells("ranges", &[])]);
        soc.add_child(node(
            "memory@9000000",
            [string("device_type", "memory"), cells("reg", &[0x0900_0000, 0x1000])],
        ));
        root.add_child(soc);
    });
    assert_eq!(Platform::parse(&dtb).unwrap().memory, [region(0x4000_0000, 1 << 30)]);
}

#[test]
fn depth_and_number_of_nodes_are_bounded() {
    let deep = edited(GICV3, |root| {
        let mut nest = node("nest", []);
        for _ in 0..64 {
            let mut outer = node("nest", []);
            outer.add_child(nest);
            nest = outer;
        }
        root.add_child(nest);
    });
    assert_eq!(error(&deep), PlatformError::TooDeep);
    let wide =
        edited(GICV3, |root| (0..20000).for_each(|index| root.add_child(node(&format!("n{index}"), []))));
    assert_eq!(error(&wide), PlatformError::TooManyNodes);
}

#[test]
fn long_names_of_real_boards_are_taken() {
    use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
    let dtb = edited(GICV3, |root| {
        let mut usb = DeviceTreeNode::new_unchecked("a-node-with-a-name-of-more-than-31-characters@0");
        usb.add_property(DeviceTreeProperty::new_unchecked("snps,dis-u2-freeclk-exists-quirk", &[] as &[u8]));
        root.add_child(usb);
    });
    assert_eq!(Platform::parse(&dtb), Platform::parse(GICV3));
}

/// What the rest of the hypervisor relies on.
fn check(platform: &Platform) {
    assert!(!platform.memory.is_empty() && !platform.cpus.is_empty() && platform.kernel().is_some());
    assert_eq!(merge(platform.memory.clone()), platform.memory);
    assert_eq!(merge(platform.reserved.clone()), platform.reserved);
    for (index, module) in platform.modules.iter().enumerate() {
        assert!(platform.memory.iter().any(|bank| bank.contains(module.region)));
        assert!(!platform.modules[..index].iter().any(|other| other.region.overlaps(module.region)));
    }
    let timer = platform.timer;
    for ppi in
        [timer.physical, timer.r#virtual, timer.hypervisor, timer.secure_physical, platform.gic.maintenance]
    {
        assert!((Intid::FIRST_PRIVATE..Intid::FIRST_SHARED).contains(&ppi));
    }
}

proptest! {
    #[test]
    fn a_damaged_tree_gives_a_sound_platform_or_an_error(dtb in damaged()) {
        match Platform::parse(&dtb) {
            Ok(platform) => check(&platform),
            Err(error) => prop_assert!(error.to_string().len() < 1000),
        }
        console(&dtb);
    }

    #[test]
    fn nonsense_in_values_gives_a_sound_platform_or_an_error(dtb in nonsensical()) {
        match Platform::parse(&dtb) {
            Ok(platform) => check(&platform),
            Err(error) => prop_assert!(error.to_string().len() < 1000),
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Platform::parse(&bytes).is_err());
    }
}
