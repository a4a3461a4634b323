//! The AArch64 CPU that a guest sees: what its traps mean, what its registers hold, which interrupts it gets.
//!
//! Nothing here touches a register of the machine: it runs on any host.
#![cfg_attr(test, allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types))]
#![cfg_attr(
    target_os = "none",
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod controls;
pub mod device_access;
pub mod exception;
pub mod hypercall;
pub mod instruction;
pub mod mmu;
pub mod physical_timer;
pub mod psci;
pub mod regime;
pub mod regs;
pub mod specification;
pub mod stage2;
pub mod sysreg;
pub mod system_error;
pub mod trap;
pub mod vgic;
