//! Physical interrupts: the few that are EL2's own, and those that belong to a domain.

use core::sync::atomic::Ordering;

use xenolith_arch::{self as arch, gic};
use xenolith_core::types::Intid;
use xenolith_domain::cpu::Local;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};

use crate::interrupt_time::InterruptTime;
use crate::timers;

/// Takes every interrupt that is pending on this CPU. Kept out of line, so that traps, which are more frequent, have the
/// registers to themselves.
#[inline(never)]
pub fn take_all(hv: &Hypervisor, running: Option<&VcpuRef>, local: &mut Local) {
    let mut time = InterruptTime::new(local.id(), running);
    // Bounded by the number of lines: one that is taken stays active, or is EL2's own and has been dealt with.
    loop {
        time.begin();
        let Some(intid) = gic::acknowledge() else { return };
        // Priority drop and deactivation are apart (EOImode 1): others may come while this one stays active, until the
        // guest ends it through the list register's link, or we do.
        gic::drop_priority(intid);
        take(hv, running, local, intid, &mut time);
    }
}

fn take(
    hv: &Hypervisor,
    running: Option<&VcpuRef>,
    local: &mut Local,
    intid: Intid,
    time: &mut InterruptTime,
) {
    let lines = hv.lines();
    if intid == gic::KICK {
        gic::deactivate(intid);
        local.choose();
    } else if intid == lines.timer {
        // Off before it is made inactive: its line is a level, and would come again at once.
        arch::set_timer(None);
        gic::deactivate(intid);
        timers::expire(hv, local, arch::now(), time);
        local.choose();
    } else if intid == lines.guest_timer {
        match running {
            // It stays active until the guest ends it.
            Some(vcpu) => {
                // By this mark it is made inactive for the next vCPU when this one leaves the CPU.
                vcpu.vcpu().arch.timer_raised.store(true, Ordering::Relaxed);
                vcpu.domain.on(hv).raise_private(vcpu.id, vcpu.domain.arch.guest_timer);
            }
            None => gic::deactivate(intid),
        }
    } else if intid == lines.maintenance {
        // The line stays up until the list registers are served.
        if let Some(vcpu) = running {
            vcpu.domain.on(hv).present_interrupts(vcpu.vcpu());
        }
        gic::deactivate(intid);
    } else if Some(intid) == lines.console {
        // A UART whose line stays up when its FIFO has been read raises the interrupt once more, and nothing is found.
        hv.take_console_input();
        gic::deactivate(intid);
        time.book(hv, None);
    } else {
        match hv.owner_of_interrupt(intid).and_then(|owner| hv.domain(owner)) {
            Some(domain) => {
                domain.on(hv).raise_shared(intid);
                time.book(hv, Some(&domain));
            }
            None => {
                unexpected(intid);
                time.book(hv, None);
            }
        }
    }
}

/// Nobody asked for this line: it is switched off, so that it cannot keep the CPU busy.
fn unexpected(intid: Intid) {
    gic::disable(intid);
    gic::deactivate(intid);
    log::warn!("interrupt {} belongs to no domain; it is now disabled", intid.0);
}
