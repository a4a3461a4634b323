//! What a guest's instructions cause, as far as they trap.

use xenolith_cpu::{Event, Next};
use xenolith_isa::trap;
use xenolith_isa::trap::Syndrome;

use super::Machine;

/// ESR_EL2.IL: a 32-bit instruction.
const IL: u64 = 1 << 25;

/// HVC with this immediate.
pub fn hvc(immediate: u16) -> Event {
    const CLASS_HVC64: u64 = 0x16 << 26;
    trap_of(CLASS_HVC64 | u64::from(immediate))
}

/// WFI.
pub fn wait() -> Event {
    const CLASS_WAIT: u64 = 0x01 << 26;
    trap_of(CLASS_WAIT)
}

/// MSR with x1, or MRS to it, of a system register that traps: op0, op1, CRn, CRm, op2.
pub fn system_register((op0, op1, crn, crm, op2): (u8, u8, u8, u8, u8), read: bool) -> Event {
    trap_of(
        0x18 << 26
            | u64::from(op0) << 20
            | u64::from(op2) << 17
            | u64::from(op1) << 14
            | u64::from(crn) << 10
            | 1 << 5
            | u64::from(crm) << 1
            | u64::from(read),
    )
}

/// A load into x1 or a store from it that faults at stage 2.
pub fn access(address: u64, size: u8, write: bool) -> Event {
    const CLASS_DATA_ABORT: u64 = 0x24 << 26;
    const VALID: u64 = 1 << 24;
    const TRANSLATION_LEVEL_3: u64 = 7;
    let size = u64::from(size.trailing_zeros());
    let esr = CLASS_DATA_ABORT
        | IL
        | VALID
        | size << 22
        | 1 << 16
        | u64::from(size == 3) << 15
        | u64::from(write) << 6
        | TRANSLATION_LEVEL_3;
    Event::Trap(Syndrome { esr, far: address, hpfar: address >> 12 << 4 })
}

fn trap_of(esr: u64) -> Event {
    Event::Trap(Syndrome { esr: esr | IL, far: 0, hpfar: 0 })
}

impl Machine {
    /// The guest on a CPU traps.
    pub fn trap(&mut self, cpu: u16, esr: u64) -> Next {
        self.event(cpu, Event::Trap(Syndrome { esr, far: 0, hpfar: 0 }))
    }

    /// The guest on a CPU executes HVC with this immediate. What it finds in x0 when it goes on; `None` if it does
    /// not go on at once.
    pub fn hvc(&mut self, cpu: u16, immediate: u16) -> Option<u64> {
        let before = self.running(cpu);
        let at = self.regs(cpu).pc;
        // Each round is the same instruction, made again after the interrupts that it was put off for.
        loop {
            self.regs(cpu).pc = at.wrapping_add(4);
            self.event(cpu, hvc(immediate));
            if self.running(cpu) != before {
                return None;
            }
            if self.regs(cpu).pc != at {
                return Some(self.regs(cpu).x[0]);
            }
            // What the call waits for may be another CPU's to do.
            self.let_others_run(cpu);
        }
    }

    /// The guest on a CPU makes a hypercall. The result; `None` if it does not go on at once.
    pub fn hypercall(&mut self, cpu: u16, number: u64, arguments: [u64; 5]) -> Option<i64> {
        let regs = self.regs(cpu);
        regs.x[16] = number;
        regs.x[..5].copy_from_slice(&arguments);
        self.hvc(cpu, trap::IMMEDIATE_XEN).map(|result| result as i64)
    }

    /// The guest on a CPU calls its firmware.
    pub fn firmware(&mut self, cpu: u16, arguments: [u64; 4]) -> Option<u64> {
        self.regs(cpu).x[..4].copy_from_slice(&arguments);
        self.hvc(cpu, trap::IMMEDIATE_SMCCC)
    }

    /// The guest on a CPU executes WFI.
    pub fn wait(&mut self, cpu: u16) -> Next {
        self.event(cpu, wait())
    }

    /// The guest on a CPU writes a system register that traps: op0, op1, CRn, CRm, op2.
    pub fn write_register(&mut self, cpu: u16, register: (u8, u8, u8, u8, u8), value: u64) -> Next {
        self.regs(cpu).x[1] = value;
        self.event(cpu, system_register(register, false))
    }

    /// The guest on a CPU reads a system register that traps.
    pub fn read_register(&mut self, cpu: u16, register: (u8, u8, u8, u8, u8)) -> u64 {
        self.event(cpu, system_register(register, true));
        self.regs(cpu).x[1]
    }

    /// The guest on a CPU loads from a device's register.
    pub fn load(&mut self, cpu: u16, address: u64, size: u8) -> u64 {
        self.event(cpu, access(address, size, false));
        self.regs(cpu).x[1]
    }

    /// The guest on a CPU stores to a device's register.
    pub fn store(&mut self, cpu: u16, address: u64, size: u8, value: u64) {
        self.regs(cpu).x[1] = value;
        self.event(cpu, access(address, size, true));
    }
}
