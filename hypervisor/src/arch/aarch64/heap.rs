//! The heap of the hypervisor: a fixed arena in the image's zeroed part.
//!
//! It holds what describes domains and CPUs. Whatever grows at a guest's wish asks with fallible calls and has a limit
//! of its own, so that a full heap is that guest's error.

use core::cell::UnsafeCell;

use talc::TalcLock;
use talc::source::Claim;

/// Bytes in the arena.
pub const SIZE: usize = 2 << 20;

#[repr(C, align(4096))]
struct Arena(UnsafeCell<[u8; SIZE]>);

// SAFETY: only the allocator, which has a lock, reaches the bytes.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; SIZE]));

#[global_allocator]
// SAFETY: the arena belongs to the allocator alone, from the first allocation to the end.
static HEAP: TalcLock<spin::mutex::TicketMutex<(), crate::sync::Yield>, Claim> =
    TalcLock::new(unsafe { Claim::array(ARENA.0.get()) });
