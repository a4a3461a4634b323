//! The nodes of a guest's tree.

use alloc::format;
use alloc::vec::Vec;

use dtoolkit::model::DeviceTreeNode;
use xenolith_abi::Intid;
use xenolith_abi::domctl::GicVersion;

use super::node::Value::{Bytes, Cell, Cells, Flag, Long, Text, Texts};
use super::node::{node, put, put_static_shm};
use super::{Hypervisor, Pl011, Spec, StaticShm, Timer, TreeError, VirtioMmio};
use crate::Region;
use crate::gic::Gic;
use crate::layout::vcpu_affinity;

/// First cell of an interrupt: a shared one.
const SHARED: u32 = 0;
/// First cell of an interrupt: a CPU's own.
const PRIVATE: u32 = 1;
/// Third cell: rising edge.
const EDGE_RISING: u32 = 1;
/// Third cell: level, high.
const LEVEL_HIGH: u32 = 4;
/// Third cell of PPIs: level, active low, with the mask of eight CPUs of a GICv2's binding; as Xen writes it.
pub const PPI_FLAGS: u32 = 0xf08;
/// What Linux's driver wants to be told, and ignores.
const UART_SPEED: u32 = 115_200;

/// `/chosen`.
pub fn chosen(spec: &Spec<'_>) -> Result<DeviceTreeNode, TreeError> {
    let mut chosen = node("chosen", &[("bootargs", Text(spec.arguments))]);
    if let Some(initrd) = spec.initrd {
        let end = end("initrd", initrd)?;
        put(&mut chosen, "linux,initrd-start", Long(initrd.start));
        put(&mut chosen, "linux,initrd-end", Long(end));
    }
    if !spec.seed.is_empty() {
        put(&mut chosen, "rng-seed", Bytes(spec.seed));
    }
    if let Some(seed) = spec.kaslr_seed {
        put(&mut chosen, "kaslr-seed", Long(seed));
    }
    if let Some(path) = spec.stdout {
        put(&mut chosen, "stdout-path", Text(path));
    }
    Ok(chosen)
}

/// `/cpus`.
pub fn cpus(vcpus: u16) -> DeviceTreeNode {
    let mut cpus = node("cpus", &[("#address-cells", Cell(1)), ("#size-cells", Cell(0))]);
    for affinity in (0..vcpus).map(vcpu_affinity) {
        cpus.add_child(node(
            &format!("cpu@{affinity:x}"),
            &[
                ("device_type", Text("cpu")),
                ("compatible", Text("arm,armv8")),
                ("enable-method", Text("psci")),
                ("reg", Cell(affinity)),
            ],
        ));
    }
    cpus
}

/// `/psci`. The two function numbers are for kernels that know PSCI 0.1 only.
pub fn psci() -> DeviceTreeNode {
    node(
        "psci",
        &[
            ("compatible", Texts(&["arm,psci-1.0", "arm,psci-0.2", "arm,psci"])),
            ("method", Text("hvc")),
            ("cpu_off", Cell(1)),
            ("cpu_on", Cell(2)),
        ],
    )
}

/// A `/memory` node.
pub fn memory(bank: Region) -> Result<DeviceTreeNode, TreeError> {
    let reg = reg("memory", &[bank])?;
    let name = format!("memory@{:x}", bank.start);
    Ok(node(&name, &[("device_type", Text("memory")), ("reg", Bytes(&reg))]))
}

/// `/reserved-memory`, with the guest's static shared memory.
pub fn reserved_memory(all: &[StaticShm<'_>]) -> Result<DeviceTreeNode, TreeError> {
    let properties = [("#address-cells", Cell(2)), ("#size-cells", Cell(2)), ("ranges", Flag)];
    let mut reserved = node("reserved-memory", &properties);
    for memory in all {
        put_static_shm(&mut reserved, memory, &reg("static shared memory", &[memory.place])?);
    }
    Ok(reserved)
}

/// `/interrupt-controller`.
pub fn interrupt_controller(gic: &Gic, phandle: u32) -> Result<DeviceTreeNode, TreeError> {
    let compatible = match gic.version() {
        GicVersion::V2 => "arm,cortex-a15-gic",
        GicVersion::V3 => "arm,gic-v3",
    };
    let regions: Vec<Region> = gic.regions().collect();
    let start = regions.first().map_or(0, |distributor| distributor.start);
    let mut node = node(
        &format!("interrupt-controller@{start:x}"),
        &[
            ("compatible", Text(compatible)),
            ("#interrupt-cells", Cell(3)),
            ("#address-cells", Cell(0)),
            ("interrupt-controller", Flag),
            ("reg", Bytes(&reg("interrupt controller", &regions)?)),
        ],
    );
    if let Gic::V3 { redistributors, .. } = gic
        && redistributors.len() > 1
    {
        let count = u32::try_from(redistributors.len()).unwrap_or(u32::MAX);
        put(&mut node, "#redistributor-regions", Cell(count));
    }
    put(&mut node, "phandle", Cell(phandle));
    put(&mut node, "linux,phandle", Cell(phandle));
    Ok(node)
}

/// `/timer`.
pub fn timer(timer: &Timer) -> Result<DeviceTreeNode, TreeError> {
    let intids = [timer.secure_physical, timer.physical, timer.r#virtual];
    let mut interrupts = Vec::new();
    for intid in intids {
        interrupts.extend(private("timer", intid)?);
    }
    let mut node =
        node("timer", &[("compatible", Text("arm,armv8-timer")), ("interrupts", Cells(&interrupts))]);
    if let Some(frequency) = timer.frequency {
        put(&mut node, "clock-frequency", Cell(frequency));
    }
    Ok(node)
}

/// `/hypervisor`. The first `compatible` string carries the version; the first range is for grant tables.
pub fn hypervisor(
    (major, minor): (u16, u16),
    hypervisor: &Hypervisor<'_>,
) -> Result<DeviceTreeNode, TreeError> {
    let mut ranges = reg("grant window", &[hypervisor.grant_window])?;
    ranges.extend(reg("extended regions", hypervisor.extended_regions)?);
    Ok(node(
        "hypervisor",
        &[
            ("compatible", Texts(&[&format!("xen,xen-{major}.{minor}"), "xen,xen"])),
            ("reg", Bytes(&ranges)),
            ("interrupts", Cells(&private("events", hypervisor.event_ppi)?)),
        ],
    ))
}

/// A virtio-mmio device. Its backend sees memory as the CPUs do.
pub fn virtio(device: &VirtioMmio) -> Result<DeviceTreeNode, TreeError> {
    Ok(node(
        &format!("virtio@{:x}", device.registers.start),
        &[
            ("compatible", Text("virtio,mmio")),
            ("reg", Bytes(&reg("virtio device", &[device.registers])?)),
            ("interrupts", Cells(&shared("virtio device", device.interrupt, EDGE_RISING)?)),
            ("dma-coherent", Flag),
        ],
    ))
}

/// The emulated UART.
pub fn uart(uart: &Pl011) -> Result<DeviceTreeNode, TreeError> {
    Ok(node(
        &format!("sbsa-pl011@{:x}", uart.registers.start),
        &[
            ("compatible", Text("arm,sbsa-uart")),
            ("reg", Bytes(&reg("UART", &[uart.registers])?)),
            ("interrupts", Cells(&shared("UART", uart.interrupt, LEVEL_HIGH)?)),
            ("current-speed", Cell(UART_SPEED)),
        ],
    ))
}

fn private(what: &'static str, intid: Intid) -> Result<[u32; 3], TreeError> {
    let number = intid.0.checked_sub(Intid::FIRST_PRIVATE.0).filter(|_| intid < Intid::FIRST_SHARED);
    let number = number.ok_or(TreeError::BadInterrupt { what, intid })?;
    Ok([PRIVATE, number, PPI_FLAGS])
}

fn shared(what: &'static str, intid: Intid, flags: u32) -> Result<[u32; 3], TreeError> {
    let number = intid.0.checked_sub(Intid::FIRST_SHARED.0).filter(|_| intid < Intid::SHARED_END);
    let number = number.ok_or(TreeError::BadInterrupt { what, intid })?;
    Ok([SHARED, number, flags])
}

fn end(what: &'static str, region: Region) -> Result<u64, TreeError> {
    region.end().ok_or(TreeError::BadRange { what, start: region.start })
}

/// Ranges as the root's children write them: two cells each for address and size.
#[inline(never)]
fn reg(what: &'static str, regions: &[Region]) -> Result<Vec<u8>, TreeError> {
    let mut bytes = Vec::new();
    for region in regions {
        end(what, *region)?;
        bytes.extend(region.start.to_be_bytes());
        bytes.extend(region.size.to_be_bytes());
    }
    Ok(bytes)
}
