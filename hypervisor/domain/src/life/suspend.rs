//! A domain that has shut down goes on: the control domain lets it, or an interrupt wakes it.
//!
//! A domain that suspends itself through its firmware is shut down for that reason, as Xen does it: the control domain is told,
//! and may let it go on (`resumedomain`). Firmware also promises that an interrupt wakes it, so one does which the guest has
//! left enabled: its timer's, a device's, an event's.

use core::mem;
use core::sync::atomic::Ordering;

use xenolith_abi::Errno;
use xenolith_abi::sched::ShutdownReason;

use crate::arch::entry_registers;
use crate::domain::{Domain, DomainRef};
use crate::parts::ending::Resume;
use crate::vcpu::Vcpu;
use xenolith_arch as arch;
use xenolith_core::bug;

impl Domain {
    /// Whether it may suspend itself. The first domain may not: nobody would be there to let it go on.
    pub fn can_suspend(&self) -> bool {
        !self.is_control
    }
}

impl DomainRef<'_> {
    /// Suspends the domain, whose only vCPU that is on is this one. It goes on at `entry`, with an argument for it.
    pub fn suspend(self, vcpu: &Vcpu, entry: u64, argument: u64) {
        let resume = Resume { vcpu: vcpu.id, entry, argument };
        self.begin_shutdown(ShutdownReason::Suspend, Some(resume));
    }

    /// Lets a domain go on that has shut down. `EINVAL`: its vCPUs have not stopped yet.
    pub fn resume_after_shutdown(self) -> Result<(), Errno> {
        let resume = {
            let mut ending = self.ending.lock();
            if ending.reason.is_none() {
                return Ok(());
            }
            if !ending.complete {
                return Err(Errno::EINVAL);
            }
            mem::take(&mut *ending).resume
        };
        self.go_on(resume);
        Ok(())
    }

    /// Wakes the domain if it is suspended and an interrupt waits for the vCPU with which it goes on; false if not.
    pub(crate) fn wake_suspended(self) -> bool {
        // Set before the vCPUs stop. Whoever makes an interrupt pending does so under the interrupt controller's lock, under
        // which it is looked for below once they have: one of the two sees the other.
        if !self.is_wakeable.load(Ordering::Relaxed) || self.is_dying() {
            return false;
        }
        let waiting = {
            let ending = self.ending.lock();
            ending.resume.filter(|_| ending.complete)
        };
        let Some(Resume { vcpu, .. }) = waiting else { return false };
        if !self.has_deliverable_interrupt(vcpu) {
            return false;
        }
        let resume = {
            let mut ending = self.ending.lock();
            // Another was faster.
            if !ending.complete || ending.resume.is_none() {
                return true;
            }
            mem::take(&mut *ending).resume
        };
        self.go_on(resume);
        true
    }

    fn go_on(self, resume: Option<Resume>) {
        self.is_wakeable.store(false, Ordering::Relaxed);
        if let Some(Resume { vcpu, entry, argument }) = resume {
            match self.vcpu(vcpu) {
                Some(vcpu) => {
                    let mut saved = vcpu.saved.lock();
                    saved.regs = entry_registers(entry, argument);
                    saved.context = self.new_context(vcpu);
                }
                None => bug!("{}: there is no {vcpu}", self.id),
            }
        }
        let now = arch::now();
        for vcpu in &self.vcpus {
            self.hv.kick(self.hv.scheduler.resume(vcpu.unit, now));
        }
    }
}
