//! The instructions, and what each must do.

/// What x1 and x2 hold before each.
pub const X1: u64 = 0x1122_3344_5566_7788;
/// See [`X1`].
pub const X2: u64 = 0x99aa_bbcc_ddee_ff01;
/// What the device holds before a load. Every part of it is negative as a signed number.
pub const PATTERN: [u64; 2] = [0xf8e7_d6c5_b4a3_9281, 0x8f9e_adbc_cbda_e9f8];

/// An instruction whose accesses are answered.
pub struct Case {
    /// As assemblers write it.
    pub name: &'static str,
    /// Its encoding.
    pub word: u32,
    /// Whether its base is the stack pointer, in the place of x0.
    pub on_stack: bool,
    /// The base before it, from the data on.
    pub start: i64,
    /// The base after it.
    pub end: i64,
    /// x1 after it.
    pub x1: u64,
    /// x2 after it.
    pub x2: u64,
    /// Bytes of each access.
    pub size: u8,
    /// How many accesses the device sees.
    pub accesses: u64,
}

const fn load(name: &'static str, word: u32, base: (i64, i64), size: u8, x1: u64) -> Case {
    let (start, end) = base;
    Case { name, word, on_stack: false, start, end, x1, x2: X2, size, accesses: 1 }
}

const fn load_two(name: &'static str, word: u32, base: (i64, i64), size: u8, to: (u64, u64)) -> Case {
    let (start, end) = base;
    let (x1, x2) = to;
    Case { name, word, on_stack: false, start, end, x1, x2, size, accesses: 2 }
}

const fn store(name: &'static str, word: u32, base: (i64, i64), size: u8, accesses: u64) -> Case {
    let (start, end) = base;
    Case { name, word, on_stack: false, start, end, x1: X1, x2: X2, size, accesses }
}

const fn on_stack(case: Case) -> Case {
    Case { on_stack: true, ..case }
}

const WORD: u64 = PATTERN[0] & 0xffff_ffff;
const NEXT_WORD: u64 = PATTERN[0] >> 32;
const SIGNED_WORD: u64 = 0xffff_ffff_0000_0000 | WORD;
const SIGNED_NEXT_WORD: u64 = 0xffff_ffff_0000_0000 | NEXT_WORD;
/// A base that stays where the data is.
const STAYS: (i64, i64) = (0, 0);

/// Loads.
pub const LOADS: [Case; 35] = [
    load("ldrb w1, [x0]", 0x3940_0001, STAYS, 1, 0x81),
    load("ldrh w1, [x0]", 0x7940_0001, STAYS, 2, 0x9281),
    load("ldr w1, [x0]", 0xb940_0001, STAYS, 4, WORD),
    load("ldr x1, [x0]", 0xf940_0001, STAYS, 8, PATTERN[0]),
    load("ldrsb w1, [x0]", 0x39c0_0001, STAYS, 1, 0xffff_ff81),
    load("ldrsb x1, [x0]", 0x3980_0001, STAYS, 1, 0xffff_ffff_ffff_ff81),
    load("ldrsh w1, [x0]", 0x79c0_0001, STAYS, 2, 0xffff_9281),
    load("ldrsh x1, [x0]", 0x7980_0001, STAYS, 2, 0xffff_ffff_ffff_9281),
    load("ldrsw x1, [x0]", 0xb980_0001, STAYS, 4, SIGNED_WORD),
    load("ldr xzr, [x0]", 0xf940_001f, STAYS, 8, X1),
    load("ldrb wzr, [x0]", 0x3940_001f, STAYS, 1, X1),
    load("ldr x1, [x0, #16]", 0xf940_0801, (-16, -16), 8, PATTERN[0]),
    load("ldr w1, [x0, #4092]", 0xb94f_fc01, (-4092, -4092), 4, WORD),
    load("ldur x1, [x0, #-8]", 0xf85f_8001, (8, 8), 8, PATTERN[0]),
    load("ldurb w1, [x0, #-1]", 0x385f_f001, (1, 1), 1, 0x81),
    load("ldar x1, [x0]", 0xc8df_fc01, STAYS, 8, PATTERN[0]),
    load("ldr x1, [x0], #8", 0xf840_8401, (0, 8), 8, PATTERN[0]),
    load("ldr x1, [x0, #8]!", 0xf840_8c01, (-8, 0), 8, PATTERN[0]),
    load("ldr w1, [x0, #-4]!", 0xb85f_cc01, (4, 0), 4, WORD),
    load("ldrb w1, [x0], #1", 0x3840_1401, (0, 1), 1, 0x81),
    load("ldrh w1, [x0, #2]!", 0x7840_2c01, (-2, 0), 2, 0x9281),
    load("ldrsb w1, [x0], #1", 0x38c0_1401, (0, 1), 1, 0xffff_ff81),
    load("ldrsh x1, [x0], #-2", 0x789f_e401, (0, -2), 2, 0xffff_ffff_ffff_9281),
    load("ldrsw x1, [x0], #4", 0xb880_4401, (0, 4), 4, SIGNED_WORD),
    load("ldr xzr, [x0], #8", 0xf840_841f, (0, 8), 8, X1),
    on_stack(load("ldr x1, [sp], #16", 0xf841_07e1, (0, 16), 8, PATTERN[0])),
    on_stack(load("ldr x1, [sp, #-16]!", 0xf85f_0fe1, (16, 0), 8, PATTERN[0])),
    load_two("ldp x1, x2, [x0]", 0xa940_0801, STAYS, 8, (PATTERN[0], PATTERN[1])),
    load_two("ldp w1, w2, [x0]", 0x2940_0801, STAYS, 4, (WORD, NEXT_WORD)),
    load_two("ldpsw x1, x2, [x0]", 0x6940_0801, STAYS, 4, (SIGNED_WORD, SIGNED_NEXT_WORD)),
    load_two("ldp x1, x2, [x0], #16", 0xa8c1_0801, (0, 16), 8, (PATTERN[0], PATTERN[1])),
    load_two("ldp x1, x2, [x0, #-16]!", 0xa9ff_0801, (16, 0), 8, (PATTERN[0], PATTERN[1])),
    load_two("ldp w1, w2, [x0], #8", 0x28c1_0801, (0, 8), 4, (WORD, NEXT_WORD)),
    load_two("ldnp x1, x2, [x0]", 0xa840_0801, STAYS, 8, (PATTERN[0], PATTERN[1])),
    load_two("ldp xzr, x2, [x0]", 0xa940_081f, STAYS, 8, (X1, PATTERN[1])),
];

/// Stores; what each leaves is in [`STORED`].
pub const STORES: [Case; 20] = [
    store("strb w1, [x0]", 0x3900_0001, STAYS, 1, 1),
    store("strh w1, [x0]", 0x7900_0001, STAYS, 2, 1),
    store("str w1, [x0]", 0xb900_0001, STAYS, 4, 1),
    store("str x1, [x0]", 0xf900_0001, STAYS, 8, 1),
    store("str wzr, [x0]", 0xb900_001f, STAYS, 4, 1),
    store("str xzr, [x0]", 0xf900_001f, STAYS, 8, 1),
    store("strb wzr, [x0]", 0x3900_001f, STAYS, 1, 1),
    store("stur w1, [x0, #-4]", 0xb81f_c001, (4, 4), 4, 1),
    store("stlr x1, [x0]", 0xc89f_fc01, STAYS, 8, 1),
    store("str x1, [x0], #8", 0xf800_8401, (0, 8), 8, 1),
    store("str x1, [x0, #8]!", 0xf800_8c01, (-8, 0), 8, 1),
    store("strb w1, [x0], #1", 0x3800_1401, (0, 1), 1, 1),
    store("strh w1, [x0, #-2]!", 0x781f_ec01, (2, 0), 2, 1),
    on_stack(store("str x1, [sp, #-16]!", 0xf81f_0fe1, (16, 0), 8, 1)),
    store("stp x1, x2, [x0]", 0xa900_0801, STAYS, 8, 2),
    store("stp w1, w2, [x0]", 0x2900_0801, STAYS, 4, 2),
    store("stp x1, x2, [x0], #16", 0xa881_0801, (0, 16), 8, 2),
    store("stp x1, x2, [x0, #-16]!", 0xa9bf_0801, (16, 0), 8, 2),
    store("stp xzr, xzr, [x0]", 0xa900_7c1f, STAYS, 8, 2),
    store("stnp x1, x2, [x0]", 0xa800_0801, STAYS, 8, 2),
];

const BLANK: u64 = 0x5a5a_5a5a_5a5a_5a5a;
const BYTE: [u64; 2] = [0x5a5a_5a5a_5a5a_5a88, BLANK];
const HALF: [u64; 2] = [0x5a5a_5a5a_5a5a_7788, BLANK];
const LOW: [u64; 2] = [0x5a5a_5a5a_5566_7788, BLANK];
const WHOLE: [u64; 2] = [X1, BLANK];
const BOTH: [u64; 2] = [X1, X2];

/// What the device's two doublewords hold after each of [`STORES`].
pub const STORED: [[u64; 2]; STORES.len()] = [
    BYTE,
    HALF,
    LOW,
    WHOLE,
    [0x5a5a_5a5a_0000_0000, BLANK],
    [0, BLANK],
    [0x5a5a_5a5a_5a5a_5a00, BLANK],
    LOW,
    WHOLE,
    WHOLE,
    WHOLE,
    BYTE,
    HALF,
    WHOLE,
    BOTH,
    [0xddee_ff01_5566_7788, BLANK],
    BOTH,
    BOTH,
    [0, 0],
    BOTH,
];

/// Forms that the syndrome does not describe and that are not decoded.
pub const REFUSED: [(&str, u32); 11] = [
    ("ldr q0, [x0]", 0x3dc0_0000),
    ("ldr d0, [x0], #8", 0xfc40_8400),
    ("str s0, [x0]", 0xbd00_0000),
    ("ldp q0, q1, [x0]", 0xad40_0400),
    ("stp d0, d1, [x0]", 0x6d00_0400),
    ("ld1 {v0.16b}, [x0]", 0x4c40_7000),
    ("ldxr x1, [x0]", 0xc85f_7c01),
    ("ldxp x1, x2, [x0]", 0xc87f_0801),
    ("ldaxr x1, [x0]", 0xc85f_fc01),
    ("ldaxp w1, w2, [x0]", 0x887f_8801),
    ("dc zva, x0", 0xd50b_7420),
];

/// Exclusive stores, whose status goes to w2. Without the load before, which is refused, such a store fails: with a data
/// abort or without, as the implementation likes (Arm ARM, STXR).
pub const EXCLUSIVE_STORES: [(&str, u32); 4] = [
    ("stxr w2, x1, [x0]", 0xc802_7c01),
    ("stlxrb w2, w1, [x0]", 0x0802_fc01),
    ("stxp w2, x1, x1, [x0]", 0xc822_0401),
    ("stlxp w2, w1, w1, [x0]", 0x8822_8401),
];

/// Cache maintenance by address.
pub const CACHE: [(&str, u32); 5] = [
    ("dc cvac, x0", 0xd50b_7a20),
    ("dc cvau, x0", 0xd50b_7b20),
    ("dc civac, x0", 0xd50b_7e20),
    ("dc ivac, x0", 0xd508_7620),
    ("ic ivau, x0", 0xd50b_7520),
];
