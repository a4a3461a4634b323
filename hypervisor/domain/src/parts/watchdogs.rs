//! The watchdogs that a domain feeds (`sched_op` watchdog).

use xenolith_abi::Errno;
use xenolith_core::guest_index::GuestIndex;

/// Watchdogs that a domain may have, as in Xen.
const WATCHDOGS: usize = 2;

/// Deadlines of a domain's watchdogs, as counter values.
#[derive(Debug, Default)]
pub struct Watchdogs([Option<u64>; WATCHDOGS]);

impl Watchdogs {
    /// Sets up, feeds or stops a watchdog (`sched_op` watchdog). `id` 0 asks for a new one; `deadline` `None` stops it.
    /// Returns the watchdog's number.
    pub fn set(&mut self, id: u32, deadline: Option<u64>) -> Result<u32, Errno> {
        let (index, is_new) = match (id, deadline) {
            (0, None) => return Err(Errno::EINVAL),
            (0, Some(_)) => (self.0.iter().position(Option::is_none).ok_or(Errno::ENOSPC)?, true),
            (id, _) => (id as usize - 1, false),
        };
        let slot = GuestIndex::from(index)
            .of_mut(&mut self.0)
            .filter(|slot| is_new || slot.is_some())
            .ok_or(Errno::EINVAL)?;
        *slot = deadline;
        Ok(if is_new { index as u32 + 1 } else { 0 })
    }

    /// When the first of them bites.
    pub fn first(&self) -> Option<u64> {
        self.0.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdogs_are_given_out_fed_and_stopped() {
        let mut dogs = Watchdogs::default();
        assert_eq!(dogs.set(0, None), Err(Errno::EINVAL));
        assert_eq!(dogs.set(1, Some(5)), Err(Errno::EINVAL), "none is set up");
        assert_eq!((dogs.set(0, Some(9)), dogs.set(0, Some(7))), (Ok(1), Ok(2)));
        assert_eq!(dogs.set(0, Some(1)), Err(Errno::ENOSPC));
        assert_eq!(dogs.first(), Some(7));
        assert_eq!(dogs.set(2, Some(20)), Ok(0));
        assert_eq!(dogs.first(), Some(9));
        assert_eq!((dogs.set(1, None), dogs.set(2, None)), (Ok(0), Ok(0)));
        assert_eq!(dogs.first(), None);
        assert_eq!(dogs.set(3, Some(1)), Err(Errno::EINVAL));
    }
}
