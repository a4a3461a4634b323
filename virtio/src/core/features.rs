//! Feature bits (2.2), which transports show and take by halves of 32.

/// The bit of a feature, by its number.
pub fn bit(feature: u32) -> u64 {
    1u64.checked_shl(feature).unwrap_or(0)
}

/// The 32 features that a selector names.
pub fn half(features: u64, selector: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = features.to_le_bytes();
    match selector {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}

/// What the driver chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverFeatures(u64);

impl DriverFeatures {
    /// A choice as a whole.
    pub fn from_bits(bits: u64) -> DriverFeatures {
        DriverFeatures(bits)
    }

    /// The bits of all features that were chosen.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether a feature, by its number, is among them.
    pub fn has(self, feature: u32) -> bool {
        self.0 & bit(feature) != 0
    }

    /// The driver chooses the half that `selector` names, of what is `offered`.
    pub fn choose(&mut self, selector: u32, value: u32, offered: u64) {
        match selector {
            0 => self.0 = (self.0 & !0xffff_ffff) | u64::from(value),
            1 => self.0 = (self.0 & 0xffff_ffff) | (u64::from(value) << 32),
            // There are no features that high: choosing one must not go unnoticed when they are checked.
            _ if value != 0 => self.0 |= !offered,
            _ => {}
        }
    }
}
