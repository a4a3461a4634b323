//! The firmware that a guest sees: PSCI and SMCCC by HVC or SMC with immediate 0 (`xenolith_isa::psci` decodes).

use xenolith_abi::sched::ShutdownReason;

use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_host::command_line::XenVersion;
use xenolith_isa::psci::{self, AffinityInfo, Call, CpuOn, ErrorCode};

use super::Exit;

/// Answers the call whose function identifier and arguments stand in x0 to x3.
pub fn call(exit: &mut Exit<'_>) {
    let domain = exit.domain();
    let call = psci::decode([exit.regs.x[0], exit.regs.x[1], exit.regs.x[2], exit.regs.x[3]]);
    match call {
        Call::CpuOn(request) => exit.regs.x[0] = psci::x0(request.result(cpu_on(domain, &request))),
        Call::CpuOff => {
            // CPU_OFF does not return when it succeeds, and it always does (DEN0022, CPU_OFF).
            domain.stop_vcpu(exit.vcpu.vcpu());
            exit.local.choose();
        }
        Call::CpuSuspend => {
            // A standby, from which any interrupt wakes: it keeps all registers, and returns (DEN0022, CPU_SUSPEND).
            exit.regs.x[0] = psci::x0(Ok(()));
            domain.wait_for_interrupt(exit.vcpu.vcpu(), exit.local);
        }
        Call::AffinityInfo { target, level } => exit.regs.x[0] = affinity_info(&domain, target, level),
        Call::SystemOff => {
            domain.shut_down(ShutdownReason::Poweroff);
            exit.local.choose();
        }
        Call::SystemReset => {
            domain.shut_down(ShutdownReason::Reboot);
            exit.local.choose();
        }
        call => answer(exit, call),
    }
}

fn answer(exit: &mut Exit<'_>, call: Call) {
    let smccc = match exit.hv.options.xen_version {
        XenVersion::V4_17 => psci::SMCCC_1_1,
        XenVersion::V4_20 => psci::SMCCC_1_2,
    };
    if let Some(answer) = psci::answer(call, smccc, &exit.hv.arch.mitigations) {
        answer.store(exit.regs);
    }
}

fn cpu_on(domain: DomainRef<'_>, request: &CpuOn) -> Result<(), ErrorCode> {
    let other = domain.vcpu(request.check()?).ok_or(ErrorCode::InvalidParameters)?;
    match domain.start_vcpu(other, request.entry, request.context) {
        true => Ok(()),
        false => Err(ErrorCode::AlreadyOn),
    }
}

fn affinity_info(domain: &Domain, mpidr: u64, level: u32) -> u64 {
    if level != 0 {
        return psci::x0(Err(ErrorCode::InvalidParameters));
    }
    match psci::vcpu_of(mpidr).and_then(|id| domain.vcpu(id)) {
        Some(other) if other.is_off() => u32::from(AffinityInfo::Off).into(),
        Some(_) => u32::from(AffinityInfo::On).into(),
        None => psci::x0(Err(ErrorCode::InvalidParameters)),
    }
}
