//! The life of a domain: built, started, stopped, let go on, and taken apart.
//!
//! What stands here joins all parts of a domain and the machine. It is used by hypercalls, by the boot, by traps and by
//! interrupts that wake a domain, and by nothing else below.

pub mod build;
mod control;
pub mod crash;
pub mod create;
pub mod destroy;
mod power;
mod release;
mod suspend;
