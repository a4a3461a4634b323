//! The devices of the machine that a domain may be given, by frames of registers and by interrupts: what the control domain has
//! permitted by `iomem_permission` and `irq_permission` (Xen's `iomem_caps` and `irq_caps`).
//!
//! A permission maps and routes nothing: the calls that do so ask here.

use arrayvec::ArrayVec;
use xenolith_abi::Errno;
use xenolith_core::types::Intid;
use xenolith_memory::intervals::{IntervalError, Intervals};

/// Ranges of frames that a domain may have permissions for.
const RANGES: usize = 64;
/// Interrupts that a domain may have permissions for.
const INTERRUPTS: usize = 64;

/// Machine frames: the first, and the one behind the last.
pub type Range = (u64, u64);

/// What a domain may be given of the machine's devices.
#[derive(Debug)]
pub struct Permits {
    /// Machine frames of registers.
    frames: Intervals,
    interrupts: ArrayVec<Intid, INTERRUPTS>,
}

impl Permits {
    /// The pages that they take of the domain's promise.
    pub const PAGES: u64 = Intervals::<()>::pages(RANGES);

    /// No permission. `ENOMEM`: no memory.
    pub fn try_new() -> Result<Self, Errno> {
        let frames = Intervals::try_new(RANGES).map_err(|_| Errno::ENOMEM)?;
        Ok(Permits { frames, interrupts: ArrayVec::new() })
    }

    /// Gives a page of them back, of a domain that has ended: nothing is permitted any more. False when there is none left.
    pub fn shrink(&mut self) -> bool {
        self.frames.shrink()
    }

    /// Whether all frames of the range are permitted.
    pub fn covers(&self, (first, end): Range) -> bool {
        end.checked_sub(1).is_none_or(|last| self.frames.covers(first, last))
    }

    /// Permits a range of frames, or takes the permission back. `EINVAL`: the range is empty. `ENOSPC`: more than 64 ranges
    /// would be permitted, apart from each other. `ENOMEM`: no memory. After an error nothing has changed.
    pub fn set_frames(&mut self, (first, end): Range, allow: bool) -> Result<(), Errno> {
        let last = end.checked_sub(1).ok_or(Errno::EINVAL)?;
        let room = RANGES.saturating_sub(self.frames.len());
        self.frames.set(first, last, allow.then_some(()), room).map_err(|error| match error {
            IntervalError::Full => Errno::ENOSPC,
            IntervalError::Memory => Errno::ENOMEM,
            IntervalError::Empty | IntervalError::Overlap | IntervalError::Absent => Errno::EINVAL,
        })
    }

    /// Whether the interrupt is permitted.
    pub fn has_interrupt(&self, intid: Intid) -> bool {
        self.interrupts.contains(&intid)
    }

    /// Permits an interrupt, or takes the permission back. `ENOSPC`: 64 are permitted already.
    pub fn set_interrupt(&mut self, intid: Intid, allow: bool) -> Result<(), Errno> {
        self.interrupts.retain(|other| *other != intid);
        if allow { self.interrupts.try_push(intid).map_err(|_| Errno::ENOSPC) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_as_a_set(steps in prop::collection::vec((0_u64..40, 1_u64..12, any::<bool>()), 0..30)) {
            let mut permits = Permits::try_new().unwrap();
            let mut model = [false; 64];
            for (first, pages, allow) in steps {
                prop_assert_eq!(permits.set_frames((first, first + pages), allow), Ok(()));
                model[first as usize..(first + pages) as usize].fill(allow);
                for (from, to) in [(first, first + pages), (0, 3), (first, first + 1), (5, 40)] {
                    let all = model[from as usize..to as usize].iter().all(|&allowed| allowed);
                    prop_assert_eq!(permits.covers((from, to)), all);
                }
            }
        }
    }

    #[test]
    fn room_is_limited_and_a_refusal_changes_nothing() {
        let mut permits = Permits::try_new().unwrap();
        for number in 0..RANGES as u64 {
            assert_eq!(permits.set_frames((number * 4, number * 4 + 3), true), Ok(()));
        }
        assert_eq!(permits.set_frames((9000, 9001), true), Err(Errno::ENOSPC));
        assert_eq!(permits.set_frames((1, 2), false), Err(Errno::ENOSPC));
        assert!(permits.covers((0, 3)));
        assert_eq!(permits.set_frames((0, u64::MAX), true), Ok(()));
        assert!(permits.covers((0, u64::MAX)));
        for intid in 0..INTERRUPTS as u32 {
            assert_eq!(permits.set_interrupt(Intid(intid), true), Ok(()));
        }
        assert_eq!(permits.set_interrupt(Intid(99), true), Err(Errno::ENOSPC));
        assert_eq!(permits.set_interrupt(Intid(7), false), Ok(()));
        assert_eq!((permits.has_interrupt(Intid(7)), permits.has_interrupt(Intid(8))), (false, true));
    }
}
