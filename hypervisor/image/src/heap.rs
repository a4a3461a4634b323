//! The heap of the hypervisor: a small arena in the image's zeroed part for the first steps, then as much RAM as the
//! number of CPUs asks for, and more of it when domains need it.
//!
//! It holds what describes domains and CPUs. What grows at a guest's wish is not in it: those are pages that were promised to
//! the domain when it was made (`xenolith_memory::pieces`), and so are those that its device models have for it. So what the
//! heap takes is bounded by the domains and devices that the control domain makes.

use core::alloc::Layout;
use core::cell::UnsafeCell;

use talc::TalcLock;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

use xenolith_core::sync::Once;
use xenolith_core::types::{DomId, PAGE_SHIFT, Pa};
use xenolith_memory::frames::{Content, Frames, Kind};

/// Bytes in the first arena.
const SIZE: usize = 512 << 10;
/// Bytes that are added when the heap is full, at least.
const STEP: usize = 1 << 20;
/// The largest part of RAM that the heap may take in steps, as a power of two: a sixteenth.
const LARGEST_SHARE: u32 = 4;

#[repr(C, align(4096))]
struct Arena(UnsafeCell<[u8; SIZE]>);

// SAFETY: only the allocator, which has a lock, reaches the bytes.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; SIZE]));
/// Where steps come from, once it is known.
static FRAMES: Once<&'static Frames> = Once::new();

/// What gives the heap more memory.
#[derive(Debug)]
struct Growth {
    /// The first arena has been used.
    begun: bool,
    /// Bytes that were added in steps.
    added: usize,
}

// SAFETY: neither the frame allocator nor the way to it uses the heap.
unsafe impl Source for Growth {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        if !talc.source.begun {
            talc.source.begun = true;
            // SAFETY: the arena belongs to the allocator alone, from the first allocation to the end.
            return unsafe { talc.claim(ARENA.0.get().cast(), SIZE) }.map(|_| ()).ok_or(());
        }
        let frames = FRAMES.get().ok_or(())?;
        // Room for the allocator's own words, and for the alignment.
        let least =
            layout.size().checked_add(layout.align()).and_then(|bytes| bytes.checked_add(1 << PAGE_SHIFT));
        let bytes = least.and_then(|least| least.max(STEP).checked_next_power_of_two()).ok_or(())?;
        let added = talc.source.added.checked_add(bytes).ok_or(())?;
        let share = (frames.total() << PAGE_SHIFT) >> LARGEST_SHARE;
        if added as u64 > share {
            return Err(());
        }
        let order = u8::try_from((bytes >> PAGE_SHIFT).trailing_zeros()).map_err(|_| ())?;
        let start = frames.alloc(order, DomId::XEN, Kind::Hypervisor, Content::Any).ok_or(())?;
        talc.source.added = added;
        // SAFETY: the frames were just allocated for this, and are never given back.
        unsafe { talc.claim(start.base().0 as *mut u8, bytes) }.map(|_| ()).ok_or(())
    }
}

#[global_allocator]
static HEAP: TalcLock<spin::mutex::FairMutex<(), xenolith_core::sync::Yield>, Growth> =
    TalcLock::new(Growth { begun: false, added: 0 });

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

/// Lets the heap take more from `frames` when it is full, and domains what they were promised.
pub fn grow_on_demand(frames: &'static Frames) {
    xenolith_memory::pieces::take_from(frames);
    FRAMES.call_once(|| frames);
}
