//! Access to AArch64 system registers by name, or by encoding (`s3_0_c0_c7_7`) where the architecture has no name yet.

/// Reads a system register.
#[macro_export]
macro_rules! read_sysreg {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: the registers that this crate reads have no side effect on memory or on Rust's state.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register. The caller claims, in its `unsafe` block, that the change does not pull the ground from
/// under running Rust code. Later effects are ordered by an `isb` of the caller's.
#[macro_export]
macro_rules! write_sysreg {
    ($name:expr, $value:expr) => {{
        let value: u64 = $value;
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags));
    }};
}

/// Makes earlier writes of system registers take effect before the next instruction.
#[cfg(target_arch = "aarch64")]
pub fn isb() {
    // SAFETY: a barrier only.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// Completes all memory accesses and maintenance operations issued so far, system-wide.
#[cfg(target_arch = "aarch64")]
pub fn dsb() {
    // SAFETY: a barrier only.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Wakes the CPUs that wait for an event.
#[cfg(target_arch = "aarch64")]
pub fn send_event() {
    // SAFETY: it changes no value that the program can see.
    unsafe { core::arch::asm!("sev", options(nostack, preserves_flags)) };
}
