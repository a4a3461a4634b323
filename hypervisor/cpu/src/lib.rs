//! What a physical CPU does for ever: take what its guest traps for, then choose who runs next and go there.
//!
//! A trap is handled to its end before anything else runs on the CPU. A vCPU that must wait is marked blocked and the
//! CPU takes another, or sleeps. The registers of the vCPU that runs stay in the CPU until another is chosen, so that
//! most traps cost no more than the saving of the general registers.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod aarch64;
mod idle;
mod interrupts;
mod switch;
mod timers;

use aarch64::{device_access, exit, inject};
use xenolith_core::types::CpuId;
use xenolith_domain::cpu::Local;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};
use xenolith_domain::list_registers::present_interrupts;
use xenolith_isa::regs::GuestRegs;

/// Why the CPU came to EL2.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// It starts.
    Start,
    /// A synchronous exception of the guest: ESR_EL2, FAR_EL2, HPFAR_EL2.
    Trap {
        /// Syndrome.
        esr: u64,
        /// Virtual address.
        far: u64,
        /// Guest physical page.
        hpfar: u64,
    },
    /// A physical interrupt.
    Interrupt,
    /// An asynchronous external abort while the guest ran.
    SystemError {
        /// Syndrome.
        esr: u64,
    },
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
    /// A CPU that comes up, and runs nothing yet.
    pub fn new(hv: &Hypervisor, id: CpuId) -> Self {
        let local = Local::new(id, hv.timers.of(id));
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
        event = Event::Interrupt;
    }
    hv.accounts.leave(cpu.id);
}

/// Handles one event and chooses what comes next. Kept out of the loop around it: for nearly all events it runs once.
#[inline(never)]
pub fn step(hv: &Hypervisor, cpu: &mut Cpu, frame: &mut GuestRegs, event: Event) -> Next {
    handle(hv, cpu, frame, event);
    loop {
        if hv.is_kicked(cpu.id) {
            hv.take_kick(cpu.id);
            cpu.local.choose();
        }
        if cpu.local.is_to_choose() {
            switch::choose(hv, cpu, frame);
        }
        let Cpu { running, local, .. } = cpu;
        let Some(running) = running else {
            if hv.is_kicked(local.id()) {
                continue;
            }
            // Whatever ends the wait may have made a vCPU runnable.
            local.choose();
            return Next::Idle;
        };
        let pending = running.vcpu().take_pending();
        if pending.answer() {
            device_access::resume(hv, running, local, frame);
        }
        if pending.interrupts() {
            present_interrupts(hv, running);
        }
        // The same instruction may ask a device model again, at most once. A vCPU that has just left may be the better
        // choice, which is found by choosing once more.
        if !local.is_to_choose() && !hv.is_kicked(local.id()) {
            return Next::Guest;
        }
    }
}

fn handle(hv: &Hypervisor, cpu: &mut Cpu, frame: &mut GuestRegs, event: Event) {
    let Cpu { running, local, .. } = cpu;
    let running = running.as_ref();
    if let Some(vcpu) = running.map(VcpuRef::vcpu)
        && frame.pstate.is_el0()
    {
        vcpu.clear_suspicion();
    }
    match (event, running) {
        (Event::Interrupt, _) => interrupts::take_all(hv, running, local),
        (Event::Trap { esr, far, hpfar }, Some(running)) => {
            exit::handle(hv, running, local, frame, esr, far, hpfar);
        }
        (Event::SystemError { esr }, Some(running)) => inject::system_error(running, frame, esr),
        (Event::Start | Event::Trap { .. } | Event::SystemError { .. }, _) => (),
    }
}
