//! How far a domain's own shutdown has come.

use xenolith_abi::sched::ShutdownReason;
use xenolith_core::types::VcpuId;

/// What a domain keeps of its own shutdown.
#[derive(Debug, Default)]
pub struct Ending {
    /// The reason that `sched_op` shutdown_code announced.
    pub announced: Option<ShutdownReason>,
    /// The reason for which it has shut down, or is about to.
    pub reason: Option<ShutdownReason>,
    /// All its vCPUs have stopped, and the control domain has been told.
    pub complete: bool,
    /// Where it goes on, if its firmware has suspended it.
    pub resume: Option<Resume>,
}

/// How a domain goes on that has suspended itself through its firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The vCPU that goes on; all others are off.
    pub vcpu: VcpuId,
    /// Its first instruction.
    pub entry: u64,
    /// The argument that it finds there.
    pub argument: u64,
}
