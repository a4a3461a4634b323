//! Every call of Xen's public headers with every sub-operation, by the headers' own names. A test compares the lists with
//! the headers of each version.

mod absent;
mod control;
mod domain;
mod memory;

pub use absent::{ARGO, CALLBACK, HYPFS, KEXEC, NMI, PMU, XSM};
pub use control::{DOMCTL, PHYSDEV, PLATFORM, SYSCTL};
pub use domain::{CONSOLE, DM, EVENT, HVM, HVM_PARAMS, SCHED, VCPU, VERSION, VM_ASSIST_TYPES};
pub use memory::{GRANT, MAP_SPACES, MEMORY};

/// How a sub-operation stands in the registers and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The number is x16 itself.
    Bare,
    /// x0: the number; x1: a structure.
    Pointer,
    /// `memory_op`: as `Pointer`.
    Memory,
    /// The number is the space of `XENMEM_add_to_physmap`.
    MapSpace,
    /// x0: the number; x1: an array; x2: its length.
    Grant,
    /// `xen_version`: as `Pointer`.
    Version,
    /// x0: the number; x1: bytes; x2: a buffer.
    Console,
    /// x0: on or off; x1: the number.
    VmAssist,
    /// x0: the number; x1: a vCPU; x2: a structure.
    Vcpu,
    /// `sched_op`: as `Pointer`.
    Sched,
    /// `event_channel_op`: as `Pointer`.
    Event,
    /// `hvm_op`: as `Pointer`.
    Hvm,
    /// The number is the parameter of `HVMOP_get_param`.
    HvmParam,
    /// x0: a structure with number, version and domain.
    Domctl,
    /// x0: a structure with number and version.
    Sysctl,
    /// x0: a structure with number and version.
    Platform,
    /// x0: a structure with number and version.
    Xsm,
    /// x0: a domain; x1: the number of buffers; x2: their array. The number is in the first buffer.
    Dm,
}

/// A sub-operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sub {
    /// Its number.
    pub number: u64,
    /// Its name in the headers.
    pub name: &'static str,
    /// Whether the headers of Xen 4.17 have it too; else only those of 4.20.
    pub in_4_17: bool,
}

impl Sub {
    const fn new(number: u64, name: &'static str) -> Self {
        Sub { number, name, in_4_17: true }
    }

    const fn since_4_20(number: u64, name: &'static str) -> Self {
        Sub { number, name, in_4_17: false }
    }
}

/// A call with its sub-operations.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The call's name.
    pub name: &'static str,
    /// Its number.
    pub number: u64,
    /// The header that has the sub-operations.
    pub header: &'static str,
    /// How they are asked for.
    pub form: Form,
    /// The sub-operations in the order of their numbers.
    pub subs: &'static [Sub],
}

/// The families by their numbers; calls without sub-operations are in [`CALLS`]. What may change how another call is
/// answered comes last.
pub const ALL: &[Family] = &[
    PLATFORM,
    MEMORY,
    MAP_SPACES,
    VERSION,
    CONSOLE,
    GRANT,
    VM_ASSIST_TYPES,
    VCPU,
    XSM,
    NMI,
    CALLBACK,
    EVENT,
    PHYSDEV,
    HVM,
    HVM_PARAMS,
    SYSCTL,
    KEXEC,
    ARGO,
    PMU,
    DM,
    HYPFS,
    DOMCTL,
    SCHED,
];

/// The calls themselves (`public/xen.h`).
pub const CALLS: Family = Family {
    name: "hypercalls",
    number: 0,
    header: "xen.h",
    form: Form::Bare,
    subs: &[
        Sub::new(0, "__HYPERVISOR_set_trap_table"),
        Sub::new(1, "__HYPERVISOR_mmu_update"),
        Sub::new(2, "__HYPERVISOR_set_gdt"),
        Sub::new(3, "__HYPERVISOR_stack_switch"),
        Sub::new(4, "__HYPERVISOR_set_callbacks"),
        Sub::new(5, "__HYPERVISOR_fpu_taskswitch"),
        Sub::new(6, "__HYPERVISOR_sched_op_compat"),
        Sub::new(7, "__HYPERVISOR_platform_op"),
        Sub::new(8, "__HYPERVISOR_set_debugreg"),
        Sub::new(9, "__HYPERVISOR_get_debugreg"),
        Sub::new(10, "__HYPERVISOR_update_descriptor"),
        Sub::new(12, "__HYPERVISOR_memory_op"),
        Sub::new(13, "__HYPERVISOR_multicall"),
        Sub::new(14, "__HYPERVISOR_update_va_mapping"),
        Sub::new(15, "__HYPERVISOR_set_timer_op"),
        Sub::new(16, "__HYPERVISOR_event_channel_op_compat"),
        Sub::new(17, "__HYPERVISOR_xen_version"),
        Sub::new(18, "__HYPERVISOR_console_io"),
        Sub::new(19, "__HYPERVISOR_physdev_op_compat"),
        Sub::new(20, "__HYPERVISOR_grant_table_op"),
        Sub::new(21, "__HYPERVISOR_vm_assist"),
        Sub::new(22, "__HYPERVISOR_update_va_mapping_otherdomain"),
        Sub::new(23, "__HYPERVISOR_iret"),
        Sub::new(24, "__HYPERVISOR_vcpu_op"),
        Sub::new(25, "__HYPERVISOR_set_segment_base"),
        Sub::new(26, "__HYPERVISOR_mmuext_op"),
        Sub::new(27, "__HYPERVISOR_xsm_op"),
        Sub::new(28, "__HYPERVISOR_nmi_op"),
        Sub::new(29, "__HYPERVISOR_sched_op"),
        Sub::new(30, "__HYPERVISOR_callback_op"),
        Sub::new(31, "__HYPERVISOR_xenoprof_op"),
        Sub::new(32, "__HYPERVISOR_event_channel_op"),
        Sub::new(33, "__HYPERVISOR_physdev_op"),
        Sub::new(34, "__HYPERVISOR_hvm_op"),
        Sub::new(35, "__HYPERVISOR_sysctl"),
        Sub::new(36, "__HYPERVISOR_domctl"),
        Sub::new(37, "__HYPERVISOR_kexec_op"),
        Sub::new(38, "__HYPERVISOR_tmem_op"),
        Sub::new(39, "__HYPERVISOR_argo_op"),
        Sub::new(40, "__HYPERVISOR_xenpmu_op"),
        Sub::new(41, "__HYPERVISOR_dm_op"),
        Sub::new(42, "__HYPERVISOR_hypfs_op"),
        Sub::new(48, "__HYPERVISOR_arch_0"),
        Sub::new(49, "__HYPERVISOR_arch_1"),
        Sub::new(50, "__HYPERVISOR_arch_2"),
        Sub::new(51, "__HYPERVISOR_arch_3"),
        Sub::new(52, "__HYPERVISOR_arch_4"),
        Sub::new(53, "__HYPERVISOR_arch_5"),
        Sub::new(54, "__HYPERVISOR_arch_6"),
        Sub::new(55, "__HYPERVISOR_arch_7"),
    ],
};

/// Those of [`CALLS`] that [`ALL`] has no family for.
pub fn calls_alone() -> impl Iterator<Item = &'static Sub> {
    CALLS.subs.iter().filter(|call| ALL.iter().all(|family| family.number != call.number))
}
