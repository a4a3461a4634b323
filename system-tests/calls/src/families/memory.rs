//! Memory: `memory_op` with its kinds of pages, and grant tables.

use super::{Family, Form, Sub};

/// `memory_op` (`public/memory.h`).
pub const MEMORY: Family = Family {
    name: "memory_op",
    number: 12,
    header: "memory.h",
    form: Form::Memory,
    subs: &[
        Sub::new(0, "XENMEM_increase_reservation"),
        Sub::new(1, "XENMEM_decrease_reservation"),
        Sub::new(2, "XENMEM_maximum_ram_page"),
        Sub::new(3, "XENMEM_current_reservation"),
        Sub::new(4, "XENMEM_maximum_reservation"),
        Sub::new(5, "XENMEM_machphys_mfn_list"),
        Sub::new(6, "XENMEM_populate_physmap"),
        Sub::new(7, "XENMEM_add_to_physmap"),
        Sub::new(9, "XENMEM_memory_map"),
        Sub::new(10, "XENMEM_machine_memory_map"),
        Sub::new(11, "XENMEM_exchange"),
        Sub::new(12, "XENMEM_machphys_mapping"),
        Sub::new(13, "XENMEM_set_memory_map"),
        Sub::new(14, "XENMEM_maximum_gpfn"),
        Sub::new(15, "XENMEM_remove_from_physmap"),
        Sub::new(16, "XENMEM_set_pod_target"),
        Sub::new(17, "XENMEM_get_pod_target"),
        Sub::new(18, "XENMEM_get_sharing_freed_pages"),
        Sub::new(19, "XENMEM_get_sharing_shared_pages"),
        Sub::new(20, "XENMEM_paging_op"),
        Sub::new(21, "XENMEM_access_op"),
        Sub::new(22, "XENMEM_sharing_op"),
        Sub::new(23, "XENMEM_add_to_physmap_batch"),
        Sub::new(24, "XENMEM_claim_pages"),
        Sub::new(25, "XENMEM_machphys_compat_mfn_list"),
        Sub::new(26, "XENMEM_get_vnumainfo"),
        Sub::new(27, "XENMEM_reserved_device_memory_map"),
        Sub::new(28, "XENMEM_acquire_resource"),
    ],
};

/// `memory_op, spaces of add_to_physmap` (`public/memory.h`).
pub const MAP_SPACES: Family = Family {
    name: "memory_op, spaces of add_to_physmap",
    number: 12,
    header: "memory.h",
    form: Form::MapSpace,
    subs: &[
        Sub::new(0, "XENMAPSPACE_shared_info"),
        Sub::new(1, "XENMAPSPACE_grant_table"),
        Sub::new(2, "XENMAPSPACE_gmfn"),
        Sub::new(3, "XENMAPSPACE_gmfn_range"),
        Sub::new(4, "XENMAPSPACE_gmfn_foreign"),
        Sub::new(5, "XENMAPSPACE_dev_mmio"),
    ],
};

/// `grant_table_op` (`public/grant_table.h`).
pub const GRANT: Family = Family {
    name: "grant_table_op",
    number: 20,
    header: "grant_table.h",
    form: Form::Grant,
    subs: &[
        Sub::new(0, "GNTTABOP_map_grant_ref"),
        Sub::new(1, "GNTTABOP_unmap_grant_ref"),
        Sub::new(2, "GNTTABOP_setup_table"),
        Sub::new(3, "GNTTABOP_dump_table"),
        Sub::new(4, "GNTTABOP_transfer"),
        Sub::new(5, "GNTTABOP_copy"),
        Sub::new(6, "GNTTABOP_query_size"),
        Sub::new(7, "GNTTABOP_unmap_and_replace"),
        Sub::new(8, "GNTTABOP_set_version"),
        Sub::new(9, "GNTTABOP_get_status_frames"),
        Sub::new(10, "GNTTABOP_get_version"),
        Sub::new(11, "GNTTABOP_swap_grant_ref"),
        Sub::new(12, "GNTTABOP_cache_flush"),
    ],
};
