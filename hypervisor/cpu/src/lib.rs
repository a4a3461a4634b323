//! What a physical CPU does for ever: take what its guest traps for, then choose who runs next and go there.
//!
//! A trap is handled to its end before anything else runs on the CPU. A vCPU that must wait is marked blocked and the
//! CPU takes another, or sleeps. The registers of the vCPU that runs stay in the CPU until another is chosen, so that
//! most traps cost no more than the saving of the general registers.
#![cfg_attr(test, allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types))]
#![cfg_attr(
    target_os = "none",
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod aarch64;
mod idle;
mod interrupt_time;
mod step;
mod switch;
mod timers;

// The guests' architecture. Nothing beside that module names what only one has.
use aarch64 as guest;

use xenolith_core::types::CpuId;
use xenolith_domain::cpu::Local;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_domain::timers::VcpuTimers;
use xenolith_isa::regs::GuestRegs;
use xenolith_isa::system_error::SystemError;
use xenolith_isa::trap::Syndrome;

pub use step::step;

/// Why the CPU came to the hypervisor.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// It starts.
    Start,
    /// The guest did what the hypervisor answers.
    Trap(Syndrome),
    /// A physical interrupt.
    Interrupt,
    /// An asynchronous error of the memory system while the guest ran.
    SystemError(SystemError),
}

/// What a CPU keeps to itself.
pub struct Cpu {
    /// Its number.
    pub id: CpuId,
    running: Option<VcpuRef>,
    local: Local,
    halt_poll: idle::HaltPoll,
}

impl Cpu {
    /// A CPU that comes up, and runs nothing yet. Its timers are of these.
    pub fn new(timers: &VcpuTimers, id: CpuId) -> Self {
        let local = Local::new(id, timers.of(id));
        Cpu { id, running: None, local, halt_poll: idle::HaltPoll::default() }
    }

    /// The vCPU that runs here.
    pub fn running(&self) -> Option<&VcpuRef> {
        self.running.as_ref()
    }
}

/// What a CPU does once an event is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It enters the guest whose registers are in the frame.
    Guest,
    /// It has nothing to run and waits for an interrupt.
    Idle,
}

/// Handles an event, then leaves in `frame` the registers of the vCPU that runs next, everything else of it loaded.
pub fn run(hv: &Hypervisor, cpu: &mut Cpu, frame: &mut GuestRegs, event: Event) {
    let mut event = event;
    hv.accounts.enter(cpu.id);
    while step(hv, cpu, frame, event) == Next::Idle {
        if !hv.scrub_a_little() {
            hv.accounts.leave(cpu.id);
            idle::wait(hv, cpu.id, &mut cpu.halt_poll);
            hv.accounts.resume(cpu.id);
        }
        hv.accounts.look(cpu.id);
        event = Event::Interrupt;
    }
    hv.accounts.leave(cpu.id);
}
