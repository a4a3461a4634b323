//! The third floor of tests: whole machines in QEMU.
//!
//! A scenario is an ordinary function: it describes a machine ([`setup::Setup`]), starts it
//! ([`machine::Machine`]), talks to it over its serial console ([`console::Console`], [`shell::Shell`]) and
//! returns an error when what it reads is not what it wants. Nothing here decides by time: a time-out only
//! ends a machine that hangs.

#![deny(unsafe_code)]

pub mod assets;
pub mod boards;
pub mod console;
pub mod guests;
pub mod harness;
pub mod machine;
pub mod others;
pub mod setup;
pub mod shared;
pub mod shell;
pub mod spin_table;
pub mod transcript;
pub mod tree;
pub mod turns;
