//! The registers of a guest that a trap saves and a return restores.
//!
//! The assembly that enters and leaves a guest knows this layout, so its offsets are checked when the crate is built.

use core::mem::{offset_of, size_of};

mod aarch32;
mod el1;
mod pstate;

pub use aarch32::Condition;
pub use el1::El1Registers;
pub use pstate::{ByteOrder, Pstate};

/// The size of a trapped instruction: ESR_EL2.IL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// A 16-bit T32 instruction.
    Two,
    /// Any A64 or A32 instruction, or a 32-bit T32 one.
    Four,
}

/// General-purpose registers, program counter and PSTATE of a vCPU: 272 bytes, 16-byte aligned for `stp`.
///
/// Offsets: `x` 0, `pc` 248, `pstate` 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C, align(16))]
pub struct GuestRegs {
    /// X0 to X30.
    pub x: [u64; 31],
    /// ELR_EL2 of the trap, and of the next return.
    pub pc: u64,
    /// SPSR_EL2 of the trap, and of the next return.
    pub pstate: Pstate,
}

const _: () = {
    assert!(offset_of!(GuestRegs, x) == 0);
    assert!(offset_of!(GuestRegs, pc) == 248);
    assert!(offset_of!(GuestRegs, pstate) == 256);
    assert!(size_of::<GuestRegs>() == 272);
};

impl GuestRegs {
    /// Makes these what `from` is. Word by word, which compiles to pairs of loads and stores: an assignment of the whole calls
    /// `memcpy`, whose loop takes twice the instructions, and there are two of them in each switch of vCPUs.
    #[inline(always)]
    pub fn copy_from(&mut self, from: &GuestRegs) {
        macro_rules! words {
            ($([$($number:literal)*])*) => {
                $(
                    // All of them are read before one is written, so that nobody has to know that they are apart.
                    let words = [$(from.x[$number]),*];
                    [$(self.x[$number]),*] = words;
                )*
            };
        }
        words!([0 1 2 3 4 5 6 7] [8 9 10 11 12 13 14 15] [16 17 18 19 20 21 22 23] [24 25 26 27 28 29 30]);
        self.pc = from.pc;
        self.pstate = from.pstate;
    }

    /// The register with this number as a load or store names it: 31, and anything above, is the zero register.
    pub fn get(&self, register: u8) -> u64 {
        self.x.get(usize::from(register)).copied().unwrap_or(0)
    }

    /// Sets the register with this number; a write to the zero register goes nowhere.
    pub fn set(&mut self, register: u8, value: u64) {
        if let Some(x) = self.x.get_mut(usize::from(register)) {
            *x = value;
        }
    }

    /// Steps over an instruction that was emulated, with the effects on PSTATE of any instruction that completes:
    /// BTYPE is 0, a software step is done, and the IT block of an AArch32 guest moves on.
    #[inline]
    pub fn advance(&mut self, length: Length) {
        let bytes = match length {
            Length::Two => 2,
            Length::Four => 4,
        };
        self.pc = self.pc.wrapping_add(bytes);
        if self.pstate.is_aarch32() {
            self.pc &= 0xffff_ffff;
            self.pstate = aarch32::advance_it_block(self.pstate);
        } else {
            self.pstate.0 &= !Pstate::BTYPE;
        }
        self.pstate.0 &= !Pstate::SS;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn register_31_is_zero() {
        let mut regs = GuestRegs { x: [7; 31], ..Default::default() };
        regs.set(31, 1);
        assert_eq!(regs.get(31), 0);
        assert_eq!(regs.x, [7; 31]);
    }

    proptest! {
        #[test]
        fn what_is_set_is_read(register: u8, value: u64) {
            let mut regs = GuestRegs::default();
            regs.set(register, value);
            prop_assert_eq!(regs.get(register), if register < 31 { value } else { 0 });
            prop_assert_eq!(regs.x.iter().filter(|x| **x != 0).count(), usize::from(register < 31 && value != 0));
        }

        #[test]
        fn advance_keeps_mode_and_flags(pc: u64, pstate: u64) {
            let mut regs = GuestRegs { pc, pstate: Pstate(pstate & !Pstate::AARCH32), ..Default::default() };
            regs.advance(Length::Four);
            prop_assert_eq!(regs.pc, pc.wrapping_add(4));
            prop_assert_eq!(regs.pstate.0, pstate & !(Pstate::AARCH32 | Pstate::BTYPE | Pstate::SS));
        }
    }

    #[test]
    fn advance_wraps_a_32_bit_pc() {
        let mut regs = GuestRegs { pc: 0xffff_fffe, pstate: Pstate(0x30), ..Default::default() };
        regs.advance(Length::Two);
        assert_eq!(regs.pc, 0);
    }
}
