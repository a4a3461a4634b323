//! The firmware that a guest sees: PSCI and SMCCC by HVC or SMC with immediate 0 (`xenolith_isa::psci` decodes).

use xenolith_abi::sched::ShutdownReason;

use xenolith_domain::cpu::Local;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_host::command_line::XenVersion;
use xenolith_isa::psci::{self, Call, CpuOn, Status};
use xenolith_isa::regs::GuestRegs;

/// Answers the call whose function identifier and arguments stand in x0 to x3.
pub fn call(hv: &Hypervisor, vcpu: &VcpuRef, local: &mut Local, regs: &mut GuestRegs) {
    let domain = &vcpu.domain;
    let call = psci::decode([regs.x[0], regs.x[1], regs.x[2], regs.x[3]]);
    match call {
        Call::CpuOn(request) => regs.x[0] = request.status(cpu_on(hv, vcpu, &request)).x0(),
        Call::CpuOff => {
            domain.on(hv).stop_vcpu(vcpu.vcpu());
            local.choose();
        }
        Call::CpuSuspend => {
            regs.x[0] = Status::Success.x0();
            domain.on(hv).wait_for_interrupt(vcpu.vcpu(), local);
        }
        Call::AffinityInfo { target, level } => regs.x[0] = affinity_info(vcpu, target, level),
        Call::SystemOff => {
            domain.on(hv).shut_down(ShutdownReason::Poweroff);
            local.choose();
        }
        Call::SystemReset => {
            domain.on(hv).shut_down(ShutdownReason::Reboot);
            local.choose();
        }
        call => answer(hv, call, regs),
    }
}

fn answer(hv: &Hypervisor, call: Call, regs: &mut GuestRegs) {
    let smccc = match hv.options.xen_version {
        XenVersion::V4_17 => psci::SMCCC_1_1,
        XenVersion::V4_20 => psci::SMCCC_1_2,
    };
    if let Some(answer) = psci::answer(call, smccc, &hv.arch.mitigations) {
        answer.store(regs);
    }
}

fn cpu_on(hv: &Hypervisor, vcpu: &VcpuRef, request: &CpuOn) -> Status {
    let id = match request.check() {
        Ok(id) => id,
        Err(status) => return status,
    };
    let Some(other) = vcpu.domain.vcpu(id) else { return Status::InvalidParameters };
    match vcpu.domain.on(hv).start_vcpu(other, request.entry, request.context) {
        true => Status::Success,
        false => Status::AlreadyOn,
    }
}

fn affinity_info(vcpu: &VcpuRef, mpidr: u64, level: u32) -> u64 {
    if level != 0 {
        return Status::InvalidParameters.x0();
    }
    match psci::vcpu_of(mpidr).and_then(|id| vcpu.domain.vcpu(id)) {
        Some(other) if other.is_off() => psci::AFFINITY_OFF,
        Some(_) => psci::AFFINITY_ON,
        None => Status::InvalidParameters.x0(),
    }
}
