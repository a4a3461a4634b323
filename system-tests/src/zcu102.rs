//! QEMU's model of a ZCU102 board (Zynq UltraScale+): the GIC-400 whose pages repeat, and Cadence's UART.
//!
//! QEMU has no device tree for it, so it is written here, as far as the model goes and the scenarios need it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use testbed::qemu::PROGRAM;

use crate::setup::Setup;

/// Where modules are loaded: above the hypervisor, and above the device tree that QEMU puts at 128 MiB.
const MODULES_AT: u64 = 0x1000_0000;
/// Alignment of modules: that of Linux's `Image`.
const MODULE_ALIGN: u64 = 2 << 20;
/// RAM below 2 GiB; what a machine has besides is at 32 GiB.
const LOW_MIB: u64 = 2048;
/// How the tree calls the interrupt controller.
const GIC: u32 = 1;
const SPI: u32 = 0;
const PPI: u32 = 1;
const LEVEL_HIGH: u32 = 4;
/// The flags of a PPI: low level, all eight CPUs.
const PPI_FLAGS: u32 = 0xf08;

/// The QEMU command that runs what `setup` describes on this board instead. `scratch` is a folder for the device tree.
///
/// # Errors
/// A file cannot be read, or there is no kernel.
pub fn command(setup: &Setup, scratch: &Path) -> Result<Command> {
    let mut command = Command::new(PROGRAM);
    command.args(["-machine", "xlnx-zcu102,virtualization=on,secure=off", "-nodefaults", "-nic", "none"]);
    command.args(["-display", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-smp").arg(setup.cpus.to_string()).arg("-m").arg(format!("{LOW_MIB}M"));
    let mut tree = tree(setup)?;
    let mut next = MODULES_AT;
    let kernel = setup.kernel.as_ref().context("no kernel")?;
    let modules = [("multiboot,kernel", Some(kernel)), ("multiboot,ramdisk", setup.initrd.as_ref())];
    for (kind, file) in modules.into_iter().filter_map(|(kind, file)| Some((kind, file?))) {
        let size = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
        let bootargs = if kind == "multiboot,kernel" { Some(setup.bootargs.as_str()) } else { None };
        let mut module = node(
            &format!("module@{next:x}"),
            [
                texts("compatible", &[kind, "multiboot,module"])?,
                cells("reg", &[0, u32::try_from(next)?, 0, u32::try_from(size)?])?,
            ],
        )?;
        if let Some(bootargs) = bootargs {
            module.add_property(texts("bootargs", &[bootargs])?);
        }
        tree.root.child_mut("chosen").context("the tree's /chosen")?.add_child(module);
        command.arg("-device").arg(format!("loader,file={},addr={next:#x},force-raw=on", file.display()));
        next = next.saturating_add(size).next_multiple_of(MODULE_ALIGN);
    }
    let file = scratch.join("zcu102.dtb");
    fs::write(&file, tree.to_dtb())?;
    command.arg("-dtb").arg(file).arg("-kernel").arg(&setup.hypervisor);
    command.arg("-append").arg(setup.options.trim_end());
    command.args(&setup.extra);
    Ok(command)
}

/// The board's tree, without modules.
fn tree(setup: &Setup) -> Result<DeviceTree> {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    root.add_property(texts("compatible", &["xlnx,zynqmp-zcu102", "xlnx,zynqmp"])?);
    root.add_property(texts("model", &["ZynqMP ZCU102 (QEMU)"])?);
    for (name, value) in [("#address-cells", 2), ("#size-cells", 2), ("interrupt-parent", GIC)] {
        root.add_property(cells(name, &[value])?);
    }
    root.add_child(node("chosen", [texts("stdout-path", &["/serial@ff000000"])?])?);
    let memory = [texts("device_type", &["memory"])?, cells("reg", &[0, 0, 0, (LOW_MIB << 20) as u32])?];
    root.add_child(node("memory@0", memory)?);
    let mut cpus = node("cpus", [cells("#address-cells", &[1])?, cells("#size-cells", &[0])?])?;
    for cpu in 0..setup.cpus {
        cpus.add_child(node(
            &format!("cpu@{cpu}"),
            [
                texts("device_type", &["cpu"])?,
                texts("compatible", &["arm,cortex-a53"])?,
                texts("enable-method", &["psci"])?,
                cells("reg", &[cpu])?,
            ],
        )?);
    }
    root.add_child(cpus);
    root.add_child(node(
        "psci",
        [texts("compatible", &["arm,psci-1.0", "arm,psci-0.2"])?, texts("method", &["smc"])?],
    )?);
    let timers = [13, 14, 11, 10].map(|ppi| [PPI, ppi, PPI_FLAGS]).concat();
    root.add_child(node(
        "timer",
        [texts("compatible", &["arm,armv8-timer"])?, cells("interrupts", &timers)?],
    )?);
    // As in the trees of real boards: the frames of GICC, GICH and GICV are as large as their copies reach.
    let frames =
        [(0xf901_0000, 0x1_0000), (0xf902_0000, 0x2_0000), (0xf904_0000, 0x2_0000), (0xf906_0000, 0x2_0000)];
    root.add_child(node(
        "interrupt-controller@f9010000",
        [
            texts("compatible", &["arm,gic-400"])?,
            cells("#interrupt-cells", &[3])?,
            texts("interrupt-controller", &[])?,
            cells("reg", &frames.map(|(start, size)| [0, start, 0, size]).concat())?,
            cells("interrupts", &[PPI, 9, 0xf04])?,
            cells("phandle", &[GIC])?,
        ],
    )?);
    root.add_child(node(
        "serial@ff000000",
        [
            texts("compatible", &["xlnx,zynqmp-uart", "cdns,uart-r1p12"])?,
            cells("reg", &[0, 0xff00_0000, 0, 0x1000])?,
            cells("interrupts", &[SPI, 21, LEVEL_HIGH])?,
        ],
    )?);
    Ok(tree)
}

fn node<const N: usize>(name: &str, properties: [DeviceTreeProperty; N]) -> Result<DeviceTreeNode> {
    let mut node = DeviceTreeNode::new(name)?;
    properties.into_iter().for_each(|property| node.add_property(property));
    Ok(node)
}

fn texts(name: &str, texts: &[&str]) -> Result<DeviceTreeProperty> {
    let bytes: Vec<u8> = texts.iter().flat_map(|text| text.bytes().chain([0])).collect();
    Ok(DeviceTreeProperty::new(name, bytes.as_slice())?)
}

fn cells(name: &str, cells: &[u32]) -> Result<DeviceTreeProperty> {
    Ok(DeviceTreeProperty::new(name, cells)?)
}
