//! The device status field (2.1) and what the driver may do to it.

/// The driver has seen the device.
pub const ACKNOWLEDGE: u32 = 1;
/// The driver knows how to drive it.
pub const DRIVER: u32 = 2;
/// The driver is ready.
pub const DRIVER_OK: u32 = 4;
/// The features are agreed on.
pub const FEATURES_OK: u32 = 8;
/// The device cannot go on until it is reset. Only the device sets it.
pub const NEEDS_RESET: u32 = 64;
/// The driver has given up.
pub const FAILED: u32 = 128;

/// What follows from a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing follows.
    None,
    /// The device is to be reset; the status is zero again afterwards.
    Reset,
    /// The driver's features are now fixed.
    Negotiated,
    /// The driver's features are not taken.
    Refused,
    /// The device may use its queues.
    Started,
}

/// The value of the device status field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(u32);

impl Status {
    /// The field as the driver reads it.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// A status that was saved. `None`: it has bits that no driver can have set, or not in this order (3.1.1).
    pub fn from_bits(bits: u32) -> Option<Status> {
        let status = Status(bits);
        let known = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | NEEDS_RESET | FAILED;
        let negotiated = !status.has(FEATURES_OK) || status.has(DRIVER);
        let started = !status.has(DRIVER_OK) || status.has(FEATURES_OK);
        (bits & !known == 0 && negotiated && started).then_some(status)
    }

    fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// Whether the driver may still choose features.
    pub fn is_negotiating(self) -> bool {
        self.has(DRIVER) && !self.has(FEATURES_OK)
    }

    /// Whether the driver may set queues up: features are agreed on.
    pub fn is_negotiated(self) -> bool {
        self.has(FEATURES_OK)
    }

    /// Whether the driver may be told of a change.
    pub fn is_started(self) -> bool {
        self.has(DRIVER_OK)
    }

    /// Whether the device may use its queues.
    pub fn is_running(self) -> bool {
        self.has(DRIVER_OK) && !self.is_broken()
    }

    /// Whether the device can do nothing more for the driver until it is reset.
    pub fn is_broken(self) -> bool {
        self.0 & (NEEDS_RESET | FAILED) != 0
    }

    /// The device cannot go on.
    pub fn fail(&mut self) {
        self.0 |= NEEDS_RESET;
    }

    /// The driver writes `value`. Bits come in the order of 3.1.1 or not at all, and never go but by a reset: the driver
    /// must not clear any (2.1.1). `acceptable` tells whether the device takes the features that were chosen; if not,
    /// FEATURES_OK stays off, which the driver reads back.
    ///
    /// ACKNOWLEDGE is not asked for: nothing here depends on it, features that are valid are to be taken (2.2.2), and U-Boot
    /// 2025.01 does not set it again after its reset.
    pub fn write(&mut self, value: u32, acceptable: impl FnOnce() -> bool) -> Change {
        if value == 0 {
            return Change::Reset;
        }
        // NEEDS_RESET and bits that the specification does not have are in none of the masks below.
        let asked = value & !self.0;
        let mut change = Change::None;
        self.0 |= asked & (ACKNOWLEDGE | DRIVER | FAILED);
        if asked & FEATURES_OK != 0 {
            change = Change::Refused;
            if self.has(DRIVER) && acceptable() {
                self.0 |= FEATURES_OK;
                change = Change::Negotiated;
            }
        }
        // DRIVER_OK in the same write as FEATURES_OK would skip the driver's check and its queues.
        if asked & DRIVER_OK != 0 && self.has(FEATURES_OK) && change == Change::None {
            self.0 |= DRIVER_OK;
            change = Change::Started;
        }
        change
    }

    /// The reset is done.
    pub fn clear(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_of_initialization() {
        let mut status = Status::default();
        assert_eq!(status.write(ACKNOWLEDGE, || false), Change::None);
        assert_eq!(status.write(ACKNOWLEDGE | DRIVER, || false), Change::None);
        assert_eq!(status.write(0xb, || false), Change::Refused);
        assert_eq!(status.bits(), 3);
        assert_eq!(status.write(0xb, || true), Change::Negotiated);
        assert_eq!(status.write(0xf, || true), Change::Started);
        assert!(status.is_running());
        status.fail();
        assert!(!status.is_running());
        assert_eq!(status.bits(), 0x4f);
        assert_eq!(status.write(0, || true), Change::Reset);
    }

    #[test]
    fn no_status_is_taken_up_that_cannot_be() {
        for bits in [0, 1, 3, 0xa, 0xb, 0xe, 0xf, 0x4f, 0x8f, 0x40] {
            assert_eq!(Status::from_bits(bits).map(Status::bits), Some(bits));
        }
        for bits in [4, 8, 7, 9, 0xc, 0x10, 0x20, 0x100, u32::MAX] {
            assert_eq!(Status::from_bits(bits), None, "{bits:#x}");
        }
    }

    proptest! {
        #[test]
        fn no_bit_goes_and_none_comes_early(writes in proptest::collection::vec((1..=0xffu32, any::<bool>()), 0..40)) {
            let mut status = Status::default();
            for (value, acceptable) in writes {
                let before = status.bits();
                let _ = status.write(value, || acceptable);
                let after = status.bits();
                prop_assert_eq!(after & before, before);
                prop_assert_eq!(after & NEEDS_RESET, 0);
                prop_assert!(after & FEATURES_OK == 0 || after & DRIVER != 0);
                prop_assert!(after & DRIVER_OK == 0 || after & FEATURES_OK != 0);
                prop_assert_eq!(Status::from_bits(after), Some(status));
            }
        }
    }
}
