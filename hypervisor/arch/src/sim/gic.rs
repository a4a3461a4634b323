//! The physical interrupt controller: lines that are enabled, pending and active, and the list registers of each CPU.
//!
//! All interrupts have one priority: while one is taken and its priority not dropped, no other is.

use std::collections::BTreeMap;

use xenolith_core::types::{CpuId, Pa};
use xenolith_isa::vgic::{Fill, ListRegister};

use super::{Machine, time, with};

/// The software interrupt that makes a CPU look at its scheduler.
pub const KICK: u32 = 1;
/// The private line of EL2's own timer.
pub const TIMER: u32 = 26;
/// The private line of the virtual timer.
pub const GUEST_TIMER: u32 = 27;
/// The private line by which list registers ask for service.
pub const MAINTENANCE: u32 = 25;

/// The console's shared line: it is up while there is input.
pub const CONSOLE: u32 = 33;

/// Shared interrupts.
const SHARED: u32 = 256;
/// List registers of each CPU.
const LIST_REGISTERS: usize = 4;
/// Priority bits of the virtual interface.
const PRIORITY_BITS: u8 = 5;

/// One interrupt line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// It may come to a CPU.
    pub enabled: bool,
    /// It is edge-triggered.
    pub edge: bool,
    /// It has been taken and not been deactivated.
    pub active: bool,
    /// An edge, or a software interrupt, has come.
    pub latched: bool,
    /// The device holds the line.
    pub level: bool,
    /// The CPU that gets it, if it is shared.
    pub target: CpuId,
}

/// The shared lines, and what a GICv2 has for guests.
#[derive(Default)]
pub(super) struct Distributor {
    lines: BTreeMap<u32, Line>,
    virtual_interface: Option<(Pa, u64)>,
}

/// Makes the controller a GICv2 whose virtual CPU interface is here, of so many bytes.
pub fn be_version_2(start: Pa, size: u64) {
    with(|machine| machine.gic.virtual_interface = Some((start, size)));
}

/// Where the virtual CPU interface of a GICv2 is, and its size in bytes; `None` for a GICv3.
pub fn virtual_cpu_interface() -> Option<(Pa, u64)> {
    with(|machine| machine.gic.virtual_interface)
}

/// What belongs to one CPU.
#[derive(Default)]
pub(super) struct Interface {
    private: BTreeMap<u32, Line>,
    /// Taken, its priority not dropped yet.
    handling: Option<u32>,
    /// A vCPU is loaded.
    pub on: bool,
    /// Its list registers.
    pub list: [Option<ListRegister>; LIST_REGISTERS],
    /// The maintenance interrupts that are wanted.
    pub fill: Fill,
    /// Interrupts that the guest has ended and that no list register has.
    pub unlisted_ends: u32,
    /// A list register that asked for it has become free.
    pub ended: bool,
}

impl Interface {
    pub fn turn_off(&mut self) {
        self.on = false;
        self.fill = Fill::default();
        self.ended = false;
    }

    pub fn turn_on(&mut self) {
        self.on = true;
        self.unlisted_ends = 0;
    }

    /// ICH_MISR_EL2: a maintenance interrupt is due.
    fn wants_maintenance(&self) -> bool {
        let pending = || self.list.iter().flatten().any(|register| register.state.is_pending());
        self.on
            && (self.ended
                || self.fill.no_pending && !pending()
                || self.fill.unlisted_active && self.unlisted_ends > 0)
    }
}

impl Machine {
    /// A line of this CPU, or a shared one.
    pub(super) fn line(&mut self, intid: u32) -> &mut Line {
        self.line_of(self.this, intid)
    }

    fn line_of(&mut self, cpu: usize, intid: u32) -> &mut Line {
        assert!(intid < 32 + SHARED, "there is no interrupt {intid}");
        let lines = if intid < 32 { &mut self.cpu_at(cpu).gic.private } else { &mut self.gic.lines };
        lines.entry(intid).or_insert(Line { enabled: intid < 16, ..Line::default() })
    }

    /// Whether a line asks for attention, whatever its enable says.
    fn asserted(&mut self, intid: u32) -> bool {
        let now = self.counter;
        let typed = self.console.has_input();
        let cpu = self.cpu();
        let wired = match intid {
            TIMER => cpu.timer.is_some_and(|deadline| deadline <= now),
            GUEST_TIMER => time::guest_deadline(&cpu.registers).is_some_and(|deadline| deadline <= now),
            MAINTENANCE => cpu.gic.wants_maintenance(),
            CONSOLE => typed,
            _ => false,
        };
        let line = self.line(intid);
        wired || line.latched || line.level && !line.edge
    }

    /// The interrupt that this CPU would take now.
    fn highest(&mut self) -> Option<u32> {
        let this = CpuId(self.this as u16);
        let shared: Vec<u32> =
            self.gic.lines.iter().filter(|(_, line)| line.target == this).map(|(&intid, _)| intid).collect();
        (0..32).chain(shared).find(|&intid| {
            let line = *self.line(intid);
            line.enabled && !line.active && self.asserted(intid)
        })
    }

    /// Whether an interrupt waits for this CPU.
    pub(super) fn interrupt_pending(&mut self) -> bool {
        self.cpu().gic.handling.is_none() && self.highest().is_some()
    }
}

/// Takes the highest pending interrupt, if there is one.
pub fn acknowledge() -> Option<u32> {
    with(|machine| {
        let intid = machine.interrupt_pending().then(|| machine.highest()).flatten()?;
        let line = machine.line(intid);
        line.latched = false;
        line.active = true;
        machine.cpu().gic.handling = Some(intid);
        Some(intid)
    })
}

/// Ends the handling at EL2: further interrupts may come, this one stays active.
pub fn drop_priority(intid: u32) {
    with(|machine| {
        let handled = machine.cpu().gic.handling.take();
        assert_eq!(handled, Some(intid), "the interrupt whose priority is dropped is the one that was taken");
    });
}

/// Ends an interrupt altogether: it may fire again.
pub fn deactivate(intid: u32) {
    set_active(intid, false);
}

/// Lets an interrupt come to EL2. A private one (below 32) is the calling CPU's.
pub fn enable(intid: u32) {
    with(|machine| machine.line(intid).enabled = true);
}

/// Stops an interrupt from coming. A private one (below 32) is the calling CPU's.
pub fn disable(intid: u32) {
    with(|machine| machine.line(intid).enabled = false);
}

/// Sets or clears an interrupt's active state by hand.
pub fn set_active(intid: u32, active: bool) {
    with(|machine| machine.line(intid).active = active);
}

/// Says whether an interrupt is edge-triggered. It must be disabled.
pub fn set_trigger(intid: u32, edge: bool) {
    with(|machine| {
        let line = machine.line(intid);
        assert!(!line.enabled, "the trigger of interrupt {intid} is changed while it is enabled");
        line.edge = edge;
    });
}

/// Sends a shared interrupt to one CPU from now on.
pub fn route(intid: u32, cpu: CpuId) {
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

/// How many list registers a vCPU has.
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
pub fn set_line(intid: u32, level: bool) {
    with(|machine| {
        let line = machine.line(intid);
        line.latched |= line.edge && level && !line.level;
        line.level = level;
    });
}

/// A line as it is now. A private one (below 32) is the calling CPU's.
pub fn line(intid: u32) -> Line {
    with(|machine| *machine.line(intid))
}

/// Whether an interrupt waits for the CPU that the thread plays.
pub fn pending() -> bool {
    with(Machine::interrupt_pending)
}
