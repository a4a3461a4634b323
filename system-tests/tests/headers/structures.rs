//! The structures of `abi/` with those of the headers, and their fields with theirs.

use std::mem::{align_of, offset_of, size_of};

use super::compiler::Version;
use super::sources::Names;

/// What is asked of the compiler, and what we say.
pub struct Question {
    /// A C expression.
    pub c: String,
    /// Our value.
    pub ours: i64,
}

/// A field of a structure.
struct Field {
    name: &'static str,
    offset: usize,
    /// Its name in the headers; none for what C cannot tell the offset of.
    c: Option<&'static str>,
    /// The version whose headers have it, if not both.
    only: Option<Version>,
}

/// A structure.
struct Structure {
    name: &'static str,
    size: usize,
    align: usize,
    /// Its type in the headers of each version; none if they lack it.
    c: [Option<&'static str>; 2],
    /// The field before which it ends, for one that is only the beginning of the headers'.
    end: Option<&'static str>,
    fields: Vec<Field>,
}

/// What a row of the table says of the versions.
macro_rules! version {
    (both) => {
        None
    };
    (old) => {
        Some(Version::V4_17)
    };
    (new) => {
        Some(Version::V4_20)
    };
}

/// A row for each structure: `ours, [theirs in 4.17, in 4.20], end { our field = "their field" version, … }`.
macro_rules! structures {
    ($($module:ident::$name:ident, [$old:expr, $new:expr], $end:expr, { $($field:ident = $c:expr, $version:ident;)* })*) => {
        vec![$({
            type Ours = xenolith_abi::$module::$name;
            Structure {
                name: concat!(stringify!($module), "::", stringify!($name)),
                size: size_of::<Ours>(),
                align: align_of::<Ours>(),
                c: [$old, $new],
                end: $end,
                fields: vec![$(Field {
                    name: stringify!($field),
                    offset: offset_of!(Ours, $field),
                    c: $c,
                    only: version!($version),
                },)*],
            }
        },)*]
    };
}

/// All structures with their fields.
pub fn names() -> Names {
    let names = |structure: Structure| {
        let fields = structure.fields.iter().map(|field| field.name.to_owned()).collect();
        (structure.name.to_owned(), fields)
    };
    all().into_iter().map(names).collect()
}

/// Sizes, alignments and offsets.
pub fn questions(version: Version) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut ask = |c: String, ours: usize| questions.push(Question { c, ours: ours as i64 });
    for structure in all() {
        let Some(c) = structure.c[version as usize] else { continue };
        match structure.end {
            Some(end) => ask(format!("offsetof({c}, {end})"), structure.size),
            None => {
                ask(format!("sizeof({c})"), structure.size);
                ask(format!("_Alignof({c})"), structure.align);
            }
        }
        for field in structure.fields {
            if let Some(name) = field.c.filter(|_| field.only.is_none_or(|only| only == version)) {
                ask(format!("offsetof({c}, {name})"), field.offset);
            }
        }
    }
    questions
}

fn all() -> Vec<Structure> {
    structures! {
        control::Bitmap, [Some("struct xenctl_bitmap"), Some("struct xenctl_bitmap")], None, {
            bitmap = Some("bitmap"), both;
            nr_bits = Some("nr_bits"), both;
        }
        control::Payload, [Some("__typeof__(((struct xen_domctl *)0)->u)"), Some("__typeof__(((struct xen_domctl *)0)->u)")], None, {}
        domctl::Domctl, [Some("struct xen_domctl"), Some("struct xen_domctl")], None, {
            cmd = Some("cmd"), both;
            interface_version = Some("interface_version"), both;
            domain = Some("domain"), both;
            payload = Some("u"), both;
        }
        domctl::CreateDomain, [None, Some("struct xen_domctl_createdomain")], None, {
            ssidref = Some("ssidref"), both;
            handle = Some("handle"), both;
            flags = Some("flags"), both;
            iommu_opts = Some("iommu_opts"), both;
            max_vcpus = Some("max_vcpus"), both;
            max_evtchn_port = Some("max_evtchn_port"), both;
            max_grant_frames = Some("max_grant_frames"), both;
            max_maptrack_frames = Some("max_maptrack_frames"), both;
            grant_opts = Some("grant_opts"), both;
            altp2m_opts = Some("altp2m_opts"), both;
            vmtrace_size = Some("vmtrace_size"), both;
            cpupool_id = Some("cpupool_id"), both;
            arch = Some("arch"), both;
        }
        domctl::CreateDomainV15, [Some("struct xen_domctl_createdomain"), None], None, {
            ssidref = Some("ssidref"), both;
            handle = Some("handle"), both;
            flags = Some("flags"), both;
            iommu_opts = Some("iommu_opts"), both;
            max_vcpus = Some("max_vcpus"), both;
            max_evtchn_port = Some("max_evtchn_port"), both;
            max_grant_frames = Some("max_grant_frames"), both;
            max_maptrack_frames = Some("max_maptrack_frames"), both;
            grant_opts = Some("grant_opts"), both;
            vmtrace_size = Some("vmtrace_size"), both;
            cpupool_id = Some("cpupool_id"), both;
            arch = Some("arch"), both;
        }
        domctl::ArchDomainConfig, [Some("struct xen_arch_domainconfig"), Some("struct xen_arch_domainconfig")], None, {
            gic_version = Some("gic_version"), both;
            sve_vl = Some("sve_vl"), new;
            tee_type = Some("tee_type"), both;
            nr_spis = Some("nr_spis"), both;
            clock_frequency = Some("clock_frequency"), both;
        }
        domctl::ArchDomainInfo, [Some("struct xen_arch_domainconfig"), Some("struct xen_arch_domainconfig")], None, {
            gic_version = Some("gic_version"), both;
            sve_vl = Some("sve_vl"), new;
            tee_type = Some("tee_type"), both;
            nr_spis = Some("nr_spis"), both;
            clock_frequency = Some("clock_frequency"), both;
        }
        domctl::DomainInfo, [Some("struct xen_domctl_getdomaininfo"), Some("struct xen_domctl_getdomaininfo")], None, {
            domain = Some("domain"), both;
            flags = Some("flags"), both;
            tot_pages = Some("tot_pages"), both;
            max_pages = Some("max_pages"), both;
            outstanding_pages = Some("outstanding_pages"), both;
            shr_pages = Some("shr_pages"), both;
            paged_pages = Some("paged_pages"), both;
            shared_info_frame = Some("shared_info_frame"), both;
            cpu_time = Some("cpu_time"), both;
            nr_online_vcpus = Some("nr_online_vcpus"), both;
            max_vcpu_id = Some("max_vcpu_id"), both;
            ssidref = Some("ssidref"), both;
            handle = Some("handle"), both;
            cpupool = Some("cpupool"), both;
            gpaddr_bits = Some("gpaddr_bits"), both;
            arch = Some("arch_config"), both;
        }
        domctl::MaxVcpus, [Some("struct xen_domctl_max_vcpus"), Some("struct xen_domctl_max_vcpus")], None, {
            max = Some("max"), both;
        }
        domctl::SetDomainHandle, [Some("struct xen_domctl_setdomainhandle"), Some("struct xen_domctl_setdomainhandle")], None, {
            handle = Some("handle"), both;
        }
        domctl::VcpuAffinity, [Some("struct xen_domctl_vcpuaffinity"), Some("struct xen_domctl_vcpuaffinity")], None, {
            vcpu = Some("vcpu"), both;
            flags = Some("flags"), both;
            cpumap_hard = Some("cpumap_hard"), both;
            cpumap_soft = Some("cpumap_soft"), both;
        }
        domctl::NodeAffinity, [Some("struct xen_domctl_nodeaffinity"), Some("struct xen_domctl_nodeaffinity")], None, {
            nodemap = Some("nodemap"), both;
        }
        domctl::VcpuInfo, [Some("struct xen_domctl_getvcpuinfo"), Some("struct xen_domctl_getvcpuinfo")], None, {
            vcpu = Some("vcpu"), both;
            online = Some("online"), both;
            blocked = Some("blocked"), both;
            running = Some("running"), both;
            cpu_time = Some("cpu_time"), both;
            cpu = Some("cpu"), both;
        }
        domctl::DomainSchedulerOp, [Some("struct xen_domctl_scheduler_op"), Some("struct xen_domctl_scheduler_op")], None, {
            sched_id = Some("sched_id"), both;
            cmd = Some("cmd"), both;
            weight = Some("u.credit.weight"), both;
            cap = Some("u.credit.cap"), both;
        }
        domctl::VcpuContext, [Some("struct xen_domctl_vcpucontext"), Some("struct xen_domctl_vcpucontext")], None, {
            vcpu = Some("vcpu"), both;
            ctxt = Some("ctxt"), both;
        }
        domctl::VcpuGuestCoreRegs, [Some("struct vcpu_guest_core_regs"), Some("struct vcpu_guest_core_regs")], None, {
            x = Some("x0"), both;
            pc = Some("pc64"), both;
            cpsr = Some("cpsr"), both;
            spsr_el1 = Some("spsr_el1"), both;
            spsr_fiq = Some("spsr_fiq"), both;
            spsr_irq = Some("spsr_irq"), both;
            spsr_und = Some("spsr_und"), both;
            spsr_abt = Some("spsr_abt"), both;
            sp_el0 = Some("sp_el0"), both;
            sp_el1 = Some("sp_el1"), both;
            elr_el1 = Some("elr_el1"), both;
        }
        domctl::VcpuGuestContext, [Some("struct vcpu_guest_context"), Some("struct vcpu_guest_context")], None, {
            flags = Some("flags"), both;
            user_regs = Some("user_regs"), both;
            sctlr = Some("sctlr"), both;
            ttbcr = Some("ttbcr"), both;
            ttbr0 = Some("ttbr0"), both;
            ttbr1 = Some("ttbr1"), both;
        }
        domctl::MaxMem, [Some("struct xen_domctl_max_mem"), Some("struct xen_domctl_max_mem")], None, {
            max_memkb = Some("max_memkb"), both;
        }
        domctl::AddressSize, [Some("struct xen_domctl_address_size"), Some("struct xen_domctl_address_size")], None, {
            size = Some("size"), both;
        }
        domctl::CacheFlush, [Some("struct xen_domctl_cacheflush"), Some("struct xen_domctl_cacheflush")], None, {
            start_pfn = Some("start_pfn"), both;
            nr_pfns = Some("nr_pfns"), both;
        }
        domctl::PagingMempool, [Some("struct xen_domctl_paging_mempool"), Some("struct xen_domctl_paging_mempool")], None, {
            size = Some("size"), both;
        }
        domctl::SetLlcColors, [None, Some("struct xen_domctl_set_llc_colors")], None, {
            num_llc_colors = Some("num_llc_colors"), both;
            pad = Some("pad"), both;
            llc_colors = Some("llc_colors"), both;
        }
        domctl::IrqPermission, [Some("struct xen_domctl_irq_permission"), Some("struct xen_domctl_irq_permission")], None, {
            pirq = Some("pirq"), both;
            allow_access = Some("allow_access"), both;
        }
        domctl::IomemPermission, [Some("struct xen_domctl_iomem_permission"), Some("struct xen_domctl_iomem_permission")], None, {
            first_mfn = Some("first_mfn"), both;
            nr_mfns = Some("nr_mfns"), both;
            allow_access = Some("allow_access"), both;
        }
        domctl::MemoryMapping, [Some("struct xen_domctl_memory_mapping"), Some("struct xen_domctl_memory_mapping")], None, {
            first_gfn = Some("first_gfn"), both;
            first_mfn = Some("first_mfn"), both;
            nr_mfns = Some("nr_mfns"), both;
            add_mapping = Some("add_mapping"), both;
        }
        domctl::BindPtIrq, [Some("struct xen_domctl_bind_pt_irq"), Some("struct xen_domctl_bind_pt_irq")], None, {
            machine_irq = Some("machine_irq"), both;
            irq_type = Some("irq_type"), both;
            spi = Some("u.spi.spi"), both;
        }
        domctl::AssignDevice, [Some("struct xen_domctl_assign_device"), Some("struct xen_domctl_assign_device")], None, {
            dev = Some("dev"), both;
            flags = Some("flags"), both;
            size = Some("u.dt.size"), both;
            path = Some("u.dt.path"), both;
        }
        domctl::SetTarget, [Some("struct xen_domctl_set_target"), Some("struct xen_domctl_set_target")], None, {
            target = Some("target"), both;
        }
        domctl::SetVirqHandler, [Some("struct xen_domctl_set_virq_handler"), Some("struct xen_domctl_set_virq_handler")], None, {
            virq = Some("virq"), both;
        }
        domctl::VuartOp, [Some("struct xen_domctl_vuart_op"), Some("struct xen_domctl_vuart_op")], None, {
            cmd = Some("cmd"), both;
            kind = Some("type"), both;
            gfn = Some("gfn"), both;
            console_domid = Some("console_domid"), both;
            evtchn = Some("evtchn"), both;
        }
        sysctl::Sysctl, [Some("struct xen_sysctl"), Some("struct xen_sysctl")], None, {
            cmd = Some("cmd"), both;
            interface_version = Some("interface_version"), both;
            payload = Some("u"), both;
        }
        sysctl::ReadConsole, [Some("struct xen_sysctl_readconsole"), Some("struct xen_sysctl_readconsole")], None, {
            clear = Some("clear"), both;
            incremental = Some("incremental"), both;
            index = Some("index"), both;
            buffer = Some("buffer"), both;
            count = Some("count"), both;
        }
        sysctl::GetDomainInfoList, [Some("struct xen_sysctl_getdomaininfolist"), Some("struct xen_sysctl_getdomaininfolist")], None, {
            first_domain = Some("first_domain"), both;
            max_domains = Some("max_domains"), both;
            buffer = Some("buffer"), both;
            num_domains = Some("num_domains"), both;
        }
        sysctl::PhysInfo, [Some("struct xen_sysctl_physinfo"), Some("struct xen_sysctl_physinfo")], None, {
            threads_per_core = Some("threads_per_core"), both;
            cores_per_socket = Some("cores_per_socket"), both;
            nr_cpus = Some("nr_cpus"), both;
            max_cpu_id = Some("max_cpu_id"), both;
            nr_nodes = Some("nr_nodes"), both;
            max_node_id = Some("max_node_id"), both;
            cpu_khz = Some("cpu_khz"), both;
            capabilities = Some("capabilities"), both;
            arch_capabilities = Some("arch_capabilities"), both;
            total_pages = Some("total_pages"), both;
            free_pages = Some("free_pages"), both;
            scrub_pages = Some("scrub_pages"), both;
            outstanding_pages = Some("outstanding_pages"), both;
            max_mfn = Some("max_mfn"), both;
            hw_cap = Some("hw_cap"), both;
        }
        sysctl::GetCpuInfo, [Some("struct xen_sysctl_getcpuinfo"), Some("struct xen_sysctl_getcpuinfo")], None, {
            max_cpus = Some("max_cpus"), both;
            info = Some("info"), both;
            nr_cpus = Some("nr_cpus"), both;
        }
        sysctl::CpuIdle, [Some("struct xen_sysctl_cpuinfo"), Some("struct xen_sysctl_cpuinfo")], None, {
            idletime = Some("idletime"), both;
        }
        sysctl::AvailHeap, [Some("struct xen_sysctl_availheap"), Some("struct xen_sysctl_availheap")], None, {
            min_bitwidth = Some("min_bitwidth"), both;
            max_bitwidth = Some("max_bitwidth"), both;
            node = Some("node"), both;
            avail_bytes = Some("avail_bytes"), both;
        }
        sysctl::DebugKeys, [Some("struct xen_sysctl_debug_keys"), Some("struct xen_sysctl_debug_keys")], None, {
            keys = Some("keys"), both;
            nr_keys = Some("nr_keys"), both;
        }
        sysctl::SchedId, [Some("struct xen_sysctl_sched_id"), Some("struct xen_sysctl_sched_id")], None, {
            sched_id = Some("sched_id"), both;
        }
        sysctl::CpuPoolOp, [Some("struct xen_sysctl_cpupool_op"), Some("struct xen_sysctl_cpupool_op")], None, {
            op = Some("op"), both;
            cpupool_id = Some("cpupool_id"), both;
            sched_id = Some("sched_id"), both;
            domid = Some("domid"), both;
            cpu = Some("cpu"), both;
            n_dom = Some("n_dom"), both;
            cpumap = Some("cpumap"), both;
        }
        sysctl::Credit2, [Some("struct xen_sysctl_credit2_schedule"), Some("struct xen_sysctl_credit2_schedule")], None, {
            ratelimit_us = Some("ratelimit_us"), both;
        }
        sysctl::SystemSchedulerOp, [Some("struct xen_sysctl_scheduler_op"), Some("struct xen_sysctl_scheduler_op")], None, {
            cpupool_id = Some("cpupool_id"), both;
            sched_id = Some("sched_id"), both;
            cmd = Some("cmd"), both;
            credit2 = Some("u.sched_credit2"), both;
        }
        sysctl::CpuTopoInfo, [Some("struct xen_sysctl_cputopoinfo"), Some("struct xen_sysctl_cputopoinfo")], None, {
            num_cpus = Some("num_cpus"), both;
            cputopo = Some("cputopo"), both;
        }
        sysctl::CpuTopo, [Some("struct xen_sysctl_cputopo"), Some("struct xen_sysctl_cputopo")], None, {
            core = Some("core"), both;
            socket = Some("socket"), both;
            node = Some("node"), both;
        }
        sysctl::NumaInfo, [Some("struct xen_sysctl_numainfo"), Some("struct xen_sysctl_numainfo")], None, {
            num_nodes = Some("num_nodes"), both;
            meminfo = Some("meminfo"), both;
            distance = Some("distance"), both;
        }
        sysctl::NodeMemory, [Some("struct xen_sysctl_meminfo"), Some("struct xen_sysctl_meminfo")], None, {
            memsize = Some("memsize"), both;
            memfree = Some("memfree"), both;
        }
        grant::EntryV1, [Some("struct grant_entry_v1"), Some("struct grant_entry_v1")], None, {
            flags = Some("flags"), both;
            domid = Some("domid"), both;
            frame = Some("frame"), both;
        }
        grant::MapGrantRef, [Some("struct gnttab_map_grant_ref"), Some("struct gnttab_map_grant_ref")], None, {
            host_addr = Some("host_addr"), both;
            flags = Some("flags"), both;
            reference = Some("ref"), both;
            dom = Some("dom"), both;
            status = Some("status"), both;
            handle = Some("handle"), both;
            dev_bus_addr = Some("dev_bus_addr"), both;
        }
        grant::UnmapGrantRef, [Some("struct gnttab_unmap_grant_ref"), Some("struct gnttab_unmap_grant_ref")], None, {
            host_addr = Some("host_addr"), both;
            dev_bus_addr = Some("dev_bus_addr"), both;
            handle = Some("handle"), both;
            status = Some("status"), both;
        }
        grant::SetupTable, [Some("struct gnttab_setup_table"), Some("struct gnttab_setup_table")], None, {
            dom = Some("dom"), both;
            nr_frames = Some("nr_frames"), both;
            status = Some("status"), both;
            frame_list = Some("frame_list"), both;
        }
        grant::CopySide, [Some("struct gnttab_copy_ptr"), Some("struct gnttab_copy_ptr")], None, {
            frame_or_reference = Some("u"), both;
            domid = Some("domid"), both;
            offset = Some("offset"), both;
        }
        grant::GrantCopy, [Some("struct gnttab_copy"), Some("struct gnttab_copy")], None, {
            source = Some("source"), both;
            dest = Some("dest"), both;
            len = Some("len"), both;
            flags = Some("flags"), both;
            status = Some("status"), both;
        }
        grant::QuerySize, [Some("struct gnttab_query_size"), Some("struct gnttab_query_size")], None, {
            dom = Some("dom"), both;
            nr_frames = Some("nr_frames"), both;
            max_nr_frames = Some("max_nr_frames"), both;
            status = Some("status"), both;
        }
        grant::UnmapAndReplace, [Some("struct gnttab_unmap_and_replace"), Some("struct gnttab_unmap_and_replace")], None, {
            host_addr = Some("host_addr"), both;
            new_addr = Some("new_addr"), both;
            handle = Some("handle"), both;
            status = Some("status"), both;
        }
        grant::GetStatusFrames, [Some("struct gnttab_get_status_frames"), Some("struct gnttab_get_status_frames")], None, {
            nr_frames = Some("nr_frames"), both;
            dom = Some("dom"), both;
            status = Some("status"), both;
            frame_list = Some("frame_list"), both;
        }
        grant::SetVersion, [Some("struct gnttab_set_version"), Some("struct gnttab_set_version")], None, {
            version = Some("version"), both;
        }
        grant::GetVersion, [Some("struct gnttab_get_version"), Some("struct gnttab_get_version")], None, {
            dom = Some("dom"), both;
            version = Some("version"), both;
        }
        grant::SwapGrantRef, [Some("struct gnttab_swap_grant_ref"), Some("struct gnttab_swap_grant_ref")], None, {
            a = Some("ref_a"), both;
            b = Some("ref_b"), both;
            status = Some("status"), both;
        }
        grant::CacheFlush, [Some("struct gnttab_cache_flush"), Some("struct gnttab_cache_flush")], None, {
            dev_bus_addr = Some("a.dev_bus_addr"), both;
            offset = Some("offset"), both;
            length = Some("length"), both;
            op = Some("op"), both;
        }
        multicall::MulticallEntry, [Some("struct multicall_entry"), Some("struct multicall_entry")], None, {
            op = Some("op"), both;
            result = Some("result"), both;
            args = Some("args"), both;
        }
        ioreq::Slot, [Some("struct ioreq"), Some("struct ioreq")], None, {
            addr = Some("addr"), both;
            data = Some("data"), both;
            count = Some("count"), both;
            size = Some("size"), both;
            vp_eport = Some("vp_eport"), both;
            flags = None, both;
            kind = Some("type"), both;
        }
        sched::Shutdown, [Some("struct sched_shutdown"), Some("struct sched_shutdown")], None, {
            reason = Some("reason"), both;
        }
        sched::Poll, [Some("struct sched_poll"), Some("struct sched_poll")], None, {
            ports = Some("ports"), both;
            nr_ports = Some("nr_ports"), both;
            timeout = Some("timeout"), both;
        }
        sched::RemoteShutdown, [Some("struct sched_remote_shutdown"), Some("struct sched_remote_shutdown")], None, {
            domain_id = Some("domain_id"), both;
            reason = Some("reason"), both;
        }
        sched::Watchdog, [Some("struct sched_watchdog"), Some("struct sched_watchdog")], None, {
            id = Some("id"), both;
            timeout = Some("timeout"), both;
        }
        sched::PinOverride, [Some("struct sched_pin_override"), Some("struct sched_pin_override")], None, {
            pcpu = Some("pcpu"), both;
        }
        version::CompileInfo, [Some("struct xen_compile_info"), Some("struct xen_compile_info")], None, {
            compiler = Some("compiler"), both;
            compile_by = Some("compile_by"), both;
            compile_domain = Some("compile_domain"), both;
            compile_date = Some("compile_date"), both;
        }
        version::FeatureInfo, [Some("struct xen_feature_info"), Some("struct xen_feature_info")], None, {
            submap_idx = Some("submap_idx"), both;
            submap = Some("submap"), both;
        }
        version::VariableBuffer, [Some("struct xen_build_id"), Some("struct xen_varbuf")], None, {
            len = Some("len"), both;
        }
        vcpu::RegisterRunstateMemoryArea, [Some("struct vcpu_register_runstate_memory_area"), Some("struct vcpu_register_runstate_memory_area")], None, {
            addr = Some("addr"), both;
        }
        vcpu::RegisterVcpuInfo, [Some("struct vcpu_register_vcpu_info"), Some("struct vcpu_register_vcpu_info")], None, {
            gfn = Some("mfn"), both;
            offset = Some("offset"), both;
            rsvd = Some("rsvd"), both;
        }
        event::BindInterdomain, [Some("struct evtchn_bind_interdomain"), Some("struct evtchn_bind_interdomain")], None, {
            remote_dom = Some("remote_dom"), both;
            remote_port = Some("remote_port"), both;
            local_port = Some("local_port"), both;
        }
        event::BindVirq, [Some("struct evtchn_bind_virq"), Some("struct evtchn_bind_virq")], None, {
            virq = Some("virq"), both;
            vcpu = Some("vcpu"), both;
            port = Some("port"), both;
        }
        event::AllocUnbound, [Some("struct evtchn_alloc_unbound"), Some("struct evtchn_alloc_unbound")], None, {
            dom = Some("dom"), both;
            remote_dom = Some("remote_dom"), both;
            port = Some("port"), both;
        }
        event::BindIpi, [Some("struct evtchn_bind_ipi"), Some("struct evtchn_bind_ipi")], None, {
            vcpu = Some("vcpu"), both;
            port = Some("port"), both;
        }
        event::PortArgument, [Some("struct evtchn_send"), Some("struct evtchn_send")], None, {
            port = Some("port"), both;
        }
        event::Status, [Some("struct evtchn_status"), Some("struct evtchn_status")], None, {
            dom = Some("dom"), both;
            port = Some("port"), both;
            status = Some("status"), both;
            vcpu = Some("vcpu"), both;
            bound_to = Some("u"), both;
            remote_port = Some("u.interdomain.port"), both;
        }
        event::BindVcpu, [Some("struct evtchn_bind_vcpu"), Some("struct evtchn_bind_vcpu")], None, {
            port = Some("port"), both;
            vcpu = Some("vcpu"), both;
        }
        event::Reset, [Some("struct evtchn_reset"), Some("struct evtchn_reset")], None, {
            dom = Some("dom"), both;
        }
        event::InitControl, [Some("struct evtchn_init_control"), Some("struct evtchn_init_control")], None, {
            control_gfn = Some("control_gfn"), both;
            offset = Some("offset"), both;
            vcpu = Some("vcpu"), both;
            link_bits = Some("link_bits"), both;
        }
        event::ExpandArray, [Some("struct evtchn_expand_array"), Some("struct evtchn_expand_array")], None, {
            array_gfn = Some("array_gfn"), both;
        }
        event::SetPriority, [Some("struct evtchn_set_priority"), Some("struct evtchn_set_priority")], None, {
            port = Some("port"), both;
            priority = Some("priority"), both;
        }
        memory::Reservation, [Some("struct xen_memory_reservation"), Some("struct xen_memory_reservation")], None, {
            extent_start = Some("extent_start"), both;
            nr_extents = Some("nr_extents"), both;
            extent_order = Some("extent_order"), both;
            mem_flags = Some("mem_flags"), both;
            domid = Some("domid"), both;
        }
        memory::MemoryDomain, [Some("domid_t"), Some("domid_t")], None, {
            domid = None, both;
        }
        memory::AddToPhysmap, [Some("struct xen_add_to_physmap"), Some("struct xen_add_to_physmap")], None, {
            domid = Some("domid"), both;
            size = Some("size"), both;
            space = Some("space"), both;
            idx = Some("idx"), both;
            gpfn = Some("gpfn"), both;
        }
        memory::AddToPhysmapBatch, [Some("struct xen_add_to_physmap_batch"), Some("struct xen_add_to_physmap_batch")], None, {
            domid = Some("domid"), both;
            space = Some("space"), both;
            size = Some("size"), both;
            foreign_domid = Some("u.foreign_domid"), both;
            idxs = Some("idxs"), both;
            gpfns = Some("gpfns"), both;
            errs = Some("errs"), both;
        }
        memory::RemoveFromPhysmap, [Some("struct xen_remove_from_physmap"), Some("struct xen_remove_from_physmap")], None, {
            domid = Some("domid"), both;
            gpfn = Some("gpfn"), both;
        }
        memory::AcquireResource, [Some("struct xen_mem_acquire_resource"), Some("struct xen_mem_acquire_resource")], None, {
            domid = Some("domid"), both;
            kind = Some("type"), both;
            id = Some("id"), both;
            nr_frames = Some("nr_frames"), both;
            pad = Some("pad"), both;
            frame = Some("frame"), both;
            frame_list = Some("frame_list"), both;
        }
        memory::ReservedDeviceMemoryMap, [Some("struct xen_reserved_device_memory_map"), Some("struct xen_reserved_device_memory_map")], None, {
            flags = Some("flags"), both;
            nr_entries = Some("nr_entries"), both;
            buffer = Some("buffer"), both;
            device = Some("dev"), both;
        }
        dm::Buffer, [Some("struct xen_dm_op_buf"), Some("struct xen_dm_op_buf")], None, {
            address = Some("h"), both;
            size = Some("size"), both;
        }
        dm::Header, [Some("struct xen_dm_op"), Some("struct xen_dm_op")], Some("u"), {
            op = Some("op"), both;
            pad = Some("pad"), both;
        }
        dm::CreateServer, [Some("struct xen_dm_op_create_ioreq_server"), Some("struct xen_dm_op_create_ioreq_server")], None, {
            handle_bufioreq = Some("handle_bufioreq"), both;
            id = Some("id"), both;
        }
        dm::ServerInfo, [Some("struct xen_dm_op_get_ioreq_server_info"), Some("struct xen_dm_op_get_ioreq_server_info")], None, {
            id = Some("id"), both;
            flags = Some("flags"), both;
            bufioreq_port = Some("bufioreq_port"), both;
            ioreq_gfn = Some("ioreq_gfn"), both;
            bufioreq_gfn = Some("bufioreq_gfn"), both;
        }
        dm::Range, [Some("struct xen_dm_op_ioreq_server_range"), Some("struct xen_dm_op_ioreq_server_range")], None, {
            id = Some("id"), both;
            kind = Some("type"), both;
            start = Some("start"), both;
            end = Some("end"), both;
        }
        dm::SetServerState, [Some("struct xen_dm_op_set_ioreq_server_state"), Some("struct xen_dm_op_set_ioreq_server_state")], None, {
            id = Some("id"), both;
            enabled = Some("enabled"), both;
        }
        dm::DestroyServer, [Some("struct xen_dm_op_destroy_ioreq_server"), Some("struct xen_dm_op_destroy_ioreq_server")], None, {
            id = Some("id"), both;
        }
        dm::SetIrqLevel, [Some("struct xen_dm_op_set_irq_level"), Some("struct xen_dm_op_set_irq_level")], None, {
            irq = Some("irq"), both;
            level = Some("level"), both;
        }
        dm::NrVcpus, [Some("struct xen_dm_op_nr_vcpus"), Some("struct xen_dm_op_nr_vcpus")], None, {
            vcpus = Some("vcpus"), both;
        }
        physdev::ManagePci, [Some("struct physdev_manage_pci"), Some("struct physdev_manage_pci")], None, {
            bus = Some("bus"), both;
            devfn = Some("devfn"), both;
        }
        physdev::PciDevice, [Some("struct physdev_pci_device"), Some("struct physdev_pci_device")], None, {
            seg = Some("seg"), both;
            bus = Some("bus"), both;
            devfn = Some("devfn"), both;
        }
        physdev::PciDeviceAdd, [Some("struct physdev_pci_device_add"), Some("struct physdev_pci_device_add")], None, {
            seg = Some("seg"), both;
            bus = Some("bus"), both;
            devfn = Some("devfn"), both;
            flags = Some("flags"), both;
            physfn_bus = Some("physfn.bus"), both;
            physfn_devfn = Some("physfn.devfn"), both;
        }
        hvm::HvmParamArgument, [Some("struct xen_hvm_param"), Some("struct xen_hvm_param")], None, {
            domid = Some("domid"), both;
            index = Some("index"), both;
            value = Some("value"), both;
        }
        shared::VcpuTimeInfo, [Some("struct vcpu_time_info"), Some("struct vcpu_time_info")], None, {
            version = Some("version"), both;
            tsc_timestamp = Some("tsc_timestamp"), both;
            system_time = Some("system_time"), both;
            tsc_to_system_mul = Some("tsc_to_system_mul"), both;
            tsc_shift = Some("tsc_shift"), both;
            flags = Some("flags"), both;
        }
        shared::VcpuInfo, [Some("struct vcpu_info"), Some("struct vcpu_info")], None, {
            evtchn_upcall_pending = Some("evtchn_upcall_pending"), both;
            evtchn_pending_sel = Some("evtchn_pending_sel"), both;
            time = Some("time"), both;
        }
        shared::SharedInfo, [Some("struct shared_info"), Some("struct shared_info")], None, {
            vcpu_info = Some("vcpu_info"), both;
            evtchn_pending = Some("evtchn_pending"), both;
            evtchn_mask = Some("evtchn_mask"), both;
            wc_version = Some("wc_version"), both;
            wc_sec = Some("wc_sec"), both;
            wc_nsec = Some("wc_nsec"), both;
            wc_sec_hi = Some("wc_sec_hi"), both;
        }
        shared::RunStateInfo, [Some("struct vcpu_runstate_info"), Some("struct vcpu_runstate_info")], None, {
            state = Some("state"), both;
            state_entry_time = Some("state_entry_time"), both;
            time = Some("time"), both;
        }
        platform::PlatformHeader, [Some("struct xen_platform_op"), Some("struct xen_platform_op")], Some("u"), {
            cmd = Some("cmd"), both;
            interface_version = Some("interface_version"), both;
        }
        platform::SetTime64, [Some("struct xenpf_settime64"), Some("struct xenpf_settime64")], None, {
            secs = Some("secs"), both;
            nsecs = Some("nsecs"), both;
            mbz = Some("mbz"), both;
            system_time = Some("system_time"), both;
        }
    }
}
