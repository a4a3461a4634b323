//! A guest and its hypervisor without Xen: memory of this process, recorded interrupts, and the hypervisor's side of the
//! ioreq page.

mod hypervisor;

pub use hypervisor::{Hypervisor, MockEvents};
pub use virtio::mock::Guest;
