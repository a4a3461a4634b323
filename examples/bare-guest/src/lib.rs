//! What a guest without an operating system works out before it touches its hardware: which machine its device tree
//! describes, what its translation tables say, and where in the console's ring its words go.
//!
//! None of that needs the machine, so it is tested on the host. `src/main.rs` has the rest, in the order in which it happens.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod machine;
pub mod ring;
pub mod tables;
