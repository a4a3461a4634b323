//! How a device tells its driver something.

use std::sync::Arc;

/// One thing that the driver can be told: a queue has something used for it, or the configuration changed. A PCI vector, an
/// eventfd, or a share of a line (as with mmio) is behind it.
pub trait Interrupt: Send + Sync {
    /// Tells the driver, once for each call. A guest that is gone has no use for it, and there is nobody to tell: so nothing
    /// comes back.
    fn trigger(&self);
}

/// The interrupts of a device.
#[derive(Clone)]
pub struct Interrupts {
    /// Of each queue.
    pub queues: Vec<Arc<dyn Interrupt>>,
    /// Of changes to the configuration.
    pub config: Arc<dyn Interrupt>,
}
