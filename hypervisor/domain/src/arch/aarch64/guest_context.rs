//! The registers with which a vCPU begins, and those that a toolstack reads and sets (`vcpu_guest_context`).

use xenolith_abi::Errno;
use xenolith_abi::domctl::{CONTEXT_ONLINE, VcpuGuestContext, VcpuGuestCoreRegs};

use xenolith_arch::context::Context;
use xenolith_core::bug;
use xenolith_isa::regs::{El1Registers, GuestRegs, Pstate};

/// A vCPU that is turned on by PSCI: it begins at `entry` in EL1, MMU off, with `argument` in x0.
pub fn entry_registers(entry: u64, argument: u64) -> GuestRegs {
    let mut regs = GuestRegs { pc: entry, pstate: Pstate::EL1_ENTRY, ..GuestRegs::default() };
    regs.x[0] = argument;
    regs
}

/// What the toolstack is told of a vCPU.
pub fn read_context(regs: &GuestRegs, context: &Context, online: bool) -> VcpuGuestContext {
    let el1 = context.el1();
    VcpuGuestContext {
        flags: if online { CONTEXT_ONLINE } else { 0 },
        user_regs: VcpuGuestCoreRegs {
            x: regs.x,
            pc: regs.pc,
            cpsr: regs.pstate.0,
            spsr_el1: el1.spsr,
            sp_el0: el1.sp_el0,
            sp_el1: el1.sp_el1,
            elr_el1: el1.elr,
            ..VcpuGuestCoreRegs::default()
        },
        sctlr: el1.sctlr,
        ttbcr: el1.tcr,
        ttbr0: el1.ttbr0,
        ttbr1: el1.ttbr1,
        ..VcpuGuestContext::default()
    }
}

/// What the toolstack sets.
pub struct WrittenContext {
    regs: GuestRegs,
    el1: El1Registers,
}

impl WrittenContext {
    /// Reads the structure. `EINVAL`: a PSTATE that is not of AArch64 below EL2.
    pub fn new(new: &VcpuGuestContext) -> Result<Self, Errno> {
        let user = &new.user_regs;
        // The upper half of SPSR_EL2 holds nothing that a vCPU may begin with.
        let pstate = Pstate(user.cpsr & u64::from(u32::MAX));
        if !pstate.is_guest() || pstate.is_aarch32() {
            return Err(Errno::EINVAL);
        }
        let el1 = El1Registers {
            sctlr: new.sctlr,
            tcr: new.ttbcr,
            ttbr0: new.ttbr0,
            ttbr1: new.ttbr1,
            sp_el0: user.sp_el0,
            sp_el1: user.sp_el1,
            elr: user.elr_el1,
            spsr: user.spsr_el1,
        };
        Ok(WrittenContext { regs: GuestRegs { x: user.x, pc: user.pc, pstate }, el1 })
    }

    /// Puts it into the registers of a vCPU that does not run. Those of EL1 that it does not have stay as they are.
    pub fn store(&self, regs: &mut GuestRegs, context: &mut Context) {
        *regs = self.regs;
        context.set_el1(&self.el1);
    }
}

/// Lets the vCPU take interrupts: clears PSTATE.I.
pub fn unmask_interrupts(regs: &mut GuestRegs) {
    regs.pstate.0 &= !Pstate::I;
}

/// Writes a vCPU's registers to the log.
pub fn log_registers(level: log::Level, regs: &GuestRegs) {
    log::log!(level, "  pc {:#018x}  pstate {:#x}", regs.pc, regs.pstate.0);
    for (row, values) in regs.x.chunks(4).enumerate() {
        let mut line = arrayvec::ArrayString::<128>::new();
        for (column, value) in values.iter().enumerate() {
            let written =
                core::fmt::write(&mut line, format_args!("  x{:<2} {value:#018x}", row * 4 + column));
            if written.is_err() {
                bug!("four registers do not fit a line");
            }
        }
        log::log!(level, "{line}");
    }
}
