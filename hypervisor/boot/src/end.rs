//! The boot's end when nothing can be booted.

use core::fmt;

/// Says why nothing runs on this machine, and stops.
#[inline(never)]
pub fn give_up(reason: fmt::Arguments<'_>) -> ! {
    log::error!("{reason}");
    log::error!("nothing can be booted; halted");
    xenolith_arch::halt()
}
