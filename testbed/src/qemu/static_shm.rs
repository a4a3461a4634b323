//! What domains share from the start of the machine on, by Xen's bindings: static shared memory and static event channels.

use anyhow::Result;
use dtoolkit::model::DeviceTreeNode;

use super::tree::{pair, set};

/// What one domain shares with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticShared {
    /// Memory.
    pub memory: Vec<SharedMemory>,
    /// Its ends of event channels.
    pub ports: Vec<StaticPort>,
}

/// Static shared memory (`xen,domain-shared-memory-v1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMemory {
    /// Its name, the same in all its domains.
    pub id: String,
    /// Where it is in the machine; `None`: where the hypervisor has room.
    pub machine: Option<u64>,
    /// Where the domain has it.
    pub guest: u64,
    /// Bytes.
    pub size: u64,
    /// Whose RAM it is: "owner", this domain's; "borrower", another's; `None`: nobody's.
    pub role: Option<String>,
}

/// One end of an event channel (`xen,evtchn-v1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticPort {
    /// The domain's port.
    pub port: u32,
    /// The phandle of this end's node.
    pub phandle: u32,
    /// The phandle of the other end's node.
    pub peer: u32,
}

impl StaticShared {
    /// Whether there is nothing in static_shared.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.ports.is_empty()
    }

    /// Adds the nodes to that of the domain, whose numbers have two cells.
    pub(super) fn add_to(&self, node: &mut DeviceTreeNode) -> Result<()> {
        for memory in &self.memory {
            let mut child = DeviceTreeNode::new(format!("shared-memory@{:x}", memory.guest))?;
            set(&mut child, "compatible", "xen,domain-shared-memory-v1")?;
            set(&mut child, "xen,shm-id", memory.id.as_str())?;
            let numbers = memory.machine.into_iter().chain([memory.guest, memory.size]);
            set(&mut child, "xen,shared-mem", numbers.flat_map(pair).collect::<Vec<u32>>())?;
            if let Some(role) = &memory.role {
                set(&mut child, "role", role.as_str())?;
            }
            node.add_child(child);
        }
        for end in &self.ports {
            let mut child = DeviceTreeNode::new(format!("evtchn@{:x}", end.port))?;
            set(&mut child, "compatible", "xen,evtchn-v1")?;
            set(&mut child, "xen,evtchn", [end.port, end.peer])?;
            set(&mut child, "phandle", end.phandle)?;
            node.add_child(child);
        }
        Ok(())
    }
}
