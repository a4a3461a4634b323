//! What differs between machines, behind one set of functions.
//!
//! `arch/aarch64` is the hardware at EL2. `arch/fake` is a model of it for the host: the same functions, whose state
//! belongs to the calling thread, so that tests run side by side. The rest of the hypervisor names only what both have.

#[cfg(not(target_os = "none"))]
pub mod fake;
#[cfg(not(target_os = "none"))]
pub use fake as machine;
#[cfg(target_os = "none")]
pub mod aarch64;
#[cfg(target_os = "none")]
pub use aarch64 as machine;
pub use machine::*;
