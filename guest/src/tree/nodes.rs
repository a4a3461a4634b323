//! The nodes of a guest's tree.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};

use super::{Common, Gic, Hypervisor, Pl011, Spec, Timer, TreeError, VirtioMmio};
use crate::Region;
use crate::layout::{FIRST_PPI, FIRST_SPI, vcpu_affinity};

/// First cell of an interrupt: a shared one.
const SHARED: u32 = 0;
/// First cell of an interrupt: a CPU's own.
const PRIVATE: u32 = 1;
/// Third cell: rising edge.
const EDGE_RISING: u32 = 1;
/// Third cell: level, high.
const LEVEL_HIGH: u32 = 4;
/// Third cell of PPIs: level, active low, with the mask of eight CPUs of a GICv2's binding; as Xen writes it.
const PPI_FLAGS: u32 = 0xf08;
/// The highest SPI and the number behind it.
const SPIS_END: u32 = 1020;
/// What Linux's driver wants to be told, and ignores.
const UART_SPEED: u32 = 115_200;

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

    /// The node with a property that has no value.
    fn flag(self, name: &str) -> NewNode {
        self.with(name, &[] as &[u8])
    }

    /// The finished node.
    pub fn build(self) -> DeviceTreeNode {
        self.0
    }
}

/// `/chosen`.
pub fn chosen(spec: &Spec<'_>) -> Result<DeviceTreeNode, TreeError> {
    let mut chosen = NewNode::new("chosen").with("bootargs", spec.arguments);
    if let Some(initrd) = spec.initrd {
        let end = end("initrd", initrd)?;
        chosen = chosen.with("linux,initrd-start", initrd.start).with("linux,initrd-end", end);
    }
    if !spec.seed.is_empty() {
        chosen = chosen.with("rng-seed", spec.seed);
    }
    if let Some(path) = spec.stdout {
        chosen = chosen.with("stdout-path", path);
    }
    Ok(chosen.build())
}

/// `/cpus`.
pub fn cpus(vcpus: u16) -> DeviceTreeNode {
    let mut cpus = NewNode::new("cpus").with("#address-cells", 1u32).with("#size-cells", 0u32).build();
    for affinity in (0..vcpus).map(vcpu_affinity) {
        let cpu = NewNode::new(format!("cpu@{affinity:x}"))
            .with("device_type", "cpu")
            .with("compatible", "arm,armv8")
            .with("enable-method", "psci")
            .with("reg", affinity);
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
pub fn memory(bank: Region) -> Result<DeviceTreeNode, TreeError> {
    let reg = reg("memory", &[bank])?;
    Ok(NewNode::new(format!("memory@{:x}", bank.start))
        .with("device_type", "memory")
        .with("reg", reg)
        .build())
}

/// `/reserved-memory`, with what the guest has in common with others.
pub fn reserved_memory(all: &[Common<'_>]) -> Result<DeviceTreeNode, TreeError> {
    let mut node = NewNode::new("reserved-memory")
        .with("#address-cells", 2u32)
        .with("#size-cells", 2u32)
        .flag("ranges")
        .build();
    for common in all {
        node.add_child(
            NewNode::new(format!("xen-shmem@{:x}", common.place.start))
                .with("compatible", "xen,shared-memory-v1")
                .with("reg", reg("common memory", &[common.place])?)
                // Each guest sees all of it.
                .with("xen,offset", 0u64)
                .with("xen,id", common.id)
                .build(),
        );
    }
    Ok(node)
}

/// `/interrupt-controller`.
pub fn interrupt_controller(gic: &Gic<'_>, phandle: u32) -> Result<DeviceTreeNode, TreeError> {
    let (compatible, regions) = match *gic {
        Gic::V2 { distributor, cpu } => ("arm,cortex-a15-gic", Vec::from([distributor, cpu])),
        Gic::V3 { distributor, redistributors } => {
            ("arm,gic-v3", core::iter::once(distributor).chain(redistributors.iter().copied()).collect())
        }
    };
    let start = regions.first().map_or(0, |distributor| distributor.start);
    let mut node = NewNode::new(format!("interrupt-controller@{start:x}"))
        .with("compatible", compatible)
        .with("#interrupt-cells", 3u32)
        .with("#address-cells", 0u32)
        .flag("interrupt-controller")
        .with("reg", reg("interrupt controller", &regions)?);
    if let Gic::V3 { redistributors, .. } = *gic
        && redistributors.len() > 1
    {
        let count = u32::try_from(redistributors.len()).unwrap_or(u32::MAX);
        node = node.with("#redistributor-regions", count);
    }
    Ok(node.with("phandle", phandle).with("linux,phandle", phandle).build())
}

/// `/timer`.
pub fn timer(timer: &Timer) -> Result<DeviceTreeNode, TreeError> {
    let intids = [timer.secure_physical, timer.physical, timer.r#virtual];
    let mut interrupts = Vec::new();
    for intid in intids {
        interrupts.extend(private("timer", intid)?);
    }
    let node = NewNode::new("timer").with("compatible", "arm,armv8-timer").with("interrupts", interrupts);
    Ok(match timer.frequency {
        Some(frequency) => node.with("clock-frequency", frequency).build(),
        None => node.build(),
    })
}

/// `/hypervisor`. The first `compatible` string carries the version; the first range is for grant tables.
pub fn hypervisor(version: (u16, u16), node: &Hypervisor<'_>) -> Result<DeviceTreeNode, TreeError> {
    let (major, minor) = version;
    let versioned = format!("xen,xen-{major}.{minor}");
    let compatible: &[&str] = &[&versioned, "xen,xen"];
    let mut ranges = reg("grant window", &[node.grant_window])?;
    ranges.extend(reg("extended regions", node.extended_regions)?);
    Ok(NewNode::new("hypervisor")
        .with("compatible", compatible)
        .with("reg", ranges)
        .with("interrupts", private("events", node.event_ppi)?)
        .build())
}

/// A virtio-mmio device. Its backend sees memory as the CPUs do.
pub fn virtio(device: &VirtioMmio) -> Result<DeviceTreeNode, TreeError> {
    Ok(NewNode::new(format!("virtio@{:x}", device.registers.start))
        .with("compatible", "virtio,mmio")
        .with("reg", reg("virtio device", &[device.registers])?)
        .with("interrupts", shared("virtio device", device.interrupt, EDGE_RISING)?)
        .flag("dma-coherent")
        .build())
}

/// The emulated UART.
pub fn uart(uart: &Pl011) -> Result<DeviceTreeNode, TreeError> {
    Ok(NewNode::new(format!("sbsa-pl011@{:x}", uart.registers.start))
        .with("compatible", "arm,sbsa-uart")
        .with("reg", reg("UART", &[uart.registers])?)
        .with("interrupts", shared("UART", uart.interrupt, LEVEL_HIGH)?)
        .with("current-speed", UART_SPEED)
        .build())
}

fn private(what: &'static str, intid: u32) -> Result<[u32; 3], TreeError> {
    let number = intid.checked_sub(FIRST_PPI).filter(|_| intid < FIRST_SPI);
    let number = number.ok_or(TreeError::BadInterrupt { what, intid })?;
    Ok([PRIVATE, number, PPI_FLAGS])
}

fn shared(what: &'static str, intid: u32, flags: u32) -> Result<[u32; 3], TreeError> {
    let number = intid.checked_sub(FIRST_SPI).filter(|_| intid < SPIS_END);
    let number = number.ok_or(TreeError::BadInterrupt { what, intid })?;
    Ok([SHARED, number, flags])
}

fn end(what: &'static str, region: Region) -> Result<u64, TreeError> {
    region.end().ok_or(TreeError::BadRange { what, start: region.start })
}

/// Ranges as the root's children write them: two cells each for address and size.
fn reg(what: &'static str, regions: &[Region]) -> Result<Vec<u8>, TreeError> {
    let mut bytes = Vec::new();
    for region in regions {
        end(what, *region)?;
        bytes.extend(region.start.to_be_bytes());
        bytes.extend(region.size.to_be_bytes());
    }
    Ok(bytes)
}
