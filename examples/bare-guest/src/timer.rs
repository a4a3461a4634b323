//! The virtual timer, which a guest has for itself: its counter begins with the guest, or goes on where the machine's is.

use xenolith_abi::Intid;

use crate::cpu::{read_register, write_register};

const ENABLE: u64 = 1;
const OFF: u64 = 0;

/// The timer, ticking.
pub struct Timer {
    interrupt: Intid,
    frequency: u64,
    period: u64,
    begun: u64,
}

impl Timer {
    /// A timer that is to tick so often in a second, from now on.
    pub fn new(interrupt: Intid, per_second: u64) -> Timer {
        let frequency = read_register!("cntfrq_el0");
        Timer { interrupt, frequency, period: frequency / per_second.max(1), begun: now() }
    }

    /// Its interrupt.
    pub fn interrupt(&self) -> Intid {
        self.interrupt
    }

    /// The counter's frequency in Hz.
    pub fn frequency(&self) -> u64 {
        self.frequency
    }

    /// Lets it tick.
    pub fn start(&self) {
        write_register!("cntv_cval_el0", self.begun.wrapping_add(self.period));
        write_register!("cntv_ctl_el0", ENABLE);
    }

    /// Sets the time of its next tick: one period behind the last one, however late that was taken.
    pub fn advance(&self) {
        write_register!("cntv_cval_el0", read_register!("cntv_cval_el0").wrapping_add(self.period));
        // Xen masks the timer when it has fired, and leaves it to the guest to let it fire again.
        write_register!("cntv_ctl_el0", ENABLE);
    }

    /// Stops it.
    pub fn stop(&self) {
        write_register!("cntv_ctl_el0", OFF);
    }

    /// Milliseconds since it was made.
    pub fn milliseconds(&self) -> u64 {
        const PER_SECOND: u64 = 1000;
        now().wrapping_sub(self.begun).saturating_mul(PER_SECOND) / self.frequency.max(1)
    }
}

fn now() -> u64 {
    read_register!("cntvct_el0")
}
