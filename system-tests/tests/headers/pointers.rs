//! What the pointers in the structures of `abi/` lead to: elements of the size that the headers give their handles.

use xenolith_abi::GuestPtr;
use xenolith_abi::{control, domctl, grant, memory, sched, sysctl, vcpu};

use super::compiler::Version;
use super::structures::Question;

/// A pointer.
struct Pointer {
    /// The structure, and its field, in the headers.
    c: (&'static str, &'static str),
    /// Bytes of what it leads to.
    size: usize,
    /// Whether the older version has it.
    in_old: bool,
}

/// Bytes of what a field leads to.
fn size<S, T>(_: fn(S) -> GuestPtr<T>) -> usize {
    size_of::<T>()
}

/// The size of an element of each.
pub fn questions(version: Version) -> Vec<Question> {
    let known = all().into_iter().filter(|pointer| pointer.in_old || version == Version::V4_20);
    let question = |Pointer { c: (structure, field), size, .. }: Pointer| Question {
        c: format!("sizeof(*((struct {structure} *)0)->{field}.p)"),
        ours: size as i64,
    };
    known.map(question).collect()
}

/// All but those to memory of no type (`void`).
fn all() -> Vec<Pointer> {
    let pointer = |structure, field, size| Pointer { c: (structure, field), size, in_old: true };
    vec![
        pointer("xenctl_bitmap", "bitmap", size(|s: control::Bitmap| s.bitmap)),
        pointer("xen_domctl_vcpucontext", "ctxt", size(|s: domctl::VcpuContext| s.ctxt)),
        pointer("xen_domctl_assign_device", "u.dt.path", size(|s: domctl::AssignDevice| s.path)),
        Pointer {
            c: ("xen_domctl_set_llc_colors", "llc_colors"),
            size: size(|s: domctl::SetLlcColors| s.llc_colors),
            in_old: false,
        },
        pointer("gnttab_setup_table", "frame_list", size(|s: grant::SetupTable| s.frame_list)),
        pointer("gnttab_get_status_frames", "frame_list", size(|s: grant::GetStatusFrames| s.frame_list)),
        pointer("xen_memory_reservation", "extent_start", size(|s: memory::Reservation| s.extent_start)),
        pointer("xen_add_to_physmap_batch", "idxs", size(|s: memory::AddToPhysmapBatch| s.idxs)),
        pointer("xen_add_to_physmap_batch", "gpfns", size(|s: memory::AddToPhysmapBatch| s.gpfns)),
        pointer("xen_add_to_physmap_batch", "errs", size(|s: memory::AddToPhysmapBatch| s.errs)),
        pointer("xen_mem_acquire_resource", "frame_list", size(|s: memory::AcquireResource| s.frame_list)),
        pointer(
            "xen_reserved_device_memory_map",
            "buffer",
            size(|s: memory::ReservedDeviceMemoryMap| s.buffer),
        ),
        pointer("sched_poll", "ports", size(|s: sched::Poll| s.ports)),
        pointer("xen_sysctl_readconsole", "buffer", size(|s: sysctl::ReadConsole| s.buffer)),
        pointer("xen_sysctl_getdomaininfolist", "buffer", size(|s: sysctl::GetDomainInfoList| s.buffer)),
        pointer("xen_sysctl_getcpuinfo", "info", size(|s: sysctl::GetCpuInfo| s.info)),
        pointer("xen_sysctl_debug_keys", "keys", size(|s: sysctl::DebugKeys| s.keys)),
        pointer("xen_sysctl_cputopoinfo", "cputopo", size(|s: sysctl::CpuTopoInfo| s.cputopo)),
        pointer("xen_sysctl_numainfo", "meminfo", size(|s: sysctl::NumaInfo| s.meminfo)),
        pointer("xen_sysctl_numainfo", "distance", size(|s: sysctl::NumaInfo| s.distance)),
        pointer(
            "vcpu_register_runstate_memory_area",
            "addr.h",
            size(|s: vcpu::RegisterRunstateMemoryArea| s.addr),
        ),
    ]
}
