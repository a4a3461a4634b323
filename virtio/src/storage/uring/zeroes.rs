//! Zeroes that the file system cannot make but by writing them: piece by piece, so that what is left can be abandoned.

use std::io;

use vm_memory::VolatileMemory as _;

use super::super::{Job, Operation, abandoned};
use super::{Flight, Uring, entry, name};

/// The most bytes of zeroes that the kernel has in hand at a time.
pub const ZEROES: usize = 1 << 20;

impl Uring {
    /// Has the kernel write zeroes, from `done` bytes on.
    pub(super) fn zero(&mut self, job: Job, done: u64, epoch: usize) {
        let Operation::WriteZeroes { offset, len, durable, .. } = job.operation else {
            return self.run(&job);
        };
        let rest = len.saturating_sub(done);
        if rest == 0 {
            return match durable {
                true => self.submit_cached(Job { token: job.token, operation: Operation::Flush }),
                false => self.finish(&job, Ok(())),
            };
        }
        if epoch != self.epoch {
            return self.finish(&job, Err(abandoned()));
        }
        let count = usize::try_from(rest).unwrap_or(ZEROES).min(ZEROES);
        let entry = self
            .zeroes
            .get_slice(0, count)
            .ok()
            .map(|zeroes| entry::write(offset.saturating_add(done), &zeroes));
        let place = self.board(Flight::Zeroes { job, done, epoch });
        if !entry.is_some_and(|entry| self.enqueue(&entry.user_data(name(place, 0))))
            && let Some(Flight::Zeroes { job, .. }) = self.land(place)
        {
            self.finish(&job, Err(io::ErrorKind::WriteZero.into()));
        }
    }

    /// Goes on with zeroes, of which the kernel has written as many as it answers.
    pub(super) fn zeroed(&mut self, job: Job, done: u64, epoch: usize, answer: i32) {
        match u64::try_from(answer) {
            Ok(0) => self.finish(&job, Err(io::ErrorKind::WriteZero.into())),
            Ok(moved) => self.zero(job, done.saturating_add(moved), epoch),
            Err(_) if [libc::EAGAIN, libc::EINTR].contains(&answer.saturating_neg()) => {
                self.zero(job, done, epoch)
            }
            Err(_) => self.finish(&job, Err(io::Error::from_raw_os_error(answer.saturating_neg()))),
        }
    }
}
