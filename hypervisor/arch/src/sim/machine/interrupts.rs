//! Interrupt lines, what of the interrupt controller belongs to one CPU, and which interrupt comes next.

use std::collections::BTreeMap;

use xenolith_core::types::{CpuId, Intid, Pa};
use xenolith_isa::vgic::{Fill, ListRegister};

use super::Machine;

/// The software interrupt that makes a CPU look at its scheduler.
pub const KICK: Intid = Intid(1);
/// The private line of EL2's own timer.
pub const TIMER: Intid = Intid(26);
/// The private line of the virtual timer.
pub const GUEST_TIMER: Intid = Intid(27);
/// The private line by which list registers ask for service.
pub const MAINTENANCE: Intid = Intid(25);

/// The console's shared line: it is up while there is input.
pub const CONSOLE: Intid = Intid(33);

/// Shared interrupts.
pub(in crate::sim) const SHARED: u32 = 256;
/// List registers of each CPU.
pub(in crate::sim) const LIST_REGISTERS: usize = 4;
/// Priority bits of the virtual interface.
pub(in crate::sim) const PRIORITY_BITS: u8 = 5;

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
pub(in crate::sim) struct Distributor {
    lines: BTreeMap<Intid, Line>,
    /// The virtual CPU interface of a GICv2: its place and size.
    pub virtual_interface: Option<(Pa, u64)>,
    /// Ticks that pass while the CPU takes an interrupt.
    pub delay: u64,
}

/// What belongs to one CPU.
#[derive(Default)]
pub(in crate::sim) struct Interface {
    private: BTreeMap<Intid, Line>,
    /// Taken, its priority not dropped yet.
    pub handling: Option<Intid>,
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
    pub(in crate::sim) fn line(&mut self, intid: Intid) -> &mut Line {
        self.line_of(self.this, intid)
    }

    pub(in crate::sim) fn line_of(&mut self, cpu: usize, intid: Intid) -> &mut Line {
        assert!(intid.0 < 32 + SHARED, "there is no {intid}");
        let lines =
            if intid < Intid::FIRST_SHARED { &mut self.cpu_at(cpu).gic.private } else { &mut self.gic.lines };
        lines.entry(intid).or_insert(Line { enabled: intid < Intid::FIRST_PRIVATE, ..Line::default() })
    }

    /// Whether a line asks for attention, whatever its enable says.
    pub(in crate::sim) fn asserted(&mut self, intid: Intid) -> bool {
        let now = self.counter;
        let typed = self.console.has_input();
        let cpu = self.cpu();
        let wired = match intid {
            TIMER => cpu.timer.is_some_and(|deadline| deadline <= now),
            GUEST_TIMER => cpu.registers.timer_deadline().is_some_and(|deadline| deadline <= now),
            MAINTENANCE => cpu.gic.wants_maintenance(),
            CONSOLE => typed,
            _ => false,
        };
        let line = self.line(intid);
        wired || line.latched || line.level && !line.edge
    }

    /// The interrupt that this CPU would take now.
    pub(in crate::sim) fn highest(&mut self) -> Option<Intid> {
        let this = CpuId(self.this as u16);
        let shared: Vec<Intid> =
            self.gic.lines.iter().filter(|(_, line)| line.target == this).map(|(&intid, _)| intid).collect();
        (0..32).map(Intid).chain(shared).find(|&intid| {
            let line = *self.line(intid);
            line.enabled && !line.active && self.asserted(intid)
        })
    }

    /// Whether an interrupt waits for this CPU.
    pub(in crate::sim) fn interrupt_pending(&mut self) -> bool {
        self.cpu().gic.handling.is_none() && self.highest().is_some()
    }

    /// When the next of the CPU's timers fires, if one is set.
    pub(in crate::sim) fn next_timer(&mut self) -> Option<u64> {
        let cpu = self.cpu();
        [cpu.timer, cpu.registers.timer_deadline()].into_iter().flatten().min()
    }
}
