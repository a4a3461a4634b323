//! The heap of the hypervisor: a small arena in the image's zeroed part for the first steps, and then as much RAM as the
//! number of CPUs asks for.
//!
//! It holds what describes domains and CPUs. Whatever grows at a guest's wish asks with fallible calls and has a limit
//! of its own, so that a full heap is that guest's error.

use core::cell::UnsafeCell;

use talc::TalcLock;
use talc::source::Claim;

use crate::types::Pa;

/// Bytes in the first arena.
const SIZE: usize = 512 << 10;

#[repr(C, align(4096))]
struct Arena(UnsafeCell<[u8; SIZE]>);

// SAFETY: only the allocator, which has a lock, reaches the bytes.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; SIZE]));

#[global_allocator]
// SAFETY: the arena belongs to the allocator alone, from the first allocation to the end.
static HEAP: TalcLock<spin::mutex::FairMutex<(), crate::sync::Yield>, Claim> =
    TalcLock::new(unsafe { Claim::array(ARENA.0.get()) });

/// What a machine of so many CPUs needs beside the first arena, in bytes: for each CPU its records, and a vCPU of the
/// first domain with its node in the device tree.
pub fn wanted(cpus: u16) -> u64 {
    const FIXED: u64 = 256 << 10;
    const FOR_EACH_CPU: u64 = 48 << 10;
    (FIXED + u64::from(cpus) * FOR_EACH_CPU).next_power_of_two()
}

/// Adds RAM to the heap.
///
/// # Safety
/// The range is RAM, mapped at EL2, and the heap's alone from now on.
pub unsafe fn grow(start: Pa, bytes: u64) {
    // SAFETY: by the caller's claim.
    let _ = unsafe { HEAP.lock().claim(start.0 as *mut u8, bytes as usize) };
}
