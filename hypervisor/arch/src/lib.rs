//! What differs between machines, behind one set of functions.
//!
//! `aarch64` is the hardware at EL2. `sim` is a model of it for the host: the same functions, whose state belongs to the
//! calling thread, so that tests run side by side. The layers above name only what both have. That is listed, with its
//! types, at the end of this file: what a machine lacks is a compile error there. `serial` has the drivers of UARTs, which
//! know no architecture.
#![cfg_attr(test, allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types))]
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
#[macro_use(read_sysreg, write_sysreg)]
extern crate xenolith_hw;

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod aarch64;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub use aarch64 as machine;
#[cfg(not(target_os = "none"))]
#[allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "stands for hardware, on the host"
)]
pub mod sim;
#[cfg(not(target_os = "none"))]
pub use sim as machine;

#[cfg(all(target_os = "none", not(target_arch = "aarch64")))]
compile_error!("there is no machine for this architecture yet: a folder beside `aarch64` would drive it");

pub mod serial;
pub mod triggers;

pub use machine::*;

/// Nanoseconds in a second.
const NANOSECONDS: u64 = 1_000_000_000;

/// Ticks of the counter in a number of nanoseconds.
pub fn ticks(nanoseconds: u64) -> u64 {
    scale(nanoseconds, NANOSECONDS, frequency())
}

/// Nanoseconds in a number of ticks of the counter.
pub fn nanoseconds(ticks: u64) -> u64 {
    scale(ticks, frequency().max(1), NANOSECONDS)
}

/// `count` of which `from` are a second, in units of which `to` are one. Both are below 2^32, as a counter's frequency is
/// (Arm ARM, CNTFRQ_EL0), so that the product has room.
fn scale(count: u64, from: u64, to: u64) -> u64 {
    let (seconds, rest) = (count / from, count % from);
    seconds.saturating_mul(to).saturating_add(rest.saturating_mul(to) / from)
}

/// What a machine provides.
#[expect(dead_code, reason = "read by the compiler only")]
mod interface {
    use xenolith_core::types::{CpuId, Gva, Intid, Ipa, Pa};
    use xenolith_isa::exception::{El1State, Taken};
    use xenolith_isa::psci::Mitigations;
    use xenolith_isa::regs::{El1Registers, Pstate};
    use xenolith_isa::stage2::{Stage2, Stage2Descriptor};
    use xenolith_isa::sysreg::IdRegisters;
    use xenolith_isa::system_error::SystemError;
    use xenolith_isa::vgic::{Fill, ListRegister};
    use xenolith_memory::p2m::Tlb;

    use super::machine::{self, HardwareTlb, context, context::Context, gic};

    // Time: a counter that all CPUs read alike, and a timer of the calling CPU for EL2's own use.
    const NOW: fn() -> u64 = machine::now;
    const FREQUENCY: fn() -> u64 = machine::frequency;
    const SET_TIMER: fn(Option<u64>) = machine::set_timer;
    const GUEST_TIMER_FIRES: fn() -> bool = machine::guest_timer_fires;

    // The calling CPU.
    const THIS_CPU: fn() -> CpuId = machine::this_cpu;
    const WAIT_FOR_INTERRUPT: fn() = machine::wait_for_interrupt;
    const INTERRUPT_WAITS: fn() -> bool = machine::interrupt_waits;
    const ID_REGISTERS: fn() -> IdRegisters = machine::id_registers;
    const AUXILIARY_CONTROL: fn() -> u64 = machine::auxiliary_control;
    const MITIGATIONS: fn() -> Mitigations = machine::mitigations;

    // The end of the machine.
    const POWER_OFF: fn() -> ! = machine::power_off;
    const RESET: fn() -> ! = machine::reset;
    const HALT: fn() -> ! = machine::halt;

    // Memory.
    const DEACTIVATE_STAGE2: fn() = machine::deactivate_stage2;
    const TRAP_WAIT_FOR_EVENT: fn(bool) = machine::trap_wait_for_event;
    const TLB: &dyn Tlb<Format = Stage2Descriptor> = &HardwareTlb;
    const TRANSLATE: fn(Gva, bool) -> Option<Ipa> = machine::translate;
    const SYNC_INSTRUCTIONS: fn() = machine::sync_instructions;

    // The registers of the vCPU on the calling CPU, but for those that a trap saves.
    const VECTOR_GRANULES: fn() -> u8 = machine::vector_granules;
    const NEW_CONTEXT: fn(u64, u8) -> Option<Context> = Context::new;
    const RESET_CONTEXT: fn(&mut Context, u64) = Context::reset;
    const BEGIN_SVE: fn(&mut Context) -> bool = Context::begin_sve;
    const SET_COUNTER_OFFSET: fn(&mut Context, u64) = Context::set_counter_offset;
    const SAVE: fn(&mut Context) = Context::save;
    const LOAD: fn(&Context, Stage2) = Context::load;
    const EL1_REGISTERS: fn(&Context) -> El1Registers = Context::el1;
    const SET_EL1_REGISTERS: fn(&mut Context, &El1Registers) = Context::set_el1;
    const TIMER_DEADLINE: fn(&Context) -> Option<u64> = Context::timer_deadline;
    const EL1_STATE: fn() -> El1State = context::el1_state;
    const SET_EXCEPTION: fn(&Taken) = context::set_exception;
    const STACK_POINTER: fn(Pstate) -> u64 = context::stack_pointer;
    const SET_STACK_POINTER: fn(Pstate, u64) = context::set_stack_pointer;

    // System errors: those of the machine, and those of the vCPU on the calling CPU.
    const TAKE_SYSTEM_ERROR: fn() -> Option<SystemError> = machine::take_system_error;
    const SYSTEM_ERROR_WAITS: fn() -> bool = machine::system_error_waits;
    const PEND_SYSTEM_ERROR: fn(SystemError) = machine::pend_system_error;

    // Physical interrupts.
    const KICK: Intid = gic::KICK;
    const SEND_KICK: fn(CpuId) = gic::kick;
    const SHARED_INTERRUPTS: fn() -> u32 = gic::shared_interrupts;
    const ACKNOWLEDGE: fn() -> Option<Intid> = gic::acknowledge;
    const DROP_PRIORITY: fn(Intid) = gic::drop_priority;
    const DEACTIVATE: fn(Intid) = gic::deactivate;
    const ENABLE: fn(Intid) = gic::enable;
    const DISABLE: fn(Intid) = gic::disable;
    const SET_ACTIVE: fn(Intid, bool) = gic::set_active;
    const IS_PENDING: fn(Intid) -> bool = gic::is_pending;
    const SET_TRIGGER: fn(Intid, bool) = gic::set_trigger;
    const ROUTE: fn(Intid, CpuId) = gic::route;
    const VIRTUAL_CPU_INTERFACE: fn() -> Option<(Pa, u64)> = gic::virtual_cpu_interface;

    // The virtual interrupt interface of the vCPU on the calling CPU.
    const LIST_REGISTERS: fn() -> usize = gic::list_registers;
    const PRIORITY_BITS: fn() -> u8 = gic::priority_bits;
    const READ_LIST: fn(usize) -> ListRegister = gic::read_list;
    const WRITE_LIST: fn(usize, ListRegister) = gic::write_list;
    const SET_MAINTENANCE: fn(&Fill) = gic::set_maintenance;
    const UNLISTED_ENDS: fn() -> u32 = gic::unlisted_ends;

    // The console.
    const WRITE_CONSOLE: fn(&[u8]) = machine::write_console;
    const OFFER_CONSOLE: fn(&[u8]) -> usize = machine::offer_console;
    const WRITE_CONSOLE_UNLOCKED: fn(&[u8]) = machine::write_console_unlocked;
    const READ_CONSOLE: fn(&mut [u8]) -> usize = machine::read_console;
}
