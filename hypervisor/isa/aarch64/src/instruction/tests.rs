//! The words were made by GNU as.

use proptest::prelude::*;

use super::*;

mod oracle;

/// Size, sign extension, X register, as the name of the instruction and its registers have it.
type Form = (Size, bool, bool);

const B: Form = (Size::Byte, false, false);
const H: Form = (Size::Half, false, false);
const W: Form = (Size::Word, false, false);
const X: Form = (Size::Double, false, true);

fn access((size, sign_extend, sixty_four): Form, register: u8) -> LoadStore {
    LoadStore { size, sign_extend, sixty_four, register }
}

fn one(write: bool, form: Form, register: u8, base: u8, offset: i16, index: Index) -> Option<DecodedAccess> {
    Some(DecodedAccess { write, first: access(form, register), second: None, base, offset, index })
}

fn two(
    write: bool,
    form: Form,
    registers: [u8; 2],
    base: u8,
    offset: i16,
    index: Index,
) -> Option<DecodedAccess> {
    let [first, second] = registers.map(|register| access(form, register));
    Some(DecodedAccess { write, first, second: Some(second), base, offset, index })
}

#[test]
fn single_registers() {
    use Index::*;
    assert_eq!(decode(0xb800_4441), one(true, W, 1, 2, 4, Post), "str w1, [x2], #4");
    assert_eq!(decode(0xf81f_8c41), one(true, X, 1, 2, -8, Pre), "str x1, [x2, #-8]!");
    assert_eq!(decode(0x3810_0441), one(true, B, 1, 2, -256, Post), "strb w1, [x2], #-256");
    assert_eq!(decode(0x780f_efff), one(true, H, 31, 31, 254, Pre), "strh wzr, [sp, #254]!");
    assert_eq!(decode(0xb840_4441), one(false, W, 1, 2, 4, Post), "ldr w1, [x2], #4");
    assert_eq!(decode(0xf84f_ffbe), one(false, X, 30, 29, 255, Pre), "ldr x30, [x29, #255]!");
    assert_eq!(decode(0x3840_1441), one(false, B, 1, 2, 1, Post), "ldrb w1, [x2], #1");
    assert_eq!(decode(0x7840_2c41), one(false, H, 1, 2, 2, Pre), "ldrh w1, [x2, #2]!");
    assert_eq!(decode(0xb85f_d041), one(false, W, 1, 2, -3, Offset), "ldur w1, [x2, #-3]");
    assert_eq!(decode(0xf800_305f), one(true, X, 31, 2, 3, Offset), "stur xzr, [x2, #3]");
}

#[test]
fn sign_extending_loads() {
    let loads = [
        (0x38c0_1441, Size::Byte, false, 1), // ldrsb w1, [x2], #1
        (0x3880_1441, Size::Byte, true, 1),  // ldrsb x1, [x2], #1
        (0x78c0_2441, Size::Half, false, 2), // ldrsh w1, [x2], #2
        (0x7880_2441, Size::Half, true, 2),  // ldrsh x1, [x2], #2
        (0xb880_4441, Size::Word, true, 4),  // ldrsw x1, [x2], #4
    ];
    for (word, size, sixty_four, offset) in loads {
        assert_eq!(
            decode(word),
            one(false, (size, true, sixty_four), 1, 2, offset, Index::Post),
            "{word:#x}"
        );
    }
}

#[test]
fn pairs() {
    use Index::*;
    let sw = (Size::Word, true, true);
    assert_eq!(decode(0x2940_0c41), two(false, W, [1, 3], 2, 0, Offset), "ldp w1, w3, [x2]");
    assert_eq!(decode(0xa95f_8c41), two(false, X, [1, 3], 2, 504, Offset), "ldp x1, x3, [x2, #504]");
    assert_eq!(decode(0xa8e0_0c41), two(false, X, [1, 3], 2, -512, Post), "ldp x1, x3, [x2], #-512");
    assert_eq!(decode(0x69c0_8c41), two(false, sw, [1, 3], 2, 4, Pre), "ldpsw x1, x3, [x2, #4]!");
    assert_eq!(decode(0x29a0_7fe1), two(true, W, [1, 31], 31, -256, Pre), "stp w1, wzr, [sp, #-256]!");
    assert_eq!(decode(0xa881_0c41), two(true, X, [1, 3], 2, 16, Post), "stp x1, x3, [x2], #16");
    assert_eq!(decode(0xa841_0c41), two(false, X, [1, 3], 2, 16, Offset), "ldnp x1, x3, [x2, #16]");
    assert_eq!(decode(0x283f_8c41), two(true, W, [1, 3], 2, -4, Offset), "stnp w1, w3, [x2, #-4]");
}

#[test]
fn everything_else_is_refused() {
    let words = [
        (0xc85f_7c41, "ldxr x1, [x2]"),
        (0xc803_7c41, "stxr w3, x1, [x2]"),
        (0xc87f_0c41, "ldxp x1, x3, [x2]"),
        (0xc8df_fc41, "ldar x1, [x2]"),
        (0xf8e1_0043, "ldaddal x1, x3, [x2]"),
        (0xb821_8043, "swp w1, w3, [x2]"),
        (0xc8a1_7c43, "cas x1, x3, [x2]"),
        (0x3cc1_0441, "ldr q1, [x2], #16"),
        (0xfc00_8c41, "str d1, [x2, #8]!"),
        (0xad40_0c41, "ldp q1, q3, [x2]"),
        (0x2cc1_0c41, "ldp s1, s3, [x2], #8"),
        (0x4c40_7040, "ld1 {v0.16b}, [x2]"),
        (0xf840_0841, "ldtr x1, [x2]"),
        (0xf880_1040, "prfum pldl1keep, [x2, #1]"),
        (0xf980_0040, "prfm pldl1keep, [x2]"),
        (0x5800_0001, "ldr x1, ."),
        (0xf820_0441, "ldraa x1, [x2]"),
        (0x6900_0c41, "stgp x1, x3, [x2]"),
        (0xd920_1441, "stg x1, [x2], #16"),
        (0xd50b_7421, "dc zva, x1"),
        (0x9940_4041, "ldapur w1, [x2, #4]"),
        (0xd503_201f, "nop"),
    ];
    for (word, name) in words {
        assert_eq!(decode(word), None, "{name}");
    }
}

#[test]
fn unpredictable_forms_are_refused() {
    let words = [
        (0xb800_4442, "str w2, [x2], #4"),
        (0xb840_4442, "ldr w2, [x2], #4"),
        (0xa8c1_0821, "ldp x1, x2, [x1], #16"),
        (0xa940_0421, "ldp x1, x1, [x1]"),
    ];
    for (word, name) in words {
        assert_eq!(decode(word), None, "{name}");
    }
}

#[test]
fn the_fault_has_to_fit() {
    let pair = decode(0xa881_0c41).unwrap(); // stp x1, x3, [x2], #16
    assert!(pair.explains(true, 0x1000, 0x1000));
    assert!(pair.explains(true, 0x100f, 0x1000), "the second register faulted");
    assert!(!pair.explains(true, 0x1010, 0x1000));
    assert!(!pair.explains(true, 0xfff, 0x1000));
    assert!(!pair.explains(false, 0x1000, 0x1000));
    assert!(pair.explains(true, 0x5a00_0000_0000_1008, 0x1000), "a tag is no part of the address");
    let single = decode(0xf81f_8c41).unwrap(); // str x1, [x2, #-8]!
    assert!(single.explains(true, 0xff8, 0x1000));
    assert!(!single.explains(true, 0x1000, 0x1000));
}

#[test]
fn write_back_by_kind() {
    let mut regs = GuestRegs::default();
    let mut sp = 0x2000;
    regs.set(2, 0x1000);
    decode(0xb800_4441).unwrap().write_back(&mut regs, &mut sp); // str w1, [x2], #4
    assert_eq!((regs.get(2), sp), (0x1004, 0x2000));
    decode(0xb85f_d041).unwrap().write_back(&mut regs, &mut sp); // ldur w1, [x2, #-3]
    assert_eq!((regs.get(2), sp), (0x1004, 0x2000));
    decode(0x29a0_7fe1).unwrap().write_back(&mut regs, &mut sp); // stp w1, wzr, [sp, #-256]!
    assert_eq!((regs.get(2), sp), (0x1004, 0x1f00));
}

proptest! {
    #[test]
    fn any_word_is_safe(word: u32, x: [u64; 31], sp: u64, far: u64) {
        let mut regs = GuestRegs { x, ..Default::default() };
        let mut new_sp = sp;
        if let Some(transfer) = decode(word) {
            let base = transfer.base_address(&regs, sp);
            prop_assert!(transfer.explains(transfer.write, transfer.address(base), base));
            let _ = transfer.explains(true, far, base);
            transfer.write_back(&mut regs, &mut new_sp);
            let changed = regs.x.iter().zip(x).filter(|(new, old)| *new != old).count();
            prop_assert!(changed + usize::from(new_sp != sp) <= 1);
        }
    }

    #[test]
    fn words_of_the_right_class_decode_or_are_refused_for_a_reason(fields: u32, pair: bool) {
        let word = if pair { fields & !0x3e00_0000 | 0x2800_0000 } else { fields & !0x3f20_0000 | 0x3800_0000 };
        if let Some(transfer) = decode(word) {
            prop_assert_eq!(transfer.second.is_some(), pair);
            prop_assert!((-512..=504).contains(&transfer.offset));
            prop_assert_eq!(u32::from(transfer.base), fields >> 5 & 31);
        }
    }
}
