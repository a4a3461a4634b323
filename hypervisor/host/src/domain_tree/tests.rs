use alloc::string::{String, ToString};

use dtoolkit::Node;
use dtoolkit::fdt::{Fdt, FdtNode};
use proptest::prelude::*;

use super::*;
use crate::platform::fixtures::{
    GICV2, GICV3, cells, damaged, edited, node, nonsensical, string, with, without,
};
use crate::platform::tree::{bytes, is_compatible, number, text};
use crate::platform::{Trigger, subtract};
use xenolith_core::types::{DomId, Pa};

const GIB: u64 = 1 << 30;
const MEMORY: [(Ipa, u64); 2] = [(Ipa(0x5000_0000), GIB / 2), (Ipa(0x1_0000_0000), 3 * GIB)];

fn spec() -> HardwareDomainSpec<'static> {
    HardwareDomainSpec {
        vcpus: 3,
        memory: &MEMORY,
        arguments: "console=hvc0 root=/dev/vda",
        initrd: Some((Ipa(0x5800_0000), 0x12345)),
        xen_version: (4, 17),
        grant_window: (Ipa(0x4020_0000), 0x4_0000),
        extended_regions: &[(Ipa(0x7000_0000), 0x1000_0000)],
        event_interrupt: Intid(31),
        static_shm: &[],
        hidden: &["/pl011@9000000"],
    }
}

fn rewrite(host: &[u8], spec: &HardwareDomainSpec<'_>) -> HardwareDomainTree {
    hardware_domain(host, &Platform::parse(host).unwrap(), spec).unwrap()
}

fn fails(host: &[u8], spec: &HardwareDomainSpec<'_>) -> TreeError {
    hardware_domain(host, &Platform::parse(host).unwrap(), spec).unwrap_err()
}

fn find<'a>(tree: &'a HardwareDomainTree, path: &str) -> Option<FdtNode<'a>> {
    Fdt::new(&tree.dtb).unwrap().find_node(path)
}

fn numbers(node: &FdtNode<'_>, property: &str) -> Vec<u32> {
    crate::platform::tree::cells(bytes(node, property).unwrap()).collect()
}

fn each_node<'a>(tree: &'a HardwareDomainTree, visit: &mut dyn FnMut(&FdtNode<'a>)) {
    fn below<'a>(node: FdtNode<'a>, visit: &mut dyn FnMut(&FdtNode<'a>)) {
        visit(&node);
        node.children().for_each(|child| below(child, visit));
    }
    below(Fdt::new(&tree.dtb).unwrap().root(), visit);
}

fn intids(tree: &HardwareDomainTree) -> Vec<u32> {
    tree.interrupts.iter().map(|spi| spi.intid.0).collect()
}

#[test]
fn the_tree_describes_what_was_asked_for() {
    for host in [GICV2, GICV3] {
        let tree = rewrite(host, &spec());
        let names: Vec<String> =
            find(&tree, "/cpus").unwrap().children().map(|child| child.name().to_string()).collect();
        assert_eq!(names, ["cpu@0", "cpu@1", "cpu@2"]);
        let cpu = find(&tree, "/cpus/cpu@2").unwrap();
        assert_eq!(text(&cpu, "compatible"), Some("arm,cortex-a57"));
        assert_eq!((text(&cpu, "enable-method"), number(&cpu, "reg")), (Some("psci"), Some(2)));

        assert_eq!(
            numbers(&find(&tree, "/memory@50000000").unwrap(), "reg"),
            [0, 0x5000_0000, 0, 0x2000_0000]
        );
        assert_eq!(numbers(&find(&tree, "/memory@100000000").unwrap(), "reg"), [1, 0, 0, 0xc000_0000]);
        assert!(find(&tree, "/memory@40000000").is_none());

        let chosen = find(&tree, "/chosen").unwrap();
        assert_eq!(text(&chosen, "bootargs"), Some("console=hvc0 root=/dev/vda"));
        assert_eq!(numbers(&chosen, "linux,initrd-start"), [0, 0x5800_0000]);
        assert_eq!(numbers(&chosen, "linux,initrd-end"), [0, 0x5801_2345]);
        assert_eq!(bytes(&chosen, "stdout-path"), None);
        // Not the boot loader's own bytes, from which those of others could be told.
        let seed = Platform::parse(host).unwrap().seed;
        assert_eq!(bytes(&chosen, "rng-seed"), Some(&seed.of(DomId::CONTROL).unwrap()[..]));
        let place = seed.kaslr(DomId::CONTROL).unwrap().to_be_bytes();
        assert_eq!(bytes(&chosen, "kaslr-seed"), Some(&place[..]));
        assert_eq!(chosen.children().count(), 0);

        let hypervisor = find(&tree, "/hypervisor").unwrap();
        assert_eq!(bytes(&hypervisor, "compatible"), Some(&b"xen,xen-4.17\0xen,xen\0"[..]));
        assert_eq!(
            numbers(&hypervisor, "reg"),
            [0, 0x4020_0000, 0, 0x4_0000, 0, 0x7000_0000, 0, 0x1000_0000]
        );
        assert_eq!(numbers(&hypervisor, "interrupts"), [1, 15, 0xf08]);

        let psci = find(&tree, "/psci").unwrap();
        assert_eq!(text(&psci, "method"), Some("hvc"));
        let timer = find(&tree, "/timer").unwrap();
        assert_eq!(numbers(&timer, "interrupts"), [1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08]);
    }
}

#[test]
fn the_interrupt_controller_keeps_its_place_and_loses_what_is_the_hypervisors() {
    let v3 = rewrite(GICV3, &spec());
    let gic = find(&v3, "/intc@8000000").unwrap();
    assert_eq!(numbers(&gic, "reg"), [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0xf6_0000]);
    assert_eq!(number(&gic, "phandle"), Some(0x8005));
    assert_eq!((number(&gic, "#address-cells"), number(&gic, "#interrupt-cells")), (Some(2), Some(3)));
    assert!(bytes(&gic, "interrupts").is_none());
    assert_eq!(gic.children().count(), 0);

    let v2 = rewrite(GICV2, &spec());
    let gic = find(&v2, "/intc@8000000").unwrap();
    assert_eq!(numbers(&gic, "reg"), [0, 0x0800_0000, 0, 0x1_0000, 0, 0x0801_0000, 0, 0x1_0000]);
    assert_eq!(text(&gic, "compatible"), Some("arm,cortex-a15-gic"));
    assert_eq!(gic.children().count(), 0);
}

#[test]
fn redistributors_follow_each_other_as_the_vgic_has_them() {
    // The machine's are twice as far apart; those of the vGIC are not, and their GICR_TYPER says how far.
    let host = with(GICV3, "intc@8000000", "redistributor-stride", &[0, 0x4_0000]);
    let tree = rewrite(&host, &spec());
    assert!(bytes(&find(&tree, "/intc@8000000").unwrap(), "redistributor-stride").is_none());
    let platform = Platform::parse(&host).unwrap();
    assert_eq!((platform.gic.stride, vcpu_limit(&platform)), (Some(0x4_0000), 123));
}

#[test]
fn what_the_hypervisor_owns_is_neither_shown_nor_mapped_nor_routed() {
    for host in [GICV2, GICV3] {
        let tree = rewrite(host, &spec());
        each_node(&tree, &mut |node| {
            let gone =
                ["arm,pl011", "arm,armv8-pmuv3", "arm,gic-v3-its", "arm,gic-v2m-frame", "multiboot,module"];
            assert!(!is_compatible(node, &gone), "{}", node.name());
            for property in ["msi-map", "msi-parent"] {
                assert!(bytes(node, property).is_none(), "{}", node.name());
            }
        });
        assert!(!intids(&tree).contains(&33));
        let uart = Region::new(Pa(0x0900_0000), 0x1000).unwrap();
        assert!(!tree.mmio.iter().any(|region| region.overlaps(uart)));
    }
}

#[test]
fn devices_of_the_virt_machine_are_mapped_and_routed() {
    let expected = [
        (0, 0x0800_0000),                 // flash
        (0x0901_0000, 0x1000),            // RTC
        (0x0902_0000, 0x1000),            // fw-cfg
        (0x0903_0000, 0x1000),            // GPIO
        (0x0a00_0000, 0x4000),            // virtio-mmio
        (0x1000_0000, 0x2f00_0000),       // PCI memory and I/O windows, which touch
        (0x40_1000_0000, 0x1000_0000),    // PCI configuration space
        (0x80_0000_0000, 0x80_0000_0000), // PCI 64-bit memory window
    ];
    let expected: Vec<Region> =
        expected.iter().filter_map(|&(start, size)| Region::new(Pa(start), size)).collect();
    for host in [GICV2, GICV3] {
        let tree = rewrite(host, &spec());
        assert_eq!(tree.mmio, expected);
        let memory = [(0x1000_0000, 0x2eff_0000), (0x80_0000_0000, 0x80_0000_0000)];
        let memory = memory.iter().filter_map(|&(start, size)| Region::new(Pa(start), size));
        assert_eq!(tree.memory_like, memory.collect::<Vec<_>>(), "what is in the PCI memory windows");
        // RTC, the four INTx lines, GPIO, 32 virtio-mmio slots.
        let lines: Vec<u32> = (34..=39).chain(48..=79).collect();
        assert_eq!(intids(&tree), lines);
        for spi in &tree.interrupts {
            assert_eq!(spi.trigger == Trigger::Edge, spi.intid >= Intid(48), "{spi:?}");
        }
        let pcie = find(&tree, "/pcie@10000000").unwrap();
        assert_eq!(bytes(&pcie, "interrupt-map").unwrap().len(), 640);
        assert!(find(&tree, "/virtio_mmio@a003e00").is_some());
    }
}

#[test]
fn a_device_passed_through_or_disabled_is_shown_disabled_and_not_given() {
    for (property, value) in [("xen,passthrough", None), ("status", Some("disabled"))] {
        let host = edited(GICV3, |root| {
            let rtc = root.child_mut("pl031@9010000").unwrap();
            rtc.add_property(match value {
                Some(value) => string(property, value),
                None => cells(property, &[]),
            });
        });
        let tree = rewrite(&host, &spec());
        let rtc = find(&tree, "/pl031@9010000").unwrap();
        assert_eq!(text(&rtc, "status"), Some("disabled"));
        assert!(bytes(&rtc, "xen,passthrough").is_none());
        assert!(!intids(&tree).contains(&34));
        let registers = Region::new(Pa(0x0901_0000), 0x1000).unwrap();
        assert!(!tree.mmio.iter().any(|region| region.overlaps(registers)));
    }
}

#[test]
fn a_line_that_devices_share_is_routed_once_or_stays_the_consoles() {
    let host = edited(GICV3, |root| {
        for (index, interrupts) in [[0, 120, 4, 0, 121, 4], [0, 121, 4, 0, 1, 4]].iter().enumerate() {
            let start = 0x0b00_0000 + 0x1000 * index as u32;
            let reg = cells("reg", &[0, start, 0, 0x1000]);
            root.add_child(node(&format!("device@{start:x}"), [reg, cells("interrupts", interrupts)]));
        }
    });
    let tree = rewrite(&host, &spec());
    let more: Vec<u32> = intids(&tree).into_iter().filter(|&intid| intid > 79).collect();
    assert_eq!((more, tree.withheld), (vec![152, 153], vec![Intid(33)]));
    assert_eq!(rewrite(GICV3, &spec()).withheld, []);
}

#[test]
fn an_iommu_is_hidden_and_nothing_refers_to_it() {
    let host = edited(GICV3, |root| {
        root.add_child(node(
            "smmuv3@9050000",
            [
                string("compatible", "arm,smmu-v3"),
                cells("reg", &[0, 0x0905_0000, 0, 0x2_0000]),
                cells("interrupts", &[0, 74, 1, 0, 75, 1, 0, 76, 1, 0, 77, 1]),
                cells("#iommu-cells", &[1]),
                cells("phandle", &[0x9000]),
            ],
        ));
        let pcie = root.child_mut("pcie@10000000").unwrap();
        pcie.add_property(cells("iommu-map", &[0, 0x9000, 0, 0x1_0000]));
        pcie.add_property(cells("iommu-map-mask", &[0xffff]));
        root.child_mut("pl031@9010000").unwrap().add_property(cells("iommus", &[0x9000, 1]));
    });
    assert_eq!(rewrite(&host, &spec()), rewrite(GICV3, &spec()));
    let platform = Platform::parse(&host).unwrap();
    let lines: Vec<String> = platform.left_out.named().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "device tree node /smmuv3@9050000: it is an IOMMU, for which there is no driver; no domain sees it, and DMA \
          is not confined"
        ]
    );
}

#[test]
fn a_node_with_a_ppi_is_dropped_and_its_ppi_is_not_free() {
    let host = edited(GICV3, |root| {
        root.add_child(node(
            "watchdog@9100000",
            [cells("reg", &[0, 0x0910_0000, 0, 0x1000]), cells("interrupts", &[0, 100, 4, 1, 15, 4])],
        ));
    });
    let platform = Platform::parse(&host).unwrap();
    assert_eq!(free_private_interrupt(GICV3, &Platform::parse(GICV3).unwrap()), Some(Intid(31)));
    assert_eq!(free_private_interrupt(&host, &platform), Some(Intid(28)));
    assert_eq!(fails(&host, &spec()), TreeError::EventPpiTaken(Intid(31)));
    let tree = rewrite(&host, &HardwareDomainSpec { event_interrupt: Intid(28), ..spec() });
    assert!(find(&tree, "/watchdog@9100000").is_none());
    assert!(!intids(&tree).contains(&132));
    for taken in [15, 25, 27, 32] {
        assert_eq!(
            fails(GICV3, &HardwareDomainSpec { event_interrupt: Intid(taken), ..spec() }),
            TreeError::EventPpiTaken(Intid(taken))
        );
    }
}

#[test]
fn the_memory_of_devices_is_memory_but_for_pages_with_registers() {
    let host = edited(GICV3, |root| {
        let kind = |name| string("compatible", name);
        let sram = [kind("mmio-sram"), cells("reg", &[0, 0x0500_0800, 0, 0x3000])];
        root.add_child(node("sram@5000800", sram));
        let clock = [kind("x,clock"), cells("reg", &[0, 0x0500_0000, 0, 0x400])];
        root.add_child(node("clock@5000000", clock));
        let screen = [
            kind("simple-framebuffer"),
            cells("reg", &[0, 0x0600_0000, 0, 0x2000]),
            string("status", "disabled"),
        ];
        root.add_child(node("screen@6000000", screen));
    });
    let host = edited(&host, |root| {
        root.remove_child("flash@0");
    });
    let tree = rewrite(&host, &spec());
    assert!(tree.mmio.contains(&Region::new(Pa(0x0500_0000), 0x4000).unwrap()));
    assert_eq!(tree.memory_like[0], Region::new(Pa(0x0500_1000), 0x3000).unwrap());
    assert_eq!(tree.memory_like.len(), 3, "and the two windows of PCI");
}

#[test]
fn reserved_memory_is_mapped_and_other_memory_is_not() {
    let host = edited(GICV3, |root| {
        let mut reserved = node(
            "reserved-memory",
            [cells("#address-cells", &[2]), cells("#size-cells", &[2]), cells("ranges", &[])],
        );
        reserved.add_child(node("pool@60000000", [cells("reg", &[0, 0x6000_0000, 0, 0x2000])]));
        root.add_child(reserved);
        root.add_child(node("greedy@40000000", [cells("reg", &[0, 0x4000_0000, 0, 0x4000_0000])]));
        root.add_child(node("thief@8000000", [cells("reg", &[0, 0x0800_0000, 0, 0x0100_2000])]));
    });
    let tree = rewrite(&host, &spec());
    let inside =
        |start, size| tree.mmio.iter().any(|have| have.overlaps(Region::new(Pa(start), size).unwrap()));
    let pool = Region::new(Pa(0x6000_0000), 0x2000).unwrap();
    assert!(tree.mmio.contains(&pool));
    assert!(tree.memory_like.contains(&pool));
    assert!(!inside(0x4000_0000, 0x2000_0000) && !inside(0x6000_2000, 0x1fff_e000));
    // The distributor, the redistributors and the UART's page stay out; what lies between and behind is given.
    assert!(
        !inside(0x0800_0000, 0x1_0000) && !inside(0x080a_0000, 0xf6_0000) && !inside(0x0900_0000, 0x1000)
    );
    assert!(inside(0x0801_0000, 0x1000) && inside(0x0900_1000, 0x1000));
}

#[test]
fn wishes_that_cannot_be_met_are_named() {
    let with_vcpus = |vcpus| HardwareDomainSpec { vcpus, ..spec() };
    assert_eq!(fails(GICV3, &with_vcpus(0)), TreeError::NoVcpus);
    assert!(TreeError::NoVcpus.to_string().contains("zero vCPUs"));
    assert_eq!(fails(GICV2, &with_vcpus(9)), TreeError::TooManyVcpus { vcpus: 9, limit: 8 });
    // QEMU's redistributor region has room for 123.
    assert_eq!(fails(GICV3, &with_vcpus(124)), TreeError::TooManyVcpus { vcpus: 124, limit: 123 });
    assert_eq!(fails(GICV3, &HardwareDomainSpec { memory: &[], ..spec() }), TreeError::NoMemory);
    let narrow = edited(GICV3, |root| root.add_property(cells("#size-cells", &[3])));
    assert!(Platform::parse(&narrow).is_err());
    let huge: &str = &"x".repeat(2 << 20);
    assert!(matches!(
        fails(GICV3, &HardwareDomainSpec { arguments: huge, ..spec() }),
        TreeError::TooLarge { .. }
    ));
}

#[test]
fn numbers_must_fit_the_roots_cells() {
    let narrow = |size: u32| {
        edited(GICV3, |root| {
            root.add_property(cells("#size-cells", &[1]));
            for (name, reg) in [
                ("memory@40000000", [0, 0x4000_0000, 0x4000_0000].as_slice()),
                ("intc@8000000", &[0, 0x0800_0000, 0x1_0000, 0, 0x080a_0000, 0xf6_0000]),
                ("pl011@9000000", &[0, 0x0900_0000, 0x1000]),
            ] {
                root.child_mut(name).unwrap().add_property(cells("reg", reg));
            }
            let chosen = root.child_mut("chosen").unwrap();
            chosen.remove_child("module@0x48000000");
            let kernel = chosen.child_mut("module@0x46000000").unwrap();
            kernel.add_property(cells("reg", &[0, 0x4600_0000, size]));
        })
    };
    let host = narrow(0x1000);
    let large = [(Ipa(0x5000_0000), 5 * GIB)];
    assert_eq!(
        fails(&host, &HardwareDomainSpec { memory: &large, ..spec() }),
        TreeError::TooWide { what: "memory", value: 5 * GIB }
    );
    let tree = rewrite(&host, &spec());
    assert_eq!(numbers(&find(&tree, "/memory@50000000").unwrap(), "reg"), [0, 0x5000_0000, 0x2000_0000]);
}

#[test]
fn a_gic_without_a_phandle_gets_one() {
    let host = edited(GICV3, |root| {
        root.child_mut("intc@8000000").unwrap().remove_property("phandle");
    });
    // Its timer cannot name the GIC then, so no such machine is read.
    assert!(Platform::parse(&host).is_err());
    let moved = with(GICV3, "psci", "phandle", &[0xfde8]);
    let tree = Tree::open(&moved).unwrap();
    assert_eq!(tree.free_phandle(), 0xfde9);
}

#[test]
fn a_tree_without_chosen_children_still_gets_chosen() {
    let host = without(GICV3, "chosen", "module@0x48000000");
    let tree = rewrite(&host, &HardwareDomainSpec { initrd: None, ..spec() });
    let chosen = find(&tree, "/chosen").unwrap();
    assert!(bytes(&chosen, "linux,initrd-start").is_none());
}

#[test]
fn vcpus_are_numbered_sixteen_to_a_cluster() {
    assert_eq!([0, 1, 15, 16, 17, 127].map(nodes::vcpu_affinity), [0, 1, 15, 0x100, 0x101, 0x70f]);
    let tree = rewrite(GICV3, &HardwareDomainSpec { vcpus: 18, ..spec() });
    assert_eq!(number(&find(&tree, "/cpus/cpu@101").unwrap(), "reg"), Some(0x101));
}

/// What the rest of the hypervisor relies on, whatever the host's tree says.
fn check(platform: &Platform, tree: &HardwareDomainTree) -> Result<(), TestCaseError> {
    prop_assert!(tree.interrupts.windows(2).all(|pair| pair[0].intid < pair[1].intid));
    prop_assert!(
        tree.interrupts.iter().all(|spi| (Intid::FIRST_SHARED..Intid::SHARED_END).contains(&spi.intid))
    );
    prop_assert!(tree.mmio.windows(2).all(|pair| pair[0].end() < pair[1].start()));
    let ram = subtract(&platform.memory, &platform.reserved);
    for region in &tree.mmio {
        prop_assert!(region.start().0 % 0x1000 == 0 && region.end().0 % 0x1000 == 0);
        prop_assert!(!ram.iter().chain(&platform.gic.regions()).any(|owned| owned.overlaps(*region)));
    }
    let result = Tree::open(&tree.dtb).unwrap();
    let hypervisor =
        result.find(|place| (place.path() == "/hypervisor").then(|| place.bytes("interrupts").is_some()));
    prop_assert_eq!(hypervisor, Some(true));
    let kernels = result.find(|place| place.is_compatible(&["multiboot,module"]).then_some(()));
    prop_assert_eq!(kernels, None);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_damaged_host_tree_gives_a_sound_tree_or_an_error(host in prop_oneof![damaged(), nonsensical()]) {
        if let Ok(platform) = Platform::parse(&host) {
            let event_interrupt = free_private_interrupt(&host, &platform).unwrap_or(Intid(31));
            match hardware_domain(&host, &platform, &HardwareDomainSpec { event_interrupt, vcpus: 1, ..spec() }) {
                Ok(tree) => check(&platform, &tree)?,
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn any_wish_gives_a_sound_tree_or_an_error(
        v3 in any::<bool>(),
        vcpus in 0u16..200,
        banks in prop::collection::vec((any::<u64>(), any::<u64>()), 0..4),
        event_interrupt in 0u32..40,
        arguments in ".{0,200}",
        initrd in prop::option::of((any::<u64>(), any::<u64>())),
    ) {
        let host = if v3 { GICV3 } else { GICV2 };
        let platform = Platform::parse(host).unwrap();
        let memory: Vec<(Ipa, u64)> = banks.iter().map(|&(start, size)| (Ipa(start), size)).collect();
        let initrd = initrd.map(|(start, size)| (Ipa(start), size));
        let wishes = HardwareDomainSpec { vcpus, memory: &memory, event_interrupt: Intid(event_interrupt), arguments: &arguments, initrd, ..spec() };
        if let Ok(tree) = hardware_domain(host, &platform, &wishes) {
            check(&platform, &tree)?;
            let cpus = find(&tree, "/cpus").unwrap().children().count();
            prop_assert_eq!(cpus, usize::from(vcpus));
        }
    }

    #[test]
    fn each_interrupt_of_a_kept_node_is_routed(numbers in prop::collection::vec(0u32..988, 1..8)) {
        let host = edited(GICV3, |root| {
            let interrupts: Vec<u32> = numbers.iter().flat_map(|&number| [0, number, 4]).collect();
            root.add_child(node("device@b000000", [
                cells("reg", &[0, 0x0b00_0000, 0, 0x1000]),
                cells("interrupts", &interrupts),
            ]));
        });
        let tree = rewrite(&host, &spec());
        for number in numbers {
            // The UART's line stays with the hypervisor, even if it is shared.
            prop_assert_eq!(intids(&tree).contains(&(number + 32)), number != 1);
        }
    }
}
