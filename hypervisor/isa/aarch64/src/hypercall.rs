//! The registers of a hypercall: HVC with Xen's immediate, the number in x16, arguments in x0 to x4, the result in x0
//! (Xen's `arch-arm.h`).

use crate::regs::GuestRegs;

/// The registers of a vCPU that makes a hypercall, by what they mean to it.
pub struct HypercallAbi<'a>(pub &'a mut GuestRegs);

impl HypercallAbi<'_> {
    /// Which call it is.
    #[inline]
    pub fn number(&self) -> u64 {
        self.0.x[16]
    }

    /// Its five arguments.
    #[inline]
    pub fn arguments(&self) -> [u64; 5] {
        let [a, b, c, d, e, ..] = self.0.x;
        [a, b, c, d, e]
    }

    /// Sets the result; an error is a negative number.
    #[inline]
    pub fn set_result(&mut self, value: u64) {
        self.0.x[0] = value;
    }

    /// Has the vCPU make the call again with these arguments: a hypercall continuation. The return address of HVC lies
    /// behind it, so that the program counter goes back by one instruction, and an interrupt that waits comes first.
    #[inline]
    pub fn restart(&mut self, arguments: &[u64; 5]) {
        let [a, b, c, d, e, ..] = &mut self.0.x;
        for (register, argument) in [a, b, c, d, e].into_iter().zip(arguments) {
            *register = *argument;
        }
        self.0.pc = self.0.pc.wrapping_sub(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_is_the_same_call_with_other_arguments() {
        let mut regs = GuestRegs { pc: 0x1004, ..GuestRegs::default() };
        regs.x = core::array::from_fn(|n| n as u64 * 10);
        let mut abi = HypercallAbi(&mut regs);
        assert_eq!((abi.number(), abi.arguments()), (160, [0, 10, 20, 30, 40]));
        abi.restart(&[1, 2, 3, 4, 5]);
        assert_eq!((abi.number(), abi.arguments()), (160, [1, 2, 3, 4, 5]));
        assert_eq!((regs.pc, regs.x[5]), (0x1000, 50));
    }

    #[test]
    fn a_result_changes_one_register() {
        let mut regs = GuestRegs { pc: 0x1004, x: [7; 31], ..GuestRegs::default() };
        HypercallAbi(&mut regs).set_result(9);
        assert_eq!((regs.x[0], regs.x[1], regs.x[16], regs.pc), (9, 7, 7, 0x1004));
    }
}
