//! A page that instructions under test may change.

use core::cell::UnsafeCell;

/// A page that nothing of this kernel refers to except by its address.
#[repr(align(4096))]
pub struct Scratch(UnsafeCell<[u8; 4096]>);

// SAFETY: no reference to the content is ever made.
unsafe impl Sync for Scratch {}

impl Scratch {
    /// A page of zeroes.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; 4096]))
    }

    /// Where it is.
    pub fn address(&self) -> u64 {
        self.0.get() as u64
    }
}
