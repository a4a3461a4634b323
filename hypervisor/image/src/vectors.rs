//! The exception vectors of EL2 (Arm ARM D1.3.4), and the way back into a guest.
//!
//! While a guest runs, SP_EL2 points at a free [`GuestRegs`] at the top of the CPU's stack. A trap from the guest
//! fills it, calls `traps::from_guest`, and returns with whatever registers that function left there: those of the
//! same vCPU, or of another. A trap from EL2 itself goes to `traps::from_el2` on a stack of its own, because it may be that
//! the stack has run into its guard page. It is a fault of ours and the end, unless the instruction is one of
//! `exception_table`, with a fix-up.
//!
//! [`GuestRegs`]: xenolith_isa::regs::GuestRegs

use core::arch::global_asm;

use crate::traps;

/// Bytes of the guest's frame at the top of a stack.
pub const FRAME: u64 = size_of::<xenolith_isa::regs::GuestRegs>() as u64;

global_asm!(
    r#"
    .macro  from_guest kind, to
    .balign 0x80
    stp     x0, x1, [sp, #0]
    mov     x1, #\kind
    b       \to
    .endm

    // x0 and x1 go into registers of the guest's, as the stack may be what the fault is about. A fix-up puts them back.
    .macro  from_el2 kind
    .balign 0x80
    msr     tpidrro_el0, x0
    msr     tpidr_el0, x1
    mov     x1, #\kind
    b       el2_exit
    .endm

    .macro  table to
    from_el2 0
    from_el2 1
    from_el2 2
    from_el2 3
    from_el2 4
    from_el2 5
    from_el2 6
    from_el2 7
    from_guest {synchronous}, \to       // from AArch64
    from_guest {interrupt}, \to
    from_guest {interrupt}, \to
    from_guest {serror}, \to
    from_guest {synchronous}, \to       // from AArch32, which only EL0 may be
    from_guest {interrupt}, \to
    from_guest {interrupt}, \to
    from_guest {serror}, \to
    .endm

    .section .text.vectors, "ax"
    .balign 0x800
    .global {vectors}
    .global {hardened}
{vectors}:
    table   guest_exit

    // On CPUs whose branch predictions a guest could have made: they are forgotten before the first branch that is predicted.
hardened_exit:
    stp     x2, x3, [sp, #16]
    mrs     x2, tpidr_el2
    ldr     x2, [x2, #8]                // of the CPU's record: what is to be done (`AtExit::encode`)
    tbnz    w2, #31, 2f
    cbz     w2, 3f
1:  b       . + 4                       // so many pairs of branches, all taken but for the last
    subs    x2, x2, #1
    b.ne    1b
    dsb     nsh
    isb
    b       4f
2:  str     x1, [sp, #256]              // the call may change x0 to x3 (SMCCC 1.1)
    mov     w0, w2
    smc     #0
    ldr     x1, [sp, #256]
    b       4f
3:  hint    #22                         // CLRBHB
    isb
4:  ldp     x2, x3, [sp, #16]
    b       guest_exit

    .balign 0x800
{hardened}:
    table   hardened_exit

guest_exit:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x30, x2, [sp, #240]
    str     x3, [sp, #256]
    mov     x0, sp
    mov     x29, xzr                    // a back-trace ends here
    mov     x30, xzr
    bl      {handler}
enter_guest:
    ldp     x30, x2, [sp, #240]
    ldr     x3, [sp, #256]
    msr     elr_el2, x2
    msr     spsr_el2, x3
    ldp     x28, x29, [sp, #224]
    ldp     x26, x27, [sp, #208]
    ldp     x24, x25, [sp, #192]
    ldp     x22, x23, [sp, #176]
    ldp     x20, x21, [sp, #160]
    ldp     x18, x19, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp, #0]
    eret
    dsb     nsh                         // nothing after ERET is run speculatively
    isb

    // x0 = top of this CPU's stack: drop what is on it and run guests from now on.
    .global {run_guests}
{run_guests}:
    sub     sp, x0, #{frame}
    mov     x0, sp
    mov     x1, #{start}
    mov     x29, xzr
    mov     x30, xzr
    bl      {handler}
    b       enter_guest

el2_exit:
    mrs     x0, tpidr_el2               // the CPU's record starts with its emergency stack
    cbz     x0, 1f
    ldr     x0, [x0]
    b       2f
1:  mov     x0, sp
2:  sub     x0, x0, #288
    stp     x2, x3, [x0, #16]
    mov     x2, sp
    mov     sp, x0
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x3, elr_el2
    mrs     x4, spsr_el2
    stp     x30, x3, [sp, #240]
    stp     x4, x2, [sp, #256]
    mrs     x5, tpidrro_el0
    mrs     x6, tpidr_el0
    stp     x5, x6, [sp, #0]
    mov     x0, sp
    bl      {from_el2}                  // returns for a fix-up
    ldp     x30, x3, [sp, #240]
    ldp     x4, x2, [sp, #256]
    msr     elr_el2, x3
    msr     spsr_el2, x4
    mov     x0, sp
    mov     sp, x2
    ldp     x28, x29, [x0, #224]
    ldp     x26, x27, [x0, #208]
    ldp     x24, x25, [x0, #192]
    ldp     x22, x23, [x0, #176]
    ldp     x20, x21, [x0, #160]
    ldp     x18, x19, [x0, #144]
    ldp     x16, x17, [x0, #128]
    ldp     x14, x15, [x0, #112]
    ldp     x12, x13, [x0, #96]
    ldp     x10, x11, [x0, #80]
    ldp     x8, x9, [x0, #64]
    ldp     x6, x7, [x0, #48]
    ldp     x4, x5, [x0, #32]
    ldp     x2, x3, [x0, #16]
    ldp     x0, x1, [x0]
    eret
    dsb     nsh
    isb
"#,
    vectors = sym vectors,
    hardened = sym hardened,
    run_guests = sym run_guests,
    handler = sym traps::from_guest,
    from_el2 = sym traps::from_el2,
    synchronous = const traps::SYNCHRONOUS,
    interrupt = const traps::INTERRUPT,
    serror = const traps::SERROR,
    start = const traps::START,
    frame = const FRAME,
);

unsafe extern "C" {
    /// The vector table; its address goes into VBAR_EL2.
    #[link_name = "el2_vectors"]
    pub fn vectors();
    /// The same, for CPUs on which something is done when a guest is left (`PerCpu::at_exit`).
    #[link_name = "el2_hardened_vectors"]
    pub fn hardened();
    /// Leaves everything on this CPU's stack behind and runs guests on it for ever.
    ///
    /// # Safety
    /// `stack_top` is the top of the calling CPU's own stack, 16-byte aligned, and no value on it is needed again.
    #[link_name = "run_guests"]
    pub fn run_guests(stack_top: u64) -> !;
}

/// Has the calling CPU use its vectors, once it has its record: the hardened ones, or those that do no more than they must.
pub fn install(is_hardened: bool) {
    let table = if is_hardened { hardened } else { vectors };
    // SAFETY: it is one of the two above.
    unsafe { write_sysreg!("vbar_el2", table as *const () as u64) };
    xenolith_hw::isb();
}
