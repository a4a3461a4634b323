//! What the caller of this module has to do once it has let go of the table's lock.

use core::ops::BitOrAssign;

use super::port::{ConsumerTag, Peer};
use xenolith_core::types::VcpuId;
use xenolith_core::vcpu_set::VcpuSet;

/// What follows from events that reached a guest.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventActions {
    /// vCPUs whose `evtchn_upcall_pending` went from 0 to 1: raise the event interrupt of each.
    pub notify: VcpuSet,
    /// vCPUs whose poll ended: let each run again.
    pub wake: VcpuSet,
}

impl BitOrAssign for EventActions {
    fn bitor_assign(&mut self, other: Self) {
        self.notify |= other.notify;
        self.wake |= other.wake;
    }
}

/// Where a send goes from the sender's table.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The port has no other end: there is nothing to do.
    Nowhere,
    /// The event was for the sender's own domain.
    Here(EventActions),
    /// Unlock, lock this domain's table, and call `deliver` there.
    To(Peer),
}

/// Who got an event at the receiving end.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It went to the guest.
    Guest(EventActions),
    /// It is for a part of the hypervisor, which acts for this vCPU.
    Consumer(ConsumerTag, VcpuId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_in_order() {
        let mut set = VcpuSet::default();
        for vcpu in [127, 3, 64, 0, 128, u16::MAX] {
            set.insert(VcpuId(vcpu));
        }
        set.remove(VcpuId(3));
        set.remove(VcpuId(500));
        assert!(set.iter().eq([0, 64, 127].map(VcpuId)));
        assert!(!set.contains(VcpuId(128)));
    }
}
