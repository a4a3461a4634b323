//! A domain's own time. Its virtual counter begins at zero when the domain first starts, and not when the machine did: its
//! offset is the machine's counter at that moment. All times in calls and in shared pages are in the domain's time, and here
//! they become the machine's and back. The physical counter is the machine's for everybody.

use xenolith_arch as arch;

use super::{Domain, DomainRef};

impl Domain {
    /// What its virtual counter is behind the machine's: that counter when the domain first started; `None` before that.
    pub fn counter_offset(&self) -> Option<u64> {
        self.counter_offset.get().copied()
    }

    /// The domain's time in nanoseconds when the machine's counter has a value: zero before it began.
    pub fn system_time(&self, counter: u64) -> u64 {
        self.counter_offset().map_or(0, |offset| arch::nanoseconds(counter.saturating_sub(offset)))
    }

    /// The value of the machine's counter at a moment of the domain's time, which is given in nanoseconds.
    pub fn counter_at(&self, system_time: u64) -> u64 {
        self.counter_offset().unwrap_or(0).saturating_add(arch::ticks(system_time))
    }

    /// The wall-clock time of the machine's reset, in nanoseconds since 1970, when the wall clock shows `wall` at the domain's
    /// time `system_time`. Below zero where no clock was ever set. `None`: out of range.
    pub fn wall_clock_at_reset(&self, wall: u64, system_time: u64) -> Option<i64> {
        let since_reset = arch::nanoseconds(self.counter_at(system_time));
        i64::try_from(wall).ok()?.checked_sub_unsigned(since_reset)
    }

    /// The wall-clock time at which its own time began, in nanoseconds since 1970; `at_reset` is that of the machine.
    pub(crate) fn wall_clock_at_start(&self, at_reset: i64) -> u64 {
        let started = arch::nanoseconds(self.counter_at(0));
        u64::try_from(at_reset.saturating_add_unsigned(started)).unwrap_or(0)
    }
}

impl DomainRef<'_> {
    /// Lets the domain's time begin now, if it has not begun. None of its vCPUs has run before.
    pub(crate) fn begin_time(self) {
        if self.counter_offset.get().is_some() {
            return;
        }
        let offset = {
            // Held while the time is written, so that nobody writes it for another beginning afterwards, and so that it is not
            // written to a page that is given up.
            let wall_clock = self.hv.wall_clock.lock();
            let offset = *self.counter_offset.call_once(arch::now);
            if !self.is_dying() {
                self.write_wall_clock(*wall_clock);
            }
            offset
        };
        for vcpu in &self.vcpus {
            vcpu.saved.lock().context.set_counter_offset(offset);
        }
    }
}
