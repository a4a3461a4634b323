//! The firmware that a guest sees: PSCI 1.1 and the SMCCC services behind HVC #0 and SMC #0.
//!
//! Here a call is decoded and what needs no state is answered; whoever owns the domain's vCPUs does the rest.
//! Sources: Arm DEN 0022 (PSCI), DEN 0028 (SMCCC).

mod answer;

pub use answer::{Firmware, Mitigations, PsciAnswer, Workaround, answer};

pub use arm_psci::{AffinityInfo, ErrorCode};
use xenolith_core::types::VcpuId;

/// PSCI_VERSION: 1.1.
pub const PSCI_1_1: u32 = 0x1_0001;
/// SMCCC_VERSION: 1.1.
pub const SMCCC_1_1: u32 = 0x1_0001;
/// SMCCC_VERSION: 1.2.
pub const SMCCC_1_2: u32 = 0x1_0002;

/// SMCCC_ARCH_WORKAROUND_1 to 3.
pub const ARCH_WORKAROUNDS: [u32; 3] = [id::ARCH_WORKAROUND_1, id::ARCH_WORKAROUND_2, id::ARCH_WORKAROUND_3];

/// The value for X0 of a call's result: of PSCI, or of SMCCC where it is success or "not supported", which have the same
/// numbers there. X0 gets the sign in all 64 bits.
pub fn x0(result: Result<(), ErrorCode>) -> u64 {
    result.map_or_else(u64::from, |()| 0)
}

/// What a guest asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// PSCI_VERSION.
    Version,
    /// CPU_SUSPEND, which waits for an interrupt as WFI does, then returns success.
    CpuSuspend,
    /// CPU_OFF, which does not return.
    CpuOff,
    /// CPU_ON.
    CpuOn(CpuOn),
    /// AFFINITY_INFO.
    AffinityInfo {
        /// The target's affinity, in the layout of MPIDR_EL1.
        target: u64,
        /// The lowest level that counts; we know level 0 only. 32 bits in both conventions.
        level: u32,
    },
    /// MIGRATE_INFO_TYPE.
    MigrateInfoType,
    /// SYSTEM_OFF, which does not return.
    SystemOff,
    /// SYSTEM_RESET, which does not return.
    SystemReset,
    /// SYSTEM_SUSPEND, which does not return when it succeeds.
    SystemSuspend(SystemSuspend),
    /// PSCI_FEATURES of this function.
    Features(u32),
    /// SMCCC_VERSION.
    SmcccVersion,
    /// SMCCC_ARCH_FEATURES of this function.
    ArchFeatures(u32),
    /// SMCCC_ARCH_WORKAROUND_1, 2 or 3.
    Workaround,
    /// The number of functions of a service.
    CallCount(Service),
    /// The UUID of a service.
    Uuid(Service),
    /// The revision of a service.
    Revision(Service),
    /// Any other function.
    Unknown,
}

/// A group of SMCCC functions with an identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Standard secure services, which contain PSCI.
    Standard,
    /// Standard hypervisor services.
    Hypervisor,
}

/// A request to start a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuOn {
    /// The target's affinity, in the layout of MPIDR_EL1.
    pub target: u64,
    /// The address of its first instruction.
    pub entry: u64,
    /// Its X0.
    pub context: u64,
    /// The call of PSCI 0.1, which does not know [`ErrorCode::AlreadyOn`].
    pub legacy: bool,
}

impl CpuOn {
    /// The vCPU to start, if target and entry point are well formed. That it exists is for the caller to check.
    pub fn check(&self) -> Result<VcpuId, ErrorCode> {
        let vcpu = vcpu_of(self.target).ok_or(ErrorCode::InvalidParameters)?;
        if self.entry & 1 != 0 {
            return Err(ErrorCode::InvalidAddress);
        }
        Ok(vcpu)
    }

    /// The result as this version of the call names it.
    pub fn result(&self, result: Result<(), ErrorCode>) -> Result<(), ErrorCode> {
        result.map_err(|error| match error {
            ErrorCode::AlreadyOn if self.legacy => ErrorCode::InvalidParameters,
            error => error,
        })
    }
}

/// A request to suspend the domain; the vCPU that calls is the one with which it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemSuspend {
    /// The address of the first instruction after the suspension.
    pub entry: u64,
    /// X0 then.
    pub context: u64,
}

impl SystemSuspend {
    /// Whether the entry point is well formed.
    pub fn check(&self) -> Result<(), ErrorCode> {
        if self.entry & 1 != 0 { Err(ErrorCode::InvalidAddress) } else { Ok(()) }
    }
}

/// Function identifiers: those of PSCI from 0.2 on as `arm_psci` numbers them, then its older ones and SMCCC's.
///
/// Calls are compared with these numbers. `FunctionId::try_from` would find 38 functions, of which fourteen are served, and
/// costs the image a KiB; `arm_psci::Function` would also refuse arguments that count for nothing here.
mod id {
    use arm_psci::FunctionId;

    pub const PSCI_VERSION: u32 = FunctionId::PsciVersion as u32;
    pub const CPU_SUSPEND: u32 = FunctionId::CpuSuspend32 as u32;
    pub const CPU_SUSPEND_64: u32 = FunctionId::CpuSuspend64 as u32;
    pub const CPU_OFF: u32 = FunctionId::CpuOff as u32;
    pub const CPU_ON: u32 = FunctionId::CpuOn32 as u32;
    pub const CPU_ON_64: u32 = FunctionId::CpuOn64 as u32;
    pub const AFFINITY_INFO: u32 = FunctionId::AffinityInfo32 as u32;
    pub const AFFINITY_INFO_64: u32 = FunctionId::AffinityInfo64 as u32;
    pub const MIGRATE_INFO_TYPE: u32 = FunctionId::MigrateInfoType as u32;
    pub const SYSTEM_OFF: u32 = FunctionId::SystemOff as u32;
    pub const SYSTEM_RESET: u32 = FunctionId::SystemReset as u32;
    pub const SYSTEM_SUSPEND: u32 = FunctionId::SystemSuspend32 as u32;
    pub const SYSTEM_SUSPEND_64: u32 = FunctionId::SystemSuspend64 as u32;
    pub const PSCI_FEATURES: u32 = FunctionId::PsciFeatures as u32;
    pub const LEGACY_CPU_OFF: u32 = 1;
    pub const LEGACY_CPU_ON: u32 = 2;
    pub const SMC64: u32 = 1 << 30;
    pub const SMCCC_VERSION: u32 = 0x8000_0000;
    pub const ARCH_FEATURES: u32 = 0x8000_0001;
    pub const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
    pub const ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
    pub const ARCH_WORKAROUND_3: u32 = 0x8000_3fff;
    pub const STANDARD_COUNT: u32 = 0x8400_ff00;
    pub const STANDARD_UUID: u32 = 0x8400_ff01;
    pub const STANDARD_REVISION: u32 = 0x8400_ff03;
    pub const HYPERVISOR_COUNT: u32 = 0x8500_ff00;
    pub const HYPERVISOR_UUID: u32 = 0x8500_ff01;
    pub const HYPERVISOR_REVISION: u32 = 0x8500_ff03;
}

/// Decodes a call from X0 to X3. The function is W0; an SMC32 call has 32-bit arguments.
pub fn decode(x: [u64; 4]) -> Call {
    let [function, first, second, third] = x;
    let function = low_half(function);
    let narrow = |argument| if is_smc32(function) { low_half(argument).into() } else { argument };
    match function {
        id::LEGACY_CPU_OFF | id::CPU_OFF => Call::CpuOff,
        id::LEGACY_CPU_ON => Call::CpuOn(CpuOn { target: first, entry: second, context: 0, legacy: true }),
        id::CPU_ON | id::CPU_ON_64 => Call::CpuOn(CpuOn {
            target: narrow(first),
            entry: narrow(second),
            context: narrow(third),
            legacy: false,
        }),
        id::PSCI_VERSION => Call::Version,
        id::CPU_SUSPEND | id::CPU_SUSPEND_64 => Call::CpuSuspend,
        id::AFFINITY_INFO | id::AFFINITY_INFO_64 => {
            Call::AffinityInfo { target: narrow(first), level: low_half(second) }
        }
        id::MIGRATE_INFO_TYPE => Call::MigrateInfoType,
        id::SYSTEM_OFF => Call::SystemOff,
        id::SYSTEM_RESET => Call::SystemReset,
        id::SYSTEM_SUSPEND | id::SYSTEM_SUSPEND_64 => {
            Call::SystemSuspend(SystemSuspend { entry: narrow(first), context: narrow(second) })
        }
        id::PSCI_FEATURES => Call::Features(low_half(first)),
        id::SMCCC_VERSION => Call::SmcccVersion,
        id::ARCH_FEATURES => Call::ArchFeatures(low_half(first)),
        id::ARCH_WORKAROUND_1 | id::ARCH_WORKAROUND_2 | id::ARCH_WORKAROUND_3 => Call::Workaround,
        id::STANDARD_COUNT => Call::CallCount(Service::Standard),
        id::STANDARD_UUID => Call::Uuid(Service::Standard),
        id::STANDARD_REVISION => Call::Revision(Service::Standard),
        id::HYPERVISOR_COUNT => Call::CallCount(Service::Hypervisor),
        id::HYPERVISOR_UUID => Call::Uuid(Service::Hypervisor),
        id::HYPERVISOR_REVISION => Call::Revision(Service::Hypervisor),
        _ => Call::Unknown,
    }
}

/// A call of SMCCC in its 32-bit convention. The calls of PSCI 0.1 are older and use whole registers.
const fn is_smc32(function: u32) -> bool {
    function & id::SMC64 == 0
}

/// W0 of X0.
const fn low_half(x: u64) -> u32 {
    (x & 0xffff_ffff) as u32
}

/// The vCPU with this affinity: Aff0 holds the low four bits of its number, Aff1 the rest. `None` if another field,
/// or a bit outside the affinity fields, is set.
pub fn vcpu_of(affinity: u64) -> Option<VcpuId> {
    let number = affinity >> 4 & 0xff0 | affinity & 0xf;
    if affinity & !0xff0f != 0 {
        return None;
    }
    u16::try_from(number).ok().map(VcpuId)
}

/// VMPIDR_EL2 of a vCPU: its affinity, and bit 31, which is always set.
pub const fn mpidr_of(vcpu: VcpuId) -> u64 {
    let number = vcpu.0 as u64;
    1 << 31 | (number >> 4 & 0xff) << 8 | number & 0xf
}

#[cfg(test)]
mod tests;
