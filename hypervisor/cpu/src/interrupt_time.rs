//! Whom the time goes to that physical interrupts take at EL2.
//!
//! A vCPU is charged for the time in which a CPU is its own, the work at EL2 for it included. What an interrupt takes that
//! is for another domain is charged to that domain, and what is for none of them, to nobody. Kicks and ends of turns are
//! booked as if they were the running vCPU's: to find out would take longer than they do.

use xenolith_arch as arch;
use xenolith_core::types::{CpuId, DomId};
use xenolith_domain::domain::Domain;
use xenolith_domain::hypervisor::{Hypervisor, VcpuRef};

/// Measures on a CPU what is done for one after the other.
pub struct InterruptTime {
    cpu: CpuId,
    running: Option<DomId>,
    begun: u64,
}

impl InterruptTime {
    /// On this CPU, which runs this vCPU.
    #[inline]
    pub fn new(cpu: CpuId, running: Option<&VcpuRef>) -> Self {
        InterruptTime { cpu, running: running.map(|vcpu| vcpu.domain.id), begun: 0 }
    }

    /// Something is done from here on.
    #[inline]
    pub fn begin(&mut self) {
        self.begun = arch::now();
    }

    /// It was done for a domain, `None` for nobody.
    pub fn book(&mut self, hv: &Hypervisor, owner: Option<&Domain>) {
        // Where nothing runs nobody pays: nobody has had less of the CPU.
        if self.running.is_none() || owner.map(|owner| owner.id) == self.running {
            return;
        }
        let now = arch::now();
        let ticks = now.saturating_sub(self.begun);
        let first = owner.and_then(|owner| owner.vcpus.first()).map(|vcpu| vcpu.unit);
        hv.scheduler.charge_interrupt(self.cpu, first, ticks, now);
    }
}
