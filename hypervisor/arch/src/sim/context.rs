//! The EL1 registers of a vCPU, as far as the hypervisor or a test looks at them.

use xenolith_isa::exception::{El1State, Taken};
use xenolith_isa::regs::{El1Registers, Pstate};
use xenolith_isa::stage2::Stage2;

use super::machine::with;

pub use super::machine::registers::Registers;

/// SCTLR_EL1 when a vCPU starts: as in `arch/aarch64`.
const SCTLR_RESET: u64 = 0x00c5_0078;

/// The state of a vCPU that is not running.
#[derive(Clone, Debug)]
pub struct Context {
    registers: Registers,
    /// Its domain has SVE, with vectors of so many 128 bits.
    vector_granules: u8,
}

impl Context {
    /// A vCPU that has not run: MMU off, `mpidr` what it reads in MPIDR_EL1. Its SVE has vectors of so many 128 bits, 0 for
    /// none. The model has memory for it.
    pub fn new(mpidr: u64, vector_granules: u8) -> Option<Self> {
        let mut context = Context { registers: Registers::default(), vector_granules };
        context.reset(mpidr);
        Some(context)
    }

    /// Makes it that of a vCPU which has not run.
    pub fn reset(&mut self, mpidr: u64) {
        self.registers = Registers { sctlr: SCTLR_RESET, vmpidr: mpidr, ..Registers::default() };
    }

    /// The vCPU, which runs here, has used SVE, and it trapped. True if it may from here on; false if it has none, or it
    /// was no reason to trap.
    pub fn begin_sve(&mut self) -> bool {
        with(|machine| {
            let registers = &mut machine.cpu().registers;
            let begins = self.vector_granules > 0 && registers.vector_granules == 0;
            if begins {
                (registers.vector_granules, registers.vectors) = (self.vector_granules, 0);
            }
            begins
        })
    }

    /// Sets the ticks by which the virtual counter is behind the physical one.
    pub fn set_counter_offset(&mut self, ticks: u64) {
        self.registers.counter_offset = ticks;
    }

    /// Takes the state out of the CPU.
    pub fn save(&mut self) {
        with(|machine| {
            let cpu = machine.cpu();
            self.registers = cpu.registers;
            cpu.registers.timer_control = 0;
            cpu.registers.virtual_error = None;
            cpu.gic.turn_off();
        });
    }

    /// Puts the state into the CPU, which translates by the vCPU's tables and its domain's from here on.
    pub fn load(&self, stage2: Stage2) {
        with(|machine| {
            let stage1 = self.registers.stage1();
            stage1.load(stage2, &mut machine.regime(Some((stage2.vttbr.space().vmid.0, stage1))));
            let cpu = machine.cpu();
            cpu.registers = self.registers;
            cpu.gic.turn_on();
        });
    }

    /// The registers that a toolstack reads.
    pub fn el1(&self) -> El1Registers {
        let Registers { sctlr, tcr, ttbr0, ttbr1, sp_el0, sp_el1, elr, spsr, .. } = self.registers;
        El1Registers { sctlr, tcr, ttbr0, ttbr1, sp_el0, sp_el1, elr, spsr }
    }

    /// Sets the registers that a toolstack sets.
    pub fn set_el1(&mut self, registers: &El1Registers) {
        let &El1Registers { sctlr, tcr, ttbr0, ttbr1, sp_el0, sp_el1, elr, spsr } = registers;
        self.registers = Registers { sctlr, tcr, ttbr0, ttbr1, sp_el0, sp_el1, elr, spsr, ..self.registers };
    }

    /// When the virtual timer will fire, if it is on and not masked.
    pub fn timer_deadline(&self) -> Option<u64> {
        self.registers.timer_deadline()
    }
}

/// What decides how an exception is taken to EL1 by the vCPU that runs on this CPU.
pub fn el1_state() -> El1State {
    with(|machine| {
        let registers = &machine.cpu().registers;
        El1State { vbar: registers.vbar, sctlr: registers.sctlr }
    })
}

/// Records an exception in the EL1 registers of the vCPU that runs on this CPU.
pub fn set_exception(taken: &Taken) {
    with(|machine| {
        let registers = &mut machine.cpu().registers;
        registers.elr = taken.elr;
        registers.spsr = taken.spsr;
        registers.esr = taken.esr;
        registers.far = taken.far.unwrap_or(registers.far);
    });
}

/// The stack pointer of the vCPU that runs on this CPU, in the state `pstate`.
pub fn stack_pointer(pstate: Pstate) -> u64 {
    with(|machine| machine.cpu().registers.sp[usize::from(pstate.uses_sp_el1())])
}

/// Sets the stack pointer of the vCPU that runs on this CPU, in the state `pstate`.
pub fn set_stack_pointer(pstate: Pstate, sp: u64) {
    with(|machine| machine.cpu().registers.sp[usize::from(pstate.uses_sp_el1())] = sp);
}
