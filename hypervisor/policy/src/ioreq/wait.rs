//! What a vCPU waits for.

use xenolith_core::types::VcpuId;
use xenolith_core::vcpu_set::VcpuSet;

use super::request::ServerId;

/// How an access ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// What was read, no wider than the access, and all ones in that width if it failed. 0 for a write.
    pub data: u64,
    /// Whether the device model answered. If not, a read gives all ones and a write is dropped.
    pub answered: bool,
}

/// Which servers a vCPU waits for, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// For nothing.
    Idle,
    /// For one server to answer an access.
    Access {
        server: ServerId,
        /// The bits of a value of this size that is read; 0 for a write.
        mask: u64,
    },
    /// For these servers, one bit each, to drop their mappings.
    Invalidate { servers: u16 },
    /// The access has ended and the vCPU has not seen it yet.
    Done(Completed),
}

impl Wait {
    /// Whether the vCPU waits for no server, so that it may run.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Wait::Idle | Wait::Done(_))
    }

    /// Whether the vCPU waits for this server.
    pub(super) fn is_for(self, id: ServerId) -> bool {
        match self {
            Wait::Access { server, .. } => server == id,
            Wait::Invalidate { servers } => servers & bit(id) != 0,
            Wait::Idle | Wait::Done(_) => false,
        }
    }

    /// The server will do no more for this vCPU: it answered with this value, or failed. True if that was all that the
    /// vCPU waited for.
    #[inline]
    pub(super) fn end(&mut self, id: ServerId, answer: Option<u64>) -> bool {
        match *self {
            Wait::Access { server, mask } if server == id => {
                let data = answer.unwrap_or(u64::MAX) & mask;
                *self = Wait::Done(Completed { data, answered: answer.is_some() });
            }
            Wait::Invalidate { servers } if servers & bit(id) != 0 => {
                let servers = servers & !bit(id);
                *self = if servers == 0 { Wait::Idle } else { Wait::Invalidate { servers } };
            }
            _ => return false,
        }
        self.is_over()
    }
}

/// A server's bit in [`Wait::Invalidate`].
pub(super) fn bit(id: ServerId) -> u16 {
    1u16.checked_shl(u32::from(id.0)).unwrap_or(0)
}

/// Ends, for every vCPU, the wait for a server that fails; returns those that wait no longer.
pub(super) fn end_all(waits: &mut [Wait], id: ServerId) -> VcpuSet {
    let mut released = VcpuSet::default();
    for (vcpu, wait) in (0..).map(VcpuId).zip(waits) {
        if wait.end(id, None) {
            released.insert(vcpu);
        }
    }
    released
}
