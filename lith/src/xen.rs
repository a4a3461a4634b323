//! The calls to the hypervisor that the command line makes.
//!
//! They are behind traits, one for each family, in the family's file beside the call that is really made. What decides
//! (the builder, the monitor, the commands) takes a [`Xen`], and runs in tests over a fake that answers as it is told.

mod devices;
mod domain;
#[cfg(test)]
pub mod fake;
mod memory;
mod real;
mod system;

use std::time::Duration;

pub use backend::Error;
pub use devices::Devices;
pub use domain::{Control, Domains};
pub use memory::Memory;
pub use real::RealXen;
pub use system::{System, Version};

/// What a call answers.
pub type Result<T> = std::result::Result<T, Error>;

/// The hypervisor, and the machine under this program.
pub trait Xen: System + Domains + Memory + Devices {
    /// Random bytes.
    fn random(&self, bytes: &mut [u8]);

    /// Lets time pass.
    fn wait(&self, time: Duration);
}
