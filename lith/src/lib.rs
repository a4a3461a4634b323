//! The parts of `lith`, the command line of the control domain.
//!
//! Whoever types a command is told what happened, to which object, and what to do next. What makes calls to the
//! hypervisor is behind one trait ([`xen::Xen`]), so that the rest runs in tests with no hypervisor; what a guest can
//! write is copied once and believed never.
#![deny(unsafe_code)]

pub mod builder;
pub mod cli;
pub mod commands;
pub mod config;
pub mod console;
pub mod monitor;
pub mod output;
pub mod registry;
pub mod xen;
