//! The nodes that describe what the hypervisor provides: CPUs, memory, interrupt controller, timer, firmware, and
//! itself.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use xenolith_guest::tree::Common;

use super::{HardwareDomainSpec, TreeError};
use crate::platform::tree::{Place, Tree};
use crate::platform::{FIRST_PPI, GicLayout, Platform};
use crate::types::Ipa;

/// Level-triggered, active low, with the CPU mask of a GICv2's specifier set for eight CPUs; as Xen writes it.
const PPI_FLAGS: u32 = 0xf08;

/// How new nodes refer to what is around them.
pub struct Style {
    /// Cells of an address and of a size in the root's children.
    pub root_cells: [usize; 2],
    /// Cells of an interrupt at the interrupt controller.
    pub interrupt_cells: usize,
    /// The interrupt controller.
    pub gic: u32,
}

/// A node that takes properties in a row.
pub struct NewNode(DeviceTreeNode);

impl NewNode {
    /// A node without properties.
    pub fn new(name: impl Into<String>) -> NewNode {
        NewNode(DeviceTreeNode::new_unchecked(name))
    }

    /// The node with one more property.
    pub fn with(mut self, name: &str, value: impl ToPropertyValue) -> NewNode {
        self.0.add_property(DeviceTreeProperty::new_unchecked(name, value));
        self
    }

    /// The node with a copy of a property of another one, if that has it.
    fn copied(self, name: &str, from: &Place<'_, '_>) -> NewNode {
        match from.bytes(name) {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The finished node.
    pub fn build(self) -> DeviceTreeNode {
        self.0
    }
}

/// A vCPU's MPIDR affinity: sixteen at Aff0, which is what one SGI of a GICv3 reaches.
pub fn vcpu_affinity(vcpu: u16) -> u32 {
    let vcpu = u32::from(vcpu);
    (vcpu & 0xf) | (vcpu >> 4) << 8
}

/// `/cpus`. What core they are is taken from the host's first CPU, since ID registers show the host's, too.
pub fn cpus(tree: &Tree<'_>, vcpus: u16) -> DeviceTreeNode {
    let (compatible, frequency) = tree
        .find(|place| {
            let is_cpu = place.text("device_type") == Some("cpu");
            is_cpu.then(|| (place.bytes("compatible"), place.bytes("clock-frequency")))
        })
        .unwrap_or_default();
    let mut cpus = NewNode::new("cpus").with("#address-cells", 1u32).with("#size-cells", 0u32).build();
    for vcpu in 0..vcpus {
        let affinity = vcpu_affinity(vcpu);
        let mut cpu = NewNode::new(format!("cpu@{affinity:x}"))
            .with("device_type", "cpu")
            .with("compatible", compatible.unwrap_or(b"arm,armv8\0"))
            .with("enable-method", "psci")
            .with("reg", affinity);
        if let Some(frequency) = frequency {
            cpu = cpu.with("clock-frequency", frequency);
        }
        cpus.add_child(cpu.build());
    }
    cpus
}

/// `/psci`. The two function numbers are for kernels that know PSCI 0.1 only.
pub fn psci() -> DeviceTreeNode {
    let compatible: &[&str] = &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"];
    NewNode::new("psci")
        .with("compatible", compatible)
        .with("method", "hvc")
        .with("cpu_off", 1u32)
        .with("cpu_on", 2u32)
        .build()
}

/// A `/memory` node.
pub fn memory(style: &Style, bank: (Ipa, u64)) -> Result<DeviceTreeNode, TreeError> {
    let reg = style.reg("memory", &[bank])?;
    Ok(NewNode::new(format!("memory@{:x}", bank.0.0)).with("device_type", "memory").with("reg", reg).build())
}

/// Adds nodes for what the domain has in common with others to `/reserved-memory`, whose cells are the root's.
pub fn add_common(style: &Style, node: &mut DeviceTreeNode, all: &[Common<'_>]) -> Result<(), TreeError> {
    let cells = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let [address, size] = style.root_cells.map(cells);
    node.add_property(DeviceTreeProperty::new_unchecked("#address-cells", address));
    node.add_property(DeviceTreeProperty::new_unchecked("#size-cells", size));
    node.add_property(DeviceTreeProperty::new_unchecked("ranges", &[] as &[u8]));
    for common in all {
        let reg = style.reg("common memory", &[(Ipa(common.place.start), common.place.size)])?;
        node.add_child(
            NewNode::new(format!("xen-shmem@{:x}", common.place.start))
                .with("compatible", "xen,shared-memory-v1")
                .with("reg", reg)
                .with("xen,offset", halves(0))
                .with("xen,id", common.id)
                .build(),
        );
    }
    Ok(())
}

/// `/timer`: the host's timer less the one that is the hypervisor's.
pub fn timer(style: &Style, platform: &Platform) -> DeviceTreeNode {
    let timer = platform.timer;
    let mut interrupts = style.ppi(timer.secure_physical);
    interrupts.extend(style.ppi(timer.physical));
    interrupts.extend(style.ppi(timer.r#virtual));
    let node = NewNode::new("timer")
        .with("compatible", "arm,armv8-timer")
        .with("interrupt-parent", style.gic)
        .with("interrupts", interrupts);
    match timer.frequency {
        Some(frequency) => node.with("clock-frequency", frequency).build(),
        None => node.build(),
    }
}

/// `/hypervisor`, by which Linux knows that it runs on Xen (ABI of Linux's bindings/arm/xen.txt). The first
/// `compatible` string carries the version.
pub fn hypervisor(style: &Style, spec: &HardwareDomainSpec<'_>) -> Result<DeviceTreeNode, TreeError> {
    let (major, minor) = spec.xen_version;
    let version = format!("xen,xen-{major}.{minor}");
    let compatible: &[&str] = &[&version, "xen,xen"];
    let mut reg = style.reg("grant window", &[spec.grant_window])?;
    reg.extend(style.reg("extended regions", spec.extended_regions)?);
    Ok(NewNode::new("hypervisor")
        .with("compatible", compatible)
        .with("reg", reg)
        .with("interrupt-parent", style.gic)
        .with("interrupts", style.ppi(spec.event_ppi))
        .build())
}

/// The interrupt controller in the host's place and with the host's addresses, less what only a hypervisor uses.
/// The width of a unit address stays, because entries of `interrupt-map` are written for it.
pub fn interrupt_controller(style: &Style, platform: &Platform, host: &Place<'_, '_>) -> DeviceTreeNode {
    use dtoolkit::Node;
    let shown = match &platform.gic.layout {
        GicLayout::V2 { .. } => 2,
        GicLayout::V3 { redistributors, .. } => redistributors.len().saturating_add(1),
    };
    let entry = host.parent().map_or(0, |parent| parent.address_cells().saturating_add(parent.size_cells()));
    let reg = host.bytes("reg").unwrap_or_default();
    let reg = reg.get(..entry.saturating_mul(4).saturating_mul(shown)).unwrap_or(reg);
    NewNode::new(host.node.name())
        .copied("compatible", host)
        .with("interrupt-controller", &[] as &[u8])
        .copied("#interrupt-cells", host)
        .copied("#address-cells", host)
        .copied("#size-cells", host)
        .copied("ranges", host)
        .copied("#redistributor-regions", host)
        .copied("redistributor-stride", host)
        .copied("interrupt-parent", host)
        .with("reg", reg)
        .with("phandle", style.gic)
        .build()
}

impl Style {
    /// A PPI as the interrupt controller's children write it.
    fn ppi(&self, intid: u32) -> Vec<u32> {
        let mut specifier = Vec::from([1, intid.saturating_sub(FIRST_PPI), PPI_FLAGS]);
        specifier.resize(self.interrupt_cells.max(specifier.len()), 0);
        specifier
    }

    /// The ranges as the root's children write them.
    fn reg(&self, what: &'static str, ranges: &[(Ipa, u64)]) -> Result<Vec<u32>, TreeError> {
        let mut reg = Vec::new();
        let [address, size] = self.root_cells;
        for &(start, bytes) in ranges {
            push(&mut reg, what, start.0, address)?;
            push(&mut reg, what, bytes, size)?;
        }
        Ok(reg)
    }
}

fn push(reg: &mut Vec<u32>, what: &'static str, value: u64, cells: usize) -> Result<(), TreeError> {
    let [high, low] = halves(value);
    match cells {
        1 if high == 0 => reg.push(low),
        2 => reg.extend([high, low]),
        _ => return Err(TreeError::TooWide { what, value }),
    }
    Ok(())
}

/// A number as two cells.
pub fn halves(value: u64) -> [u32; 2] {
    let bytes = value.to_be_bytes();
    let ([high, low], _) = bytes.as_chunks::<4>() else { return [0, 0] };
    [u32::from_be_bytes(*high), u32::from_be_bytes(*low)]
}
