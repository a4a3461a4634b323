//! Single instructions, and what they did.

use core::arch::asm;
use core::cell::UnsafeCell;

use crate::entry::noted;

/// What an instruction led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It completed, with this in x0.
    Value(u64),
    /// It took an exception.
    Exception {
        /// The vector's number.
        vector: u64,
        /// ESR_EL1.
        syndrome: u64,
        /// FAR_EL1.
        address: u64,
    },
}

/// A synchronous exception from the level and stack that this kernel runs on.
const SYNCHRONOUS: u64 = 4;

impl Outcome {
    /// Whether it is the exception of an undefined instruction.
    pub fn is_undefined(self) -> bool {
        matches!(self, Self::Exception { vector: SYNCHRONOUS, syndrome, .. } if syndrome >> 26 == 0)
    }

    /// Whether it is a data abort for an access near `wanted`.
    pub fn is_data_abort(self, wanted: u64) -> bool {
        const DATA_ABORT: u64 = 0x25;
        const NEAR: u64 = 64;
        matches!(self, Self::Exception { vector: SYNCHRONOUS, syndrome, address }
            if syndrome >> 26 == DATA_ABORT && address.abs_diff(wanted) < NEAR)
    }
}

/// Runs `body`, and returns the exception that it took, or what it returned.
pub fn outcome(body: impl FnOnce() -> u64) -> Outcome {
    let before = noted().count;
    let value = body();
    let noted = noted();
    if noted.count == before {
        return Outcome::Value(value);
    }
    Outcome::Exception { vector: noted.vector, syndrome: noted.syndrome, address: noted.address }
}

const NOP: u32 = 0xd503_201f;
const RET: u32 = 0xd65f_03c0;

/// Room for one instruction and a return; memory is executable, as the MMU is off.
#[repr(align(64))]
struct Code(UnsafeCell<[u32; 4]>);

// SAFETY: one CPU runs this kernel, and no reference to the content is ever made.
unsafe impl Sync for Code {}

/// Room for one instruction and some around it.
#[repr(align(64))]
struct LongCode(UnsafeCell<[u32; 8]>);

// SAFETY: as for `Code`.
unsafe impl Sync for LongCode {}

static LONG_CODE: LongCode = LongCode(UnsafeCell::new([RET; 8]));

static CODE: Code = Code(UnsafeCell::new([RET; 4]));

/// Executes one instruction with `x0` in x0.
///
/// # Safety
/// If the instruction completes, it must change nothing but registers that a function may change, and no memory of
/// this kernel.
pub unsafe fn execute(word: u32, x0: u64) -> Outcome {
    let code = CODE.0.get();
    // SAFETY: `code` is ours alone; instructions are fetched from it only below, behind the barriers.
    unsafe { code.write_volatile([word, NOP, NOP, RET]) };
    outcome(|| {
        let mut value = x0;
        // SAFETY: the code is one instruction, of which the caller vouches, and a return. Cache maintenance by
        // address makes it visible to instruction fetch (Arm ARM B2.4.4).
        unsafe {
            asm!(
                "dc cvau, {code}",
                "dsb ish",
                "ic ivau, {code}",
                "dsb ish",
                "isb",
                "blr {code}",
                code = in(reg) code,
                inout("x0") value,
                clobber_abi("C"),
            );
        }
        value
    })
}

/// Executes one instruction with x0, x1 and x2 as given; returns them as it leaves them. With `on_stack` the stack pointer
/// is `registers[0]` during the instruction, and what it becomes is returned in the place of x0.
///
/// # Safety
/// As for [`execute`]. With `on_stack` the instruction must not take an exception.
pub unsafe fn execute_with(word: u32, registers: [u64; 3], on_stack: bool) -> (Outcome, [u64; 3]) {
    const MOV_SP_X0: u32 = 0x9100_001f;
    const MOV_X3_SP: u32 = 0x9100_03e3;
    const MOV_SP_X3: u32 = 0x9100_007f;
    const MOV_X4_SP: u32 = 0x9100_03e4;
    const MOV_X0_X4: u32 = 0xaa04_03e0;
    let words = if on_stack {
        [MOV_X3_SP, MOV_SP_X0, word, MOV_X4_SP, MOV_SP_X3, MOV_X0_X4, RET, RET]
    } else {
        [NOP, NOP, word, NOP, NOP, NOP, NOP, RET]
    };
    let code = LONG_CODE.0.get();
    // SAFETY: `code` is ours alone; instructions are fetched from it only below, behind the barriers.
    unsafe { code.write_volatile(words) };
    let [mut x0, mut x1, mut x2] = registers;
    let outcome = outcome(|| {
        // SAFETY: the code is the caller's instruction, moves of registers that are named here, and a return. All of it
        // is in one cache line, which is made visible to instruction fetch (Arm ARM B2.4.4).
        unsafe {
            asm!(
                "dc cvau, {code}",
                "dsb ish",
                "ic ivau, {code}",
                "dsb ish",
                "isb",
                "blr {code}",
                code = in(reg) code,
                inout("x0") x0,
                inout("x1") x1,
                inout("x2") x2,
                clobber_abi("C"),
            );
        }
        x0
    });
    (outcome, [x0, x1, x2])
}

/// Makes a call by `HVC #IMMEDIATE`, with x16 and x0 to x3 as given; returns x0.
pub fn hvc<const IMMEDIATE: u16>(x16: u64, arguments: [u64; 4]) -> Outcome {
    let [mut x0, x1, x2, x3] = arguments;
    outcome(|| {
        // SAFETY: the hypervisor may change registers and what the arguments name; callers name own memory only.
        unsafe {
            asm!("hvc #{imm}", imm = const IMMEDIATE, inout("x0") x0, inout("x1") x1 => _, inout("x2") x2 => _,
                inout("x3") x3 => _, inout("x16") x16 => _, clobber_abi("C"));
        }
        x0
    })
}

/// Makes a call by `SMC #IMMEDIATE`; returns x0.
pub fn smc<const IMMEDIATE: u16>(arguments: [u64; 4]) -> Outcome {
    let [mut x0, x1, x2, x3] = arguments;
    outcome(|| {
        // SAFETY: as for `hvc`.
        unsafe {
            asm!("smc #{imm}", imm = const IMMEDIATE, inout("x0") x0, inout("x1") x1 => _, inout("x2") x2 => _,
                inout("x3") x3 => _, clobber_abi("C"));
        }
        x0
    })
}

macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads a register that every kernel may read.
        unsafe { core::arch::asm!(concat!("mrs {value}, ", $name), value = out(reg) value, options(nostack)) };
        value
    }};
}
pub(crate) use read_register;

macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: sets a register of interrupts or timers, which change nothing but when this kernel is woken.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {value}"), "isb", value = in(reg) value, options(nostack)) };
    }};
}
pub(crate) use write_register;
