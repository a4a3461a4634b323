//! What the control domain does to a running domain: stops it, lets it go on, and sets its vCPUs' registers.
//!
//! A pause is asked of the scheduler, and takes effect when each CPU has put its vCPU's registers away. Nobody waits for
//! that at EL2: whoever needs a domain that stands still asks again ([`Domain::is_stopped`]).

use xenolith_abi::Errno;
use xenolith_abi::domctl::{CONTEXT_ONLINE, VcpuGuestContext, VcpuGuestCoreRegs};

use crate::hypervisor::Hypervisor;
use crate::vcpu::{Power, Vcpu};
use xenolith_arch as arch;
use xenolith_isa::physical_timer::PhysicalTimer;
use xenolith_isa::regs::{El1Registers, GuestRegs, Pstate};

use super::Domain;

impl Domain {
    /// Stops the domain until it is let go on as often as it was stopped. Its vCPUs may still run for a moment.
    /// `EOVERFLOW`: too often.
    pub fn pause(&self, hv: &Hypervisor) -> Result<(), Errno> {
        let mut pauses = self.controller_pauses.lock();
        *pauses = pauses.checked_add(1).ok_or(Errno::EOVERFLOW)?;
        if *pauses == 1 {
            let now = arch::now();
            for vcpu in &self.vcpus {
                hv.kick(hv.scheduler.pause(vcpu.unit, now));
            }
        }
        Ok(())
    }

    /// Takes one pause back. `EINVAL`: there is none.
    pub fn unpause(&self, hv: &Hypervisor) -> Result<(), Errno> {
        let mut pauses = self.controller_pauses.lock();
        *pauses = pauses.checked_sub(1).ok_or(Errno::EINVAL)?;
        if *pauses == 0 {
            self.begin_time(hv);
            let now = arch::now();
            for vcpu in &self.vcpus {
                hv.kick(hv.scheduler.resume(vcpu.unit, now));
            }
        }
        Ok(())
    }

    /// Whether the control domain has paused it.
    pub fn is_paused(&self) -> bool {
        *self.controller_pauses.lock() > 0
    }

    /// Whether no CPU holds a vCPU of it: all registers are in memory.
    pub fn is_stopped(&self, hv: &Hypervisor) -> bool {
        self.vcpus.iter().all(|vcpu| hv.scheduler.running_on(vcpu.unit).is_none())
    }

    /// A vCPU's registers. `ENODATA`: nobody has said yet how it begins. `EBUSY`: a CPU holds them.
    pub fn vcpu_context(&self, vcpu: &Vcpu) -> Result<VcpuGuestContext, Errno> {
        let power = vcpu.power.lock();
        let saved = vcpu.saved.lock();
        if !saved.defined {
            return Err(Errno::ENODATA);
        }
        if saved.loaded {
            return Err(Errno::EBUSY);
        }
        let el1 = saved.context.el1();
        Ok(VcpuGuestContext {
            flags: if *power == Power::On { CONTEXT_ONLINE } else { 0 },
            user_regs: VcpuGuestCoreRegs {
                x: saved.regs.x,
                pc: saved.regs.pc,
                cpsr: saved.regs.pstate.0,
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
        })
    }

    /// Sets a vCPU's registers, and turns it on or off as the context says. `EINVAL`: a PSTATE that is not of AArch64
    /// below EL2. `EBUSY`: a CPU holds them.
    pub fn set_vcpu_context(
        &self,
        hv: &Hypervisor,
        vcpu: &Vcpu,
        new: &VcpuGuestContext,
    ) -> Result<(), Errno> {
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
        let power = if new.flags & CONTEXT_ONLINE != 0 { Power::On } else { Power::Off };
        self.redefine(hv, vcpu, power, |vcpu| {
            let mut saved = vcpu.saved.lock();
            if !saved.defined {
                saved.context = self.new_context(vcpu);
                *vcpu.timer.lock() = PhysicalTimer::default();
            }
            saved.regs = GuestRegs { x: user.x, pc: user.pc, pstate };
            saved.context.set_el1(&el1);
            saved.defined = true;
        })
    }

    /// Turns a vCPU off and forgets its registers. `EBUSY`: a CPU holds them.
    pub fn reset_vcpu(&self, hv: &Hypervisor, vcpu: &Vcpu) -> Result<(), Errno> {
        self.redefine(hv, vcpu, Power::Off, |vcpu| {
            let mut saved = vcpu.saved.lock();
            saved.regs = GuestRegs::default();
            saved.context = self.new_context(vcpu);
            saved.defined = false;
            *vcpu.timer.lock() = PhysicalTimer::default();
        })
    }

    /// Changes a vCPU that no CPU holds, and turns it on or off.
    fn redefine(
        &self,
        hv: &Hypervisor,
        vcpu: &Vcpu,
        to: Power,
        change: impl FnOnce(&Vcpu),
    ) -> Result<(), Errno> {
        let from = {
            let mut power = vcpu.power.lock();
            if vcpu.saved.lock().loaded {
                return Err(Errno::EBUSY);
            }
            change(vcpu);
            // The instruction that waits for a device model is not the one that comes next.
            *vcpu.access.lock() = None;
            core::mem::replace(&mut *power, to)
        };
        hv.wake(vcpu.unit);
        if from != to {
            self.change_vgic(hv, |vgic| vgic.set_online(vcpu.id, to == Power::On));
            let now = arch::now();
            hv.kick(match to {
                Power::On => hv.scheduler.start(vcpu.unit, now),
                Power::Off => hv.scheduler.stop(vcpu.unit, now),
            });
        }
        Ok(())
    }
}
