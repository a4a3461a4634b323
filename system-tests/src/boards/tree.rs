//! The device tree of a board.

use anyhow::{Context, Result};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::{Board, Firmware, Gic};

/// How the tree calls the interrupt controller.
const GIC: u32 = 1;
const SPI: u32 = 0;
const PPI: u32 = 1;
const LEVEL_HIGH: u32 = 4;
/// The flags of a PPI: low level, all eight CPUs.
const PPI_FLAGS: u32 = 0xf08;

/// The board's tree, without modules.
pub fn of_board(board: &Board, cpus: u32) -> Result<DeviceTree> {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    root.add_property(texts("compatible", board.compatible)?);
    root.add_property(texts("model", &[board.machine])?);
    for (name, value) in [("#address-cells", 2), ("#size-cells", 2), ("interrupt-parent", GIC)] {
        root.add_property(cells(name, &[value])?);
    }
    let serial = format!("serial@{:x}", board.uart.registers.0);
    root.add_child(node("chosen", [texts("stdout-path", &[&format!("/{serial}")])?])?);
    let memory = [texts("device_type", &["memory"])?, cells("reg", &regions(board.memory))?];
    root.add_child(node("memory", memory)?);
    root.add_child(all_cpus(board, cpus)?);
    if let Firmware::Psci = board.firmware {
        let compatible = texts("compatible", &["arm,psci-1.0", "arm,psci-0.2"])?;
        root.add_child(node("psci", [compatible, texts("method", &["smc"])?])?);
    }
    let timers = [13, 14, 11, 10].map(|ppi| [PPI, ppi, PPI_FLAGS]).concat();
    root.add_child(node(
        "timer",
        [texts("compatible", &["arm,armv8-timer"])?, cells("interrupts", &timers)?],
    )?);
    root.add_child(interrupt_controller(&board.gic)?);
    let mut uart = node(
        &serial,
        [
            texts("compatible", board.uart.compatible)?,
            cells("reg", &regions(&[board.uart.registers]))?,
            cells("interrupts", &[SPI, board.uart.spi, LEVEL_HIGH])?,
        ],
    )?;
    for &(name, value) in board.uart.properties {
        uart.add_property(cells(name, &[value])?);
    }
    root.add_child(uart);
    Ok(tree)
}

/// Adds a boot module: its kind, its place, and a kernel's arguments.
pub fn add_module(
    tree: &mut DeviceTree,
    kind: &str,
    place: (u64, u64),
    bootargs: Option<&str>,
) -> Result<()> {
    let compatible = texts("compatible", &[kind, "multiboot,module"])?;
    let mut module = node(&format!("module@{:x}", place.0), [compatible, cells("reg", &regions(&[place]))?])?;
    if let Some(bootargs) = bootargs {
        module.add_property(texts("bootargs", &[bootargs])?);
    }
    chosen(tree)?.add_child(module);
    Ok(())
}

/// Gives the hypervisor its command line.
pub fn set_options(tree: &mut DeviceTree, options: &str) -> Result<()> {
    chosen(tree)?.add_property(texts("xen,xen-bootargs", &[options])?);
    Ok(())
}

fn chosen(tree: &mut DeviceTree) -> Result<&mut DeviceTreeNode> {
    tree.root.child_mut("chosen").context("the tree's /chosen")
}

fn all_cpus(board: &Board, count: u32) -> Result<DeviceTreeNode> {
    let mut cpus = node("cpus", [cells("#address-cells", &[1])?, cells("#size-cells", &[0])?])?;
    for cpu in 0..count {
        let mut node = node(
            &format!("cpu@{cpu:x}"),
            [texts("device_type", &["cpu"])?, texts("compatible", &[board.cpu])?, cells("reg", &[cpu])?],
        )?;
        match board.firmware {
            Firmware::Psci => node.add_property(texts("enable-method", &["psci"])?),
            Firmware::SpinTable(words) => {
                let word = words.get(cpu as usize).context("the board has fewer CPUs")?;
                node.add_property(texts("enable-method", &["spin-table"])?);
                node.add_property(cells("cpu-release-addr", &halves(*word))?);
            }
        }
        cpus.add_child(node);
    }
    Ok(cpus)
}

fn interrupt_controller(gic: &Gic) -> Result<DeviceTreeNode> {
    let (compatible, frames) = match gic {
        Gic::V2(frames) => ("arm,gic-400", frames.as_slice()),
        Gic::V3(frames) => ("arm,gic-v3", frames.as_slice()),
    };
    let name = format!("interrupt-controller@{:x}", frames.first().context("a distributor")?.0);
    node(
        &name,
        [
            texts("compatible", &[compatible])?,
            cells("#interrupt-cells", &[3])?,
            texts("interrupt-controller", &[])?,
            cells("reg", &regions(frames))?,
            cells("interrupts", &[PPI, 9, 0xf04])?,
            cells("phandle", &[GIC])?,
        ],
    )
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

/// Ranges, as `reg` has them below the root.
fn regions(regions: &[(u64, u64)]) -> Vec<u32> {
    regions.iter().flat_map(|&(start, size)| [halves(start), halves(size)].concat()).collect()
}

fn halves(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, number as u32]
}
