//! A guest of one program and no operating system: it says what machine it is on, takes some interrupts of its timer, and
//! turns itself off. A starting point for whoever brings a system of their own.
//!
//! In the order in which it happens: `entry` is entered as Linux would be; [`bare_guest::machine`] reads the device tree;
//! `mmu` turns the caches on; `console` has words for whoever looks; `gic` and `timer` make interrupts; `power` ends it. The
//! domain is the same whether `lith` or `xl` makes it or the hypervisor starts it with the machine, and QEMU's `virt` board is
//! like it.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod gic;
#[cfg(target_os = "none")]
mod guest;
#[cfg(target_os = "none")]
mod mmu;
#[cfg(target_os = "none")]
mod power;
#[cfg(target_os = "none")]
mod timer;
#[cfg(target_os = "none")]
mod xen;

/// Elsewhere than on bare metal there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}
