//! A hypervisor that was built without I/O forwarding: no domain has an ioreq server.

use xenolith_core::types::{DomId, VcpuId};
use xenolith_memory::stale::StalePages;
use xenolith_policy::event::{ConsumerTag, Port};

use super::{Domain, DomainRef};

impl Domain {
    /// No vCPU waits for an answer.
    pub fn take_answer(&self, _: VcpuId) -> Option<u64> {
        None
    }
}

impl DomainRef<'_> {
    /// Nobody has mappings to drop.
    pub fn invalidate_mappings(self, _: VcpuId, _: &StalePages) -> bool {
        false
    }

    /// No port is a device model's.
    pub fn device_model_event(self, _: ConsumerTag, _: VcpuId) {}

    /// No port is a device model's.
    pub fn device_model_changed(self, _: ConsumerTag, _: VcpuId, _: Port) {}

    /// There are no servers.
    pub fn end_server_of(self, _: DomId) -> bool {
        false
    }

    /// There are no servers.
    pub fn end_server(self) -> bool {
        false
    }
}
