//! Registers of a device that EL2 drives itself.

use xenolith_core::types::Pa;

/// A device's register frame, mapped at EL2 as device memory.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: u64,
    size: u64,
}

impl Mmio {
    /// Wraps a register frame.
    ///
    /// # Safety
    /// The range is a device's, mapped at EL2 as device memory (or about to be, before the first access), and
    /// accesses to its registers follow the device's rules.
    pub unsafe fn new(base: Pa, size: u64) -> Self {
        Mmio { base: base.0, size }
    }

    /// A smaller frame inside this one; none when it would leave it.
    pub fn part(self, offset: u64, size: u64) -> Option<Mmio> {
        let end = offset.checked_add(size)?;
        (end <= self.size).then(|| Mmio { base: self.base + offset, size })
    }

    #[inline]
    fn address(self, offset: u64, bytes: u64) -> u64 {
        assert!(
            offset + bytes <= self.size && offset.is_multiple_of(bytes),
            "register {offset:#x} of {self:x?}"
        );
        self.base + offset
    }

    /// Reads the 32-bit register at `offset`.
    pub fn read32(self, offset: u64) -> u32 {
        let address = self.address(offset, 4);
        let value: u32;
        // SAFETY: the register lies in the frame. One load is emitted, which EL2 can take without decoding help. That it is a
        // load-acquire is the workaround of Cortex-A57 for exclusives beside loads of devices (erratum 832075).
        unsafe {
            core::arch::asm!("ldar {:w}, [{}]", out(reg) value, in(reg) address, options(nostack, preserves_flags))
        };
        value
    }

    /// Writes the 32-bit register at `offset`.
    pub fn write32(self, offset: u64, value: u32) {
        let address = self.address(offset, 4);
        // SAFETY: as `read32`.
        unsafe {
            core::arch::asm!("str {:w}, [{}]", in(reg) value, in(reg) address, options(nostack, preserves_flags))
        };
    }

    /// Reads the 64-bit register at `offset`.
    pub fn read64(self, offset: u64) -> u64 {
        let address = self.address(offset, 8);
        let value: u64;
        // SAFETY: as `read32`.
        unsafe {
            core::arch::asm!("ldar {}, [{}]", out(reg) value, in(reg) address, options(nostack, preserves_flags))
        };
        value
    }

    /// Writes the 64-bit register at `offset`.
    pub fn write64(self, offset: u64, value: u64) {
        let address = self.address(offset, 8);
        // SAFETY: as `read32`.
        unsafe {
            core::arch::asm!("str {}, [{}]", in(reg) value, in(reg) address, options(nostack, preserves_flags))
        };
    }

    /// Reads the byte register at `offset`.
    pub fn read8(self, offset: u64) -> u8 {
        let address = self.address(offset, 1);
        let value: u32;
        // SAFETY: as `read32`.
        unsafe {
            core::arch::asm!("ldarb {:w}, [{}]", out(reg) value, in(reg) address, options(nostack, preserves_flags))
        };
        value as u8
    }

    /// Writes the byte register at `offset`.
    pub fn write8(self, offset: u64, value: u8) {
        let address = self.address(offset, 1);
        // SAFETY: as `read32`.
        unsafe {
            core::arch::asm!("strb {:w}, [{}]", in(reg) u32::from(value), in(reg) address, options(nostack, preserves_flags))
        };
    }
}
