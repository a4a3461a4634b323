//! The first instructions: the arm64 `Image` header, relocation, a first map, and the way into Rust.
//!
//! The boot loader enters with the MMU off and x0 = device tree (Linux, Documentation/arch/arm64/booting.rst). The
//! image is linked at 0 and position independent; it adds its own address to every pointer before Rust runs. A first
//! map covers the gigabytes around the image and the device tree, so that Rust never runs with the caches off.

use core::arch::global_asm;

/// Attributes in MAIR_EL2: index 0 is Device-nGnRE, index 1 Normal write-back.
pub const MAIR: u64 = 0xff04;
/// TCR_EL2: 48-bit addresses, 4 KiB granule, inner-shareable write-back walks. The physical size (bits 18:16) is added.
pub const TCR: u64 = 1 << 31 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 16;

global_asm!(
    r#"
    .section .head, "ax"
    .global _head
_head:
    b       {start}
    nop
    .quad   0                           // text_offset
    .quad   __image_size
    .quad   0xa                         // little endian, 4 KiB pages, anywhere in memory
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0
    // At offset 64: the early console (`xenolith_host::platform::parse_early`).
    .global _early_console
_early_console:
    .space  {early_length}

    .section .bss.early_tables, "aw", @nobits
    .balign 4096
early_root:     .space 4096
early_image:    .space 4096
early_tree:     .space 4096

    .section .text.entry, "ax"
    .global {start}
{start}:
    mov     x20, x0                     // the device tree
    adrp    x21, _head                  // where we are
    msr     daifset, #0xf

    // Add our address to every pointer that the linker left in the image. The list is in the packed form of the ELF
    // generic ABI (SHT_RELR): an even word is the address of a pointer; an odd one has a bit for each of the 63 words
    // that follow what was last described.
    adrp    x0, __relr_start
    add     x0, x0, :lo12:__relr_start
    adrp    x1, __relr_end
    add     x1, x1, :lo12:__relr_end
1:  cmp     x0, x1
    b.hs    2f
    ldr     x2, [x0], #8
    tbnz    x2, #0, 11f
    add     x3, x2, x21
    ldr     x4, [x3]
    add     x4, x4, x21
    str     x4, [x3], #8
    b       1b
11: mov     x5, x3
12: lsr     x2, x2, #1
    cbz     x2, 14f
    tbz     x2, #0, 13f
    ldr     x4, [x5]
    add     x4, x4, x21
    str     x4, [x5]
13: add     x5, x5, #8
    b       12b
14: add     x3, x3, #63 * 8
    b       1b
2:
    adrp    x0, __boot_stack_top
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr

    mrs     x19, CurrentEL
    cmp     x19, #8
    b.eq    3f
    lsr     x0, x19, #2
    mov     x1, x20
    bl      {wrong_level}               // does not return
3:
    msr     tpidr_el2, xzr              // no record of this CPU yet; out of reset the register is UNKNOWN
    // Clear the first map, then the whole of .bss, with the MMU off.
    adrp    x0, __bss_start
    adrp    x1, __bss_end
4:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    4b

    // What was written uncached must not be shadowed by an old cache line.
    adrp    x0, _head
    adrp    x1, __image_end
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4             // CTR_EL0.DminLine: the line's words, as a power of two
    mov     x3, #4
    lsl     x2, x3, x2
5:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    5b
    dsb     sy

    // Blocks of 1 GiB: two from the image's start, two from the device tree's.
    adrp    x5, early_root
    adrp    x6, early_image
    mov     x7, x21
    bl      6f
    adrp    x6, early_tree
    mov     x7, x20
    bl      6f
    b       7f
6:  // map the gigabyte of x7 and the next, with table x6 if the root has none yet
    lsr     x8, x7, #39
    and     x8, x8, #0x1ff
    ldr     x9, [x5, x8, lsl #3]
    cbnz    x9, 61f
    orr     x9, x6, #3
    str     x9, [x5, x8, lsl #3]
61: and     x9, x9, #0xfffffffffffff000
    ubfx    x8, x7, #30, #9
    lsr     x10, x7, #30
    lsl     x10, x10, #30
    mov     x11, #0x705                 // accessed, inner shareable, Normal (index 1), block
    orr     x10, x10, x11
    str     x10, [x9, x8, lsl #3]
    add     x8, x8, #1
    cmp     x8, #512
    b.eq    62f
    mov     x11, #0x40000000
    add     x10, x10, x11
    str     x10, [x9, x8, lsl #3]
62: ret
7:
    dsb     sy
    ldr     x0, ={mair}
    msr     mair_el2, x0
    ldr     x0, ={tcr}
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf
    mov     x2, #5                      // more than 48 bits would take other descriptors
    cmp     x1, x2
    csel    x1, x1, x2, lo
    orr     x0, x0, x1, lsl #16
    msr     tcr_el2, x0
    msr     ttbr0_el2, x5
    adrp    x0, {vectors}
    add     x0, x0, :lo12:{vectors}
    msr     vbar_el2, x0
    tlbi    alle2
    ic      iallu
    dsb     sy
    isb
    ldr     x0, ={sctlr}
    msr     sctlr_el2, x0
    isb

    mov     x0, x20
    mov     x1, x21
    bl      {boot}
    udf     #0

    // A CPU that waited in a spin table, MMU off: it waits for its turn (spin_table.rs), which gives it its record.
    .global _start_spin_table
_start_spin_table:
    msr     daifset, #0xf
    adrp    x1, {pen}
    add     x1, x1, :lo12:{pen}
    ldr     x3, =0xff00ffffff           // the affinity fields of MPIDR_EL1
    mrs     x2, mpidr_el1
    and     x2, x2, x3
8:  ldr     x3, [x1]
    cmp     x3, x2
    b.eq    9f
    wfe
    b       8b
9:  dmb     sy                          // the record is read behind the turn
    ldr     x0, [x1, #8]
    b       _start_secondary

    // A CPU that PSCI CPU_ON started: x0 = its `Start` record (secondary.rs), MMU off.
    .global _start_secondary
_start_secondary:
    msr     daifset, #0xf
    msr     tpidr_el2, xzr
    ldp     x1, x2, [x0]                // tables, TCR
    ldp     x3, x4, [x0, #16]           // MAIR, SCTLR
    ldp     x5, x6, [x0, #32]           // vectors, stack
    msr     ttbr0_el2, x1
    msr     tcr_el2, x2
    msr     mair_el2, x3
    msr     vbar_el2, x5
    mov     sp, x6
    tlbi    alle2
    ic      iallu
    dsb     sy
    isb
    msr     sctlr_el2, x4
    isb
    mov     x29, xzr
    mov     x30, xzr
    bl      {secondary_main}
    udf     #0
    .ltorg
"#,
    start = sym start,
    boot = sym crate::boot::main,
    wrong_level = sym crate::boot::wrong_level,
    vectors = sym crate::vectors::vectors,
    pen = sym crate::spin_table::PEN,
    secondary_main = sym crate::secondary::main,
    mair = const MAIR,
    tcr = const TCR,
    early_length = const xenolith_host::platform::EARLY_LENGTH,
    sctlr = const xenolith_arch::aarch64::mmu::SCTLR,
);

unsafe extern "C" {
    #[link_name = "_start"]
    fn start();
}
