//! The hypervisor's work, counted: how long a CPU stays at EL2 is measured on the model of a machine in steps, each worth about
//! ten instructions. On a machine nothing is counted.

/// What a lock costs that is taken and given back.
pub const LOCK: u64 = 2;
/// What an access to a device, or a special register, costs.
pub const DEVICE: u64 = 1;
/// What a byte costs that is written to a UART whose FIFO has room.
pub const UART_BYTE: u64 = 2;
/// What it costs to take a block from the allocator of frames, or to give it one.
pub const BLOCK: u64 = 40;
/// What a slot of a translation table costs on the way of a removal or a search.
pub const SLOT: u64 = 10;

/// Bytes of memory that are one step where many are cleared, cleaned or copied: two and a half cache lines, each in a loop of
/// four instructions.
const BYTES: u64 = 160;

/// Counts work of this thread.
#[cfg(target_os = "none")]
#[inline(always)]
pub fn count(_steps: u64) {}

/// Counts work on so many bytes of memory.
#[inline(always)]
pub fn count_bytes(bytes: u64) {
    count(1 + bytes / BYTES);
}

#[cfg(not(target_os = "none"))]
std::thread_local! {
    static STEPS: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// Counts work of this thread.
#[cfg(not(target_os = "none"))]
pub fn count(steps: u64) {
    // A thread that ends counts no more.
    let _ = STEPS.try_with(|counted| counted.set(counted.get().saturating_add(steps)));
}

/// What this thread has counted since it last asked.
#[cfg(not(target_os = "none"))]
pub fn take() -> u64 {
    STEPS.take()
}
