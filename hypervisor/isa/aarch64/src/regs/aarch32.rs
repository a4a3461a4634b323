//! Conditional execution of AArch32 instructions that trap from EL0.
//!
//! A core may trap an instruction whose condition fails (Arm ARM, G1.16.3); such an instruction has no effect and is
//! stepped over.

use super::Pstate;

/// The condition of a trapped instruction, from the CV and COND fields of ESR_EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// COND is valid and holds this code; A64 instructions report 14, "always".
    Code(u8),
    /// A T32 instruction whose condition is that of the IT block in PSTATE.
    ItBlock,
}

impl Condition {
    /// Whether the instruction executes.
    pub fn passes(self, pstate: Pstate) -> bool {
        if !pstate.is_aarch32() {
            return true;
        }
        let code = match self {
            Condition::Code(code) => code,
            Condition::ItBlock => match it_state(pstate) {
                0 => return true,
                state => (state >> 4) as u8,
            },
        };
        let flag = |bit: u32| pstate.0 >> bit & 1 != 0;
        let (n, z, c, v) = (flag(31), flag(30), flag(29), flag(28));
        let base = match code >> 1 & 7 {
            0 => z,
            1 => c,
            2 => n,
            3 => v,
            4 => c && !z,
            5 => n == v,
            6 => n == v && !z,
            _ => return true,
        };
        base != (code & 1 != 0)
    }
}

const IT_LOW: u64 = 3 << 25;
const IT_HIGH: u64 = 0x3f << 10;

/// ITSTATE: bits 7 to 2 stand at 15 to 10 of PSTATE, bits 1 and 0 at 26 and 25.
const fn it_state(pstate: Pstate) -> u64 {
    (pstate.0 & IT_HIGH) >> 8 | (pstate.0 & IT_LOW) >> 25
}

/// The state after one instruction of an IT block (Arm ARM, pseudocode ITAdvance).
pub(super) const fn advance_it_block(pstate: Pstate) -> Pstate {
    let old = it_state(pstate);
    let new = if old & 0b111 == 0 { 0 } else { old & 0xe0 | (old << 1 & 0x1f) };
    Pstate(pstate.0 & !(IT_LOW | IT_HIGH) | (new & 3) << 25 | (new & 0xfc) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u64 = 0x10;
    const Z: u64 = 1 << 30;

    fn with_it(state: u64) -> Pstate {
        Pstate(USER | (state & 3) << 25 | (state & 0xfc) << 8)
    }

    #[test]
    fn codes_and_their_opposites() {
        for flags in 0..16u64 {
            let pstate = Pstate(USER | flags << 28);
            for code in (0..14).step_by(2) {
                assert_ne!(Condition::Code(code).passes(pstate), Condition::Code(code + 1).passes(pstate));
            }
            assert!(Condition::Code(14).passes(pstate));
            assert!(Condition::Code(15).passes(pstate));
            let (n, z, c, v) = (flags >> 3 & 1, flags >> 2 & 1, flags >> 1 & 1, flags & 1);
            assert_eq!(Condition::Code(8).passes(pstate), c == 1 && z == 0, "hi");
            assert_eq!(Condition::Code(12).passes(pstate), z == 0 && n == v, "gt");
        }
    }

    #[test]
    fn an_it_block_lends_its_condition() {
        assert!(Condition::ItBlock.passes(Pstate(USER)), "outside a block everything executes");
        assert!(!Condition::ItBlock.passes(with_it(0x08)), "eq, with Z clear");
        assert!(Condition::ItBlock.passes(Pstate(with_it(0x08).0 | Z)));
    }

    #[test]
    fn a64_is_never_conditional() {
        assert!(Condition::Code(0).passes(Pstate(0x5)));
    }

    #[test]
    fn it_blocks_end() {
        // ITTET EQ: four instructions, then nothing is left.
        let mut pstate = with_it(0x05);
        let mut states = vec![];
        for _ in 0..4 {
            pstate = advance_it_block(pstate);
            states.push(it_state(pstate));
        }
        assert_eq!(states, [0x0a, 0x14, 0x08, 0x00]);
        assert_eq!(pstate.0, USER);
    }
}
