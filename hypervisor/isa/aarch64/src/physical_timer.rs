//! The EL1 physical timer of a vCPU, emulated (Arm ARM, D11.2.4 "Timers").
//!
//! The state is what the guest wrote. Everything else (ISTATUS, the interrupt line, when it will rise) follows from
//! the state and the counter, so nothing has to be kept in step with time.

/// A register of the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerRegister {
    /// CNTP_CTL_EL0.
    Control,
    /// CNTP_CVAL_EL0.
    CompareValue,
    /// CNTP_TVAL_EL0: 32 bits, signed, relative to the counter.
    TimerValue,
}

const ENABLE: u64 = 1 << 0;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;

/// CNTP_CTL_EL0 and CNTP_CVAL_EL0. Times are values of the physical counter, which the guest reads as CNTPCT_EL0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PhysicalTimer {
    /// ENABLE and IMASK; no other bit is ever set.
    control: u64,
    compare: u64,
}

impl PhysicalTimer {
    /// What the guest reads at counter value `now`.
    pub const fn read(&self, register: TimerRegister, now: u64) -> u64 {
        match register {
            TimerRegister::Control if self.fired(now) => self.control | ISTATUS,
            TimerRegister::Control => self.control,
            TimerRegister::CompareValue => self.compare,
            TimerRegister::TimerValue => self.compare.wrapping_sub(now) & 0xffff_ffff,
        }
    }

    /// Takes a write of the guest at counter value `now`.
    pub const fn write(&mut self, register: TimerRegister, value: u64, now: u64) {
        match register {
            TimerRegister::Control => self.control = value & (ENABLE | IMASK),
            TimerRegister::CompareValue => self.compare = value,
            TimerRegister::TimerValue => self.compare = now.wrapping_add(sign_extend(value)),
        }
    }

    /// The level of the interrupt line.
    pub const fn line(&self, now: u64) -> bool {
        self.fired(now) && self.control & IMASK == 0
    }

    /// The counter value at which the line will rise by itself; `None` if it is up, or will not rise before a write.
    pub const fn deadline(&self, now: u64) -> Option<u64> {
        if self.control & (ENABLE | IMASK) == ENABLE && now < self.compare {
            Some(self.compare)
        } else {
            None
        }
    }

    /// Enabled, and the counter has reached the compare value, both being unsigned.
    const fn fired(&self, now: u64) -> bool {
        self.control & ENABLE != 0 && now >= self.compare
    }
}

/// The low 32 bits as a signed number.
const fn sign_extend(value: u64) -> u64 {
    ((value << 32) as i64 >> 32) as u64
}

#[cfg(any(test, kani))]
mod proofs {
    use super::*;

    xenolith_core::proofs! {
        // Whoever waits for the deadline, and for nothing else, has the line right at every moment.
        fn the_line_rises_at_the_deadline(control: u64, compare: u64, now: u64, later: u64) {
            let mut timer = PhysicalTimer::default();
            timer.write(TimerRegister::Control, control, now);
            timer.write(TimerRegister::CompareValue, compare, now);
            if later < now {
                return;
            }
            let rises = timer.deadline(now).is_some_and(|deadline| deadline <= later);
            assert_eq!(timer.line(later), timer.line(now) || rises);
        }

        fn a_timer_value_is_read_as_it_was_written(value: u64, now: u64) {
            let mut timer = PhysicalTimer::default();
            timer.write(TimerRegister::TimerValue, value, now);
            assert_eq!(timer.read(TimerRegister::TimerValue, now), value & 0xffff_ffff);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::TimerRegister::*;
    use super::*;

    fn armed(compare: u64) -> PhysicalTimer {
        PhysicalTimer { control: ENABLE, compare }
    }

    #[test]
    fn the_line_follows_the_counter() {
        let timer = armed(100);
        assert_eq!((timer.line(99), timer.deadline(99)), (false, Some(100)));
        assert_eq!((timer.line(100), timer.deadline(100)), (true, None));
        assert_eq!(timer.read(Control, 99), ENABLE);
        assert_eq!(timer.read(Control, 100), ENABLE | ISTATUS);
    }

    #[test]
    fn a_masked_timer_shows_its_status_only() {
        let mut timer = armed(100);
        timer.write(Control, ENABLE | IMASK | ISTATUS, 0);
        assert_eq!(timer.read(Control, 200), ENABLE | IMASK | ISTATUS);
        assert_eq!((timer.line(200), timer.deadline(50)), (false, None));
        timer.write(Control, ENABLE, 200);
        assert!(timer.line(200));
    }

    #[test]
    fn a_disabled_timer_does_nothing() {
        let timer = PhysicalTimer::default();
        assert_eq!(
            (timer.read(Control, u64::MAX), timer.line(u64::MAX), timer.deadline(0)),
            (0, false, None)
        );
    }

    #[test]
    fn a_timer_value_is_signed_and_wraps() {
        let mut timer = armed(0);
        timer.write(TimerValue, 0xffff_ffff, 10);
        assert_eq!(timer.read(CompareValue, 10), 9, "minus one is in the past");
        assert!(timer.line(10));
        timer.write(TimerValue, 0x7fff_ffff, 10);
        assert_eq!(timer.read(CompareValue, 10), 0x8000_0009);
        timer.write(TimerValue, 0x1_0000_0005, 10);
        assert_eq!(timer.read(CompareValue, 10), 15, "only 32 bits count");
        timer.write(TimerValue, 1, u64::MAX);
        assert_eq!(timer.read(CompareValue, 0), 0, "the sum wraps");
        timer.write(TimerValue, 0x8000_0000, 5);
        assert_eq!(timer.read(CompareValue, 5), 5u64.wrapping_sub(1 << 31));
        assert!(!timer.line(5), "an unsigned comparison: such a value is far in the future");
    }

    proptest! {
        #[test]
        fn a_timer_value_counts_down(now: u64, value: u32, elapsed: u32) {
            let mut timer = armed(0);
            timer.write(TimerValue, value.into(), now);
            let later = now.wrapping_add(elapsed.into());
            prop_assert_eq!(timer.read(TimerValue, later), u64::from(value.wrapping_sub(elapsed)));
        }

        #[test]
        fn line_and_deadline_exclude_each_other(control: u64, compare: u64, now: u64) {
            let mut timer = PhysicalTimer::default();
            timer.write(Control, control, now);
            timer.write(CompareValue, compare, now);
            match timer.deadline(now) {
                Some(deadline) => {
                    prop_assert!(!timer.line(now) && deadline > now);
                    prop_assert!(!timer.line(deadline - 1) && timer.line(deadline));
                }
                None => prop_assert!(timer.line(now) || !timer.line(u64::MAX)),
            }
            prop_assert_eq!(timer.read(Control, now) & ISTATUS != 0 && control & IMASK == 0, timer.line(now));
        }
    }
}
