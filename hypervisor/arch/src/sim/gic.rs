//! The physical interrupt controller: lines that are enabled, pending and active, and the list registers of each CPU.
//!
//! All interrupts have one priority: while one is taken and its priority not dropped, no other is.

use xenolith_core::types::{CpuId, Intid, Pa};
use xenolith_isa::vgic::{Fill, ListRegister};

use super::machine::interrupts::{LIST_REGISTERS, PRIORITY_BITS, SHARED};
use super::machine::{Machine, with};

pub use super::machine::interrupts::{CONSOLE, GUEST_TIMER, KICK, Line, MAINTENANCE, TIMER};

/// Makes the controller a GICv2 whose virtual CPU interface is here, of so many bytes.
pub fn be_version_2(start: Pa, size: u64) {
    with(|machine| machine.gic.virtual_interface = Some((start, size)));
}

/// Where the virtual CPU interface of a GICv2 is, and its size in bytes; `None` for a GICv3.
pub fn virtual_cpu_interface() -> Option<(Pa, u64)> {
    with(|machine| machine.gic.virtual_interface)
}

/// Takes the highest pending interrupt, if there is one.
pub fn acknowledge() -> Option<Intid> {
    with(|machine| {
        let intid = machine.interrupt_pending().then(|| machine.highest()).flatten()?;
        machine.counter = machine.counter.saturating_add(machine.gic.delay);
        let line = machine.line(intid);
        line.latched = false;
        line.active = true;
        machine.cpu().gic.handling = Some(intid);
        Some(intid)
    })
}

/// Has each interrupt take so many ticks at EL2.
pub fn slow_down(ticks: u64) {
    with(|machine| machine.gic.delay = ticks);
}

/// Ends the handling at EL2: further interrupts may come, this one stays active.
pub fn drop_priority(intid: Intid) {
    with(|machine| {
        let handled = machine.cpu().gic.handling.take();
        assert_eq!(handled, Some(intid), "the interrupt whose priority is dropped is the one that was taken");
    });
}

/// Ends an interrupt altogether: it may fire again.
pub fn deactivate(intid: Intid) {
    set_active(intid, false);
}

/// Lets an interrupt come to EL2. A private one (below 32) is the calling CPU's.
pub fn enable(intid: Intid) {
    with(|machine| machine.line(intid).enabled = true);
}

/// Stops an interrupt from coming. A private one (below 32) is the calling CPU's.
pub fn disable(intid: Intid) {
    with(|machine| machine.line(intid).enabled = false);
}

/// Sets or clears an interrupt's active state by hand.
pub fn set_active(intid: Intid, active: bool) {
    with(|machine| machine.line(intid).active = active);
}

/// Whether a shared interrupt waits, which one that is active does too while its line, a level, is asserted.
pub fn is_pending(intid: Intid) -> bool {
    with(|machine| machine.asserted(intid))
}

/// Says whether an interrupt is edge-triggered. It must be disabled.
pub fn set_trigger(intid: Intid, edge: bool) {
    with(|machine| {
        let line = machine.line(intid);
        assert!(!line.enabled, "the trigger of {intid} is changed while it is enabled");
        line.edge = edge;
    });
}

/// Sends a shared interrupt to one CPU from now on.
pub fn route(intid: Intid, cpu: CpuId) {
    with(|machine| machine.line(intid).target = cpu);
}

/// Shared interrupts that the distributor has.
pub fn shared_interrupts() -> u32 {
    SHARED
}

/// Makes another CPU leave its guest, or its sleep, and look at its scheduler.
pub fn kick(cpu: CpuId) {
    with(|machine| machine.line_of(cpu.0.into(), KICK).latched = true);
}

/// The number of list registers that a vCPU has.
pub fn list_registers() -> usize {
    LIST_REGISTERS
}

/// Priority bits that the virtual CPU interface implements.
pub fn priority_bits() -> u8 {
    PRIORITY_BITS
}

/// Reads a list register of the vCPU on this CPU.
pub fn read_list(index: usize) -> ListRegister {
    let register = with(|machine| machine.cpu().gic.list.get(index).copied().flatten());
    register.unwrap_or(ListRegister::INVALID)
}

/// Writes a list register of the vCPU on this CPU.
pub fn write_list(index: usize, register: ListRegister) {
    with(|machine| {
        if let Some(place) = machine.cpu().gic.list.get_mut(index) {
            *place = Some(register);
        }
    });
}

/// Turns the virtual interface on, with the maintenance interrupts that the last [`Fill`] asks for.
pub fn set_maintenance(fill: &Fill) {
    with(|machine| {
        let interface = &mut machine.cpu().gic;
        interface.fill = *fill;
        interface.on = true;
        interface.unlisted_ends = 0;
        interface.ended = false;
    });
}

/// How many interrupts the guest has ended that were in no list register. It counts from zero after
/// [`set_maintenance`].
pub fn unlisted_ends() -> u32 {
    with(|machine| machine.cpu().gic.unlisted_ends)
}

/// A device raises or lowers a shared line. An edge is remembered.
pub fn set_line(intid: Intid, level: bool) {
    with(|machine| {
        let line = machine.line(intid);
        line.latched |= line.edge && level && !line.level;
        line.level = level;
    });
}

/// A line as it is now. A private one (below 32) is the calling CPU's.
pub fn line(intid: Intid) -> Line {
    with(|machine| *machine.line(intid))
}

/// Whether an interrupt waits for the CPU that the thread plays.
pub fn pending() -> bool {
    with(Machine::interrupt_pending)
}
