//! From the vectors to the hypervisor proper, and the CPU's registers that decide what traps.

use xenolith_arch::aarch64::{branch_prediction, exception_table};
use xenolith_cpu::{self as run, Event};
use xenolith_host::branch_prediction::{AtExit, Verdict};
use xenolith_host::errata::{Erratum, Remedy};
use xenolith_isa::psci::{Mitigations, Workaround};
use xenolith_isa::regs::GuestRegs;
use xenolith_isa::system_error::SystemError;
use xenolith_isa::trap::Syndrome;

use crate::panic::{self, Frame};
use crate::percpu;

/// Why a guest stopped, as the vector tells it: synchronous exception.
pub const SYNCHRONOUS: u64 = 0;
/// A physical interrupt.
pub const INTERRUPT: u64 = 1;
/// A system error (asynchronous external abort).
pub const SERROR: u64 = 2;
/// No guest has run yet on this CPU.
pub const START: u64 = 3;

/// Sets the calling CPU's traps for guests. Returns whether it needs the vectors that do something when a guest is left.
#[must_use]
pub fn init_cpu() -> bool {
    xenolith_arch::aarch64::controls::init_cpu();
    xenolith_arch::aarch64::errata::init_cpu(log_erratum);
    xenolith_arch::aarch64::sve::init_cpu();
    xenolith_arch::aarch64::timer::init_cpu();
    branch_prediction::init_cpu(log_prediction)
}

/// Says what an erratum of the machine's CPUs means.
fn log_erratum(erratum: &Erratum) {
    let Erratum { cpu, number, .. } = erratum;
    match erratum.remedy {
        Remedy::RepeatTlbi => log::info!("{cpu}, erratum {number}: TLBs are invalidated twice"),
        Remedy::HoldWalks => {
            log::info!("{cpu}, erratum {number}: walks of stage 1 are held while vCPUs are switched")
        }
        Remedy::Warning(effect) => log::warn!("{cpu}, erratum {number} is not worked around: {effect}"),
    }
}

/// Says what is done when a guest is left, or cannot be.
fn log_prediction(verdict: &Verdict) {
    let what = match verdict.at_exit {
        AtExit::Nothing => None,
        AtExit::Clear => Some("clears the history"),
        AtExit::Loop(_) => Some("replaces the history by so many branches"),
        AtExit::Call(_) => Some("calls this function of the firmware"),
    };
    if let Some(what) = what {
        log::info!("branch prediction: each exit {what}: {:#x}", verdict.at_exit.encode());
    }
    let needs = |number, what| {
        log::warn!(
            "branch prediction: a guest may choose {what} EL2 runs ahead of its program; the CPU needs \
             SMCCC_ARCH_WORKAROUND_{number}, which the firmware has not"
        );
    };
    match verdict.mitigations {
        Mitigations { branch_predictor: Workaround::Unknown, .. } => needs(1, "what"),
        Mitigations { branch_history: Workaround::Unknown, .. } => needs(3, "by its branches what"),
        _ => {}
    }
}

/// Lets this CPU's own interrupts come: its kick, its timer, the guests' timer, list register maintenance.
pub fn enable_interrupts() {
    let lines = crate::hypervisor::get().lines();
    for intid in [xenolith_arch::aarch64::gic::KICK, lines.timer, lines.guest_timer, lines.maintenance] {
        xenolith_arch::aarch64::gic::enable(intid);
    }
}

/// Every trap from a guest comes here, and the first entry too. On return `frame` holds what runs next.
pub extern "C" fn from_guest(frame: &mut GuestRegs, kind: u64) {
    let hv = crate::hypervisor::get();
    let event = match kind {
        SYNCHRONOUS => Event::Trap(Syndrome {
            esr: read_sysreg!("esr_el2"),
            far: read_sysreg!("far_el2"),
            hpfar: read_sysreg!("hpfar_el2"),
        }),
        INTERRUPT => Event::Interrupt,
        SERROR => Event::SystemError(SystemError::of_syndrome(read_sysreg!("esr_el2"))),
        _ => {
            crate::selftest::before_guests(hv);
            Event::Start
        }
    };
    // SAFETY: the vectors enter here from a guest only, never nested.
    let state = unsafe { percpu::run_state() };
    run::run(hv, state, frame, event);
}

/// Every exception that EL2 itself takes comes here. It returns if the instruction has a fix-up, with that as the frame's
/// ELR.
pub extern "C" fn from_el2(frame: &mut Frame, vector: u64) {
    /// The vectors of a synchronous exception and of a system error on the stack in use.
    const SYNCHRONOUS: u64 = 4;
    const SYSTEM_ERROR: u64 = 7;
    match exception_table::fixup(frame.elr) {
        Some(fixup) if matches!(vector, SYNCHRONOUS | SYSTEM_ERROR) => frame.resume_at(fixup),
        _ => panic::fatal(frame, vector),
    }
}
