//! What the control domain does to a running domain: stops it, lets it go on, and sets its vCPUs' registers.
//!
//! A pause is asked of the scheduler, and takes effect when each CPU has put its vCPU's registers away. Nobody waits for
//! that here: whoever needs a domain that stands still asks again ([`DomainRef::is_stopped`]).

use xenolith_abi::Errno;
use xenolith_abi::domctl::{CONTEXT_ONLINE, VcpuGuestContext};

use crate::arch::{GuestRegs, WrittenContext, read_context};
use crate::vcpu::{Power, Saved, Vcpu};
use xenolith_arch as arch;

use crate::domain::{Domain, DomainRef};

impl Domain {
    /// Whether the control domain has paused it.
    pub fn is_paused(&self) -> bool {
        *self.controller_pauses.lock() > 0
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
        Ok(read_context(&saved.regs, &saved.context, *power == Power::On))
    }
}

impl DomainRef<'_> {
    /// Stops the domain until it is let go on as often as it was stopped. Its vCPUs may still run for a moment.
    /// `EOVERFLOW`: too often.
    pub fn pause(self) -> Result<(), Errno> {
        let mut pauses = self.controller_pauses.lock();
        // The scheduler is told under the lock: a pause and its end on two CPUs reach it in this order.
        *pauses = pauses.checked_add(1).ok_or(Errno::EOVERFLOW)?;
        if *pauses == 1 {
            let now = arch::now();
            for vcpu in &self.vcpus {
                self.hv.kick(self.hv.scheduler.pause(vcpu.unit, now));
            }
        }
        Ok(())
    }

    /// Takes one pause back. `EINVAL`: there is none.
    pub fn unpause(self) -> Result<(), Errno> {
        let mut pauses = self.controller_pauses.lock();
        *pauses = pauses.checked_sub(1).ok_or(Errno::EINVAL)?;
        if *pauses == 0 {
            // A domain that a toolstack makes starts by this: its time begins when nothing keeps it from running any
            // more.
            self.begin_time();
            let now = arch::now();
            for vcpu in &self.vcpus {
                self.hv.kick(self.hv.scheduler.resume(vcpu.unit, now));
            }
        }
        Ok(())
    }

    /// Whether no CPU holds a vCPU of it: all registers are in memory.
    pub fn is_stopped(self) -> bool {
        self.vcpus.iter().all(|vcpu| self.hv.scheduler.running_on(vcpu.unit).is_none())
    }

    /// Sets a vCPU's registers, and turns it on or off as the context says. `EINVAL`: a state that a guest's
    /// CPU cannot be in. `EBUSY`: a CPU holds them.
    pub fn set_vcpu_context(self, vcpu: &Vcpu, new: &VcpuGuestContext) -> Result<(), Errno> {
        let written = WrittenContext::new(new)?;
        let power = if new.flags & CONTEXT_ONLINE != 0 { Power::On } else { Power::Off };
        self.redefine(vcpu, power, |vcpu| {
            let mut saved = vcpu.saved.lock();
            // One that was defined keeps the registers that the structure does not have.
            if !saved.defined {
                self.reset_context(vcpu, &mut saved.context);
            }
            let Saved { regs, context, defined, .. } = &mut *saved;
            written.store(regs, context);
            *defined = true;
        })
    }

    /// Turns a vCPU off and forgets its registers. `EBUSY`: a CPU holds them.
    pub fn reset_vcpu(self, vcpu: &Vcpu) -> Result<(), Errno> {
        self.redefine(vcpu, Power::Off, |vcpu| {
            let mut saved = vcpu.saved.lock();
            saved.regs = GuestRegs::default();
            self.reset_context(vcpu, &mut saved.context);
            saved.defined = false;
        })
    }

    /// Changes a vCPU that no CPU holds, and turns it on or off.
    fn redefine(self, vcpu: &Vcpu, to: Power, change: impl FnOnce(&Vcpu)) -> Result<(), Errno> {
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
        // It may have been asleep when it was stopped, and what it begins with now waits for nothing.
        self.hv.wake(vcpu.unit);
        if from != to {
            self.set_interrupts_online(vcpu.id, to == Power::On);
            let now = arch::now();
            self.hv.kick(match to {
                Power::On => self.hv.scheduler.start(vcpu.unit, now),
                Power::Off => self.hv.scheduler.stop(vcpu.unit, now),
            });
        }
        Ok(())
    }
}
