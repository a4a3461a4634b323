//! Every call of the headers is in `calls::families`, and every number of a call in `abi/` is there under its name.

use calls::families::{self, Family};
use xenolith_abi::{
    console, dm, domctl, event, grant, hvm, hypercall, memory, physdev, platform, sched, sysctl, vcpu,
    version,
};

use super::compiler::Version;

/// How the names of a family's sub-operations begin, and how names begin that look alike and are none.
const PREFIXES: &[(&Family, &str, &[&str])] = &[
    (&families::CALLS, "__HYPERVISOR_", &[]),
    (
        &families::MEMORY,
        "XENMEM_",
        &[
            "XENMEM_paging_op_",
            "XENMEM_access_op_",
            "XENMEM_sharing_op_",
            "XENMEM_resource_",
            "XENMEM_add_to_physmap_range",
        ],
    ),
    (&families::MAP_SPACES, "XENMAPSPACE_", &[]),
    (&families::VERSION, "XENVER_", &[]),
    (&families::GRANT, "GNTTABOP_", &["GNTTABOP_error_msgs"]),
    (&families::VM_ASSIST_TYPES, "VMASST_TYPE_", &[]),
    (&families::VCPU, "VCPUOP_", &[]),
    (&families::SCHED, "SCHEDOP_", &[]),
    (&families::EVENT, "EVTCHNOP_", &[]),
    (&families::PHYSDEV, "PHYSDEVOP_", &["PHYSDEVOP_pirq_eoi_gmfn"]),
    (&families::HVM, "HVMOP_", &["HVMOP_altp2m_"]),
    (&families::HVM_PARAMS, "HVM_PARAM_", &["HVM_PARAM_CALLBACK_IRQ_", "HVM_PARAM_CALLBACK_TYPE_"]),
    (
        &families::SYSCTL,
        "XEN_SYSCTL_",
        &["XEN_SYSCTL_pm_op_", "XEN_SYSCTL_cpu_featureset_", "XEN_SYSCTL_cpu_policy_"],
    ),
    (
        &families::DOMCTL,
        "XEN_DOMCTL_",
        &[
            "XEN_DOMCTL_vmtrace_enable",
            "XEN_DOMCTL_vmtrace_disable",
            "XEN_DOMCTL_vmtrace_reset",
            "XEN_DOMCTL_vmtrace_output",
            "XEN_DOMCTL_vmtrace_get",
            "XEN_DOMCTL_vmtrace_set",
        ],
    ),
    (&families::DM, "XEN_DMOP_", &["XEN_DMOP_no_gfns"]),
    (&families::PLATFORM, "XENPF_", &["XENPF_settime"]),
    (&families::CONSOLE, "CONSOLEIO_", &[]),
    (&families::XSM, "FLASK_", &[]),
    (&families::ARGO, "XEN_ARGO_OP_", &[]),
    (&families::PMU, "XENPMU_", &[]),
    (&families::HYPFS, "XEN_HYPFS_OP_", &[]),
    (&families::NMI, "XENNMI_", &[]),
    (&families::CALLBACK, "CALLBACKOP_", &[]),
    (&families::KEXEC, "KEXEC_CMD_", &[]),
];

/// Names of macros that no family has.
pub fn left_out(macros: &[(String, String)], version: Version) -> Vec<String> {
    let mut faults = Vec::new();
    for (family, prefix, others) in PREFIXES {
        let is_known = |name: &str| {
            family.subs.iter().any(|sub| sub.name == name && (sub.in_4_17 || version == Version::V4_20))
        };
        let names = macros.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with(prefix));
        let of_calls = names
            .filter(|name| is_call(family, prefix, name) && !others.iter().any(|other| starts(name, other)));
        faults.extend(of_calls.filter(|name| !is_known(name)).map(str::to_owned));
        if !families::ALL.iter().any(|known| known.name == family.name) && family.name != families::CALLS.name
        {
            faults.push(format!("{} is in no list", family.name));
        }
    }
    assert_eq!(PREFIXES.len(), families::ALL.len() + 1, "each family has its prefix");
    faults
}

/// A name that ends as the other does not is meant by its beginning only where that ends in a bar.
fn starts(name: &str, other: &str) -> bool {
    name == other
        || other.ends_with('_') && name.starts_with(other)
        || other.contains("vmtrace") && name.starts_with(other)
}

/// Flags and types are in capitals, calls are not; some families have capitals only.
fn is_call(family: &Family, prefix: &str, name: &str) -> bool {
    const CAPITALS: [&str; 2] = [families::HVM_PARAMS.name, families::XSM.name];
    let rest = name.get(prefix.len()..).unwrap_or_default();
    let begins = |test: fn(&char) -> bool| rest.chars().next().is_some_and(|first| test(&first));
    begins(char::is_ascii_lowercase) || CAPITALS.contains(&family.name) || rest.starts_with("4gb")
}

/// The value's name as the headers would have it: without bars, in small letters.
fn plain(text: &str) -> String {
    text.replace('_', "").to_ascii_lowercase()
}

/// Numbers of `abi/` that have another name in the lists, or none. Some names are longer there than what they mean here.
pub fn without_name() -> Vec<String> {
    let mut faults = Vec::new();
    macro_rules! check {
        ($family:ident, $type:path, $prefix:literal $(, $ours:literal => $theirs:literal)* $(,)?) => {
            for value in <$type>::ALL {
                let ours = format!("{value:?}");
                let wanted = match ours.as_str() {
                    $($ours => $theirs.to_owned(),)*
                    name => plain(&format!("{}{name}", $prefix)),
                };
                let number = u64::from(value.number());
                let known = families::$family.subs.iter().any(|sub| sub.number == number && plain(sub.name) == wanted);
                if !known && !is_own(&ours) {
                    faults.push(format!("{ours} is {number}, which is not the number of {wanted}"));
                }
            }
        };
    }
    check!(CALLS, hypercall::Hypercall, "__HYPERVISOR_");
    check!(MEMORY, memory::MemoryOp, "XENMEM_");
    check!(MAP_SPACES, memory::MapSpace, "XENMAPSPACE_");
    check!(VERSION, version::VersionOp, "XENVER_");
    check!(GRANT, grant::GrantOp, "GNTTABOP_");
    check!(VCPU, vcpu::VcpuOp, "VCPUOP_");
    check!(SCHED, sched::SchedOp, "SCHEDOP_");
    check!(EVENT, event::EventOp, "EVTCHNOP_");
    check!(PHYSDEV, physdev::PhysdevOp, "PHYSDEVOP_");
    check!(HVM, hvm::HvmOp, "HVMOP_");
    check!(HVM_PARAMS, hvm::HvmParam, "HVM_PARAM_");
    check!(SYSCTL, sysctl::SysctlOp, "XEN_SYSCTL_");
    check!(DOMCTL, domctl::DomctlOp, "XEN_DOMCTL_");
    check!(
        DM, dm::DmOp, "XEN_DMOP_",
        "CreateServer" => "xendmopcreateioreqserver",
        "ServerInfo" => "xendmopgetioreqserverinfo",
        "MapRange" => "xendmopmapiorangetoioreqserver",
        "UnmapRange" => "xendmopunmapiorangefromioreqserver",
        "SetServerState" => "xendmopsetioreqserverstate",
        "DestroyServer" => "xendmopdestroyioreqserver",
    );
    check!(PLATFORM, platform::PlatformOp, "XENPF_");
    check!(CONSOLE, console::ConsoleOp, "CONSOLEIO_");
    faults
}

/// A call that is not Xen's.
fn is_own(name: &str) -> bool {
    name == "Xenolith"
}
