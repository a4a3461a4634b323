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

    /// The time since some moment, by a clock that only goes forward.
    fn now(&self) -> Duration;
}

/// Asks again and again, a period apart, until there is an answer; `None` if there is none after `most`.
///
/// That is by the clock: the asking takes time too, and much of it where the machine is busy.
///
/// # Errors
///
/// Asking fails.
pub fn poll_until<T, E>(
    xen: &dyn Xen,
    period: Duration,
    most: Duration,
    mut ask: impl FnMut() -> std::result::Result<Option<T>, E>,
) -> std::result::Result<Option<T>, E> {
    let begun = xen.now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if xen.now().saturating_sub(begun) >= most {
            return Ok(None);
        }
        xen.wait(period);
    }
}
