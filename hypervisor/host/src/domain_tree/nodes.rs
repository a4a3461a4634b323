//! The nodes that describe what the hypervisor provides: CPUs, memory, interrupt controller, timer, firmware, and
//! itself.

use alloc::format;
use alloc::vec::Vec;

use dtoolkit::model::DeviceTreeNode;
pub use machine_model::layout::vcpu_affinity;
use machine_model::tree::node::Value::{Bytes, Cell, Cells, Flag, Text, Texts};
use machine_model::tree::node::{node, put, put_static_shm};
use machine_model::tree::{PPI_FLAGS, StaticShm};

use super::{HardwareDomainSpec, TreeError};
use crate::platform::Platform;
use crate::platform::tree::{Place, Tree};
use xenolith_core::types::{Intid, Ipa};

/// What the interrupt controller's node has as the host's does, if that has it.
const INTERRUPT_CONTROLLER: [&str; 8] = [
    "compatible",
    "interrupt-controller",
    "#interrupt-cells",
    "#address-cells",
    "#size-cells",
    "ranges",
    "#redistributor-regions",
    "interrupt-parent",
];

/// The cells and the interrupt parent that new nodes are written with.
pub struct Style {
    /// Cells of an address and of a size in the root's children.
    pub root_cells: [usize; 2],
    /// Cells of an interrupt at the interrupt controller.
    pub interrupt_cells: usize,
    /// The interrupt controller.
    pub gic: u32,
}

/// `/cpus`. What core they are is taken from the host's first CPU, since ID registers show the host's, too.
pub fn cpus(tree: &Tree<'_>, vcpus: u16) -> DeviceTreeNode {
    let (compatible, frequency) = tree
        .find(|place| {
            let is_cpu = place.text("device_type") == Some("cpu");
            is_cpu.then(|| (place.bytes("compatible"), place.bytes("clock-frequency")))
        })
        .unwrap_or_default();
    let mut cpus = node("cpus", &[("#address-cells", Cell(1)), ("#size-cells", Cell(0))]);
    for vcpu in 0..vcpus {
        let affinity = vcpu_affinity(vcpu);
        let mut cpu = node(
            &format!("cpu@{affinity:x}"),
            &[
                ("device_type", Text("cpu")),
                ("compatible", Bytes(compatible.unwrap_or(b"arm,armv8\0"))),
                ("enable-method", Text("psci")),
                ("reg", Cell(affinity)),
            ],
        );
        if let Some(frequency) = frequency {
            put(&mut cpu, "clock-frequency", Bytes(frequency));
        }
        cpus.add_child(cpu);
    }
    cpus
}

/// A `/memory` node.
pub fn memory(style: &Style, bank: (Ipa, u64)) -> Result<DeviceTreeNode, TreeError> {
    let reg = style.reg("memory", &[bank])?;
    let name = format!("memory@{:x}", bank.0.0);
    Ok(node(&name, &[("device_type", Text("memory")), ("reg", Bytes(&reg))]))
}

/// Adds nodes for what the domain has in memory with others to `/reserved-memory`, whose cells are the root's.
pub fn add_static_shm(
    style: &Style,
    node: &mut DeviceTreeNode,
    all: &[StaticShm<'_>],
) -> Result<(), TreeError> {
    for (name, cells) in ["#address-cells", "#size-cells"].into_iter().zip(style.root_cells) {
        put(node, name, Cell(u32::try_from(cells).unwrap_or(u32::MAX)));
    }
    put(node, "ranges", Flag);
    for memory in all {
        let reg = style.reg("static shared memory", &[(Ipa(memory.place.start), memory.place.size)])?;
        put_static_shm(node, memory, &reg);
    }
    Ok(())
}

/// `/timer`: the host's timer less the one that is the hypervisor's.
pub fn timer(style: &Style, platform: &Platform) -> DeviceTreeNode {
    let timer = platform.timer;
    let mut interrupts = style.ppi(timer.secure_physical);
    interrupts.extend(style.ppi(timer.physical));
    interrupts.extend(style.ppi(timer.r#virtual));
    let mut node = node(
        "timer",
        &[
            ("compatible", Text("arm,armv8-timer")),
            ("interrupt-parent", Cell(style.gic)),
            ("interrupts", Cells(&interrupts)),
        ],
    );
    if let Some(frequency) = timer.frequency {
        put(&mut node, "clock-frequency", Cell(frequency));
    }
    node
}

/// `/hypervisor`, by which Linux knows that it runs on Xen (ABI of Linux's bindings/arm/xen.txt). The first
/// `compatible` string carries the version.
pub fn hypervisor(style: &Style, spec: &HardwareDomainSpec<'_>) -> Result<DeviceTreeNode, TreeError> {
    let (major, minor) = spec.xen_version;
    let mut reg = style.reg("grant window", &[spec.grant_window])?;
    reg.extend(style.reg("extended regions", spec.extended_regions)?);
    Ok(node(
        "hypervisor",
        &[
            ("compatible", Texts(&[&format!("xen,xen-{major}.{minor}"), "xen,xen"])),
            ("reg", Bytes(&reg)),
            ("interrupt-parent", Cell(style.gic)),
            ("interrupts", Cells(&style.ppi(spec.event_interrupt))),
        ],
    ))
}

/// The interrupt controller in the host's place and with the host's addresses, less what only a hypervisor uses.
/// The width of a unit address stays, because entries of `interrupt-map` are written for it.
pub fn interrupt_controller(style: &Style, platform: &Platform, host: &Place<'_, '_>) -> DeviceTreeNode {
    use dtoolkit::Node;
    let shown = platform.gic.layout.regions().count();
    let entry = host.parent().map_or(0, |parent| parent.address_cells().saturating_add(parent.size_cells()));
    let reg = host.bytes("reg").unwrap_or_default();
    let reg = reg.get(..entry.saturating_mul(4).saturating_mul(shown)).unwrap_or(reg);
    let mut node = node(host.node.name(), &[]);
    for name in INTERRUPT_CONTROLLER {
        let value = if name == "interrupt-controller" { Some(&[] as &[u8]) } else { host.bytes(name) };
        if let Some(value) = value {
            put(&mut node, name, Bytes(value));
        }
    }
    put(&mut node, "reg", Bytes(reg));
    put(&mut node, "phandle", Cell(style.gic));
    node
}

impl Style {
    /// A PPI as the interrupt controller's children write it.
    fn ppi(&self, intid: Intid) -> Vec<u32> {
        let mut specifier = Vec::from([1, intid.0.saturating_sub(Intid::FIRST_PRIVATE.0), PPI_FLAGS]);
        specifier.resize(self.interrupt_cells.max(specifier.len()), 0);
        specifier
    }

    /// The ranges as the root's children write them.
    #[inline(never)]
    fn reg(&self, what: &'static str, ranges: &[(Ipa, u64)]) -> Result<Vec<u8>, TreeError> {
        let mut reg = Vec::new();
        for &(start, bytes) in ranges {
            for (value, cells) in [start.0, bytes].into_iter().zip(self.root_cells) {
                match (cells, u32::try_from(value)) {
                    (1, Ok(value)) => reg.extend_from_slice(&value.to_be_bytes()),
                    (2, _) => reg.extend_from_slice(&value.to_be_bytes()),
                    _ => return Err(TreeError::TooWide { what, value }),
                }
            }
        }
        Ok(reg)
    }
}
