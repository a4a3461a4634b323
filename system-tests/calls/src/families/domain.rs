//! What a domain does for itself: events, vCPUs, scheduling, parameters, options, the console, versions.

use super::{Family, Form, Sub};

/// `xen_version` (`public/version.h`).
pub const VERSION: Family = Family {
    name: "xen_version",
    number: 17,
    header: "version.h",
    form: Form::Version,
    subs: &[
        Sub::new(0, "XENVER_version"),
        Sub::new(1, "XENVER_extraversion"),
        Sub::new(2, "XENVER_compile_info"),
        Sub::new(3, "XENVER_capabilities"),
        Sub::new(4, "XENVER_changeset"),
        Sub::new(5, "XENVER_platform_parameters"),
        Sub::new(6, "XENVER_get_features"),
        Sub::new(7, "XENVER_pagesize"),
        Sub::new(8, "XENVER_guest_handle"),
        Sub::new(9, "XENVER_commandline"),
        Sub::new(10, "XENVER_build_id"),
        Sub::since_4_20(11, "XENVER_extraversion2"),
        Sub::since_4_20(12, "XENVER_capabilities2"),
        Sub::since_4_20(13, "XENVER_changeset2"),
        Sub::since_4_20(14, "XENVER_commandline2"),
    ],
};

/// `console_io` (`public/xen.h`).
pub const CONSOLE: Family = Family {
    name: "console_io",
    number: 18,
    header: "xen.h",
    form: Form::Console,
    subs: &[Sub::new(0, "CONSOLEIO_write"), Sub::new(1, "CONSOLEIO_read")],
};

/// `vm_assist` (`public/xen.h`).
pub const VM_ASSIST_TYPES: Family = Family {
    name: "vm_assist",
    number: 21,
    header: "xen.h",
    form: Form::VmAssist,
    subs: &[
        Sub::new(0, "VMASST_TYPE_4gb_segments"),
        Sub::new(1, "VMASST_TYPE_4gb_segments_notify"),
        Sub::new(2, "VMASST_TYPE_writable_pagetables"),
        Sub::new(3, "VMASST_TYPE_pae_extended_cr3"),
        Sub::new(4, "VMASST_TYPE_architectural_iopl"),
        Sub::new(5, "VMASST_TYPE_runstate_update_flag"),
        Sub::new(32, "VMASST_TYPE_m2p_strict"),
    ],
};

/// `vcpu_op` (`public/vcpu.h`).
pub const VCPU: Family = Family {
    name: "vcpu_op",
    number: 24,
    header: "vcpu.h",
    form: Form::Vcpu,
    subs: &[
        Sub::new(0, "VCPUOP_initialise"),
        Sub::new(1, "VCPUOP_up"),
        Sub::new(2, "VCPUOP_down"),
        Sub::new(3, "VCPUOP_is_up"),
        Sub::new(4, "VCPUOP_get_runstate_info"),
        Sub::new(5, "VCPUOP_register_runstate_memory_area"),
        Sub::new(6, "VCPUOP_set_periodic_timer"),
        Sub::new(7, "VCPUOP_stop_periodic_timer"),
        Sub::new(8, "VCPUOP_set_singleshot_timer"),
        Sub::new(9, "VCPUOP_stop_singleshot_timer"),
        Sub::new(10, "VCPUOP_register_vcpu_info"),
        Sub::new(11, "VCPUOP_send_nmi"),
        Sub::new(12, "VCPUOP_get_physid"),
        Sub::new(13, "VCPUOP_register_vcpu_time_memory_area"),
        Sub::since_4_20(14, "VCPUOP_register_runstate_phys_area"),
        Sub::since_4_20(15, "VCPUOP_register_vcpu_time_phys_area"),
    ],
};

/// `sched_op` (`public/sched.h`).
pub const SCHED: Family = Family {
    name: "sched_op",
    number: 29,
    header: "sched.h",
    form: Form::Sched,
    subs: &[
        Sub::new(0, "SCHEDOP_yield"),
        Sub::new(1, "SCHEDOP_block"),
        Sub::new(2, "SCHEDOP_shutdown"),
        Sub::new(3, "SCHEDOP_poll"),
        Sub::new(4, "SCHEDOP_remote_shutdown"),
        Sub::new(5, "SCHEDOP_shutdown_code"),
        Sub::new(6, "SCHEDOP_watchdog"),
        Sub::new(7, "SCHEDOP_pin_override"),
    ],
};

/// `event_channel_op` (`public/event_channel.h`).
pub const EVENT: Family = Family {
    name: "event_channel_op",
    number: 32,
    header: "event_channel.h",
    form: Form::Event,
    subs: &[
        Sub::new(0, "EVTCHNOP_bind_interdomain"),
        Sub::new(1, "EVTCHNOP_bind_virq"),
        Sub::new(2, "EVTCHNOP_bind_pirq"),
        Sub::new(3, "EVTCHNOP_close"),
        Sub::new(4, "EVTCHNOP_send"),
        Sub::new(5, "EVTCHNOP_status"),
        Sub::new(6, "EVTCHNOP_alloc_unbound"),
        Sub::new(7, "EVTCHNOP_bind_ipi"),
        Sub::new(8, "EVTCHNOP_bind_vcpu"),
        Sub::new(9, "EVTCHNOP_unmask"),
        Sub::new(10, "EVTCHNOP_reset"),
        Sub::new(11, "EVTCHNOP_init_control"),
        Sub::new(12, "EVTCHNOP_expand_array"),
        Sub::new(13, "EVTCHNOP_set_priority"),
        Sub::new(14, "EVTCHNOP_reset_cont"),
    ],
};

/// `hvm_op` (`public/hvm/hvm_op.h`).
pub const HVM: Family = Family {
    name: "hvm_op",
    number: 34,
    header: "hvm/hvm_op.h",
    form: Form::Hvm,
    subs: &[
        Sub::new(0, "HVMOP_set_param"),
        Sub::new(1, "HVMOP_get_param"),
        Sub::new(2, "HVMOP_set_pci_intx_level"),
        Sub::new(3, "HVMOP_set_isa_irq_level"),
        Sub::new(4, "HVMOP_set_pci_link_route"),
        Sub::new(5, "HVMOP_flush_tlbs"),
        Sub::new(9, "HVMOP_pagetable_dying"),
        Sub::new(10, "HVMOP_get_time"),
        Sub::new(11, "HVMOP_xentrace"),
        Sub::new(12, "HVMOP_set_mem_access"),
        Sub::new(13, "HVMOP_get_mem_access"),
        Sub::new(15, "HVMOP_get_mem_type"),
        Sub::new(23, "HVMOP_set_evtchn_upcall_vector"),
        Sub::new(24, "HVMOP_guest_request_vm_event"),
        Sub::new(25, "HVMOP_altp2m"),
    ],
};

/// `hvm_op, parameters` (`public/hvm/params.h`).
pub const HVM_PARAMS: Family = Family {
    name: "hvm_op, parameters",
    number: 34,
    header: "hvm/params.h",
    form: Form::HvmParam,
    subs: &[
        Sub::new(0, "HVM_PARAM_CALLBACK_IRQ"),
        Sub::new(1, "HVM_PARAM_STORE_PFN"),
        Sub::new(2, "HVM_PARAM_STORE_EVTCHN"),
        Sub::new(4, "HVM_PARAM_PAE_ENABLED"),
        Sub::new(5, "HVM_PARAM_IOREQ_PFN"),
        Sub::new(6, "HVM_PARAM_BUFIOREQ_PFN"),
        Sub::new(9, "HVM_PARAM_VIRIDIAN"),
        Sub::new(10, "HVM_PARAM_TIMER_MODE"),
        Sub::new(11, "HVM_PARAM_HPET_ENABLED"),
        Sub::new(12, "HVM_PARAM_IDENT_PT"),
        Sub::new(13, "HVM_PARAM_DM_DOMAIN"),
        Sub::new(14, "HVM_PARAM_ACPI_S_STATE"),
        Sub::new(15, "HVM_PARAM_VM86_TSS"),
        Sub::new(16, "HVM_PARAM_VPT_ALIGN"),
        Sub::new(17, "HVM_PARAM_CONSOLE_PFN"),
        Sub::new(18, "HVM_PARAM_CONSOLE_EVTCHN"),
        Sub::new(19, "HVM_PARAM_ACPI_IOPORTS_LOCATION"),
        Sub::new(20, "HVM_PARAM_MEMORY_EVENT_CR0"),
        Sub::new(21, "HVM_PARAM_MEMORY_EVENT_CR3"),
        Sub::new(22, "HVM_PARAM_MEMORY_EVENT_CR4"),
        Sub::new(23, "HVM_PARAM_MEMORY_EVENT_INT3"),
        Sub::new(24, "HVM_PARAM_NESTEDHVM"),
        Sub::new(25, "HVM_PARAM_MEMORY_EVENT_SINGLE_STEP"),
        Sub::new(26, "HVM_PARAM_BUFIOREQ_EVTCHN"),
        Sub::new(27, "HVM_PARAM_PAGING_RING_PFN"),
        Sub::new(28, "HVM_PARAM_MONITOR_RING_PFN"),
        Sub::new(29, "HVM_PARAM_SHARING_RING_PFN"),
        Sub::new(30, "HVM_PARAM_MEMORY_EVENT_MSR"),
        Sub::new(31, "HVM_PARAM_TRIPLE_FAULT_REASON"),
        Sub::new(32, "HVM_PARAM_IOREQ_SERVER_PFN"),
        Sub::new(33, "HVM_PARAM_NR_IOREQ_SERVER_PAGES"),
        Sub::new(34, "HVM_PARAM_VM_GENERATION_ID_ADDR"),
        Sub::new(35, "HVM_PARAM_ALTP2M"),
        Sub::new(36, "HVM_PARAM_X87_FIP_WIDTH"),
        Sub::new(37, "HVM_PARAM_VM86_TSS_SIZED"),
        Sub::new(38, "HVM_PARAM_MCA_CAP"),
    ],
};

/// `dm_op` (`public/hvm/dm_op.h`).
pub const DM: Family = Family {
    name: "dm_op",
    number: 41,
    header: "hvm/dm_op.h",
    form: Form::Dm,
    subs: &[
        Sub::new(1, "XEN_DMOP_create_ioreq_server"),
        Sub::new(2, "XEN_DMOP_get_ioreq_server_info"),
        Sub::new(3, "XEN_DMOP_map_io_range_to_ioreq_server"),
        Sub::new(4, "XEN_DMOP_unmap_io_range_from_ioreq_server"),
        Sub::new(5, "XEN_DMOP_set_ioreq_server_state"),
        Sub::new(6, "XEN_DMOP_destroy_ioreq_server"),
        Sub::new(7, "XEN_DMOP_track_dirty_vram"),
        Sub::new(8, "XEN_DMOP_set_pci_intx_level"),
        Sub::new(9, "XEN_DMOP_set_isa_irq_level"),
        Sub::new(10, "XEN_DMOP_set_pci_link_route"),
        Sub::new(11, "XEN_DMOP_modified_memory"),
        Sub::new(12, "XEN_DMOP_set_mem_type"),
        Sub::new(13, "XEN_DMOP_inject_event"),
        Sub::new(14, "XEN_DMOP_inject_msi"),
        Sub::new(15, "XEN_DMOP_map_mem_type_to_ioreq_server"),
        Sub::new(16, "XEN_DMOP_remote_shutdown"),
        Sub::new(17, "XEN_DMOP_relocate_memory"),
        Sub::new(18, "XEN_DMOP_pin_memory_cacheattr"),
        Sub::new(19, "XEN_DMOP_set_irq_level"),
        Sub::new(20, "XEN_DMOP_nr_vcpus"),
    ],
};
