//! A machine around the controller: CPUs that acknowledge and deactivate from list registers as the hardware does, and
//! a hypervisor that does no more than the controller asks for.

use std::collections::{BTreeMap, BTreeSet};

use super::super::effects::VgicActions;
use super::super::list_register::{ListState, Origin};
use super::super::*;
use machine_model::Region;
use machine_model::gic::Redistributors;
use xenolith_core::vcpu_set::VcpuSet;

pub const DISTRIBUTOR: u64 = 0x0300_1000;
pub const REDISTRIBUTORS: u64 = 0x0302_0000;
pub const EVENT_PPI: Intid = Intid(31);

/// A physical interrupt: the vCPU, if it is private, and the virtual INTID that it backs.
pub type Line = (Option<VcpuId>, Intid);

#[derive(Clone, Copy, Default)]
pub struct Physical {
    pub enabled: bool,
    pub edge: bool,
    pub active: bool,
    pub target: Option<VcpuId>,
    /// The device holds its line.
    pub line: bool,
}

/// The virtual CPU interface of one CPU.
#[derive(Clone)]
pub struct Interface {
    pub lrs: Vec<ListRegister>,
    pub fill: Fill,
    /// Acknowledged and not yet dropped: priority, INTID, source.
    pub running: Vec<(u8, Intid, u8)>,
    /// Whether the last exit found something to deliver, with all list registers folded.
    pub deliverable: bool,
    eoi_count: u32,
    maintenance: bool,
}

pub struct Machine {
    pub vgic: Vgic,
    /// Where the frames are.
    frames: Vec<(Frame, Ipa, u64)>,
    pub cpus: Vec<Interface>,
    pub physical: BTreeMap<Line, Physical>,
    /// What the last [`settle`](Machine::settle) was told.
    pub event_ppi_enabled: VcpuSet,
}

pub fn gicv3(distributor: u64, redistributors: &[Region]) -> Gic {
    // The machine may leave a distributor more room than it has registers.
    let distributor = Region::new(distributor, 0x2_0000);
    Gic::V3 { distributor, redistributors: Redistributors::new(redistributors).unwrap() }
}

pub fn gicv2() -> Gic {
    let distributor = Region::new(DISTRIBUTOR, 0x1_0000);
    Gic::V2 { distributor, cpu: Region::new(DISTRIBUTOR + 0x1_0000, 0x2000) }
}

pub fn config_v3(vcpus: u16, spis: u16) -> Config {
    Config {
        gic: gicv3(DISTRIBUTOR, &[Region::new(REDISTRIBUTORS, 0x100_0000)]),
        vcpus,
        spis,
        event_ppi: EVENT_PPI,
        priority_bits: 5,
    }
}

pub fn config_v2(vcpus: u16, spis: u16) -> Config {
    Config { gic: gicv2(), ..config_v3(vcpus, spis) }
}

fn source(register: &ListRegister) -> u8 {
    match register.origin {
        Origin::Software { source, .. } => source,
        Origin::Hardware(_) => 0,
    }
}

impl Interface {
    fn slot_of_active(&self, intid: Intid, from: u8) -> Option<usize> {
        self.lrs.iter().position(|r| r.state.is_active() && r.intid == intid && source(r) == from)
    }
}

impl Machine {
    pub fn new(config: Config, list_registers: usize) -> Self {
        let interface = Interface {
            lrs: vec![ListRegister::INVALID; list_registers],
            fill: Fill::default(),
            running: Vec::new(),
            deliverable: false,
            eoi_count: 0,
            maintenance: false,
        };
        let vcpus = config.vcpus;
        let frames = frames(&config.gic).collect();
        let mut vgic = Vgic::new(config).unwrap();
        for n in 0..vcpus {
            vgic.set_online(VcpuId(n), true);
        }
        let cpus = vec![interface; vcpus.into()];
        Machine { vgic, frames, cpus, physical: BTreeMap::new(), event_ppi_enabled: VcpuSet::default() }
    }

    /// A GICv3 with both groups enabled, as Linux leaves it.
    pub fn v3(vcpus: u16, spis: u16) -> Self {
        let mut machine = Self::new(config_v3(vcpus, spis), 4);
        machine.write(0, DISTRIBUTOR, 4, 0x13);
        machine
    }

    /// A GICv2 with Group 0 enabled, as Linux leaves it.
    pub fn v2(vcpus: u16, spis: u16) -> Self {
        let mut machine = Self::new(config_v2(vcpus, spis), 4);
        machine.write(0, DISTRIBUTOR, 4, 1);
        machine
    }

    pub fn read(&mut self, vcpu: u16, address: u64, size: u8) -> u64 {
        self.try_read(vcpu, address, size).unwrap().unwrap()
    }

    pub fn write(&mut self, vcpu: u16, address: u64, size: u8, value: u64) {
        self.try_write(vcpu, address, size, value).unwrap().unwrap();
    }

    /// The frame that has an address, and the offset in it.
    fn find(&self, address: u64) -> Option<(Frame, u64)> {
        self.frames.iter().find_map(|&(frame, base, size)| {
            let offset = address.checked_sub(base.0).filter(|&offset| offset < size)?;
            Some((frame, offset))
        })
    }

    /// A load; `None` where no frame is.
    pub fn try_read(&mut self, vcpu: u16, address: u64, size: u8) -> Option<Result<u64, Fault>> {
        let (frame, offset) = self.find(address)?;
        self.bring_in_state(vcpu, frame, offset, false);
        Some(self.vgic.read(VcpuId(vcpu), frame, offset, size))
    }

    /// What a trapped access is preceded by.
    fn bring_in_state(&mut self, vcpu: u16, frame: Frame, offset: u64, write: bool) {
        if Vgic::concerns_state(offset, write) {
            self.sync(vcpu);
            let (id, physical) = (VcpuId(vcpu), &self.physical);
            let owner = |intid| Some(id).filter(|_| intid < Intid::FIRST_SHARED);
            self.vgic.sample_at(id, frame, offset, |intid| physical[&(owner(intid), intid)].line);
        }
    }

    /// A store; `None` where no frame is.
    pub fn try_write(&mut self, vcpu: u16, address: u64, size: u8, value: u64) -> Option<Result<(), Fault>> {
        let (frame, offset) = self.find(address)?;
        self.bring_in_state(vcpu, frame, offset, true);
        Some(self.vgic.write(VcpuId(vcpu), frame, offset, size, value))
    }

    pub fn back(&mut self, line: Line, physical: Intid) {
        self.physical.insert(line, Physical::default());
        self.vgic.back_by_hardware(line.0, line.1, Some(physical));
        self.carry_out_line_changes();
    }

    /// The device behind a physical interrupt fires. False if the physical controller would not signal it now.
    pub fn fire(&mut self, line: Line) -> bool {
        let physical = self.physical.get_mut(&line).unwrap();
        physical.line = true;
        if !physical.enabled || physical.active {
            return false;
        }
        physical.active = true;
        self.vgic.pend(line.0, line.1);
        true
    }

    /// The device behind a physical interrupt lets go of its line. Nobody is told.
    pub fn fall(&mut self, line: Line) {
        self.physical.get_mut(&line).unwrap().line = false;
    }

    pub fn carry_out_line_changes(&mut self) {
        while let Some(change) = self.vgic.take_line_change() {
            let physical =
                self.physical.get_mut(&(change.vcpu, change.intid)).expect("a line that is backed");
            physical.enabled = change.enabled.unwrap_or(physical.enabled);
            physical.edge = change.edge.unwrap_or(physical.edge);
            physical.active = change.active.unwrap_or(physical.active);
            physical.target = change.target.or(physical.target);
        }
    }

    /// One way out of and back into the guest.
    pub fn sync(&mut self, vcpu: u16) {
        let id = VcpuId(vcpu);
        let cpu = &mut self.cpus[usize::from(vcpu)];
        cpu.maintenance = false;
        self.vgic.drop_unlisted(id, std::mem::take(&mut cpu.eoi_count));
        self.vgic.fold(id, |index| cpu.lrs[index]);
        let private = |intid: Intid| self.physical[&(Some(id), intid)].line;
        self.vgic.sample_private(id, private);
        cpu.deliverable = self.vgic.deliverable(id);
        let capacity = cpu.lrs.len();
        cpu.fill = self.vgic.fill(id, capacity, |index, register| cpu.lrs[index] = register);
        cpu.lrs[cpu.fill.used..].fill(ListRegister::INVALID);
        self.check_list_registers();
    }

    /// No interrupt is in two registers of a CPU, and no shared one on two CPUs; what hardware backs is never pending
    /// and active.
    fn check_list_registers(&self) {
        let mut seen = BTreeSet::new();
        for (n, cpu) in self.cpus.iter().enumerate() {
            for register in cpu.lrs.iter().filter(|register| register.state != ListState::Invalid) {
                let owner = if register.intid < Intid::FIRST_SHARED { n } else { usize::MAX };
                assert!(seen.insert((owner, register.intid)), "{register:?} is listed twice");
                if matches!(register.origin, Origin::Hardware(_)) {
                    assert_ne!(register.state, ListState::PendingActive);
                }
            }
        }
    }

    fn wants_maintenance(cpu: &Interface) -> bool {
        cpu.maintenance
            || (cpu.fill.no_pending && !cpu.lrs.iter().any(|register| register.state == ListState::Pending))
            || (cpu.fill.unlisted_active && cpu.eoi_count != 0)
    }

    /// Does what the controller asks for until it asks for nothing.
    pub fn settle(&mut self) -> VgicActions {
        let mut all = VgicActions::default();
        for _ in 0..100 {
            self.carry_out_line_changes();
            let effects = self.vgic.take_effects();
            all.kick |= effects.kick;
            all.event_ppi_enabled |= effects.event_ppi_enabled;
            let due: Vec<u16> = (0..self.vgic.vcpus())
                .filter(|n| {
                    effects.kick.contains(VcpuId(*n)) || Self::wants_maintenance(&self.cpus[usize::from(*n)])
                })
                .collect();
            if due.is_empty() {
                self.event_ppi_enabled = all.event_ppi_enabled;
                return all;
            }
            for vcpu in due {
                self.sync(vcpu);
            }
        }
        panic!("the controller never comes to rest");
    }

    /// The pending interrupt that the CPU would signal: its slot.
    fn highest(&self, vcpu: u16) -> Option<usize> {
        let lrs = &self.cpus[usize::from(vcpu)].lrs;
        (0..lrs.len())
            .filter(|n| lrs[*n].state == ListState::Pending)
            .min_by_key(|n| (lrs[*n].priority, lrs[*n].intid))
    }

    /// The INTID of the highest-priority pending interrupt, whether or not it would preempt.
    pub fn highest_pending(&self, vcpu: u16) -> Option<Intid> {
        self.highest(vcpu).map(|slot| self.cpus[usize::from(vcpu)].lrs[slot].intid)
    }

    /// The guest acknowledges an interrupt, if one is signalled: INTID and source.
    pub fn acknowledge(&mut self, vcpu: u16) -> Option<(Intid, u8)> {
        let slot = self.highest(vcpu)?;
        let cpu = &mut self.cpus[usize::from(vcpu)];
        let register = &mut cpu.lrs[slot];
        if cpu.running.last().is_some_and(|(priority, ..)| *priority <= register.priority) {
            return None;
        }
        register.state = ListState::Active;
        let source = source(register);
        cpu.running.push((register.priority, register.intid, source));
        Some((register.intid, source))
    }

    /// Whether a list register has the interrupt that the guest acknowledged last.
    pub fn would_end_listed(&self, vcpu: u16) -> bool {
        let cpu = &self.cpus[usize::from(vcpu)];
        cpu.running.last().is_some_and(|(_, intid, source)| cpu.slot_of_active(*intid, *source).is_some())
    }

    /// The guest ends the interrupt that it acknowledged last.
    pub fn end(&mut self, vcpu: u16) -> Option<Intid> {
        let cpu = &mut self.cpus[usize::from(vcpu)];
        let (_, intid, source) = cpu.running.pop()?;
        let Some(slot) = cpu.slot_of_active(intid, source) else {
            cpu.eoi_count += 1;
            return Some(intid);
        };
        let register = &mut cpu.lrs[slot];
        register.state = ListState::new(register.state.is_pending(), false);
        match register.origin {
            Origin::Software { eoi_maintenance, .. } => {
                cpu.maintenance |= eoi_maintenance && register.state == ListState::Invalid;
            }
            Origin::Hardware(_) => {
                let line =
                    if intid < Intid::FIRST_SHARED { (Some(VcpuId(vcpu)), intid) } else { (None, intid) };
                self.physical.get_mut(&line).unwrap().active = false;
            }
        }
        Some(intid)
    }

    /// Acknowledges and ends one interrupt.
    pub fn take(&mut self, vcpu: u16) -> Option<Intid> {
        let taken = self.acknowledge(vcpu).map(|(intid, _)| intid);
        if taken.is_some() {
            self.end(vcpu);
        }
        taken
    }
}
