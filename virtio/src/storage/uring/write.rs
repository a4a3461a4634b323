//! A write that goes past the page cache: which stages it uses, what the kernel has done of it.

use rustix::io::Errno;

use super::super::direct;
use super::super::stage::{self, Stages};
use super::super::{Job, Operation};

/// How often parts of a write that the kernel had no room for are tried again, all parts together. Without
/// a limit, a kernel that is short of memory would keep the guest waiting for ever.
const TRIES: u32 = 16;

/// A direct write under way.
pub struct DirectWrite {
    /// The guest's job, until it is done for the guest.
    pub job: Option<Job>,
    /// Where it begins on the image, in bytes.
    pub offset: u64,
    /// Bytes of the whole write.
    pub len: u64,
    /// On stable storage before it is done.
    pub durable: bool,
    parts: Vec<Part>,
    /// Parts that the kernel has not completed.
    left: usize,
    tries: u32,
    /// The first thing that went wrong.
    outcome: Result<(), Errno>,
}

/// What of a write goes by one stage.
#[derive(Clone, Copy)]
pub struct Part {
    /// The stage.
    pub stage: usize,
    /// Where it begins in the write, in bytes.
    pub skip: u64,
    /// Bytes of the part.
    pub len: usize,
}

/// What a part's completion means.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The part is to be handed to the kernel once more.
    Again,
    /// Other parts are under way.
    Wait,
    /// All is over.
    Over,
}

impl DirectWrite {
    /// The write of `job`, with stages for all of it.
    ///
    /// # Errors
    /// The job: there are not enough of them, or it is no write.
    pub fn new(job: Job, stages: &mut Stages) -> Result<DirectWrite, Job> {
        let Operation::Write { offset, ref from, durable } = job.operation else { return Err(job) };
        let (len, count) = (from.len(), direct::parts(&job.operation));
        if count > stages.free() {
            return Err(job);
        }
        let mut parts = Vec::with_capacity(count);
        let mut skip = 0u64;
        while let Some(rest) = len.checked_sub(skip).filter(|rest| *rest > 0)
            && let Some(stage) = stages.take()
        {
            let size = usize::try_from(rest).unwrap_or(usize::MAX).min(stage::SIZE);
            parts.push(Part { stage, skip, len: size });
            skip = skip.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        }
        let left = parts.len();
        Ok(DirectWrite { job: Some(job), offset, len, durable, parts, left, tries: TRIES, outcome: Ok(()) })
    }

    /// The parts, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether it writes any of these bytes.
    pub fn overlaps(&self, offset: u64, len: u64) -> bool {
        offset < self.offset.saturating_add(self.len) && self.offset < offset.saturating_add(len)
    }

    /// Notes how the kernel has answered a part.
    pub fn note(&mut self, part: usize, answer: i32) -> Next {
        let wanted = self.parts.get(part).map(|part| part.len);
        let outcome = match usize::try_from(answer) {
            Ok(moved) if Some(moved) == wanted => Ok(()),
            // Part of it only; the next try shows why.
            Ok(_) => Err(Errno::AGAIN),
            Err(_) => Err(Errno::from_raw_os_error(answer.saturating_neg())),
        };
        let transient = [Errno::AGAIN, Errno::INTR, Errno::NOMEM].map(Err).contains(&outcome);
        if transient && let Some(tries) = self.tries.checked_sub(1) {
            self.tries = tries;
            return Next::Again;
        }
        // Other parts may still use their stages: what went wrong is told when all are over.
        self.outcome = self.outcome.and(outcome);
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { Next::Over } else { Next::Wait }
    }

    /// Gives the stages back, which the kernel must not use any more. Returns the write's outcome.
    pub fn end(&mut self, stages: &mut Stages) -> Result<(), Errno> {
        self.parts.drain(..).for_each(|part| stages.give(part.stage));
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::memory::GuestMemory as _;
    use vm_memory::GuestAddress;

    use crate::core::memory::{Buffers, Part as Piece};
    use crate::driver::{HIGH, guest};

    /// So many bytes, of the same memory again and again.
    fn pieces(len: u32) -> Vec<Piece> {
        let most = u32::try_from(HIGH.1).unwrap();
        let part = |skip: u32| Piece { address: GuestAddress(HIGH.0), len: (len - skip).min(most) };
        (0..len).step_by(HIGH.1).map(part).collect()
    }

    fn job(len: u32) -> Job {
        let from = Buffers::new(&guest().memory(), &pieces(len)).unwrap();
        Job { token: 7, operation: Operation::Write { offset: 4096, from, durable: false } }
    }

    #[test]
    fn it_has_stages_for_all_of_it_or_none() {
        let mut stages = Stages::new().unwrap();
        let one = DirectWrite::new(job((2 << 20) + 512), &mut stages).ok().unwrap();
        let parts: Vec<(u64, usize)> = one.parts().iter().map(|part| (part.skip, part.len)).collect();
        assert_eq!(parts, [(0, stage::SIZE), (1 << 20, stage::SIZE), (2 << 20, 512)]);
        assert!(DirectWrite::new(job((1 << 20) + 512), &mut stages).is_err_and(|job| job.token == 7));
        assert_eq!(stages.free(), 1);
        assert!(one.overlaps(0, 4097) && one.overlaps(4096 + (2 << 20) + 511, 1));
        assert!(!one.overlaps(0, 4096) && !one.overlaps(4096 + (2 << 20) + 512, 9));
        let mut one = one;
        assert_eq!(one.end(&mut stages), Ok(()));
        assert_eq!(stages.free(), stage::COUNT);
    }

    #[test]
    fn what_the_kernel_had_no_room_for_is_tried_again_for_a_while() {
        let mut stages = Stages::new().unwrap();
        let mut write = DirectWrite::new(job(2 << 20), &mut stages).ok().unwrap();
        assert_eq!(write.note(0, -libc::EAGAIN), Next::Again);
        assert_eq!(write.note(0, 4096), Next::Again, "a part of the part");
        assert_eq!(write.note(0, 1 << 20), Next::Wait);
        for _ in 2..TRIES {
            assert_eq!(write.note(1, -libc::ENOMEM), Next::Again);
        }
        assert_eq!(write.note(1, -libc::ENOMEM), Next::Over);
        assert_eq!(write.end(&mut stages), Err(Errno::NOMEM));
    }

    #[test]
    fn the_first_thing_that_went_wrong_is_told() {
        let mut stages = Stages::new().unwrap();
        let mut write = DirectWrite::new(job(2 << 20), &mut stages).ok().unwrap();
        assert_eq!(write.note(1, -libc::ENOSPC), Next::Wait);
        assert_eq!(write.note(0, -libc::EIO), Next::Over);
        assert_eq!(write.end(&mut stages), Err(Errno::NOSPC));
    }
}
