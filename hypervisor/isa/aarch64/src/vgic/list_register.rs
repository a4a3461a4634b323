//! List registers: the slots through which the hardware shows virtual interrupts to a guest, and their two encodings.
//!
//! GICv3's `ICH_LR<n>_EL2`, IHI 0069 chapter 12; GICv2's `GICH_LR<n>`, IHI 0048 chapter 5.

use xenolith_core::types::Intid;

/// The state of an interrupt in a list register (`ICH_LR<n>_EL2.State`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListState {
    /// The slot is free: never used, or the guest has deactivated the interrupt.
    #[default]
    Invalid,
    /// To be acknowledged.
    Pending,
    /// Acknowledged, not yet deactivated.
    Active,
    /// Acknowledged, and pending once more.
    PendingActive,
}

/// Whether a physical interrupt stands behind a virtual one (`ICH_LR<n>_EL2.HW`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing physical.
    Software {
        /// A maintenance interrupt when the guest deactivates it.
        eoi_maintenance: bool,
        /// GICv2, SGIs: the vCPU that sent it. Otherwise 0.
        source: u8,
    },
    /// This physical interrupt, which the hardware deactivates together with the virtual one.
    Hardware(Intid),
}

/// One list register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRegister {
    /// Pending, active, both or none.
    pub state: ListState,
    /// The virtual interrupt.
    pub intid: Intid,
    /// Its priority: 0 is the highest.
    pub priority: u8,
    /// Signalled as Group 1, not Group 0.
    pub group1: bool,
    /// Its physical interrupt, or what applies when it has none.
    pub origin: Origin,
}

impl ListRegister {
    /// A free slot.
    pub const INVALID: ListRegister = ListRegister {
        state: ListState::Invalid,
        intid: Intid(0),
        priority: 0,
        group1: false,
        origin: Origin::Software { eoi_maintenance: false, source: 0 },
    };

    /// The value for `ICH_LR<n>_EL2`.
    pub const fn to_ich(self) -> u64 {
        let origin = match self.origin {
            Origin::Software { eoi_maintenance, .. } => (eoi_maintenance as u64) << 41,
            Origin::Hardware(physical) => 1 << 61 | (physical.0 as u64 & 0x1fff) << 32,
        };
        self.state.bits() << 62
            | origin
            | (self.group1 as u64) << 60
            | (self.priority as u64) << 48
            | self.intid.0 as u64
    }

    /// What `ICH_LR<n>_EL2` holds.
    pub const fn from_ich(value: u64) -> Self {
        let origin = if value & 1 << 61 != 0 {
            Origin::Hardware(Intid((value >> 32 & 0x1fff) as u32))
        } else {
            Origin::Software { eoi_maintenance: value & 1 << 41 != 0, source: 0 }
        };
        ListRegister {
            state: ListState::from_bits(value >> 62),
            intid: Intid(value as u32),
            priority: (value >> 48) as u8,
            group1: value & 1 << 60 != 0,
            origin,
        }
    }

    /// The value for `GICH_LR<n>`. Of the priority, its five bits are kept.
    pub const fn to_gich(self) -> u32 {
        let origin = match self.origin {
            Origin::Software { eoi_maintenance, source } => {
                (eoi_maintenance as u32) << 19 | (source as u32 & 7) << 10
            }
            Origin::Hardware(physical) => 1 << 31 | (physical.0 & 0x3ff) << 10,
        };
        (self.state.bits() as u32) << 28
            | origin
            | (self.group1 as u32) << 30
            | (self.priority as u32 >> 3) << 23
            | self.intid.0 & 0x3ff
    }

    /// What `GICH_LR<n>` holds.
    pub const fn from_gich(value: u32) -> Self {
        let origin = if value & 1 << 31 != 0 {
            Origin::Hardware(Intid(value >> 10 & 0x3ff))
        } else {
            Origin::Software { eoi_maintenance: value & 1 << 19 != 0, source: (value >> 10 & 7) as u8 }
        };
        ListRegister {
            state: ListState::from_bits((value >> 28) as u64),
            intid: Intid(value & 0x3ff),
            priority: (value >> 23 << 3) as u8,
            group1: value & 1 << 30 != 0,
            origin,
        }
    }
}

impl ListState {
    /// Whether the pending bit is set.
    pub const fn is_pending(self) -> bool {
        self.bits() & 1 != 0
    }

    /// Whether the active bit is set.
    pub const fn is_active(self) -> bool {
        self.bits() & 2 != 0
    }

    /// The state with these two bits.
    pub const fn new(pending: bool, active: bool) -> Self {
        Self::from_bits(pending as u64 | (active as u64) << 1)
    }

    const fn bits(self) -> u64 {
        match self {
            ListState::Invalid => 0,
            ListState::Pending => 1,
            ListState::Active => 2,
            ListState::PendingActive => 3,
        }
    }

    const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => ListState::Invalid,
            1 => ListState::Pending,
            2 => ListState::Active,
            _ => ListState::PendingActive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMER: ListRegister = ListRegister {
        state: ListState::Pending,
        intid: Intid(27),
        priority: 0xa0,
        group1: true,
        origin: Origin::Hardware(Intid(27)),
    };

    #[test]
    fn fields_stand_where_the_architecture_puts_them() {
        assert_eq!(TIMER.to_ich(), 0x70a0_001b_0000_001b);
        assert_eq!(TIMER.to_gich(), 1 << 31 | 1 << 30 | 1 << 28 | 0x14 << 23 | 27 << 10 | 27);
        let sgi = ListRegister {
            state: ListState::PendingActive,
            intid: Intid(3),
            priority: 0xf8,
            group1: false,
            origin: Origin::Software { eoi_maintenance: true, source: 5 },
        };
        assert_eq!(sgi.to_ich(), 3 << 62 | 0xf8 << 48 | 1 << 41 | 3);
        assert_eq!(sgi.to_gich(), 3 << 28 | 0x1f << 23 | 1 << 19 | 5 << 10 | 3);
        assert_eq!(ListRegister::INVALID.to_ich(), 0);
        assert_eq!(ListRegister::INVALID.to_gich(), 0);
    }

    prop_compose! {
        fn any_register()(
            bits in 0u64..4, intid in 0u32..1020, priority in 0u8..32, group1: bool,
            hardware: bool, physical in 0u32..1020, eoi_maintenance: bool, source in 0u8..8,
        ) -> ListRegister {
            let origin = if hardware {
                Origin::Hardware(Intid(physical))
            } else {
                Origin::Software { eoi_maintenance, source }
            };
            ListRegister { state: ListState::from_bits(bits), intid: Intid(intid), priority: priority << 3, group1, origin }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(register in any_register()) {
            prop_assert_eq!(ListRegister::from_gich(register.to_gich()), register);
            let mut without_source = register;
            if let Origin::Software { source, .. } = &mut without_source.origin {
                *source = 0;
            }
            prop_assert_eq!(ListRegister::from_ich(register.to_ich()), without_source);
        }

        #[test]
        fn any_value_decodes(ich: u64, gich: u32) {
            ListRegister::from_ich(ich);
            ListRegister::from_gich(gich);
        }
    }
}
