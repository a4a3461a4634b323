//! vCPUs that wait in `sched_op` poll until a port becomes pending.
//!
//! A vCPU that waits for one port is woken by that port. One that waits for several is woken by any event of its
//! domain and looks for itself: its caller loops anyhow, because a poll may always end early.

use alloc::vec::Vec;

use xenolith_abi::Errno;

use super::port::Port;
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::VcpuId;
use xenolith_core::vcpu_set::VcpuSet;

/// The vCPUs that wait in a poll, and the ports they wait for.
pub(super) struct Pollers {
    waiting: VcpuSet,
    /// For each vCPU that waits: its port, or nothing for any.
    ports: Vec<Option<Port>>,
}

impl Pollers {
    /// For a domain with this many vCPUs. `ENOMEM`: no memory.
    pub(super) fn new(vcpus: u16) -> Result<Self, Errno> {
        let mut ports = Vec::new();
        ports.try_reserve_exact(usize::from(vcpus)).map_err(|_| Errno::ENOMEM)?;
        ports.resize(usize::from(vcpus), None);
        Ok(Pollers { waiting: VcpuSet::default(), ports })
    }

    /// A vCPU begins to wait. `ENOENT`: no such vCPU.
    pub(super) fn wait(&mut self, vcpu: VcpuId, ports: &[Port]) -> Result<(), Errno> {
        *GuestIndex::from(vcpu).of_mut(&mut self.ports).ok_or(Errno::ENOENT)? = match *ports {
            [port] => Some(port),
            _ => None,
        };
        self.waiting.insert(vcpu);
        Ok(())
    }

    /// A vCPU waits no longer.
    pub(super) fn stop(&mut self, vcpu: VcpuId) {
        self.waiting.remove(vcpu);
    }

    /// A port became pending: the vCPUs that need not wait any more, which are forgotten here.
    pub(super) fn wake(&mut self, port: Port) -> VcpuSet {
        let mut woken = VcpuSet::default();
        if self.waiting.is_empty() {
            return woken;
        }
        for vcpu in self.waiting.iter() {
            let waits_for = GuestIndex::from(vcpu).of(&self.ports).copied().flatten();
            if waits_for.is_none_or(|waits_for| waits_for == port) {
                woken.insert(vcpu);
            }
        }
        for vcpu in woken.iter() {
            self.waiting.remove(vcpu);
        }
        woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_wakes_its_own_pollers_and_those_of_several_ports() {
        let mut pollers = Pollers::new(4).unwrap();
        pollers.wait(VcpuId(0), &[Port(5)]).unwrap();
        pollers.wait(VcpuId(1), &[Port(6)]).unwrap();
        pollers.wait(VcpuId(2), &[Port(7), Port(8)]).unwrap();
        pollers.wait(VcpuId(3), &[Port(5)]).unwrap();
        pollers.stop(VcpuId(3));
        assert_eq!(pollers.wait(VcpuId(4), &[Port(5)]), Err(Errno::ENOENT));
        assert!(pollers.wake(Port(5)).iter().eq([0, 2].map(VcpuId)));
        assert!(pollers.wake(Port(5)).is_empty());
        assert!(pollers.wake(Port(6)).iter().eq([VcpuId(1)]));
    }
}
