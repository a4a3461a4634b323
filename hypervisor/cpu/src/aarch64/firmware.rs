//! The firmware that a guest sees: PSCI and SMCCC by HVC or SMC with immediate 0 (`xenolith_isa::psci` decodes).

use xenolith_abi::sched::ShutdownReason;

use xenolith_arch as arch;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_host::command_line::XenVersion;
use xenolith_isa::psci::{self, AffinityInfo, Call, CpuOn, ErrorCode, Firmware, SystemSuspend};

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
        Call::SystemSuspend(request) => system_suspend(exit, &request),
        call => answer(exit, call),
    }
}

/// Suspends the domain: it shuts down for that reason, and goes on at the entry point that it names, in the state that CPU_ON
/// gives.
fn system_suspend(exit: &mut Exit<'_>, request: &SystemSuspend) {
    let domain = exit.domain();
    let vcpu = exit.vcpu.vcpu();
    let asked = || {
        if !domain.can_suspend() {
            return Err(ErrorCode::NotSupported);
        }
        request.check()?;
        // "All cores other than the calling core must be off" (DEN0022, SYSTEM_SUSPEND).
        let is_last = domain.vcpus.iter().all(|other| other.id == vcpu.id || other.is_off());
        if is_last { Ok(()) } else { Err(ErrorCode::Denied) }
    };
    match asked() {
        Ok(()) => {
            // What it finds if the domain ends for another reason first, and is let go on all the same.
            exit.regs.x[0] = psci::x0(Err(ErrorCode::Denied));
            domain.suspend(vcpu, request.entry, request.context);
            exit.local.choose();
        }
        refused => exit.regs.x[0] = psci::x0(refused),
    }
}

fn answer(exit: &mut Exit<'_>, call: Call) {
    let smccc_version = match exit.hv.options.xen_version {
        XenVersion::V4_17 => psci::SMCCC_1_1,
        XenVersion::V4_20 => psci::SMCCC_1_2,
    };
    let can_suspend = exit.domain().can_suspend();
    let firmware = Firmware { smccc_version, mitigations: &arch::mitigations(), can_suspend };
    if let Some(answer) = psci::answer(call, &firmware) {
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
