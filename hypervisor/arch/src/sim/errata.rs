//! CPUs with errata: what goes wrong on them, and what the hypervisor does about it ([`xenolith_host::errata`]).

use xenolith_host::errata::Needs;
use xenolith_isa::regime::{NO_WALKS, Regime, Register, STAGE1_ON, Stage1};
use xenolith_isa::stage2::Stage2;

use super::machine::{Cpu, Machine, with};

pub use super::machine::defects::{Defects, Harm};

/// Has CPU 0 come up, which is the one that MIDR_EL1 names, and has these defects.
pub fn come_up(midr: u64, defects: Defects) {
    with(|machine| {
        machine.defects = defects;
        machine.needs = Needs::new();
        machine.needs.add_cpu(midr, |_| {});
    });
}

/// What has gone wrong since the machine was switched on.
pub fn harm() -> Harm {
    with(|machine| machine.harm)
}

impl Machine {
    /// The registers of the CPU that the thread plays by which it translates. Those of `next` are about to be there.
    pub(super) fn regime(&mut self, next: Option<(u16, Stage1)>) -> Translating<'_> {
        let (hold, defects) = (self.needs.hold_walks(), self.defects);
        let this = self.this;
        let _ = self.cpu();
        let cpu = &mut self.cpus[this];
        let sound = [Some((cpu.vmid, cpu.registers.stage1())), next];
        let walks = cpu.stage2.is_some();
        Translating { cpu, harm: &mut self.harm, hold, defects, sound, walks }
    }

    /// An invalidation of TLBs.
    pub(super) fn invalidate(&mut self) {
        if self.defects.early_tlbi && !self.needs.repeat_tlbi() {
            self.harm.incomplete += 1;
        }
    }
}

/// A CPU that translates after each step of the program, if it has that defect.
pub(super) struct Translating<'a> {
    cpu: &'a mut Cpu,
    harm: &'a mut Harm,
    hold: bool,
    defects: Defects,
    /// What translations may be made by: VMID and stage 1 of one vCPU.
    sound: [Option<(u16, Stage1)>; 2],
    /// There are tables to walk.
    walks: bool,
}

/// What decides about a translation: with stage 1 off, only that it is off.
fn means((vmid, stage1): (u16, Stage1)) -> (u16, Stage1) {
    let is_on = stage1.sctlr & STAGE1_ON != 0;
    (vmid, if is_on { stage1 } else { Stage1 { sctlr: stage1.sctlr, ..Stage1::default() } })
}

impl Translating<'_> {
    fn step(&mut self) {
        let now = means((self.cpu.vmid, self.cpu.registers.stage1()));
        let is_held = now.1.tcr & NO_WALKS == NO_WALKS;
        let is_sound = self.sound.iter().flatten().any(|&sound| means(sound) == now);
        if self.defects.speculative_at && self.walks && !is_held && !is_sound {
            self.harm.mixed += 1;
        }
    }

    /// Has TLB operations, and walks, mean another domain.
    pub fn set_vmid(&mut self, vmid: u16, walks: bool) {
        (self.cpu.vmid, self.walks) = (vmid, walks);
        self.step();
    }
}

impl Regime for Translating<'_> {
    fn read(&self, register: Register) -> u64 {
        let stage1 = self.cpu.registers.stage1();
        match register {
            Register::Sctlr => stage1.sctlr,
            Register::Tcr => stage1.tcr,
            Register::Ttbr0 => stage1.ttbr0,
            Register::Ttbr1 => stage1.ttbr1,
            Register::Mair => stage1.mair,
        }
    }

    fn write(&mut self, register: Register, value: u64) {
        let registers = &mut self.cpu.registers;
        *match register {
            Register::Sctlr => &mut registers.sctlr,
            Register::Tcr => &mut registers.tcr,
            Register::Ttbr0 => &mut registers.ttbr0,
            Register::Ttbr1 => &mut registers.ttbr1,
            Register::Mair => &mut registers.mair,
        } = value;
        self.step();
    }

    fn synchronize(&mut self) {}

    fn vmid(&self) -> u16 {
        self.cpu.vmid
    }

    fn set_stage2(&mut self, stage2: Stage2) {
        self.cpu.stage2 = Some(stage2);
        self.set_vmid(stage2.vttbr.space().vmid.0, true);
    }

    fn must_hold_walks(&self) -> bool {
        self.hold
    }
}
