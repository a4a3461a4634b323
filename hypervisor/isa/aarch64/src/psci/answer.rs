//! The calls that are answered without looking at the domain.

use crate::regs::GuestRegs;

use arm_psci::{ErrorCode, MigrateInfoType};

use super::{Call, PSCI_1_1, Service, id, x0};

/// How the machine stands to one speculation vulnerability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Workaround {
    /// Nothing is known, or nothing can be done: the call does not exist.
    #[default]
    Unknown,
    /// Some CPU needs the call, and the trap to EL2 that it makes is the mitigation.
    Effective,
    /// No CPU needs the call.
    NotNeeded,
}

/// What SMCCC_ARCH_FEATURES tells of the three workaround calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mitigations {
    /// ARCH_WORKAROUND_1: branch predictor (Spectre v2).
    pub branch_predictor: Workaround,
    /// ARCH_WORKAROUND_2: store bypass (Spectre v4).
    pub store_bypass: Workaround,
    /// ARCH_WORKAROUND_3: branch history.
    pub branch_history: Workaround,
}

/// What the guest's registers get. Registers that are not named keep their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciAnswer {
    /// Nothing.
    None,
    /// X0.
    X0(u64),
    /// X0 to X3.
    X0To3([u64; 4]),
}

impl PsciAnswer {
    /// Leaves the answer in the guest's registers.
    pub fn store(&self, regs: &mut GuestRegs) {
        let values: &[u64] = match self {
            PsciAnswer::None => &[],
            PsciAnswer::X0(value) => core::slice::from_ref(value),
            PsciAnswer::X0To3(values) => values,
        };
        for (register, value) in regs.x.iter_mut().zip(values) {
            *register = *value;
        }
    }
}

/// Functions behind the standard service: fourteen identifiers of PSCI, three of the service itself.
const STANDARD_FUNCTIONS: u64 = 17;
/// Functions behind the hypervisor service: its own three.
const HYPERVISOR_FUNCTIONS: u64 = 3;
/// Both services: revision 0.1, major number in X0 and minor in X1.
const REVISION: [u64; 4] = [0, 1, 0, 0];
/// f863386f-4b39-4cbd-9220-ce1641e59f6f.
const STANDARD_UUID: u128 = 0xf863386f_4b39_4cbd_9220_ce1641e59f6f;
/// a71812dc-c698-4369-9acf-79d18ddee667.
const HYPERVISOR_UUID: u128 = 0xa71812dc_c698_4369_9acf_79d18ddee667;

/// What the firmware of one domain is.
#[derive(Clone, Copy, Debug)]
pub struct Firmware<'a> {
    /// What SMCCC_VERSION answers.
    pub smccc_version: u32,
    /// The machine's mitigations.
    pub mitigations: &'a Mitigations,
    /// The domain may suspend itself.
    pub can_suspend: bool,
}

/// Answers `call`; `None` if it concerns the domain's vCPUs, or the domain itself.
pub fn answer(call: Call, firmware: &Firmware<'_>) -> Option<PsciAnswer> {
    Some(match call {
        Call::CpuSuspend
        | Call::CpuOff
        | Call::CpuOn(_)
        | Call::AffinityInfo { .. }
        | Call::SystemOff
        | Call::SystemReset
        | Call::SystemSuspend(_) => return None,
        Call::Version => PsciAnswer::X0(PSCI_1_1.into()),
        Call::MigrateInfoType => PsciAnswer::X0(u32::from(MigrateInfoType::MigrationNotRequired).into()),
        Call::Features(function) => PsciAnswer::X0(x0(psci_features(function, firmware.can_suspend))),
        Call::SmcccVersion => PsciAnswer::X0(firmware.smccc_version.into()),
        Call::ArchFeatures(function) => PsciAnswer::X0(arch_features(function, firmware.mitigations)),
        Call::Workaround => PsciAnswer::None,
        Call::CallCount(Service::Standard) => PsciAnswer::X0(STANDARD_FUNCTIONS),
        Call::CallCount(Service::Hypervisor) => PsciAnswer::X0(HYPERVISOR_FUNCTIONS),
        Call::Uuid(Service::Standard) => PsciAnswer::X0To3(uuid(STANDARD_UUID)),
        Call::Uuid(Service::Hypervisor) => PsciAnswer::X0To3(uuid(HYPERVISOR_UUID)),
        Call::Revision(_) => PsciAnswer::X0To3(REVISION),
        Call::Unknown => PsciAnswer::X0(x0(Err(ErrorCode::NotSupported))),
    })
}

/// PSCI_FEATURES: success for every function of PSCI from 0.2 on that the domain has, and for SMCCC_VERSION.
const fn psci_features(function: u32, can_suspend: bool) -> Result<(), ErrorCode> {
    match function {
        id::SYSTEM_SUSPEND | id::SYSTEM_SUSPEND_64 if can_suspend => Ok(()),
        id::PSCI_VERSION
        | id::CPU_SUSPEND
        | id::CPU_SUSPEND_64
        | id::CPU_OFF
        | id::CPU_ON
        | id::CPU_ON_64
        | id::AFFINITY_INFO
        | id::AFFINITY_INFO_64
        | id::MIGRATE_INFO_TYPE
        | id::SYSTEM_OFF
        | id::SYSTEM_RESET
        | id::PSCI_FEATURES
        | id::SMCCC_VERSION => Ok(()),
        _ => Err(ErrorCode::NotSupported),
    }
}

/// SMCCC_ARCH_FEATURES: 0 if the function is there, 1 if no CPU needs it, −1 otherwise.
fn arch_features(function: u32, mitigations: &Mitigations) -> u64 {
    let workaround = match function {
        id::SMCCC_VERSION | id::ARCH_FEATURES => return x0(Ok(())),
        id::ARCH_WORKAROUND_1 => mitigations.branch_predictor,
        id::ARCH_WORKAROUND_2 => mitigations.store_bypass,
        id::ARCH_WORKAROUND_3 => mitigations.branch_history,
        _ => Workaround::Unknown,
    };
    match workaround {
        Workaround::Unknown => x0(Err(ErrorCode::NotSupported)),
        Workaround::Effective => 0,
        Workaround::NotNeeded => 1,
    }
}

/// A UUID in W0 to W3: four bytes each, the first byte lowest (DEN 0028, "Unique Identification format").
fn uuid(uuid: u128) -> [u64; 4] {
    [96, 64, 32, 0].map(|low| u64::from(((uuid >> low & 0xffff_ffff) as u32).swap_bytes()))
}
