//! The numbers of `abi/` with the expressions of the headers that they stand for.

use anyhow::Result;
use calls::families::{self, Family, Sub};
use xenolith_abi::console::ring;
use xenolith_abi::event::{EventStatus, Virq, fifo};
use xenolith_abi::sched::ShutdownReason;
use xenolith_abi::shared::RunState;
use xenolith_abi::{
    Errno, Intid, control, dm, domctl, event, grant, hvm, ioreq, memory, platform, shared, sysctl, version,
};

use super::compiler::{Headers, Version};

/// The sub-operations that the headers of a version name.
fn subs(version: Version) -> impl Iterator<Item = (&'static Family, &'static Sub)> {
    let families = families::ALL.iter().chain([&families::CALLS]);
    let subs = families.flat_map(|family| family.subs.iter().map(move |sub| (family, sub)));
    subs.filter(move |(_, sub)| sub.in_4_17 || version == Version::V4_20)
}

/// Sub-operations that the headers hide from tools for arm64, whose numbers stand in the text only, and differ there.
pub fn hidden(headers: &Headers, version: Version, seen: &[(String, String)]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (family, sub) in subs(version).filter(|(_, sub)| seen.iter().all(|(name, _)| name != sub.name)) {
        let text = headers.text(family.header)?;
        let words =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").replace("# ", "#"));
        let line = format!("#define {} {}", sub.name, sub.number);
        if !words.map(|words| words + " ").any(|words| words.starts_with(&(line.clone() + " "))) {
            faults.push(line);
        }
    }
    Ok(faults)
}

/// Expressions of the headers, and our values; of sub-operations those whose names are `seen`.
pub fn questions(version: Version, seen: &[(String, String)]) -> Vec<(String, i64)> {
    let mut all: Vec<(String, i64)> = Vec::new();
    let known = |sub: &Sub| seen.iter().any(|(name, _)| name == sub.name);
    let subs = subs(version).map(|(_, sub)| sub).filter(|sub| known(sub));
    all.extend(subs.map(|sub| (sub.name.to_owned(), sub.number as i64)));
    all.extend(Errno::ALL.iter().map(|errno| (format!("XEN_{errno:?}"), -i64::from(errno.to_result()))));
    let mut ask = |c: &str, ours: i64| all.push((c.to_owned(), ours));
    let interface = match version {
        Version::V4_17 => domctl::VERSION_4_17,
        Version::V4_20 => domctl::VERSION_4_20,
    };
    ask("XEN_DOMCTL_INTERFACE_VERSION", interface.into());
    ask("XEN_SYSCTL_INTERFACE_VERSION", sysctl::INTERFACE_VERSION.into());
    ask("XENPF_INTERFACE_VERSION", platform::INTERFACE_VERSION.into());
    for (c, ours) in FLAGS {
        ask(c, *ours);
    }
    for (c, ours) in sizes() {
        ask(c, ours);
    }
    all
}

/// Sizes and offsets that are numbers in `abi/`.
fn sizes() -> Vec<(&'static str, i64)> {
    vec![
        ("sizeof(((struct xen_domctl *)0)->u)", control::PAYLOAD_SIZE as i64),
        ("sizeof(((struct xen_platform_op *)0)->u) + 8", platform::ARGUMENT_SIZE as i64),
        ("sizeof(xen_capabilities_info_t)", version::CAPABILITIES_SIZE as i64),
        ("sizeof(xen_changeset_info_t)", version::CHANGE_SET_SIZE as i64),
        ("sizeof(xen_commandline_t)", version::COMMAND_LINE_SIZE as i64),
        ("sizeof(xen_extraversion_t)", version::EXTRA_VERSION_SIZE as i64),
        ("sizeof(xen_domain_handle_t)", version::GUEST_HANDLE_SIZE as i64),
        ("sizeof(struct evtchn_fifo_control_block)", fifo::CONTROL_SIZE as i64),
        ("offsetof(struct evtchn_fifo_control_block, ready)", fifo::CONTROL_READY as i64),
        ("offsetof(struct evtchn_fifo_control_block, head)", fifo::CONTROL_HEADS as i64),
        ("offsetof(struct xencons_interface, in)", ring::IN as i64),
        ("sizeof(((struct xencons_interface *)0)->in)", ring::IN_SIZE.into()),
        ("offsetof(struct xencons_interface, out)", ring::OUT as i64),
        ("sizeof(((struct xencons_interface *)0)->out)", ring::OUT_SIZE.into()),
        ("offsetof(struct xencons_interface, in_cons)", ring::IN_READ as i64),
        ("offsetof(struct xencons_interface, in_prod)", ring::IN_WRITTEN as i64),
        ("offsetof(struct xencons_interface, out_cons)", ring::OUT_READ as i64),
        ("offsetof(struct xencons_interface, out_prod)", ring::OUT_WRITTEN as i64),
        ("sizeof(((struct shared_info *)0)->evtchn_pending) * 8", event::two_level::PORTS.into()),
    ]
}

/// Numbers and bits.
const FLAGS: &[(&str, i64)] = &[
    ("XENMEM_resource_ioreq_server", memory::Resource::IoreqServer as i64),
    ("XENMEM_resource_grant_table", memory::Resource::GrantTable as i64),
    ("XENMEM_resource_vmtrace_buf", memory::Resource::VmtraceBuffer as i64),
    ("XENMAPIDX_grant_table_status", memory::GRANT_INDEX_STATUS as i64),
    ("VIRQ_TIMER", Virq::Timer as i64),
    ("VIRQ_DEBUG", Virq::Debug as i64),
    ("VIRQ_CONSOLE", Virq::Console as i64),
    ("VIRQ_DOM_EXC", Virq::DomExc as i64),
    ("VIRQ_TBUF", Virq::TraceBuffer as i64),
    ("VIRQ_DEBUGGER", Virq::Debugger as i64),
    ("VIRQ_XENOPROF", Virq::Xenoprof as i64),
    ("VIRQ_CON_RING", Virq::ConsoleRing as i64),
    ("VIRQ_PCPU_STATE", Virq::PcpuState as i64),
    ("VIRQ_MEM_EVENT", Virq::MemEvent as i64),
    ("VIRQ_ARGO", Virq::Argo as i64),
    ("VIRQ_ENOMEM", Virq::OutOfMemory as i64),
    ("VIRQ_XENPMU", Virq::Pmu as i64),
    ("VIRQ_ARCH_7", Virq::DeviceSlots as i64),
    ("NR_VIRQS", Virq::COUNT as i64),
    ("EVTCHNSTAT_closed", EventStatus::Closed as i64),
    ("EVTCHNSTAT_unbound", EventStatus::Unbound as i64),
    ("EVTCHNSTAT_interdomain", EventStatus::Interdomain as i64),
    ("EVTCHNSTAT_pirq", EventStatus::Pirq as i64),
    ("EVTCHNSTAT_virq", EventStatus::Virq as i64),
    ("EVTCHNSTAT_ipi", EventStatus::Ipi as i64),
    ("EVTCHN_FIFO_LINK_BITS", fifo::LINK_BITS as i64),
    ("EVTCHN_FIFO_LINK_MASK", fifo::LINK as i64),
    ("EVTCHN_FIFO_NR_CHANNELS", fifo::PORTS as i64),
    ("1u << EVTCHN_FIFO_PENDING", fifo::PENDING as i64),
    ("1u << EVTCHN_FIFO_MASKED", fifo::MASKED as i64),
    ("1u << EVTCHN_FIFO_LINKED", fifo::LINKED as i64),
    ("1u << EVTCHN_FIFO_BUSY", fifo::BUSY as i64),
    ("EVTCHN_FIFO_MAX_QUEUES", fifo::QUEUES as i64),
    ("EVTCHN_FIFO_PRIORITY_DEFAULT", fifo::DEFAULT_PRIORITY as i64),
    ("RUNSTATE_running", RunState::Running as i64),
    ("RUNSTATE_runnable", RunState::Runnable as i64),
    ("RUNSTATE_blocked", RunState::Blocked as i64),
    ("RUNSTATE_offline", RunState::Offline as i64),
    ("XEN_RUNSTATE_UPDATE", shared::RUNSTATE_UPDATE as i64),
    ("XEN_LEGACY_MAX_VCPUS", shared::LEGACY_VCPUS as i64),
    ("SHUTDOWN_poweroff", ShutdownReason::Poweroff as i64),
    ("SHUTDOWN_reboot", ShutdownReason::Reboot as i64),
    ("SHUTDOWN_suspend", ShutdownReason::Suspend as i64),
    ("SHUTDOWN_crash", ShutdownReason::Crash as i64),
    ("SHUTDOWN_watchdog", ShutdownReason::Watchdog as i64),
    ("SHUTDOWN_soft_reset", ShutdownReason::SoftReset as i64),
    ("SHUTDOWN_MAX", ShutdownReason::ALL.len() as i64 - 1),
    ("GNTST_okay", grant::GrantStatus::Okay as i64),
    ("GNTST_general_error", grant::GrantStatus::GeneralError as i64),
    ("GNTST_bad_domain", grant::GrantStatus::BadDomain as i64),
    ("GNTST_bad_gntref", grant::GrantStatus::BadReference as i64),
    ("GNTST_bad_handle", grant::GrantStatus::BadHandle as i64),
    ("GNTST_bad_virt_addr", grant::GrantStatus::BadVirtualAddress as i64),
    ("GNTST_bad_dev_addr", grant::GrantStatus::BadDeviceAddress as i64),
    ("GNTST_no_device_space", grant::GrantStatus::NoDeviceSpace as i64),
    ("GNTST_permission_denied", grant::GrantStatus::PermissionDenied as i64),
    ("GNTST_bad_page", grant::GrantStatus::BadPage as i64),
    ("GNTST_bad_copy_arg", grant::GrantStatus::BadCopyArgument as i64),
    ("GNTST_address_too_big", grant::GrantStatus::AddressTooBig as i64),
    ("GNTST_eagain", grant::GrantStatus::TryAgain as i64),
    ("GNTST_no_space", grant::GrantStatus::NoSpace as i64),
    ("GNTTAB_RESERVED_CONSOLE", grant::RESERVED_CONSOLE as i64),
    ("GNTTAB_RESERVED_XENSTORE", grant::RESERVED_XENSTORE as i64),
    ("GTF_type_mask", grant::entry::TYPE as i64),
    ("GTF_permit_access", grant::entry::PERMIT_ACCESS as i64),
    ("GTF_readonly", grant::entry::READ_ONLY as i64),
    ("GTF_reading", grant::entry::READING as i64),
    ("GTF_writing", grant::entry::WRITING as i64),
    ("GNTMAP_device_map", grant::map::DEVICE as i64),
    ("GNTMAP_host_map", grant::map::HOST as i64),
    ("GNTMAP_readonly", grant::map::READ_ONLY as i64),
    ("GNTCOPY_source_gref", grant::copy::SOURCE_REFERENCE as i64),
    ("GNTCOPY_dest_gref", grant::copy::DEST_REFERENCE as i64),
    ("GNTTAB_CACHE_CLEAN", grant::cache::CLEAN as i64),
    ("GNTTAB_CACHE_INVAL", grant::cache::INVALIDATE as i64),
    ("4096 / sizeof(struct grant_entry_v1)", grant::ENTRIES_PER_FRAME as i64),
    ("XEN_DOMCTL_CDF_hvm", domctl::create_flag::HVM as i64),
    ("XEN_DOMCTL_CDF_hap", domctl::create_flag::HAP as i64),
    ("XEN_DOMCTL_CDF_s3_integrity", domctl::create_flag::S3_INTEGRITY as i64),
    ("XEN_DOMCTL_CDF_oos_off", domctl::create_flag::OOS_OFF as i64),
    ("XEN_DOMCTL_CDF_xs_domain", domctl::create_flag::XS_DOMAIN as i64),
    ("XEN_DOMCTL_CDF_iommu", domctl::create_flag::IOMMU as i64),
    ("XEN_DOMCTL_CDF_nested_virt", domctl::create_flag::NESTED_VIRT as i64),
    ("XEN_DOMCTL_CDF_vpmu", domctl::create_flag::VPMU as i64),
    ("XEN_DOMCTL_GRANT_version_mask", domctl::GRANT_VERSION_MASK as i64),
    ("XEN_DOMCTL_CONFIG_GIC_NATIVE", domctl::GIC_NATIVE as i64),
    ("XEN_DOMCTL_CONFIG_GIC_V2", domctl::GicVersion::V2 as i64),
    ("XEN_DOMCTL_CONFIG_GIC_V3", domctl::GicVersion::V3 as i64),
    ("XEN_DOMINF_dying", domctl::info_flag::DYING as i64),
    ("XEN_DOMINF_hvm_guest", domctl::info_flag::HVM_GUEST as i64),
    ("XEN_DOMINF_shutdown", domctl::info_flag::SHUTDOWN as i64),
    ("XEN_DOMINF_paused", domctl::info_flag::PAUSED as i64),
    ("XEN_DOMINF_blocked", domctl::info_flag::BLOCKED as i64),
    ("XEN_DOMINF_running", domctl::info_flag::RUNNING as i64),
    ("XEN_DOMINF_debugged", domctl::info_flag::DEBUGGED as i64),
    ("XEN_DOMINF_xs_domain", domctl::info_flag::XS_DOMAIN as i64),
    ("XEN_DOMINF_hap", domctl::info_flag::HAP as i64),
    ("XEN_DOMINF_shutdownshift", domctl::SHUTDOWN_REASON_SHIFT as i64),
    ("XEN_DOMINF_shutdownmask", domctl::SHUTDOWN_REASON_NONE as i64),
    ("XEN_VCPUAFFINITY_HARD", domctl::AFFINITY_HARD as i64),
    ("XEN_VCPUAFFINITY_SOFT", domctl::AFFINITY_SOFT as i64),
    ("XEN_DOMCTL_SCHEDOP_putinfo", domctl::SchedulerCommand::PutInfo as i64),
    ("XEN_DOMCTL_SCHEDOP_getinfo", domctl::SchedulerCommand::GetInfo as i64),
    ("XEN_DOMCTL_SCHEDOP_putvcpuinfo", domctl::SchedulerCommand::PutVcpuInfo as i64),
    ("XEN_DOMCTL_SCHEDOP_getvcpuinfo", domctl::SchedulerCommand::GetVcpuInfo as i64),
    ("VGCF_online", domctl::CONTEXT_ONLINE as i64),
    ("PT_IRQ_TYPE_SPI", domctl::PT_IRQ_SPI as i64),
    ("XEN_DOMCTL_DEV_DT", domctl::DEVICE_DT as i64),
    ("XEN_DOMCTL_VUART_OP_INIT", domctl::VUART_INIT as i64),
    ("XEN_DOMCTL_VUART_TYPE_VPL011", domctl::VUART_VPL011 as i64),
    ("XEN_SCHEDULER_CREDIT2", sysctl::SCHEDULER_CREDIT2 as i64),
    ("XEN_SYSCTL_CPUPOOL_OP_CREATE", sysctl::CpuPoolOpKind::Create as i64),
    ("XEN_SYSCTL_CPUPOOL_OP_DESTROY", sysctl::CpuPoolOpKind::Destroy as i64),
    ("XEN_SYSCTL_CPUPOOL_OP_INFO", sysctl::CpuPoolOpKind::Info as i64),
    ("XEN_SYSCTL_CPUPOOL_OP_ADDCPU", sysctl::CpuPoolOpKind::AddCpu as i64),
    ("XEN_SYSCTL_CPUPOOL_OP_RMCPU", sysctl::CpuPoolOpKind::RemoveCpu as i64),
    ("XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN", sysctl::CpuPoolOpKind::MoveDomain as i64),
    ("XEN_SYSCTL_CPUPOOL_OP_FREEINFO", sysctl::CpuPoolOpKind::FreeInfo as i64),
    ("XEN_SYSCTL_SCHEDOP_putinfo", sysctl::SchedulerAction::PutInfo as i64),
    ("XEN_SYSCTL_SCHEDOP_getinfo", sysctl::SchedulerAction::GetInfo as i64),
    ("XEN_INVALID_CORE_ID", sysctl::INVALID_ID as i64),
    ("XEN_INVALID_NODE_ID", sysctl::INVALID_ID as i64),
    ("XEN_SYSCTL_PHYSCAP_hvm", sysctl::capability::HVM as i64),
    ("XEN_SYSCTL_PHYSCAP_pv", sysctl::capability::PV as i64),
    ("XEN_SYSCTL_PHYSCAP_directio", sysctl::capability::DIRECTIO as i64),
    ("XEN_SYSCTL_PHYSCAP_hap", sysctl::capability::HAP as i64),
    ("XEN_SYSCTL_PHYSCAP_shadow", sysctl::capability::SHADOW as i64),
    ("XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share", sysctl::capability::IOMMU_HAP_PT_SHARE as i64),
    ("XEN_SYSCTL_PHYSCAP_vmtrace", sysctl::capability::VMTRACE as i64),
    ("XEN_SYSCTL_PHYSCAP_vpmu", sysctl::capability::VPMU as i64),
    ("XEN_SYSCTL_PHYSCAP_gnttab_v1", sysctl::capability::GNTTAB_V1 as i64),
    ("XEN_SYSCTL_PHYSCAP_gnttab_v2", sysctl::capability::GNTTAB_V2 as i64),
    ("1u << XENFEAT_writable_page_tables", version::feature::WRITABLE_PAGE_TABLES as i64),
    ("1u << XENFEAT_auto_translated_physmap", version::feature::AUTO_TRANSLATED_PHYSMAP as i64),
    ("1u << XENFEAT_dom0", version::feature::DOM0 as i64),
    ("1u << XENFEAT_memory_op_vnode_supported", version::feature::MEMORY_OP_VNODE_SUPPORTED as i64),
    ("1u << XENFEAT_ARM_SMCCC_supported", version::feature::ARM_SMCCC_SUPPORTED as i64),
    ("1u << XENFEAT_not_direct_mapped", version::feature::NOT_DIRECT_MAPPED as i64),
    ("1u << XENFEAT_direct_mapped", version::feature::DIRECT_MAPPED as i64),
    ("XEN_DMOP_no_gfns", dm::INFO_NO_GFNS as i64),
    ("XEN_DMOP_IO_RANGE_PORT", dm::RangeType::Port as i64),
    ("XEN_DMOP_IO_RANGE_MEMORY", dm::RangeType::Memory as i64),
    ("XEN_DMOP_IO_RANGE_PCI", dm::RangeType::Pci as i64),
    ("STATE_IOREQ_NONE", ioreq::State::None as i64),
    ("STATE_IOREQ_READY", ioreq::State::Ready as i64),
    ("STATE_IOREQ_INPROCESS", ioreq::State::InProcess as i64),
    ("STATE_IORESP_READY", ioreq::State::ResponseReady as i64),
    ("IOREQ_TYPE_PIO", ioreq::RequestType::Port as i64),
    ("IOREQ_TYPE_COPY", ioreq::RequestType::Copy as i64),
    ("IOREQ_TYPE_PCI_CONFIG", ioreq::RequestType::PciConfig as i64),
    ("IOREQ_TYPE_TIMEOFFSET", ioreq::RequestType::TimeOffset as i64),
    ("IOREQ_TYPE_INVALIDATE", ioreq::RequestType::Invalidate as i64),
    ("HVM_PARAM_CALLBACK_TYPE_PPI", hvm::callback_ppi(Intid(0)) as i64 >> 56),
    ("HVM_PARAM_CALLBACK_TYPE_PPI_FLAG_LOW_LEVEL", hvm::callback_ppi(Intid(0)) as i64 >> 8 & 0xff),
    ("DOMID_FIRST_RESERVED", 0x7ff0),
    ("DOMID_SELF", 0x7ff0),
];
