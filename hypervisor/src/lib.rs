//! Xenolith, the hypervisor.
//!
//! Policy and state (domains, event channels, grants, stage 2, virtual interrupt controller, scheduling) are safe
//! Rust that touches no hardware and runs on the host under `cargo test`. What the hardware needs stands under
//! [`arch`], once for real (`arch/aarch64`) and once as a model (`arch/fake`), with the same functions.
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]

extern crate alloc;

#[allow(unsafe_code, reason = "registers, page tables and assembly live here")]
pub mod arch;
pub mod command_line;
pub mod console;
pub mod debug_keys;
pub mod device;
pub mod domain;
pub mod domain_tree;
pub mod event;
pub mod exception;
pub mod grant;
pub mod hypercall;
pub mod hypervisor;
pub mod image;
pub mod instruction;
#[cfg(feature = "ioreq")]
pub mod ioreq;
#[allow(unsafe_code, reason = "machine memory is reached through pointers here and nowhere else")]
pub mod mm;
pub mod p2m;
pub mod passthrough;
pub mod physical_timer;
pub mod platform;
pub mod psci;
pub mod regs;
pub mod run;
#[cfg(not(target_os = "none"))]
pub mod scenario;
pub mod sched;
pub mod symbols;
pub mod sync;
pub mod sysreg;
pub mod timer;
pub mod trap;
pub mod types;
pub mod vcpu;
pub mod vgic;
pub mod vuart;
