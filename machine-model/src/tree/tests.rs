use std::string::{String, ToString};
use std::vec::Vec;
use std::{panic, vec};

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property};
use proptest::prelude::*;

use super::*;
use crate::gic::Redistributors;
use crate::layout::{GRANT_WINDOW, VIRTIO_MMIO};

const MEMORY: [Region; 2] = [Region::new(0x4000_0000, 0xc000_0000), Region::new(0x2_0000_0000, 0x1000_0000)];
const EXTENDED: [Region; 1] = [Region::new(0x2_1000_0000, 0x1_0000_0000)];
const DISK: VirtioMmio =
    VirtioMmio { registers: Region::new(VIRTIO_MMIO.start, 0x200), interrupt: Intid(33) };

fn spec<'a>() -> Spec<'a> {
    Spec {
        version: (4, 17),
        vcpus: 2,
        memory: &MEMORY,
        arguments: "console=hvc0 root=/dev/vda",
        initrd: Some(Region::new(0x4800_0000, 0x12345)),
        seed: &[7; 128],
        kaslr_seed: Some(0x1122_3344_5566_7788),
        stdout: None,
        gic: Gic::GUEST_V3,
        timer: Timer::guest(None),
        hypervisor: Some(Hypervisor {
            grant_window: GRANT_WINDOW,
            extended_regions: &EXTENDED,
            event_ppi: Intid(31),
        }),
        virtio: &[DISK],
        static_shm: &[],
        uart: None,
        partial: None,
    }
}

fn node<'a>(dtb: &'a [u8], path: &str) -> FdtNode<'a> {
    Fdt::new(dtb).unwrap().find_node(path).unwrap_or_else(|| panic!("no {path}"))
}

fn has(dtb: &[u8], path: &str) -> bool {
    Fdt::new(dtb).unwrap().find_node(path).is_some()
}

fn value(node: &FdtNode<'_>, name: &str) -> Vec<u8> {
    node.property(name).unwrap_or_else(|| panic!("no {name}")).value().to_vec()
}

fn text(node: &FdtNode<'_>, name: &str) -> String {
    String::from_utf8(value(node, name)).unwrap()
}

fn cells(node: &FdtNode<'_>, name: &str) -> Vec<u32> {
    let bytes = value(node, name);
    bytes.chunks_exact(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
}

#[test]
fn a_guest_finds_the_machine_of_xens_tools() {
    let dtb = build(&spec()).unwrap();
    let root = node(&dtb, "/");
    assert_eq!(text(&root, "model"), "XENVM-4.17\0");
    assert_eq!(text(&root, "compatible"), "xen,xenvm-4.17\0xen,xenvm\0");
    assert_eq!(cells(&root, "interrupt-parent"), [65000]);
    assert_eq!((cells(&root, "#address-cells"), cells(&root, "#size-cells")), (vec![2], vec![2]));

    let chosen = node(&dtb, "/chosen");
    assert_eq!(text(&chosen, "bootargs"), "console=hvc0 root=/dev/vda\0");
    assert_eq!(cells(&chosen, "linux,initrd-start"), [0, 0x4800_0000]);
    assert_eq!(cells(&chosen, "linux,initrd-end"), [0, 0x4801_2345]);
    assert_eq!(value(&chosen, "rng-seed"), [7; 128]);
    assert_eq!(cells(&chosen, "kaslr-seed"), [0x1122_3344, 0x5566_7788]);
    assert!(chosen.property("stdout-path").is_none());

    let cpu = node(&dtb, "/cpus/cpu@1");
    assert_eq!((text(&cpu, "enable-method"), cells(&cpu, "reg")), ("psci\0".to_string(), vec![1]));
    assert_eq!(node(&dtb, "/cpus").children().count(), 2);
    assert_eq!(text(&node(&dtb, "/psci"), "method"), "hvc\0");
    assert_eq!(cells(&node(&dtb, "/memory@40000000"), "reg"), [0, 0x4000_0000, 0, 0xc000_0000]);
    assert_eq!(cells(&node(&dtb, "/memory@200000000"), "reg"), [2, 0, 0, 0x1000_0000]);
}

#[test]
fn interrupts_come_as_xen_has_them() {
    let dtb = build(&Spec { timer: Timer::guest(Some(62_500_000)), ..spec() }).unwrap();
    let gic = node(&dtb, "/interrupt-controller@3001000");
    assert_eq!(text(&gic, "compatible"), "arm,gic-v3\0");
    assert_eq!(cells(&gic, "reg"), [0, 0x0300_1000, 0, 0x1_0000, 0, 0x0302_0000, 0, 0x0100_0000]);
    assert_eq!((cells(&gic, "phandle"), cells(&gic, "#interrupt-cells")), (vec![65000], vec![3]));
    assert!(gic.property("#redistributor-regions").is_none());
    let timer = node(&dtb, "/timer");
    assert_eq!(cells(&timer, "interrupts"), [1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08]);
    assert_eq!(cells(&timer, "clock-frequency"), [62_500_000]);
    let hypervisor = node(&dtb, "/hypervisor");
    assert_eq!(text(&hypervisor, "compatible"), "xen,xen-4.17\0xen,xen\0");
    assert_eq!(cells(&hypervisor, "reg"), [0, 0x3800_0000, 0, 0x0100_0000, 2, 0x1000_0000, 1, 0]);
    assert_eq!(cells(&hypervisor, "interrupts"), [1, 15, 0xf08]);
}

#[test]
fn a_disk_raises_edges_and_is_coherent() {
    let dtb = build(&spec()).unwrap();
    let disk = node(&dtb, "/virtio@2000000");
    assert_eq!(text(&disk, "compatible"), "virtio,mmio\0");
    assert_eq!(cells(&disk, "reg"), [0, 0x0200_0000, 0, 0x200]);
    assert_eq!(cells(&disk, "interrupts"), [0, 1, 1]);
    assert_eq!(value(&disk, "dma-coherent"), []);
}

#[test]
fn a_gicv2_and_a_uart_are_shown_where_they_are() {
    let spec = Spec {
        gic: Gic::GUEST_V2,
        uart: Some(Pl011::GUEST),
        stdout: Some("/sbsa-pl011@22000000"),
        hypervisor: None,
        ..spec()
    };
    let dtb = build(&spec).unwrap();
    let gic = node(&dtb, "/interrupt-controller@3001000");
    assert_eq!(text(&gic, "compatible"), "arm,cortex-a15-gic\0");
    assert_eq!(cells(&gic, "reg"), [0, 0x0300_1000, 0, 0x1000, 0, 0x0300_2000, 0, 0x2000]);
    let uart = node(&dtb, "/sbsa-pl011@22000000");
    assert_eq!((cells(&uart, "interrupts"), cells(&uart, "current-speed")), (vec![0, 0, 4], vec![115_200]));
    assert_eq!(text(&node(&dtb, "/chosen"), "stdout-path"), "/sbsa-pl011@22000000\0");
    assert!(!has(&dtb, "/hypervisor"));
}

#[test]
fn several_redistributor_regions_are_counted() {
    let redistributors = [Region::new(0x800_0000, 0x4_0000), Region::new(0x900_0000, 0x2_0000)];
    let redistributors = Redistributors::new(&redistributors).unwrap();
    let gic = Gic::V3 { distributor: Region::new(0x700_0000, 0x1_0000), redistributors };
    let dtb = build(&Spec { gic, vcpus: 3, ..spec() }).unwrap();
    let node = node(&dtb, "/interrupt-controller@7000000");
    assert_eq!(cells(&node, "#redistributor-regions"), [2]);
    let error = build(&Spec { gic, vcpus: 4, ..spec() }).unwrap_err();
    assert_eq!(error, TreeError::TooManyVcpus { vcpus: 4, limit: 3 });
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let fails = |spec: Spec<'_>| build(&spec).unwrap_err().to_string();
    assert_eq!(fails(Spec { vcpus: 0, ..spec() }), "a guest needs at least one vCPU");
    let too_many = fails(Spec { vcpus: 9, gic: Gic::GUEST_V2, ..spec() });
    assert_eq!(too_many, "9 vCPUs are too many: the interrupt controller serves 8");
    assert_eq!(fails(Spec { memory: &[], ..spec() }), "a guest needs memory");
    let initrd = Some(Region::new(u64::MAX, 2));
    assert!(fails(Spec { initrd, ..spec() }).contains("initrd at 0xffffffffffffffff"));
    let virtio = &[VirtioMmio { interrupt: Intid(31), ..DISK }];
    assert!(fails(Spec { virtio, ..spec() }).contains("virtio device: interrupt 31"));
    let timer = Timer { r#virtual: Intid(32), ..Timer::guest(None) };
    assert!(fails(Spec { timer, ..spec() }).contains("timer: interrupt 32"));
}

fn property(name: &str, value: impl dtoolkit::ToPropertyValue) -> DeviceTreeProperty {
    DeviceTreeProperty::new_unchecked(name, value)
}

fn partial_tree(depth: usize) -> Vec<u8> {
    let mut gic = DeviceTreeNode::new_unchecked("gic");
    gic.add_property(property("phandle", 0x1234u32));
    let mut device = DeviceTreeNode::new_unchecked("virtio@a003e00");
    device.add_property(property("reg", [0u32, 0x0a00_3e00, 0, 0x200]));
    device.add_property(property("interrupt-parent", 0x1234u32));
    device.add_property(property("phandle", 7u32));
    device.add_property(property("xen,reg", [0u32; 6]));
    device.add_property(property("xen,force-assign-without-iommu", &[] as &[u8]));
    let mut passthrough = DeviceTreeNode::new_unchecked("passthrough");
    passthrough.add_property(property("compatible", "simple-bus"));
    passthrough.add_property(property("ranges", &[] as &[u8]));
    passthrough.add_child(device);
    for level in 0..depth {
        let mut outer =
            DeviceTreeNode::new_unchecked(if level + 1 == depth { "passthrough" } else { "level" });
        outer.add_child(passthrough);
        passthrough = outer;
    }
    let mut aliases = DeviceTreeNode::new_unchecked("aliases");
    aliases.add_property(property("disk0", "/passthrough/virtio@a003e00"));
    let mut tree = DeviceTree::new();
    for node in [gic, passthrough, aliases, DeviceTreeNode::new_unchecked("other")] {
        tree.root.add_child(node);
    }
    tree.to_dtb()
}

#[test]
fn hardware_of_a_partial_tree_is_added() {
    let bytes = partial_tree(0);
    let partial = Partial::read(&Fdt::new(&bytes).unwrap()).unwrap();
    assert_eq!(partial.gic_phandle(), Some(0x1234));
    let dtb = build(&Spec { partial: Some(&partial), ..spec() }).unwrap();
    let device = node(&dtb, "/passthrough/virtio@a003e00");
    let names: Vec<String> = device.properties().map(|property| property.name().to_string()).collect();
    assert_eq!(names, ["reg", "interrupt-parent", "phandle"]);
    assert_eq!(cells(&device, "phandle"), [7]);
    assert_eq!(text(&node(&dtb, "/passthrough"), "compatible"), "simple-bus\0");
    assert_eq!(cells(&node(&dtb, "/interrupt-controller@3001000"), "phandle"), [0x1234]);
    assert_eq!(cells(&node(&dtb, "/"), "interrupt-parent"), [0x1234]);
    assert_eq!(text(&node(&dtb, "/aliases"), "disk0"), "/passthrough/virtio@a003e00\0");
    assert!(!has(&dtb, "/other") && !has(&dtb, "/gic"));
}

#[test]
fn a_partial_tree_without_bottom_is_refused() {
    let bytes = partial_tree(20);
    let error = Partial::read(&Fdt::new(&bytes).unwrap()).unwrap_err();
    assert_eq!(error, TreeError::TooDeep { limit: 16 });
}

proptest! {
    #[test]
    fn what_is_built_reads_back(
        vcpus in 0u16..200, start in any::<u64>(), size in any::<u64>(), intid in 0u32..2000, text in "[ -~]{0,80}",
    ) {
        let memory = [Region::new(start, size)];
        let virtio = [VirtioMmio { registers: Region::new(size, start), interrupt: Intid(intid) }];
        let spec = Spec { vcpus, memory: &memory, virtio: &virtio, arguments: &text, ..spec() };
        if let Ok(dtb) = build(&spec) {
            prop_assert_eq!(node(&dtb, "/cpus").children().count(), usize::from(vcpus));
            let path = std::format!("/virtio@{size:x}");
            prop_assert_eq!(cells(&node(&dtb, &path), "interrupts")[1], intid - 32);
            let arguments = value(&node(&dtb, "/chosen"), "bootargs");
            prop_assert_eq!(arguments, std::format!("{text}\0").into_bytes());
        }
    }
}
