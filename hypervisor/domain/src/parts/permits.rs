//! Which devices of the machine a domain may be given: frames of registers, and interrupts.

use arrayvec::ArrayVec;
use xenolith_abi::Errno;

/// Ranges of frames that a domain may have permissions for.
const RANGES: usize = 64;
/// Interrupts that a domain may have permissions for.
const INTERRUPTS: usize = 64;

/// Frames from the first number to before the second.
pub type Range = (u64, u64);

/// What a domain may be given.
#[derive(Debug, Default)]
pub struct Permits {
    /// Machine frames; no two ranges overlap.
    frames: ArrayVec<Range, RANGES>,
    interrupts: ArrayVec<u32, INTERRUPTS>,
}

impl Permits {
    /// Whether all frames of the range are permitted.
    pub fn covers(&self, (first, end): Range) -> bool {
        let mut reached = first;
        while reached < end {
            match self.frames.iter().find(|range| range.0 <= reached && reached < range.1) {
                Some(range) => reached = range.1,
                None => return false,
            }
        }
        true
    }

    /// Permits the frames, or no longer. `ENOSPC`: too many ranges, and nothing changed.
    pub fn set_frames(&mut self, (first, end): Range, allow: bool) -> Result<(), Errno> {
        let mut new = ArrayVec::<Range, RANGES>::new();
        let rest = self.frames.iter().flat_map(|&(from, to)| [(from, to.min(first)), (from.max(end), to)]);
        for range in rest.chain(allow.then_some((first, end))).filter(|range| range.0 < range.1) {
            new.try_push(range).map_err(|_| Errno::ENOSPC)?;
        }
        self.frames = new;
        Ok(())
    }

    /// Whether the interrupt is permitted.
    pub fn has_interrupt(&self, intid: u32) -> bool {
        self.interrupts.contains(&intid)
    }

    /// Permits an interrupt, or no longer. `ENOSPC`: too many.
    pub fn set_interrupt(&mut self, intid: u32, allow: bool) -> Result<(), Errno> {
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
            let mut permits = Permits::default();
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
        let mut permits = Permits::default();
        for number in 0..RANGES as u64 {
            assert_eq!(permits.set_frames((number * 4, number * 4 + 3), true), Ok(()));
        }
        assert_eq!(permits.set_frames((9000, 9001), true), Err(Errno::ENOSPC));
        assert_eq!(permits.set_frames((1, 2), false), Err(Errno::ENOSPC));
        assert!(permits.covers((0, 3)));
        assert_eq!(permits.set_frames((0, u64::MAX), true), Ok(()));
        assert!(permits.covers((0, u64::MAX)));
        for intid in 0..INTERRUPTS as u32 {
            assert_eq!(permits.set_interrupt(intid, true), Ok(()));
        }
        assert_eq!(permits.set_interrupt(99, true), Err(Errno::ENOSPC));
        assert_eq!(permits.set_interrupt(7, false), Ok(()));
        assert_eq!((permits.has_interrupt(7), permits.has_interrupt(8)), (false, true));
    }
}
