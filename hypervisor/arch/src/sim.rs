//! A machine on the host, for whole-hypervisor tests: several CPUs, a counter, an interrupt controller, a console.
//!
//! Each thread has a machine of its own, and plays one of its CPUs at a time ([`on_cpu`]), or one CPU of a machine that threads
//! play together ([`SharedMachine`]). Nothing happens by itself:
//! time passes by a tick whenever it is read and otherwise when the test says so, devices fire when the test says so,
//! and the guest's side of the interrupt controller is played by the functions of [`guest`]. So a run repeats exactly.
//! Where the hypervisor asks of the hardware what no sound one would (an interrupt ended that was not taken, say), the
//! model panics.

mod console;
pub mod context;
mod cpu;
pub mod errata;
pub mod gic;
pub mod guest;
mod machine;
mod memory;
mod power;
pub mod stay;
mod system_error;
mod time;

pub use console::{
    console_output, give_uart_room, offer_console, read_console, type_on_console, write_console,
    write_console_unlocked,
};
pub use cpu::{
    asked, auxiliary_control, id_registers, interrupt_waits, mitigations, on_cpu, pause_at, pause_every,
    predict_branches, set_vector_granules, this_cpu, vector_granules, wait_for_interrupt,
};
pub use machine::{SharedMachine, plays_hardware, power_on};
pub use memory::{
    Flushes, HardwareTlb, Wipe, deactivate_stage2, flushes, instruction_syncs, map_again, sync_instructions,
    translate, trap_wait_for_event, unmap,
};
pub use power::{Ending, halt, power_off, reset};
pub use system_error::{
    enter_guest, pend_system_error, refuse_access, system_error_waits, take_system_error,
};
pub use time::{advance, frequency, guest_timer_fires, now, set_timer};
