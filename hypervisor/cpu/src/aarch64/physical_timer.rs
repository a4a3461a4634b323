//! The emulated EL1 physical timer of a vCPU, joined with the CPU's alarms and the interrupt controller.

use xenolith_arch as arch;
use xenolith_domain::cpu::Local;
use xenolith_domain::domain::DomainRef;
use xenolith_domain::timers::TimerKind;
use xenolith_domain::vcpu::Vcpu;
use xenolith_isa::physical_timer::TimerRegister;

use super::Exit;

/// A guest reads a register of the timer, or writes this value to it. What is read.
pub fn access(exit: &mut Exit<'_>, register: TimerRegister, write: Option<u64>) -> u64 {
    let now = arch::now();
    let timer = {
        let mut timer = exit.vcpu.vcpu().arch.timer.lock();
        let Some(value) = write else { return timer.read(register, now) };
        timer.write(register, value, now);
        *timer
    };
    exit.local.set_timer(exit.vcpu.vcpu().unit, TimerKind::Physical, timer.deadline(now));
    // The CPU's one timer is set anew for it.
    exit.local.choose();
    exit.domain().set_private_level(exit.vcpu.id, exit.domain().arch.physical_timer, timer.line(now));
    0
}

/// The timer of a vCPU, which may not be running, has come to its time.
pub fn due(domain: DomainRef<'_>, vcpu: &Vcpu, local: &mut Local, now: u64) {
    let timer = *vcpu.arch.timer.lock();
    local.set_timer(vcpu.unit, TimerKind::Physical, timer.deadline(now));
    // Only up: the line falls by what the guest writes (`access`).
    if timer.line(now) {
        domain.set_private_level(vcpu.id, domain.arch.physical_timer, true);
    }
}
