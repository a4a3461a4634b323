//! A hypervisor that was built without I/O forwarding: no domain has an ioreq server.

use xenolith_abi::Errno;

use crate::hypervisor::Hypervisor;
use xenolith_core::types::{DomId, VcpuId};
use xenolith_policy::event::{ConsumerTag, Port};

use super::Domain;

/// A domain's ioreq servers, of which there are none.
pub struct Io;

impl Io {
    /// No server.
    pub fn new(_vcpus: u16) -> Result<Self, Errno> {
        Ok(Io)
    }

    /// How many frames the servers hold.
    pub fn held_frames(&self) -> usize {
        0
    }

    /// Nobody has made one.
    #[cfg(not(target_os = "none"))]
    pub fn has_server_of(&self, _: DomId) -> bool {
        false
    }
}

impl Domain {
    /// No vCPU waits for an answer.
    pub fn take_answer(&self, _: VcpuId) -> Option<u64> {
        None
    }

    /// Nobody has mappings to drop.
    pub fn invalidate_mappings(&self, _: &Hypervisor, _: VcpuId) -> bool {
        false
    }

    /// No port is a device model's.
    pub fn device_model_event(&self, _: &Hypervisor, _: ConsumerTag, _: VcpuId) {}

    /// No port is a device model's.
    pub fn device_model_changed(&self, _: &Hypervisor, _: ConsumerTag, _: VcpuId, _: Port) {}

    /// There are no servers.
    pub fn end_servers_of(&self, _: &Hypervisor, _: DomId) {}

    /// There are no servers.
    pub fn end_servers(&self, _: &Hypervisor) {}
}
