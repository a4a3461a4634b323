//! Changing what EL1 and EL0 translate addresses by: the stage 1 of a vCPU together with the stage 2 of its domain.
//!
//! Some CPUs execute an AT instruction ahead of the program while that changes (errata 1165522 and its like), and keep what it
//! finds in their TLBs: a translation by registers of two vCPUs, which no tables have. There walks of stage 1 are held
//! meanwhile: TCR_EL1.EPD0 and EPD1 forbid them, and SCTLR_EL1.M is set, as they forbid nothing where stage 1 is off.

use crate::stage2::Stage2;

/// The registers of stage 1 that decide about translations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stage1 {
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
    /// MAIR_EL1.
    pub mair: u64,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// SCTLR_EL1.
    Sctlr,
    /// TCR_EL1.
    Tcr,
    /// TTBR0_EL1.
    Ttbr0,
    /// TTBR1_EL1.
    Ttbr1,
    /// MAIR_EL1.
    Mair,
}

/// TCR_EL1.EPD0 and EPD1: no walks from TTBR0_EL1, none from TTBR1_EL1.
pub const NO_WALKS: u64 = 1 << 7 | 1 << 23;
/// SCTLR_EL1.M: stage 1 is on.
pub const STAGE1_ON: u64 = 1;

/// The registers of a CPU.
pub trait Regime {
    /// Reads one of stage 1.
    fn read(&self, register: Register) -> u64;
    /// Writes one of stage 1.
    fn write(&mut self, register: Register, value: u64);
    /// What was written has its effect before what follows: ISB.
    fn synchronize(&mut self);
    /// The VMID that translations are made under.
    fn vmid(&self) -> u16;
    /// Has stage 2 translate by a domain's tables, and synchronizes.
    fn set_stage2(&mut self, stage2: Stage2);
    /// Whether walks of stage 1 must be held while the registers are of two vCPUs.
    fn must_hold_walks(&self) -> bool;
}

impl Stage1 {
    /// Takes it from a CPU.
    #[inline]
    pub fn read(cpu: &impl Regime) -> Self {
        Stage1 {
            sctlr: cpu.read(Register::Sctlr),
            tcr: cpu.read(Register::Tcr),
            ttbr0: cpu.read(Register::Ttbr0),
            ttbr1: cpu.read(Register::Ttbr1),
            mair: cpu.read(Register::Mair),
        }
    }

    #[inline(always)]
    fn is_in(&self, cpu: &impl Regime) -> bool {
        // Without branches, of which one would follow from each register.
        let differing = (cpu.read(Register::Sctlr) ^ self.sctlr)
            | (cpu.read(Register::Tcr) ^ self.tcr)
            | (cpu.read(Register::Ttbr0) ^ self.ttbr0)
            | (cpu.read(Register::Ttbr1) ^ self.ttbr1)
            | (cpu.read(Register::Mair) ^ self.mair);
        differing == 0
    }

    /// Puts it into a CPU, under `stage2`. Most often it is there still, as the same vCPU comes back.
    #[inline(always)]
    pub fn load(&self, stage2: Stage2, cpu: &mut impl Regime) {
        if cpu.vmid() == stage2.vttbr.space().vmid.0 && self.is_in(cpu) {
            cpu.set_stage2(stage2);
        } else {
            self.change(stage2, cpu);
        }
    }

    #[cold]
    #[inline(never)]
    fn change(&self, stage2: Stage2, cpu: &mut impl Regime) {
        // What it holds is of the vCPU before.
        let _ = hold(cpu);
        cpu.set_stage2(stage2);
        for (register, value) in
            [(Register::Ttbr0, self.ttbr0), (Register::Ttbr1, self.ttbr1), (Register::Mair, self.mair)]
        {
            update(cpu, register, value);
        }
        cpu.synchronize();
        open(cpu, self.tcr, self.sctlr);
    }
}

/// Writes what differs: writing a register of stage 1 anew would cost some CPUs, and emulators, the translations that they have.
fn update(cpu: &mut impl Regime, register: Register, value: u64) {
    if cpu.read(register) != value {
        cpu.write(register, value);
    }
}

/// Walks of stage 1 are held. What [`release`] puts back: TCR_EL1, SCTLR_EL1.
#[derive(Debug)]
#[must_use]
pub struct Held(u64, u64);

/// Holds walks of stage 1 on a CPU that needs it, so that stage 2 can be another domain's until [`release`].
pub fn hold(cpu: &mut impl Regime) -> Option<Held> {
    cpu.must_hold_walks().then(|| {
        let (tcr, sctlr) = (cpu.read(Register::Tcr), cpu.read(Register::Sctlr));
        cpu.write(Register::Tcr, tcr | NO_WALKS);
        cpu.synchronize();
        // Only now: with stage 1 off before, its tables may be any.
        cpu.write(Register::Sctlr, sctlr | STAGE1_ON);
        cpu.synchronize();
        Held(tcr, sctlr)
    })
}

/// Ends what [`hold`] began. Stage 2 is again what it was.
pub fn release(cpu: &mut impl Regime, held: Option<Held>) {
    if let Some(Held(tcr, sctlr)) = held {
        open(cpu, tcr, sctlr);
    }
}

/// Lets walks begin, in the other order.
fn open(cpu: &mut impl Regime, tcr: u64, sctlr: u64) {
    update(cpu, Register::Sctlr, sctlr);
    cpu.synchronize();
    update(cpu, Register::Tcr, tcr);
    cpu.synchronize();
}
