//! One turn of a physical CPU: what has happened is handled to its end, then it is settled who runs.

use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_isa::regs::GuestRegs;

use super::guest::Exit;
use super::{Cpu, Event, Next, guest, switch};

/// Handles one event and chooses what comes next. Kept out of the loop around it: for nearly all events it runs once.
#[inline(never)]
pub fn step(hv: &Hypervisor, cpu: &mut Cpu, frame: &mut GuestRegs, event: Event) -> Next {
    handle(hv, cpu, frame, &event);
    loop {
        if hv.kicks.is_kicked(cpu.id) {
            // Before the choice: a kick that comes during it asks for another.
            hv.kicks.take(cpu.id);
            cpu.local.choose();
        }
        if cpu.local.is_to_choose() {
            switch::choose(hv, cpu, frame);
        }
        let Cpu { running, local, .. } = cpu;
        let Some(running) = running else {
            if hv.kicks.is_kicked(local.id()) {
                continue;
            }
            // Whatever ends the wait may have made a vCPU runnable.
            local.choose();
            return Next::Idle;
        };
        // Taken after the choice, and for whoever was chosen: whoever marks work for a vCPU that runs elsewhere kicks
        // that CPU too.
        let pending = running.vcpu().take_pending();
        if pending.answer() {
            guest::resume(&mut Exit { hv, vcpu: running, local, regs: frame });
        }
        if pending.interrupts() {
            running.domain.on(hv).present_interrupts(running.vcpu());
        }
        // The same instruction may ask a device model again, at most once. A vCPU that has just left may be the better
        // choice, which is found by choosing once more.
        if !local.is_to_choose() && !hv.kicks.is_kicked(local.id()) {
            return Next::Guest;
        }
    }
}

fn handle(hv: &Hypervisor, cpu: &mut Cpu, frame: &mut GuestRegs, event: &Event) {
    let Cpu { running, local, .. } = cpu;
    let running = running.as_ref();
    if let Some(vcpu) = running.map(VcpuRef::vcpu)
        && guest::runs_program(frame)
    {
        // A kernel that has panicked enters no program any more (`life::crash`).
        vcpu.clear_suspicion();
    }
    match (event, running) {
        (Event::Interrupt, _) => {
            if running.is_none() {
                guest::take_stray_errors(local.id());
            }
            guest::take_interrupts(hv, running, local);
        }
        (Event::Trap(syndrome), Some(running)) => {
            guest::handle(&mut Exit { hv, vcpu: running, local, regs: frame }, syndrome)
        }
        (Event::SystemError(error), Some(running)) => guest::system_error(running, *error),
        // A CPU that starts has only to choose, and without a vCPU nothing traps.
        (Event::Start | Event::Trap(_) | Event::SystemError(_), _) => (),
    }
}
