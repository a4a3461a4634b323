// Firmware at EL3 for a board that has none of its own (SBSA's reference board in QEMU): hands the interrupt controller over to
// the other world, enters IMAGE at EL2 with TREE, and answers PSCI calls. It lies at 0, where each CPU begins.

#define GICD            0x40060000
#define GICR            0x40080000
#define GICR_STRIDE     0x20000
#define GICR_WAKER      0x14
#define GICR_IGROUPR0   0x10080
#define CONTROLLER      0x50000000      // The platform's controller: 1 powers it off, 2 resets it.
#define MAILBOXES       0x20000000      // Secure RAM. Of each CPU: entry point, argument.
#define CPUS            8

        .globl  _start
_start: b       cold

        .balign 2048
vectors:
        .org    vectors + 0x400         // A call from a lower level. Only x0 to x3 may be lost.
        msr     tpidr_el3, x1
        mov     w1, #0x84000000         // PSCI_VERSION
        cmp     w0, w1
        b.eq    version
        mov     w1, #0x0003             // CPU_ON
        movk    w1, #0xc400, lsl #16
        cmp     w0, w1
        b.eq    cpu_on
        mov     w1, #0x0008             // SYSTEM_OFF
        movk    w1, #0x8400, lsl #16
        sub     w1, w0, w1
        cmp     w1, #1                  // or SYSTEM_RESET, the next
        b.ls    system
        mov     x0, #-1
        eret
version:
        mov     w0, #0x10000
        eret
system: add     w1, w1, #1
        mov     x0, #CONTROLLER
        str     w1, [x0]
        b       .
cpu_on: mrs     x1, tpidr_el3
        and     x1, x1, #(CPUS - 1)
        mov     x0, #MAILBOXES
        add     x0, x0, x1, lsl #4
        str     x3, [x0, #8]
        dmb     sy
        str     x2, [x0]
        dsb     sy
        sev
        mov     x0, #0
        eret

cold:   adr     x0, vectors
        msr     vbar_el3, x0
        mov     x0, #0x0531             // SCR_EL3: the other world, AArch64, hypervisor calls,
        movk    x0, #0x3, lsl #16       // pointer authentication
        msr     scr_el3, x0
        msr     cptr_el3, xzr
        mov     x0, #0xf
        msr     S3_6_C12_C12_5, x0      // ICC_SRE_EL3: system registers, for the levels below too
        mov     x0, #0x3c9              // to EL2 with its own stack pointer, all masked
        msr     spsr_el3, x0
        isb
        mrs     x19, mpidr_el1
        and     x19, x19, #(CPUS - 1)
        ldr     x1, =GICR
        mov     x2, #GICR_STRIDE
        madd    x1, x19, x2, x1
        str     wzr, [x1, #GICR_WAKER]
1:      ldr     w2, [x1, #GICR_WAKER]
        tbnz    w2, #2, 1b              // its children sleep
        ldr     x2, =GICR_IGROUPR0
        mov     w3, #-1
        str     w3, [x1, x2]
        cbnz    x19, pen

        ldr     x1, =GICD
        mov     w2, #0x30               // GICD_CTLR: affinity routing in both worlds
        str     w2, [x1]
        add     x2, x1, #0x84           // GICD_IGROUPR1 to 31
        mov     x4, #31
2:      str     w3, [x2], #4
        subs    x4, x4, #1
        b.ne    2b
        ldr     x0, =TREE
        ldr     x4, =IMAGE
        b       enter

pen:    mov     x5, #MAILBOXES
        add     x5, x5, x19, lsl #4
3:      wfe
        ldr     x4, [x5]
        cbz     x4, 3b
        dmb     sy
        ldr     x0, [x5, #8]
        str     xzr, [x5]
enter:  msr     elr_el3, x4
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        eret
        .ltorg
