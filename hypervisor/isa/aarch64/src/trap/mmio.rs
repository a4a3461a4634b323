//! The register side of an emulated load or store: what a device sees of a write, and what a register gets of a read.
//!
//! A device always sees the value that its bytes form in little-endian order, whatever the order of the guest.

use crate::regs::{ByteOrder, GuestRegs};

/// The width of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// One byte.
    Byte,
    /// Two bytes.
    Half,
    /// Four bytes.
    Word,
    /// Eight bytes.
    Double,
}

impl Size {
    /// All widths, in order.
    pub const ALL: [Size; 4] = [Size::Byte, Size::Half, Size::Word, Size::Double];

    /// The width of 2^`log2` bytes; only the two low bits count, as in ESR_EL2.SAS.
    pub const fn from_log2(log2: u8) -> Size {
        match log2 & 3 {
            0 => Size::Byte,
            1 => Size::Half,
            2 => Size::Word,
            _ => Size::Double,
        }
    }

    /// The width in bytes.
    pub const fn bytes(self) -> u8 {
        // Each variant is the logarithm of its width.
        1 << self as u8
    }

    /// The bits of a value of this width.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    const fn bits(self) -> u32 {
        8 * self.bytes() as u32
    }

    /// `value` cut to this width.
    pub const fn truncate(self, value: u64) -> u64 {
        value & self.mask()
    }

    /// `value`, of this width, with its sign bit copied upwards.
    const fn sign_extend(self, value: u64) -> u64 {
        let unused = 64 - self.bits();
        ((value << unused) as i64 >> unused) as u64
    }

    /// `value`, of this width, between the guest's order of bytes and a device's.
    #[inline]
    const fn order(self, value: u64, order: ByteOrder) -> u64 {
        match order {
            ByteOrder::Little => self.truncate(value),
            ByteOrder::Big => value.swap_bytes() >> (64 - self.bits()),
        }
    }
}

/// The transfer of one general-purpose register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadStore {
    /// The width in memory.
    pub size: Size,
    /// A load copies the sign bit upwards (LDRSB, LDRSH, LDRSW).
    pub sign_extend: bool,
    /// The register is X, not W: a load extends to 64 bits, not to 32.
    pub sixty_four: bool,
    /// The register's number; 31 is the zero register.
    pub register: u8,
}

impl LoadStore {
    /// What a store gives to the device.
    pub fn store_data(&self, regs: &GuestRegs, order: ByteOrder) -> u64 {
        self.size.order(regs.get(self.register), order)
    }

    /// What a load makes of the device's answer, of which only `size` bytes count.
    #[inline]
    pub const fn load_value(&self, answer: u64, order: ByteOrder) -> u64 {
        let value = self.size.order(answer, order);
        let value = if self.sign_extend { self.size.sign_extend(value) } else { value };
        if self.sixty_four { value } else { Size::Word.truncate(value) }
    }

    /// Completes a load: the register gets [`Self::load_value`].
    #[inline]
    pub fn complete_load(&self, regs: &mut GuestRegs, answer: u64, order: ByteOrder) {
        regs.set(self.register, self.load_value(answer, order));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LITTLE: ByteOrder = ByteOrder::Little;

    fn access(size: Size, sign_extend: bool, sixty_four: bool) -> LoadStore {
        LoadStore { size, sign_extend, sixty_four, register: 4 }
    }

    #[test]
    fn every_kind_of_load() {
        // (size, sign extension, X register) against all ones, and against the largest positive value.
        let cases = [
            (Size::Byte, false, false, 0xff, 0x7f),
            (Size::Byte, false, true, 0xff, 0x7f),
            (Size::Byte, true, false, 0xffff_ffff, 0x7f),
            (Size::Byte, true, true, u64::MAX, 0x7f),
            (Size::Half, false, false, 0xffff, 0x7fff),
            (Size::Half, false, true, 0xffff, 0x7fff),
            (Size::Half, true, false, 0xffff_ffff, 0x7fff),
            (Size::Half, true, true, u64::MAX, 0x7fff),
            (Size::Word, false, false, 0xffff_ffff, 0x7fff_ffff),
            (Size::Word, false, true, 0xffff_ffff, 0x7fff_ffff),
            (Size::Word, true, false, 0xffff_ffff, 0x7fff_ffff),
            (Size::Word, true, true, u64::MAX, 0x7fff_ffff),
            (Size::Double, false, true, u64::MAX, i64::MAX as u64),
            (Size::Double, true, true, u64::MAX, i64::MAX as u64),
        ];
        for (size, sign_extend, sixty_four, ones, positive) in cases {
            let access = access(size, sign_extend, sixty_four);
            assert_eq!(access.load_value(u64::MAX, LITTLE), ones, "{access:?}");
            let most = size.mask() >> 1;
            assert_eq!(access.load_value(most, LITTLE), positive, "{access:?}");
            assert_eq!(access.load_value(most | !size.mask(), LITTLE), positive, "upper bytes do not count");
        }
    }

    #[test]
    fn big_endian_bytes_are_swapped_within_the_size() {
        let regs = GuestRegs { x: [0x8899_aabb_ccdd_eeff; 31], ..Default::default() };
        let stored = Size::ALL.map(|size| access(size, false, true).store_data(&regs, ByteOrder::Big));
        assert_eq!(stored, [0xff, 0xffee, 0xffee_ddcc, 0xffee_ddcc_bbaa_9988]);
    }

    #[test]
    fn the_zero_register_stores_zero_and_loads_nothing() {
        let mut regs = GuestRegs { x: [u64::MAX; 31], ..Default::default() };
        let access = LoadStore { register: 31, ..access(Size::Double, false, true) };
        assert_eq!(access.store_data(&regs, LITTLE), 0);
        access.complete_load(&mut regs, 5, LITTLE);
        assert_eq!(regs.x, [u64::MAX; 31]);
    }

    fn any_access() -> impl Strategy<Value = LoadStore> {
        (0u8..4, any::<bool>(), any::<bool>(), 0u8..32).prop_map(
            |(log2, sign_extend, sixty_four, register)| LoadStore {
                size: Size::from_log2(log2),
                sign_extend,
                sixty_four,
                register,
            },
        )
    }

    proptest! {
        #[test]
        fn a_store_is_read_back(access in any_access(), value: u64, big: bool) {
            let order = if big { ByteOrder::Big } else { LITTLE };
            let mut regs = GuestRegs::default();
            regs.set(access.register, value);
            let data = access.store_data(&regs, order);
            prop_assert_eq!(data & !access.size.mask(), 0, "a device sees only the bytes of the access");
            let loaded = access.load_value(data, order);
            let common = if access.sixty_four { access.size.mask() } else { access.size.mask() & 0xffff_ffff };
            prop_assert_eq!(loaded & common, regs.get(access.register) & common);
            prop_assert!(access.sixty_four || loaded <= u64::from(u32::MAX));
        }

        #[test]
        fn only_the_target_changes(access in any_access(), x: [u64; 31], answer: u64) {
            let mut regs = GuestRegs { x, ..Default::default() };
            let before = regs;
            access.complete_load(&mut regs, answer, LITTLE);
            for register in (0..31).filter(|register| *register != access.register) {
                prop_assert_eq!(regs.get(register), before.get(register));
            }
            prop_assert_eq!((regs.pc, regs.pstate), (before.pc, before.pstate));
        }
    }
}
