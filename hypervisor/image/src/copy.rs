//! `memcpy` and `memset`, which the compiler calls wherever a value is moved or cleared.
//!
//! Those that come with it go word by word, since they are for every CPU. These go 64 bytes a round, in general registers
//! only: the vector registers are the guest's. A short rest is moved by the bits of its length. Addresses need no alignment,
//! because EL2 runs with its MMU on and alignment checks off (SCTLR_EL2.A), and never moves a device's registers so.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.memcpy, "ax"
    .global memcpy
    .type   memcpy, %function
memcpy:
    mov     x3, x0                      // the result is the destination
    subs    x2, x2, #64
    b.lo    2f
1:  ldp     x4, x5, [x1], #64
    ldp     x6, x7, [x1, #-48]
    ldp     x8, x9, [x1, #-32]
    ldp     x10, x11, [x1, #-16]
    subs    x2, x2, #64
    stp     x4, x5, [x3], #64
    stp     x6, x7, [x3, #-48]
    stp     x8, x9, [x3, #-32]
    stp     x10, x11, [x3, #-16]
    b.hs    1b
    tst     x2, #63                     // 64 too few, which the low bits do not show
    b.eq    9f
2:  tbz     x2, #5, 3f
    ldp     x4, x5, [x1], #32
    ldp     x6, x7, [x1, #-16]
    stp     x4, x5, [x3], #32
    stp     x6, x7, [x3, #-16]
3:  tbz     x2, #4, 4f
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
4:  tbz     x2, #3, 5f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
5:  tst     x2, #7
    b.eq    9f
    tbz     x2, #2, 6f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
6:  tbz     x2, #1, 7f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
7:  tbz     x2, #0, 9f
    ldrb    w4, [x1]
    strb    w4, [x3]
9:  ret
    .size   memcpy, . - memcpy

    .section .text.memset, "ax"
    .global memset
    .type   memset, %function
memset:
    and     x1, x1, #0xff
    mov     x4, #0x0101010101010101
    mul     x4, x1, x4
    mov     x3, x0                      // the result is the destination
    subs    x2, x2, #64
    b.lo    2f
1:  stp     x4, x4, [x3], #64
    stp     x4, x4, [x3, #-48]
    stp     x4, x4, [x3, #-32]
    stp     x4, x4, [x3, #-16]
    subs    x2, x2, #64
    b.hs    1b
    tst     x2, #63
    b.eq    9f
2:  tbz     x2, #5, 3f
    stp     x4, x4, [x3], #32
    stp     x4, x4, [x3, #-16]
3:  tbz     x2, #4, 4f
    stp     x4, x4, [x3], #16
4:  tbz     x2, #3, 5f
    str     x4, [x3], #8
5:  tst     x2, #7
    b.eq    9f
    tbz     x2, #2, 6f
    str     w4, [x3], #4
6:  tbz     x2, #1, 7f
    strh    w4, [x3], #2
7:  tbz     x2, #0, 9f
    strb    w4, [x3]
9:  ret
    .size   memset, . - memset
"#
);
