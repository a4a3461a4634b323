//! The plain parts of a domain: what it keeps, each with what can be said of it alone.
//!
//! Nothing here names a domain, a vCPU or the hypervisor: those are made of these parts, and the files above join them.

pub mod addresses;
pub mod device_models;
pub mod ending;
#[cfg(feature = "ioreq")]
pub mod io;
#[cfg(not(feature = "ioreq"))]
#[path = "parts/no_io.rs"]
pub mod io;
pub mod io_state;
pub mod memory;
pub mod panic_detector;
pub mod parameters;
pub mod permits;
pub mod progress;
pub mod runstate;
pub mod teardown;
pub mod watchdogs;
