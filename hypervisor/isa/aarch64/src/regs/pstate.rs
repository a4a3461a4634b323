//! The process state of a guest, in the layout of SPSR_EL2 (Arm ARM, C5.2.19 "SPSR_EL2").

use arm_sysregs::el2::registers::SpsrEl2;

/// A saved PSTATE. Bits whose meaning differs between an AArch64 and an AArch32 source carry the AArch64 name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Pstate(pub u64);

impl Pstate {
    /// Condition flags N, Z, C and V.
    pub const NZCV: u64 = SpsrEl2::NZCV.bits();
    /// Data-independent timing.
    pub const DIT: u64 = SpsrEl2::DIT.bits();
    /// Privileged access never.
    pub const PAN: u64 = SpsrEl2::PAN.bits();
    /// Software step.
    pub const SS: u64 = SpsrEl2::SS.bits();
    /// Illegal execution state.
    pub const IL: u64 = SpsrEl2::IL.bits();
    /// Speculative store bypass safe.
    pub const SSBS: u64 = 1 << 12;
    /// Kind of the last branch, for branch target identification.
    pub const BTYPE: u64 = 3 << 10;
    /// Debug exceptions masked. In AArch32 the bit is E, big-endian data.
    pub const D: u64 = SpsrEl2::D.bits();
    /// SError masked.
    pub const A: u64 = SpsrEl2::A.bits();
    /// IRQ masked.
    pub const I: u64 = SpsrEl2::I.bits();
    /// FIQ masked.
    pub const F: u64 = SpsrEl2::F.bits();
    /// The state is AArch32.
    pub const AARCH32: u64 = SpsrEl2::M_4.bits();
    /// Exception level, and in AArch64 the stack pointer that is selected.
    pub const MODE: u64 = 0xf;

    /// Mode EL0 (and, with [`Self::AARCH32`], User).
    pub const EL0: u64 = 0b0000;
    /// Mode EL1 with SP_EL0.
    pub const EL1T: u64 = 0b0100;
    /// Mode EL1 with SP_EL1.
    pub const EL1H: u64 = 0b0101;

    /// EL1 with SP_EL1 and everything masked: where an exception, or a CPU that PSCI starts, begins.
    pub const EL1_ENTRY: Pstate = Pstate(Self::D | Self::A | Self::I | Self::F | Self::EL1H);

    /// The exception level and stack pointer field.
    pub const fn mode(self) -> u64 {
        self.0 & Self::MODE
    }

    /// Whether the guest was in AArch32, which for us is EL0 only.
    pub const fn is_aarch32(self) -> bool {
        self.0 & Self::AARCH32 != 0
    }

    /// Whether the guest was at EL0.
    pub const fn is_el0(self) -> bool {
        self.mode() == Self::EL0
    }

    /// Whether the stack pointer is SP_EL1, and not SP_EL0.
    pub const fn uses_sp_el1(self) -> bool {
        self.mode() == Self::EL1H
    }

    /// Whether a return with this PSTATE stays below EL2: EL0 in either state, or AArch64 EL1.
    /// A value from outside must pass this before it reaches SPSR_EL2.
    pub const fn is_guest(self) -> bool {
        match (self.is_aarch32(), self.mode()) {
            (_, Self::EL0) => true,
            (aarch32, Self::EL1T | Self::EL1H) => !aarch32,
            _ => false,
        }
    }
}

/// The order of the bytes of a guest's data accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least significant byte has the lowest address.
    Little,
    /// The most significant byte has the lowest address.
    Big,
}

impl ByteOrder {
    const SCTLR_E0E: u64 = 1 << 24;
    const SCTLR_EE: u64 = 1 << 25;

    /// The order in force at `pstate` under this SCTLR_EL1: PSTATE.E in AArch32, else SCTLR_EL1.E0E or .EE.
    pub const fn of(pstate: Pstate, sctlr_el1: u64) -> ByteOrder {
        let big = if pstate.is_aarch32() {
            pstate.0 & Pstate::D != 0
        } else if pstate.is_el0() {
            sctlr_el1 & Self::SCTLR_E0E != 0
        } else {
            sctlr_el1 & Self::SCTLR_EE != 0
        };
        if big { ByteOrder::Big } else { ByteOrder::Little }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modes_below_el2_are_guest_modes() {
        let guest: Vec<u64> = (0..32).filter(|&bits| Pstate(bits).is_guest()).collect();
        assert_eq!(guest, [0b00000, 0b00100, 0b00101, 0b10000]);
    }

    #[test]
    fn entry_state_is_what_the_boot_protocol_asks_for() {
        assert_eq!(Pstate::EL1_ENTRY.0, 0x3c5);
    }

    #[test]
    fn byte_order_follows_the_source() {
        let (e0e, ee) = (1 << 24, 1 << 25);
        assert_eq!(ByteOrder::of(Pstate(0x5), e0e), ByteOrder::Little);
        assert_eq!(ByteOrder::of(Pstate(0x5), ee), ByteOrder::Big);
        assert_eq!(ByteOrder::of(Pstate(0x0), ee), ByteOrder::Little);
        assert_eq!(ByteOrder::of(Pstate(0x0), e0e), ByteOrder::Big);
        assert_eq!(ByteOrder::of(Pstate(0x10), e0e | ee), ByteOrder::Little);
        assert_eq!(ByteOrder::of(Pstate(0x210), 0), ByteOrder::Big);
    }
}
