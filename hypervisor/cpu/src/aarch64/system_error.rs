//! Whose a system error is.
//!
//! The memory system may answer an access long after the instruction, and what it then reports names neither. So before a vCPU
//! leaves a CPU, all accesses made there are completed: an error that comes by then is its own, and the next vCPU has none of
//! it. How bad the CPU says it is makes no difference to anybody else: a store that a device refuses is uncontainable for most,
//! and any guest that has a device can make one.

use core::sync::atomic::{AtomicU32, Ordering};

use xenolith_arch as arch;
use xenolith_core::types::CpuId;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_isa::system_error::SystemError;

/// Messages about errors that are nobody's.
const LIMIT: u32 = 32;
static MESSAGES: AtomicU32 = AtomicU32::new(0);

/// A system error came while the vCPU ran, which it still does: it gets it, if it has lost anything by it.
#[cold]
pub fn system_error(vcpu: &VcpuRef, error: SystemError) {
    let is_harmless = error.is_harmless();
    vcpu.domain.warn_ratelimited(format_args!(
        "{}: system error (SError), ISS {:#x}; {}",
        vcpu.id,
        error.iss(),
        if is_harmless { "nothing is lost by it, so the domain is not told" } else { "given to the domain" }
    ));
    if !is_harmless {
        arch::pend_system_error(error);
    }
}

/// Takes the system error that the vCPU has caused which ran on this CPU, and still has its registers there.
#[inline]
pub fn settle_system_errors(hv: &Hypervisor, cpu: CpuId, leaving: Option<&VcpuRef>) {
    if let Some(error) = arch::take_system_error() {
        settle(hv, cpu, leaving, error);
    }
}

#[cold]
#[inline(never)]
fn settle(hv: &Hypervisor, cpu: CpuId, leaving: Option<&VcpuRef>, error: SystemError) {
    match leaving {
        Some(vcpu) => {
            system_error(vcpu, error);
            // A WFI ends by it, masked or not (Arm ARM, WFI wake-up events).
            hv.wake(vcpu.vcpu().unit);
        }
        None => stray(cpu, error),
    }
}

/// The CPU runs nothing, and something has woken it. A system error would do so again and again, and is nobody's.
#[inline]
pub fn take_stray_errors(cpu: CpuId) {
    if arch::system_error_waits()
        && let Some(error) = arch::take_system_error()
    {
        stray(cpu, error);
    }
}

/// No vCPU ran. That is memory which writes back what it cannot keep, or what the firmware has left.
#[cold]
#[inline(never)]
fn stray(cpu: CpuId, error: SystemError) {
    if MESSAGES.fetch_add(1, Ordering::Relaxed) < LIMIT {
        log::error!(
            "cpu{}: system error (SError), ISS {:#x}, while it ran no vCPU; no domain is told. Check the machine's memory",
            cpu.0,
            error.iss()
        );
    }
}
