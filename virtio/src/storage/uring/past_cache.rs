//! Writes that go past the page cache, from the copy into stages to the last answer of the kernel.

use rustix::io::Errno;

use super::super::{Done, Engine as _, Job, Operation};
use super::write::{DirectWrite, Next, Part};
use super::{Flight, Uring, entry, name};

impl Uring {
    /// Copies a write into stages and hands it to the kernel, part by part: the disk has the first one while the next is
    /// copied.
    pub(super) fn depart_direct(&mut self, job: Job) {
        let Operation::Write { ref from, .. } = job.operation else { return self.run(&job) };
        let from = from.clone();
        let write = match DirectWrite::new(job, &mut self.stages) {
            Ok(write) => write,
            Err(job) => return self.run(&job),
        };
        // A copy: the flight is the ring's from here on, and a completion may change it between two parts.
        let parts = write.parts().to_vec();
        // Before a direct write has succeeded the file system may refuse each. Then the page cache has to do it, for
        // which the guest's memory must still hold the bytes.
        let early = self.proven && !write.durable;
        let place = self.board(Flight::Direct(write));
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                self.start();
            }
            let copied = self.stages.slice(part.stage, part.len).map(|stage| from.copy_to(part.skip, &stage));
            match copied {
                Some(Ok(())) => self.enqueue_part(place, number),
                // The memory is gone; the page cache will say so too.
                _ => self.conclude_part(place, number, -libc::EFAULT),
            }
        }
        // It may have ended in the loop, if a part could not be handed over; then it is reported already.
        if early && self.direct(place).is_some() {
            self.early.push(place);
        }
    }

    /// Hands a part of a direct write, which is in its stage, to the kernel.
    fn enqueue_part(&mut self, place: usize, number: usize) {
        let known = self.known;
        let Some(write) = self.direct(place) else { return };
        let Some(&Part { stage, skip, len }) = write.parts().get(number) else { return };
        let (offset, durable) = (write.offset.saturating_add(skip), write.durable);
        let entry = self.stages.slice(stage, len).map(|slice| entry::direct(offset, &slice, durable, known));
        if !entry.is_some_and(|entry| self.enqueue(&entry.user_data(name(place, number)))) {
            self.conclude_part(place, number, -libc::EIO);
        }
    }

    pub(super) fn direct(&mut self, place: usize) -> Option<&mut DirectWrite> {
        match self.flights.get_mut(place)?.as_mut()? {
            Flight::Direct(write) => Some(write),
            Flight::Cached { .. } | Flight::Zeroes { .. } => None,
        }
    }

    /// Takes the kernel's answer to a part of a direct write: submits the part again, or ends the write with its last
    /// part.
    pub(super) fn conclude_part(&mut self, place: usize, part: usize, answer: i32) {
        match self.direct(place).map(|write| write.note(part, answer)) {
            Some(Next::Again) => self.enqueue_part(place, part),
            Some(Next::Over) => {
                // Its index may name another flight by the next `acknowledge`.
                self.early.retain(|early| *early != place);
                if let Some(Flight::Direct(mut write)) = self.land(place) {
                    let outcome = write.end(&mut self.stages);
                    self.conclude_direct(write, outcome);
                }
            }
            Some(Next::Wait) | None => {}
        }
    }

    /// Ends a direct write. One that the kernel could not do is done again by the page cache, if the guest still waits
    /// for it.
    pub(super) fn conclude_direct(&mut self, write: DirectWrite, outcome: Result<(), Errno>) {
        match (outcome, write.job) {
            (Ok(()), job) => {
                self.proven = true;
                self.past_cache = self.past_cache.saturating_add(write.len);
                self.done.extend(job.map(|job| Done { token: job.token, result: Ok(()) }));
            }
            // The stages are free and the guest's memory is let go: there is nothing left to write again. A flush
            // reports it, as with the page cache (fsync(2)).
            (Err(error), None) => self.lost = self.lost.or(Some(error)),
            // These are about the disk and not about direct I/O: the page cache would meet them too.
            (Err(error @ (Errno::IO | Errno::NOSPC)), Some(job)) => {
                self.done.push(Done { token: job.token, result: Err(error.into()) });
            }
            (Err(error), Some(job)) => {
                self.chooser.failed(error);
                self.submit_cached(job);
            }
        }
    }

    /// Reports direct writes to the guest that the kernel has taken, as if they were in a write-back cache (5.2.6.2): a
    /// flush waits for them ([`Uring::must_wait`]) and reports one that failed.
    pub(super) fn acknowledge(&mut self) {
        // Some of their parts may be among the entries that the kernel has not taken.
        if self.waiting {
            return;
        }
        for place in std::mem::take(&mut self.early) {
            let job = self.direct(place).and_then(|write| write.job.take());
            self.done.extend(job.map(|job| Done { token: job.token, result: Ok(()) }));
        }
    }
}
