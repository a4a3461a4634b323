//! The image's header, its first instructions, and the exception vectors.
//!
//! A guest is entered as Linux is (Documentation/arch/arm64/booting.rst): at EL1, the MMU off, all exceptions masked, the
//! address of a device tree in x0. The header is what says that the file is a kernel, and how much memory it needs.

use core::arch::global_asm;
use core::ops::Range;
use core::ptr;
use core::slice;

use crate::cpu::read_register;

/// Bytes of the stack.
const STACK: usize = 16 << 10;

global_asm!(
    r#"
    .section .head, "ax"
    .global image_start
image_start:
    b       1f
    .word   0
    .quad   0                           // text_offset: it goes where RAM begins
    .quad   image_end - image_start     // image_size, with what is not in the file
    .quad   0xa                         // little endian, 4 KiB pages, anywhere
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0

1:  mov     x19, x0
    adrp    x1, bss_start
    add     x1, x1, :lo12:bss_start
    adrp    x2, bss_end
    add     x2, x2, :lo12:bss_end
2:  cmp     x1, x2
    b.hs    3f
    stp     xzr, xzr, [x1], #16
    b       2b

    // Every relocation adds the load address to a word (R_AARCH64_RELATIVE).
3:  adr     x5, image_start
    adrp    x3, relocations_start
    add     x3, x3, :lo12:relocations_start
    adrp    x4, relocations_end
    add     x4, x4, :lo12:relocations_end
4:  cmp     x3, x4
    b.hs    5f
    ldp     x6, x7, [x3], #16
    ldr     x8, [x3], #8
    add     x8, x8, x5
    str     x8, [x6, x5]
    b       4b

5:  adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el1, x1
    isb
    adrp    x1, stack_end
    add     x1, x1, :lo12:stack_end
    mov     sp, x1
    mov     x29, xzr
    mov     x0, x19
    bl      {start}

    // What a call may change is kept, so that the interrupted code does not notice.
interrupted:
    stp     x0, x1, [sp, #-176]!
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x0, x1, [sp, #160]
    bl      {interrupt}
    ldp     x0, x1, [sp, #160]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x18, x30, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp], #176
    eret

    // Sixteen entries of 128 bytes. The sixth is an interrupt at this level, on this stack: the only one that is meant.
    .balign 2048
vectors:
    .irp kind, 0, 1, 2, 3, 4
    .balign 128
    mov     x0, #\kind
    b       {unexpected}
    .endr
    .balign 128
    b       interrupted
    .irp kind, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    .balign 128
    mov     x0, #\kind
    b       {unexpected}
    .endr
    .balign 128

    .section .bss.stack, "aw", %nobits
    .balign 16
    .skip   {stack}
stack_end:
    .text
    "#,
    start = sym start,
    interrupt = sym interrupt,
    unexpected = sym unexpected,
    stack = const STACK,
);

unsafe extern "C" {
    safe static image_start: u8;
    safe static image_end: u8;
}

/// The addresses of the image and of what belongs to it.
pub fn image() -> Range<u64> {
    (&raw const image_start).addr() as u64..(&raw const image_end).addr() as u64
}

extern "C" fn start(tree: u64) -> ! {
    crate::guest::run(device_tree(tree))
}

/// The bytes of the device tree at an address; none if it is not one.
fn device_tree(address: u64) -> &'static [u8] {
    const MAGIC: u32 = 0xd00d_feed;
    const LARGEST: u32 = 2 << 20;
    let tree = ptr::with_exposed_provenance::<u32>(address as usize);
    if address == 0 || !tree.is_aligned() {
        return &[];
    }
    // SAFETY: whoever starts a guest puts a device tree where x0 points, in memory that nobody else has and that this
    // program does not use; a tree begins with two words, of which the second is its size (2 MiB at most, by the same
    // protocol).
    unsafe {
        if u32::from_be(tree.read()) != MAGIC {
            return &[];
        }
        let size = u32::from_be(tree.add(1).read()).min(LARGEST);
        slice::from_raw_parts(tree.cast(), size as usize)
    }
}

/// Reads where nothing is, to show what an exception looks like.
pub fn fault() {
    const NOWHERE: *const u8 = ptr::without_provenance(16);
    // SAFETY: no table maps that address: the read is an exception, and does not complete.
    unsafe { NOWHERE.read_volatile() };
}

extern "C" fn interrupt() {
    crate::guest::interrupt();
}

/// An exception that nobody has meant: this program has a fault. It says where.
extern "C" fn unexpected(vector: u64) -> ! {
    panic!(
        "exception {vector}: ESR {:#x}, FAR {:#x}, at {:#x} of the image",
        read_register!("esr_el1"),
        read_register!("far_el1"),
        read_register!("elr_el1").wrapping_sub(image().start),
    )
}
