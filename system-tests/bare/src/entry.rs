//! The image's header and first instructions, the exception vectors, and what they record.
//!
//! The kernel runs with its MMU off, on one stack, with interrupts masked: an exception is always an answer to the
//! instruction before, so the vector notes it and goes on behind that instruction.

use core::arch::global_asm;
use core::cell::UnsafeCell;

global_asm!(
    r#"
    .section .head, "ax"
    .global image_start
image_start:
    b       1f
    .word   0
    .quad   0                           // text_offset
    .quad   image_end - image_start     // image_size
    .quad   0xa                         // little endian, 4 KiB pages, anywhere
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0

1:  msr     daifset, #0xf
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el1, x1
    adrp    x1, stack_end
    add     x1, x1, :lo12:stack_end
    mov     sp, x1
    // FP, SVE and SME as far as this level decides: what is refused then, the hypervisor refuses.
    mov     x1, #(3 << 20)
    orr     x1, x1, #(3 << 16)
    orr     x1, x1, #(3 << 24)
    msr     cpacr_el1, x1
    isb

    // Every relocation adds the load address to a word (R_AARCH64_RELATIVE).
    adr     x5, image_start
    adrp    x3, relocations_start
    add     x3, x3, :lo12:relocations_start
    adrp    x4, relocations_end
    add     x4, x4, :lo12:relocations_end
2:  cmp     x3, x4
    b.hs    3f
    ldp     x6, x7, [x3], #16
    ldr     x8, [x3], #8
    add     x8, x8, x5
    str     x8, [x6, x5]
    b       2b
3:  bl      {start}

    .macro vector kind
    .balign 128
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\kind
    b       note
    .endm

    .balign 2048
vectors:
    .irp kind, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vector  \kind
    .endr

    // Notes kind, ESR, FAR and ELR, counts, and returns behind the instruction: the next one, except that an
    // SVC has already been stepped over, and that a jump to nowhere goes back to its caller.
note:
    adrp    x0, {noted}
    add     x0, x0, :lo12:{noted}
    str     x1, [x0]
    mrs     x1, esr_el1
    str     x1, [x0, #8]
    mrs     x1, far_el1
    str     x1, [x0, #16]
    mrs     x1, elr_el1
    str     x1, [x0, #24]
    ldr     x1, [x0, #32]
    add     x1, x1, #1
    str     x1, [x0, #32]
    mrs     x1, esr_el1
    lsr     x1, x1, #26
    cmp     x1, #0x15
    b.eq    5f
    cmp     x1, #0x21
    b.eq    4f
    mrs     x1, elr_el1
    add     x1, x1, #4
    msr     elr_el1, x1
    b       5f
4:  msr     elr_el1, x30
5:  ldp     x0, x1, [sp], #16
    eret

    .section .bss
    .balign 16
    .skip   65536
stack_end:
    .text
    "#,
    start = sym start,
    noted = sym NOTED,
);

extern "C" fn start() -> ! {
    crate::run()
}

/// The last exception that was taken, as the vectors write it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Noted {
    /// Number of the vector: 4 is a synchronous exception on the stack in use.
    pub vector: u64,
    /// ESR_EL1.
    pub syndrome: u64,
    /// FAR_EL1.
    pub address: u64,
    /// ELR_EL1.
    pub pc: u64,
    /// How many exceptions there were.
    pub count: u64,
}

/// A cell that the vectors write between two instructions of ours.
#[repr(transparent)]
pub struct NotedCell(UnsafeCell<Noted>);

// SAFETY: one CPU runs this kernel, and no reference to the content is ever made.
unsafe impl Sync for NotedCell {}

/// Where the vectors write.
static NOTED: NotedCell =
    NotedCell(UnsafeCell::new(Noted { vector: 0, syndrome: 0, address: 0, pc: 0, count: 0 }));

/// What was noted last.
pub fn noted() -> Noted {
    // SAFETY: the pointer is valid for ever; the read is volatile because the vectors write behind the compiler.
    unsafe { NOTED.0.get().read_volatile() }
}
