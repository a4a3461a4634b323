//! The counter, and the timer that EL2 keeps for itself (CNTHP).

/// The counter's value. It is the same on all CPUs.
pub fn now() -> u64 {
    // The counter may be read ahead of instructions before it (Arm ARM, the Generic Timer in AArch64 state).
    xenolith_hw::isb();
    read_sysreg!("cntpct_el0")
}

/// Ticks of the counter in a second.
pub fn frequency() -> u64 {
    read_sysreg!("cntfrq_el0")
}

/// Has the calling CPU's own timer fire when the counter reaches `deadline`, or not at all.
pub fn set_timer(deadline: Option<u64>) {
    const ENABLE: u64 = 1;
    let enabled = read_sysreg!("cnthp_ctl_el2") & ENABLE != 0;
    let current = enabled.then(|| read_sysreg!("cnthp_cval_el2"));
    // Most choices of the scheduler leave the timer as it is, and reading is cheaper than setting it.
    if deadline == current {
        return;
    }
    // SAFETY: CNTHP is EL2's own; its interrupt is masked while EL2 runs.
    unsafe {
        match deadline {
            Some(deadline) => {
                // The value first: with the old one, which has mostly passed, the timer would fire when it is switched
                // on.
                write_sysreg!("cnthp_cval_el2", deadline);
                write_sysreg!("cnthp_ctl_el2", ENABLE);
            }
            None => write_sysreg!("cnthp_ctl_el2", 0),
        }
    }
}

/// Whether the virtual timer, that of the vCPU on this CPU, asks for its interrupt.
pub fn guest_timer_fires() -> bool {
    const ENABLE: u64 = 1 << 0;
    const IMASK: u64 = 1 << 1;
    const ISTATUS: u64 = 1 << 2;
    // What was written to the timer counts in its status after this.
    xenolith_hw::isb();
    read_sysreg!("cntv_ctl_el0") & (ENABLE | IMASK | ISTATUS) == ENABLE | ISTATUS
}

/// No timer of this CPU is on, and the virtual counter is the physical one.
pub fn init_cpu() {
    set_timer(None);
    // SAFETY: these are the guests'.
    unsafe {
        write_sysreg!("cntvoff_el2", 0);
        write_sysreg!("cntv_ctl_el0", 0);
        write_sysreg!("cntp_ctl_el0", 0);
    }
}
