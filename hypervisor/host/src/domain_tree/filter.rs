//! What of the host's tree the hardware domain does not get to see.

use dtoolkit::{Node, Property};

use crate::platform::Platform;
use crate::platform::tree::{Place, Tree, cells, is_compatible};

/// Nodes of these kinds are left out with all below them: boot modules and domains that are the hypervisor's to
/// start, what the hypervisor emulates and describes anew, and devices that work through PPIs or at EL2 only.
const KINDS: [&str; 22] = [
    "xen,xen",
    "xen,domain",
    "xen,evtchn-v1",
    "xen,domain-shared-memory-v1",
    "xen,multiboot-module",
    "multiboot,module",
    "arm,psci",
    "arm,psci-0.2",
    "arm,psci-1.0",
    "arm,armv8-timer",
    "arm,armv7-timer",
    "arm,armv7-timer-mem",
    "arm,armv8-pmuv3",
    "arm,cortex-a53-pmu",
    "arm,cortex-a57-pmu",
    "arm,cortex-a72-pmu",
    "arm,cortex-a15-pmu",
    "arm,cortex-a7-pmu",
    "arm,cortex-a53-edac",
    MSI_CONTROLLERS[0],
    MSI_CONTROLLERS[1],
    "xen,grant-dma",
];

/// Controllers that turn a write into an interrupt of the GIC. They are not emulated.
const MSI_CONTROLLERS: [&str; 2] = ["arm,gic-v3-its", "arm,gic-v2m-frame"];

/// Properties of `/chosen` that speak to the hypervisor, or of what the domain has its own of.
const CHOSEN: [&str; 10] = [
    "stdout-path",
    "linux,stdout-path",
    "bootargs",
    "xen,xen-bootargs",
    "xen,dom0-bootargs",
    "xen,static-heap",
    "linux,initrd-start",
    "linux,initrd-end",
    "rng-seed",
    "kaslr-seed",
];

/// A node with this property is kept for another domain: this one must not touch it.
pub const PASSED_THROUGH: &str = "xen,passthrough";

/// What binds a device to an IOMMU, none of which the domain has.
const IOMMU: [&str; 3] = ["iommus", "iommu-map", "iommu-map-mask"];

/// Whether the node and all below it are left out.
pub fn is_left_out<'a>(tree: &Tree<'a>, platform: &Platform, place: &Place<'a, '_>) -> bool {
    let is_described_anew = place.text("device_type") == Some("memory") || place.path() == "/cpus";
    let uses_ppi = || match platform.gic.phandle {
        Some(gic) => tree.interrupts(place, gic).into_iter().flatten().any(|line| line.is_private()),
        None => false,
    };
    is_described_anew || place.is_iommu() || place.is_compatible(&KINDS) || uses_ppi()
}

/// Whether the property of a kept node is left out.
pub fn is_property_left_out(tree: &Tree<'_>, platform: &Platform, place: &Place<'_, '_>, name: &str) -> bool {
    let is_in_chosen =
        || place.path() == "/chosen" && (CHOSEN.contains(&name) || name.starts_with("linux,uefi-"));
    match name {
        PASSED_THROUGH => true,
        _ if IOMMU.contains(&name) => true,
        "msi-parent" | "msi-map" | "msi-map-mask" => has_left_out_msi(tree, platform, place),
        _ => is_in_chosen(),
    }
}

/// Whether one of the node's MSI properties leads to a controller that is left out. Then they all go: a device whose
/// driver finds no MSI uses its wired interrupt.
fn has_left_out_msi(tree: &Tree<'_>, platform: &Platform, place: &Place<'_, '_>) -> bool {
    let is_left_out = |phandle: u32| {
        platform.gic.phandle == Some(phandle)
            || tree.by_phandle(phandle).is_none_or(|controller| is_compatible(controller, &MSI_CONTROLLERS))
    };
    place.node.properties().any(|property| {
        let mut numbers = cells(property.value());
        match property.name() {
            "msi-parent" => numbers.next().is_none_or(is_left_out),
            // Entries of four cells: first requester, controller, first MSI, length.
            "msi-map" => numbers.skip(1).step_by(4).any(is_left_out),
            _ => false,
        }
    })
}
