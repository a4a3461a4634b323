//! The architecture's parts of the hypervisor's state, chosen by `target_arch`.
//!
//! A [`Domain`](crate::domain::Domain), a [`Vcpu`](crate::vcpu::Vcpu) and the
//! [`Hypervisor`](crate::hypervisor::Hypervisor) keep what only an architecture knows in one field each. All other files of
//! the crate name it by what stands here, and know no register, interrupt controller or firmware of it. On the host the
//! model of a machine plays AArch64.

#[cfg(any(target_arch = "aarch64", not(target_os = "none")))]
mod aarch64;
#[cfg(any(target_arch = "aarch64", not(target_os = "none")))]
pub use aarch64::*;

#[cfg(not(any(target_arch = "aarch64", not(target_os = "none"))))]
compile_error!(
    "there are no domains for this architecture yet: a file beside `arch/aarch64.rs` would have their parts"
);
