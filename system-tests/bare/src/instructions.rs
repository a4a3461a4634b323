//! Instructions that are undefined, reserved or trapped.

use crate::cpu::{Outcome, execute};
use crate::report::{Complaint, Report, check};
use crate::scratch::Scratch;

/// Instructions that are undefined at EL1 whatever the CPU, or that a hypervisor without debugger, SVE and SME must make
/// undefined.
const UNDEFINED: [(&str, u32); 9] = [
    ("udf #0", 0x0000_0000),
    ("udf #0xffff", 0x0000_ffff),
    ("hlt #0", 0xd440_0000),
    ("dcps1", 0xd4a0_0001),
    ("dcps2", 0xd4a0_0002),
    ("dcps3", 0xd4a0_0003),
    ("sve ptrue p0.b", 0x2518_e3e0),
    ("sve rdvl x0, #1", 0x04bf_5020),
    ("sme rdsvl x0, #1", 0x04bf_5820),
];

/// Runs all tests of instructions.
pub fn run(report: &mut Report) {
    report.test("undefined instructions", undefined);
    report.test("the reserved space of the encoding", reserved);
    report.test("a breakpoint instruction and a supervisor call are the kernel's own", own);
    report.test("cache, translation and TLB instructions of the whole space", maintenance);
    report.test("cleaning every set and way of large caches comes to an end", sets_and_ways);
}

fn undefined() -> Result<(), Complaint> {
    for (name, word) in UNDEFINED {
        // SAFETY: where one does complete, it writes x0 or a register that this kernel never uses.
        let outcome = unsafe { execute(word, 0) };
        check(outcome.is_undefined(), name, word.into(), outcome)?;
    }
    Ok(())
}

/// Words of the main encoding groups `0000` (bit 31 clear), `0001` and `0011`, which are reserved.
fn reserved() -> Result<(), Complaint> {
    const GROUP_SHIFT: u32 = 25;
    let mut state: u32 = 1;
    for number in 0..2000_u32 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let group = [0b0000, 0b0001, 0b0011][number as usize % 3];
        let word = (state & 0x61ff_ffff) | group << GROUP_SHIFT;
        // SAFETY: an unallocated encoding completes on no CPU.
        let outcome = unsafe { execute(word, 0) };
        check(outcome.is_undefined(), "word", word.into(), outcome)?;
    }
    Ok(())
}

fn own() -> Result<(), Complaint> {
    const BRK: u32 = 0xd420_0000;
    const SVC: u32 = 0xd400_0001;
    for (word, class) in [(BRK, 0x3c), (SVC, 0x15)] {
        // SAFETY: both do nothing but take an exception.
        let outcome = unsafe { execute(word, 0) };
        let fine = matches!(outcome, Outcome::Exception { syndrome, .. } if syndrome >> 26 == class);
        check(fine, "word", word.into(), outcome)?;
    }
    Ok(())
}

/// A page for cache instructions to work on.
static BLOCK: Scratch = Scratch::new();

/// SYS and SYSL with all operands: set/way and by-address cache maintenance, address translation, TLB maintenance,
/// and what is none of these. Each completes, is undefined, or aborts.
fn maintenance() -> Result<(), Complaint> {
    const SYS: u32 = 0xd508_0000;
    const SYSL: u32 = 0xd528_0000;
    let address = BLOCK.address();
    for base in [SYS, SYSL] {
        for operands in 0..1_u32 << 14 {
            let word = base | operands << 5;
            // SAFETY: these work on caches and TLBs, which are not in use, and on the block at x0.
            let outcome = unsafe { execute(word, address) };
            let fine = match outcome {
                Outcome::Value(_) => true,
                _ => outcome.is_undefined() || outcome.is_data_abort(address),
            };
            check(fine, "word", word.into(), outcome)?;
        }
    }
    Ok(())
}

/// What a boot loader does before it leaves: a loop over a level's sets and ways. The levels have 32 KiB and 2 MiB here, or
/// what the hypervisor makes of them; one operation takes as long as it needs, and 33,280 must not take as much each.
fn sets_and_ways() -> Result<(), Complaint> {
    const DC_CISW_X0: u32 = 0xd508_7e40;
    const LINE_BITS: u32 = 6;
    for (level, sets, way_bits) in [(0, 256, 1), (1, 2048, 4)] {
        for (set, way) in (0..sets).flat_map(|set| (0..1_u64 << way_bits).map(move |way| (set, way))) {
            let operand = way << (32 - way_bits) | set << LINE_BITS | level << 1;
            // SAFETY: the caches are not in use, and cleaning them changes no memory.
            let outcome = unsafe { execute(DC_CISW_X0, operand) };
            check(matches!(outcome, Outcome::Value(_)), "operand", operand, outcome)?;
        }
    }
    Ok(())
}
