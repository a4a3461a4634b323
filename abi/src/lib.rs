//! Xen's public ABI as Rust types: numbers, layouts and error codes, one file per family of calls.
//!
//! Nothing here decides anything. A structure has the size and the field offsets that Linux, libxl and device
//! models use on arm64 (Xen's `public/*.h`); each file proves its sizes in a test. Values that come from a domain
//! are allegations: the types are plain data, and the hypervisor validates them after copying them in once.
#![no_std]

#[macro_use]
mod numbers;

pub mod console;
pub mod control;
pub mod dm;
pub mod domctl;
mod errno;
pub mod event;
pub mod grant;
pub mod hvm;
pub mod hypercall;
mod ids;
pub mod ioreq;
pub mod memory;
pub mod multicall;
pub mod physdev;
pub mod platform;
mod pointer;
pub mod sched;
pub mod shared;
pub mod sysctl;
pub mod vcpu;
pub mod version;
pub mod vm_assist;
pub mod xenolith;

pub use errno::Errno;
pub use ids::{DomId, Gfn, Intid, Ipa, PAGE_SHIFT, PAGE_SIZE, Port, VcpuId};
pub use pointer::GuestPtr;
