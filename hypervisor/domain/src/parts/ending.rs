//! How far a domain's own shutdown has come.

use xenolith_abi::sched::ShutdownReason;

/// What a domain keeps of its own shutdown.
#[derive(Debug, Default)]
pub struct Ending {
    /// The reason that `sched_op` shutdown_code announced.
    pub announced: Option<ShutdownReason>,
    /// The reason for which it has shut down, or is about to.
    pub reason: Option<ShutdownReason>,
    /// All its vCPUs have stopped, and the control domain has been told.
    pub complete: bool,
}
