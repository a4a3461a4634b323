//! What is to be said of calls that are not answered as by Xen 4.17 on Arm, or by Xen 4.20 where that has more.

/// Why an answer is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is refused as by a Xen that was built without it.
    LeftOut,
    /// It is refused, and every Xen on Arm has it.
    Missing,
    /// It is there, and zeroes are answered in another way.
    Differs,
    /// It is as on Xen, and there is something to know.
    Note,
}

/// A remark on a sub-operation.
#[derive(Clone, Copy, Debug)]
pub struct Remark {
    /// Its name in the headers.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The reason, and what a tool makes of the answer.
    pub why: &'static str,
}

const fn remark(kind: Kind, name: &'static str, why: &'static str) -> Remark {
    Remark { name, kind, why }
}

use Kind::{Differs, LeftOut, Missing, Note};

/// Of PCI devices that Linux reports.
const HEARD: &str = "heard, and nothing follows: the first domain drives its devices itself; refused, as by a Xen without \
                     PCI, Linux warns of each";

/// All remarks.
pub const REMARKS: &[Remark] = &[
    // memory_op
    remark(
        Missing,
        "XENMEM_increase_reservation",
        "it would give a domain pages that are mapped nowhere; the tools use `populate_physmap` on Arm",
    ),
    remark(
        Missing,
        "XENMEM_exchange",
        "Linux on Arm exchanges no frames: it is direct-mapped, or has an IOMMU's address",
    ),
    remark(
        Missing,
        "XENMEM_claim_pages",
        "the tools claim memory for x86 guests only; `xl claims` shows none",
    ),
    remark(
        Missing,
        "XENMAPSPACE_dev_mmio",
        "Linux asks for it on machines described by ACPI; here the first domain has its devices from the beginning",
    ),
    remark(
        Note,
        "XENMAPSPACE_gmfn_foreign",
        "by `XENMEM_add_to_physmap_batch`, which says whose pages they are",
    ),
    remark(Note, "XENMEM_acquire_resource", "ioreq servers and grant tables; there is no trace buffer"),
    // event_channel_op
    remark(
        Differs,
        "EVTCHNOP_bind_pirq",
        "physical interrupts come through the interrupt controller; Xen on Arm fails for want of memory",
    ),
    remark(Differs, "EVTCHNOP_set_priority", "port 0 is nobody's, and not the hypervisor's own"),
    remark(
        Differs,
        "EVTCHNOP_reset_cont",
        "Xen's own number for the rest of a reset; a reset goes on under its own here",
    ),
    // physdev_op
    remark(Differs, "PHYSDEVOP_pci_device_add", HEARD),
    remark(Differs, "PHYSDEVOP_pci_device_remove", HEARD),
    remark(Differs, "PHYSDEVOP_manage_pci_add", HEARD),
    remark(Differs, "PHYSDEVOP_manage_pci_remove", HEARD),
    // xen_version
    remark(Differs, "XENVER_build_id", "there is none"),
    // hypfs_op
    remark(LeftOut, "XEN_HYPFS_OP_get_version", "`CONFIG_HYPFS`; `xenhypfs` says so"),
    remark(LeftOut, "XEN_HYPFS_OP_read", "`CONFIG_HYPFS`"),
    remark(LeftOut, "XEN_HYPFS_OP_write_contents", "`CONFIG_HYPFS`"),
    // sysctl
    remark(LeftOut, "XEN_SYSCTL_tbuf_op", "`CONFIG_TRACEBUFFER`; `xentrace` says so"),
    remark(Missing, "XEN_SYSCTL_page_offline_op", "`xen-hptool mem-offline` says so"),
    remark(LeftOut, "XEN_SYSCTL_dt_overlay", "`CONFIG_OVERLAY_DTB`; `xl dt-overlay` says so"),
    // dm_op
    remark(
        Differs,
        "XEN_DMOP_map_io_range_to_ioreq_server",
        "ports and PCI functions are refused, because no access on Arm is one; Xen notes them in vain",
    ),
    remark(Differs, "XEN_DMOP_unmap_io_range_from_ioreq_server", "likewise"),
    // domctl
    remark(Missing, "XEN_DOMCTL_setdebugging", "`gdbsx` is for x86 guests"),
    remark(Differs, "XEN_DOMCTL_iomem_permission", "a range of no frames; Xen looks at the permission first"),
    remark(Differs, "XEN_DOMCTL_soft_reset_cont", "Xen's own number for the rest of a soft reset"),
    remark(Missing, "XEN_DOMCTL_soft_reset", "Xen on Arm refuses it too, once the domain has shut down"),
    remark(Missing, "XEN_DOMCTL_settimeoffset", "the tools set it for x86 guests only"),
    remark(Missing, "XEN_DOMCTL_subscribe", "for saving a domain, which Xen on Arm cannot"),
    remark(Missing, "XEN_DOMCTL_set_virq_handler", "for a xenstored in a domain of its own"),
    remark(Missing, "XEN_DOMCTL_setvnumainfo", "the tools lay out nodes for x86 guests only"),
    remark(LeftOut, "XEN_DOMCTL_monitor_op", "`CONFIG_MEM_ACCESS`"),
    remark(LeftOut, "XEN_DOMCTL_dt_overlay", "`CONFIG_OVERLAY_DTB`"),
    remark(LeftOut, "XEN_DOMCTL_gsi_permission", "x86 only"),
    remark(LeftOut, "XEN_DOMCTL_set_llc_colors", "`CONFIG_LLC_COLORING`; `xl create` asks, and goes on"),
    // sched_op
    remark(Missing, "SCHEDOP_pin_override", "Linux asks for it on some x86 machines"),
    // Since 4.20
    remark(Missing, "VCPUOP_register_runstate_phys_area", "no feature bit offers it"),
    remark(Missing, "VCPUOP_register_vcpu_time_phys_area", "no feature bit offers it"),
    remark(LeftOut, "PHYSDEVOP_pci_device_reset", "the hypervisor has no PCI driver; Linux goes on"),
    remark(LeftOut, "XENPF_get_dom0_console", "x86 only"),
    remark(LeftOut, "XENPF_get_ucode_revision", "x86 only"),
    remark(LeftOut, "XENPF_microcode_update2", "x86 only"),
];
