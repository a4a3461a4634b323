//! The firmware that a guest sees: PSCI and SMCCC by HVC or SMC with immediate 0 (`crate::psci` decodes).

use xenolith_abi::sched::ShutdownReason;

use crate::hypervisor::{Hypervisor, VcpuRef};
use crate::psci::{self, Call, CpuOn};
use crate::regs::GuestRegs;
use crate::types::VcpuId;
use crate::vcpu::Power;

use super::{Local, exit};

/// Answers the call whose function identifier and arguments stand in x0 to x3.
pub fn call(hv: &Hypervisor, vcpu: &VcpuRef, local: &mut Local, regs: &mut GuestRegs) {
    let domain = &vcpu.domain;
    let call = psci::decode([regs.x[0], regs.x[1], regs.x[2], regs.x[3]]);
    match call {
        Call::CpuOn(request) => regs.x[0] = cpu_on(hv, vcpu, &request),
        Call::CpuOff => {
            *vcpu.vcpu().power.lock() = Power::Off;
            domain.change_vgic(hv, |vgic| vgic.set_online(vcpu.id, false));
            hv.scheduler.block(vcpu.vcpu().unit, crate::arch::now());
            local.choose();
        }
        Call::CpuSuspend => {
            regs.x[0] = psci::SUCCESS;
            exit::wait_for_interrupt(hv, vcpu, local);
        }
        Call::AffinityInfo { target, level } => regs.x[0] = affinity_info(vcpu, target, level),
        Call::SystemOff => {
            domain.shut_down(hv, ShutdownReason::Poweroff);
            local.choose();
        }
        Call::SystemReset => {
            domain.shut_down(hv, ShutdownReason::Reboot);
            local.choose();
        }
        call => psci::answer(&call, hv.options.xen_version, &mut regs.x),
    }
}

fn target(vcpu: &VcpuRef, mpidr: u64) -> Option<VcpuId> {
    psci::vcpu_of(mpidr).filter(|&id| vcpu.domain.vcpu(id).is_some())
}

fn cpu_on(hv: &Hypervisor, vcpu: &VcpuRef, request: &CpuOn) -> u64 {
    let Some(id) = target(vcpu, request.target) else { return psci::INVALID_PARAMETERS };
    let Some(other) = vcpu.domain.vcpu(id) else { return psci::INVALID_PARAMETERS };
    if request.entry & 3 != 0 {
        return psci::INVALID_ADDRESS;
    }
    if !vcpu.domain.start_vcpu(hv, other, request.entry, request.context) {
        return psci::ALREADY_ON;
    }
    psci::SUCCESS
}

fn affinity_info(vcpu: &VcpuRef, mpidr: u64, level: u32) -> u64 {
    if level != 0 {
        return psci::INVALID_PARAMETERS;
    }
    match target(vcpu, mpidr).and_then(|id| vcpu.domain.vcpu(id)) {
        Some(other) if other.is_off() => psci::AFFINITY_OFF,
        Some(_) => psci::AFFINITY_ON,
        None => psci::INVALID_PARAMETERS,
    }
}
