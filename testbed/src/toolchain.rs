//! How to build for the machines under test: bare metal for the hypervisor, static Linux programs for its domains.
//!
//! The compiler is the user's. What it may lack is the standard library of the target, which is taken from the first
//! place that has it: the compiler's own installation, `rustup`, Debian's sources of the same compiler version, or, when
//! Debian no longer has that version, Debian's own newer compiler together with its sources.

mod cross;
mod debian;
mod library;
mod target;

pub use cross::{Cross, cargo};
pub use library::Compiler;
pub use target::{DOMAIN_LINKER, Target};
