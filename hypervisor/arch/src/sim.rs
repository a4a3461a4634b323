//! A machine on the host, for whole-hypervisor tests: several CPUs, a counter, an interrupt controller, a console.
//!
//! Each thread has a machine of its own, and plays one of its CPUs at a time ([`on_cpu`]). Nothing happens by itself:
//! time passes by a tick whenever it is read and otherwise when the test says so, devices fire when the test says so,
//! and the guest's side of the interrupt controller is played by the functions of [`guest`]. So a run repeats exactly.
//! Where the hypervisor asks of the hardware what no sound one would (an interrupt ended that was not taken, say), the
//! model panics.

mod console;
pub mod context;
mod cpu;
pub mod gic;
pub mod guest;
mod memory;
mod power;
mod time;

use std::cell::{Cell, RefCell};

pub use console::{console_output, read_console, type_on_console, write_console, write_console_unlocked};
pub use cpu::{
    auxiliary_control, id_registers, interrupt_waits, on_cpu, pause_every, this_cpu, wait_for_interrupt,
};
pub use memory::{
    Flushes, HardwareTlb, Stage2, activate_stage2, deactivate_stage2, flushes, map_again, sync_instructions,
    translate, trap_wait_for_event, unmap,
};
pub use power::{Ending, halt, power_off, reset};
pub use time::{advance, frequency, now, set_timer};

/// The machine of a thread.
#[derive(Default)]
struct Machine {
    cpus: Vec<cpu::Cpu>,
    this: usize,
    counter: u64,
    pause: cpu::Pause,
    gic: gic::Distributor,
    guest_tables: memory::GuestTables,
    flushes: Flushes,
    console: console::Uart,
}

thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::default();
    static PLAYS_HARDWARE: Cell<bool> = const { Cell::new(false) };
}

/// Does something with the calling thread's machine. Calls do not nest.
fn with<T>(action: impl FnOnce(&mut Machine) -> T) -> T {
    /// Ends the play, also when the model finds a fault and panics.
    struct Play;
    impl Drop for Play {
        fn drop(&mut self) {
            PLAYS_HARDWARE.set(false);
        }
    }
    PLAYS_HARDWARE.set(true);
    let _play = Play;
    MACHINE.with_borrow_mut(action)
}

/// Whether the calling thread is in the model: what it allocates there stands for hardware, and is not the hypervisor's.
pub fn plays_hardware() -> bool {
    PLAYS_HARDWARE.try_with(Cell::get).unwrap_or(false)
}

impl Machine {
    /// The CPU that the thread plays. CPUs come into being when they are first played or sent an interrupt.
    fn cpu(&mut self) -> &mut cpu::Cpu {
        self.cpu_at(self.this)
    }

    fn cpu_at(&mut self, index: usize) -> &mut cpu::Cpu {
        if index >= self.cpus.len() {
            self.cpus.resize_with(index + 1, Default::default);
        }
        &mut self.cpus[index]
    }
}

/// Puts the calling thread's machine back to how it is switched on.
pub fn power_on() {
    with(|machine| *machine = Machine::default());
}
