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
    assert_eq!(platform.cpus.iter().map(|cpu| cpu.mpidr).collect::<Vec<_>>(), [0, 1, 2, 3].map(Mpidr::new));
    assert!(platform.cpus.iter().all(|cpu| cpu.start == Ok(StartMethod::Psci)));
    assert_eq!(platform.left_out, LeftOuts::default());
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
    assert_eq!(platform.psci, Some(Psci { conduit: Conduit::Smc, version: (1, 0) }));
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
fn the_ramdisk_of_a_bare_linux_counts_where_no_module_is_one() {
    let parse = |start: u32, has_module: bool| {
        let dtb = edited(GICV3, |root| {
            let chosen = root.child_mut("chosen").unwrap();
            chosen.add_property(cells("linux,initrd-start", &[start]));
            chosen.add_property(cells("linux,initrd-end", &[start + 0x1000]));
            if !has_module {
                chosen.remove_child("module@0x48000000").unwrap();
            }
        });
        Platform::parse(&dtb).map(|platform| platform.ramdisk().unwrap().region)
    };
    assert_eq!(parse(0x5000_0000, false), Ok(region(0x5000_0000, 0x1000)));
    assert_eq!(parse(0x5000_0000, true), Ok(region(0x4800_0000, 50000)));
    let outside = parse(0x2000_0000, false).unwrap_err().to_string();
    assert!(
        outside.starts_with("boot module /chosen (linux,initrd-start) (ramdisk) at 0x20000000-"),
        "{outside}"
    );
    assert!(parse(0x4600_1000, false).unwrap_err().to_string().ends_with("overlap"));
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
}

/// What the log says of parts that are not used.
fn left_out(platform: &Platform) -> Vec<String> {
    platform.left_out.named().iter().map(ToString::to_string).collect()
}

#[test]
fn a_cpu_that_makes_no_sense_is_skipped_by_name() {
    let dtb = edited(GICV3, |root| {
        let cpus = root.child_mut("cpus").unwrap();
        cpus.child_mut("cpu@0").unwrap().add_property(string("enable-method", "vendor,smp"));
        cpus.child_mut("cpu@1").unwrap().remove_property("reg").unwrap();
        cpus.child_mut("cpu@2").unwrap().add_property(string("enable-method", "vendor,smp"));
        cpus.add_child(node("cpu@03", [string("device_type", "cpu"), cells("reg", &[3])]));
        cpus.add_child(node("cpu@4", [string("device_type", "cpu"), cells("reg", &[4])]));
    });
    let platform = Platform::parse(&dtb).unwrap();
    assert_eq!(platform.cpus_booted_by(Mpidr::new(0)), [0, 3, 4].map(Mpidr::new));
    assert_eq!(platform.cpus_booted_by(Mpidr::new(3)), [3, 4].map(Mpidr::new));
    assert_eq!(
        left_out(&platform),
        [
            "device tree node /cpus/cpu@1: `reg` is no MPIDR; the CPU is left out",
            "device tree node /cpus/cpu@03: `reg` is that of another CPU; the node is left out",
        ]
    );
    let unstartable: Vec<_> =
        platform.unstartable_cpus(Mpidr::new(0)).map(|(cpu, why)| (cpu.node.as_str(), why)).collect();
    assert_eq!(unstartable, [("/cpus/cpu@2", "`enable-method` is neither \"psci\" nor \"spin-table\"")]);
    let none = edited(GICV3, |root| {
        for id in 0..4 {
            root.child_mut("cpus").unwrap().child_mut(&format!("cpu@{id}")).unwrap().remove_property("reg");
        }
    });
    assert_eq!(error(&none), PlatformError::NoCpu);
}

#[test]
fn without_firmware_that_starts_cpus_one_takes_part() {
    let mut disabled = GICV3.to_vec();
    disabled = edited(&disabled, |root| {
        root.child_mut("psci").unwrap().add_property(string("status", "disabled"));
    });
    for dtb in [without(GICV3, "", "psci"), disabled] {
        let platform = Platform::parse(&dtb).unwrap();
        assert_eq!(platform.psci, None);
        assert_eq!(platform.cpus_booted_by(Mpidr::new(2)), [Mpidr::new(2)]);
        let unstartable: Vec<_> = platform.unstartable_cpus(Mpidr::new(2)).map(|(_, why)| why).collect();
        assert_eq!(unstartable, ["`enable-method` is \"psci\", and the tree has no PSCI firmware"; 3]);
    }
}

#[test]
fn cpus_in_a_spin_table_are_started_by_their_addresses() {
    let release = |cell: &[u32]| {
        let dtb = edited(&without(GICV3, "", "psci"), |root| {
            let cpus = root.child_mut("cpus").unwrap();
            cpus.child_mut("cpu@0").unwrap().remove_property("enable-method");
            cpus.child_mut("cpu@1").unwrap().add_property(string("enable-method", "spin-table"));
            cpus.child_mut("cpu@1").unwrap().add_property(cells("cpu-release-addr", cell));
        });
        let platform = Platform::parse(&dtb).unwrap();
        (platform.cpus[1].start, platform.reserved)
    };
    let spins = |at| Ok(StartMethod::SpinTable { release: Pa(at) });
    assert_eq!(release(&[0, 0xd8]), (spins(0xd8), vec![region(0xd8, 8)]));
    assert_eq!(release(&[1, 0x4000_0008]), (spins(0x1_4000_0008), vec![region(0x1_4000_0008, 8)]));
    assert_eq!(release(&[0x7fff_fff8]), (spins(0x7fff_fff8), vec![region(0x7fff_fff8, 8)]));
    for bad in [&[0, 0][..], &[0, 0xdc], &[], &[0, 0, 0xd8]] {
        let problem = "`cpu-release-addr` is no address of eight aligned bytes";
        assert_eq!(release(bad), (Err(problem), vec![]));
    }
}

#[test]
fn ranges_that_make_no_sense_are_named() {
    let reserved = |with_ranges: bool, reg: &[u32]| {
        let dtb = edited(GICV3, |root| {
            let mut reserved =
                node("reserved-memory", [cells("#address-cells", &[2]), cells("#size-cells", &[2])]);
            if with_ranges {
                reserved.add_property(cells("ranges", &[]));
            }
            reserved.add_child(node("secure@50000000", [cells("reg", reg)]));
            root.add_child(reserved);
        });
        let platform = Platform::parse(&dtb).unwrap();
        (platform.reserved.clone(), left_out(&platform))
    };
    const GOOD: [u32; 4] = [0, 0x5000_0000, 0, 0x10_0000];
    let kept = vec![region(0x5000_0000, 0x10_0000)];
    let line = "device tree node /reserved-memory/secure@50000000: an entry of `reg` is no range of machine addresses (is \
                `ranges` missing above it?); it is not reserved, and may become a domain's RAM";
    let named = vec![line.to_string()];
    assert_eq!(reserved(true, &GOOD), (kept.clone(), vec![]));
    assert_eq!(reserved(false, &GOOD), (vec![], named.clone()));
    let wraps = [&GOOD[..], &[u32::MAX, u32::MAX, 0, 0x1000]].concat();
    assert_eq!(reserved(true, &wraps), (kept.clone(), named.clone()));
    assert_eq!(reserved(true, &[&GOOD[..], &[0, 0x6000_0000]].concat()), (kept.clone(), named));
    assert_eq!(reserved(true, &[&GOOD[..], &[0; 4]].concat()), (kept, vec![]), "an empty one is none");
    let bank = edited(GICV3, |root| {
        root.child_mut("memory@40000000")
            .unwrap()
            .add_property(cells("reg", &[0, 0x4000_0000, 0, 0x4000_0000, u32::MAX, 0, 1, 0]));
    });
    let platform = Platform::parse(&bank).unwrap();
    assert_eq!(platform.memory, [region(0x4000_0000, 1 << 30)]);
    let line = "device tree node /memory@40000000: an entry of `reg` is no range of machine addresses; it is not used as RAM";
    assert_eq!(left_out(&platform), [line]);
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
fn nodes_that_are_nested_too_deeply_are_skipped_by_name() {
    let nest = |inner| {
        let [two, one] = ["#address-cells", "#size-cells"].map(|name| cells(name, &[2]));
        let mut outer = node("nest", [two, one, cells("ranges", &[])]);
        outer.add_child(inner);
        outer
    };
    let uart_at = |level: usize| {
        let path = format!("{}/pl011@9000000", "/nest".repeat(level - 2));
        let dtb = edited(GICV3, |root| {
            let uart = root.remove_child("pl011@9000000").unwrap();
            root.add_child((2..level).fold(uart, |inner, _| nest(inner)));
            root.child_mut("chosen").unwrap().add_property(string("stdout-path", &path));
        });
        let platform = Platform::parse(&dtb).unwrap();
        (platform.uart.as_ref().map(|uart| uart.registers), left_out(&platform), path)
    };
    let (uart, lines, _) = uart_at(16);
    assert_eq!((uart, lines), (Some(region(0x0900_0000, 0x1000)), vec![]));
    let line = "it is nested more than 16 levels deep; it is left out with all below it";
    let (uart, lines, path) = uart_at(17);
    assert_eq!((uart, lines), (None, vec![format!("device tree node {path}: {line}")]));
    // However deep it goes on, one line says it.
    let (uart, lines, _) = uart_at(5000);
    assert_eq!((uart, lines), (None, vec![format!("device tree node {}: {line}", "/nest".repeat(16))]));
}

#[test]
fn the_number_of_nodes_is_bounded() {
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
    assert!(!platform.memory.is_empty() && !platform.cpus.is_empty());
    assert!(platform.kernel().is_some() || platform.control.is_some() || !platform.boot_domains.is_empty());
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

/// A tree with buses: of each its name, the bus above it, and `dma-ranges`. They have two cells for an address and two for a size.
fn with_buses(buses: &[(&str, Option<&str>, &[u32])]) -> Option<DmaLimit> {
    let dtb = edited(GICV3, |root| {
        let bus = |name: &str, ranges: &[u32]| {
            let sizes = [cells("#address-cells", &[2]), cells("#size-cells", &[2]), cells("ranges", &[])];
            node(name, sizes.into_iter().chain([cells("dma-ranges", ranges)]))
        };
        for &(name, above, ranges) in buses {
            let above = match above {
                Some(above) => root.child_mut(above).unwrap(),
                None => &mut *root,
            };
            above.add_child(bus(name, ranges));
        }
    });
    Platform::parse(&dtb).unwrap().dma_limit
}

fn dma_limit(end: u64, node: &str) -> Option<DmaLimit> {
    Some(DmaLimit { end: Pa(end), node: node.into() })
}

#[test]
fn the_nearest_end_of_dma_counts() {
    assert_eq!(with_buses(&[]), None);
    let whole: &[u32] = &[];
    assert_eq!(with_buses(&[("soc", None, whole)]), None, "all of memory");
    let far: &[u32] = &[0, 0, 0, 0x4000_0000, 0, 0x4000_0000];
    assert_eq!(with_buses(&[("soc", None, far)]), None, "as far as RAM goes");
    let near: &[u32] = &[0, 0xc000_0000, 0, 0x4000_0000, 0, 0x1000_0000, 0, 0, 0, 0x5000_0000, 0, 0x800_0000];
    assert_eq!(with_buses(&[("soc", None, near)]), dma_limit(0x5800_0000, "/soc"), "the highest of a bus");
    assert_eq!(with_buses(&[("a", None, far), ("b", None, near)]), dma_limit(0x5800_0000, "/b"));
    // What a bus reaches, those above may move or cut short.
    let inner: &[u32] = &[0, 0, 0, 0xc800_0000, 0, 0x4000_0000];
    assert_eq!(
        with_buses(&[("soc", None, near), ("usb", Some("soc"), inner)]),
        dma_limit(0x5000_0000, "/soc/usb")
    );
    assert_eq!(
        with_buses(&[("soc", None, whole), ("usb", Some("soc"), near)]),
        dma_limit(0x5800_0000, "/soc/usb")
    );
    for empty in [
        &[0, 0, 0, 0x4000_0000, 0, 0][..],
        &[1, 2, 3][..],
        &[0, 0, u32::MAX, u32::MAX, u32::MAX, u32::MAX][..],
    ] {
        assert_eq!(with_buses(&[("soc", None, empty)]), None, "{empty:x?}");
    }
}

#[test]
fn a_pool_without_a_place_says_where_it_must_lie() {
    let pool = |properties: &[(&str, &[u32])]| {
        let dtb = edited(GICV3, |root| {
            let sizes = [cells("#address-cells", &[2]), cells("#size-cells", &[2]), cells("ranges", &[])];
            let mut reserved = node("reserved-memory", sizes);
            let properties = properties.iter().map(|(name, value)| cells(name, value));
            reserved.add_child(node("linux,cma", properties));
            root.add_child(reserved);
        });
        Platform::parse(&dtb).unwrap().dma_limit
    };
    let size: (&str, &[u32]) = ("size", &[0, 0x400_0000]);
    assert_eq!(
        pool(&[size, ("alloc-ranges", &[0, 0x4000_0000, 0, 0x2000_0000])]),
        dma_limit(0x6000_0000, "/reserved-memory/linux,cma")
    );
    assert_eq!(pool(&[size, ("alloc-ranges", &[0, 0, 1, 0])]), None);
    assert_eq!(pool(&[size]), None);
    let placed: (&str, &[u32]) = ("reg", &[0, 0x4000_0000, 0, 0x10_0000]);
    assert_eq!(pool(&[placed, ("alloc-ranges", &[0, 0x4000_0000, 0, 0x2000_0000])]), None);
}
