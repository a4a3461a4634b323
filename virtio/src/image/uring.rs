//! Raw images by io_uring: all operations of a batch start with one system call, and what the page cache has is done
//! when it returns.
//!
//! The ring can do nothing but read, write, sync and allocate in the image's file: what a confined process may not do,
//! it cannot do through the ring either.
//!
//! Small operations that the page cache can take are done by a plain system call: writes, which most file systems would
//! hand to a thread of the ring's, and reads of what is in the cache. Either costs more by the ring than the copy.
//!
//! Large ones go past the cache where that is possible, by memory of our own ([`super::stage`]).
#![allow(unsafe_code)]

mod entry;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::IoUring;
use io_uring::squeue::Entry;
use libc::iovec;
use rustix::io::Errno;

use super::direct::{self, Chooser};
use super::raw::RawImage;
use super::stage::{self, Stages};
use super::{Done, Engine, Geometry, Image, Job, Operation, vectored};
use entry::IN_FLIGHT;

/// Writes up to so many bytes are done at once, and reads if the cache has them.
const SMALL_WRITE: u64 = 128 << 10;
const SMALL_READ: u64 = 1 << 20;
/// The most pieces of memory in one operation.
const MAX_PIECES: usize = 1024;

/// A job in the kernel's hands.
struct Flight {
    job: Job,
    way: Way,
}

/// Which way the bytes of a flight go, and what the kernel uses meanwhile.
enum Way {
    /// By the page cache, from and to the guest's memory, which the job keeps mapped.
    Cached { _pieces: Vec<iovec> },
    /// Past it, by stages.
    Direct(Direct),
}

/// A direct operation under way.
struct Direct {
    parts: Vec<Part>,
    /// Parts that the kernel has not completed.
    left: usize,
    /// The first thing that went wrong.
    outcome: Result<(), Errno>,
}

/// What of a direct operation goes by one stage.
struct Part {
    stage: usize,
    /// Where it begins in the operation, in bytes.
    skip: u64,
    len: usize,
}

// SAFETY: the addresses in `_pieces` are of guest memory that `job` keeps mapped; they belong to no thread, and only the
// kernel uses them.
unsafe impl Send for Flight {}

/// A raw image and its ring.
pub struct Uring {
    image: RawImage,
    ring: IoUring,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    chooser: Chooser,
    stages: Stages,
    /// The ring knows the stages' memory.
    known: bool,
    past_cache: u64,
    /// Jobs that go by the cache, and wait until no direct write near them is under way. If there are any, there is such
    /// a write.
    held: VecDeque<Job>,
    /// Direct jobs that wait for stages, or until none of `held` is left. If there are any, something is under way.
    queued: VecDeque<Job>,
    /// Entries in the submission queue that the kernel does not know of.
    waiting: bool,
    done: Vec<Done>,
}

impl Uring {
    /// A ring for `image`.
    ///
    /// # Errors
    /// The image, and why the system gives no ring.
    pub fn new(image: RawImage) -> Result<Uring, (RawImage, io::Error)> {
        let parts = Stages::new().and_then(|stages| {
            let (ring, known) = entry::ring(&image, &stages.memory())?;
            Ok((ring, known, stages))
        });
        match parts {
            Ok((ring, known, stages)) => Ok(Uring {
                chooser: Chooser::new(&image.geometry(), image.direct().is_some()),
                image,
                ring,
                flights: Vec::new(),
                free: Vec::new(),
                stages,
                known,
                past_cache: 0,
                held: VecDeque::new(),
                queued: VecDeque::new(),
                waiting: false,
                done: Vec::new(),
            }),
            Err(error) => Err((image, error)),
        }
    }

    fn under_way(&self) -> usize {
        self.flights.len().saturating_sub(self.free.len())
    }

    /// The flight's place, which names it in the ring.
    fn board(&mut self, flight: Flight) -> usize {
        if let Some(place) = self.free.pop()
            && let Some(slot) = self.flights.get_mut(place)
        {
            *slot = Some(flight);
            return place;
        }
        self.flights.push(Some(flight));
        self.flights.len().saturating_sub(1)
    }

    fn land(&mut self, place: usize) -> Option<Flight> {
        let flight = self.flights.get_mut(place)?.take()?;
        self.free.push(place);
        Some(flight)
    }

    /// Puts an entry into the submission queue, making room if there is none. False: it cannot be.
    fn enqueue(&mut self, entry: &Entry) -> bool {
        for _ in 0..2 {
            // SAFETY: the entry's addresses are of a `Flight` in `self.flights`, which stays there until the entry's
            // completion is seen: its pieces are on the heap, its job keeps the guest's memory mapped, and its stages
            // are not given back. `drop` waits for all completions.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.waiting = true;
                return true;
            }
            self.start();
        }
        false
    }

    /// Hands a job to the kernel. If that cannot be, it is done here.
    fn depart(&mut self, job: Job, pieces: Vec<iovec>) {
        let entry = entry::cached(&job.operation, &pieces);
        let place = self.board(Flight { job, way: Way::Cached { _pieces: pieces } });
        if !self.enqueue(&entry.user_data(name(place, 0)))
            && let Some(Flight { job, .. }) = self.land(place)
        {
            self.run(&job);
        }
    }

    /// Hands a direct job to the kernel, part by part: the disk has the first one while the next is copied.
    fn depart_direct(&mut self, job: Job) {
        let (offset, buffers, write) = match &job.operation {
            Operation::Read { offset, into } => (*offset, into, None),
            Operation::Write { offset, from, durable } => (*offset, from, Some(*durable)),
            _ => return self.run(&job),
        };
        let mut entries = Vec::with_capacity(stage::COUNT);
        let mut parts: Vec<Part> = Vec::with_capacity(stage::COUNT);
        let mut skip = 0;
        while skip < buffers.len() {
            let rest = usize::try_from(buffers.len().saturating_sub(skip)).unwrap_or(usize::MAX);
            let Some(stage) = self.stages.take() else { break };
            let len = rest.min(stage::SIZE);
            parts.push(Part { stage, skip, len });
            let Some(slice) = self.stages.slice(stage, len) else { break };
            let at = offset.saturating_add(skip);
            entries.push(match write {
                None => entry::direct_read(at, &slice, self.known),
                Some(durable) => {
                    if buffers.copy_to(skip, &slice).is_err() {
                        break;
                    }
                    entry::direct_write(at, &slice, durable, self.known)
                }
            });
            skip = skip.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
        let whole = skip == buffers.len();
        let direct = Direct { left: parts.len(), parts, outcome: Ok(()) };
        if !whole {
            // Not for want of stages, of which there are enough: the memory is gone.
            direct.parts.iter().for_each(|part| self.stages.give(part.stage));
            return self.run(&job);
        }
        let place = self.board(Flight { job, way: Way::Direct(direct) });
        for (part, entry) in entries.into_iter().enumerate() {
            if !self.enqueue(&entry.user_data(name(place, part))) {
                self.conclude_part(place, part, -libc::EAGAIN);
            }
        }
    }

    /// Does a job here.
    fn run(&mut self, job: &Job) {
        self.done.push(Done { token: job.token, result: self.image.run(&job.operation) });
    }

    /// Whether something is under way near an operation that it must not meet: a direct write, and for a direct write
    /// anything that goes by the page cache.
    fn is_near(&self, operation: &Operation, direct: bool) -> bool {
        let Some(range) = direct::range(operation) else { return false };
        let meets = |flight: &&Flight| match (direct, &flight.way) {
            (true, Way::Cached { .. }) => is_write(operation),
            (false, Way::Direct(_)) => is_write(&flight.job.operation),
            _ => false,
        };
        let others = self.flights.iter().flatten().filter(meets);
        others
            .filter_map(|flight| direct::range(&flight.job.operation))
            .any(|other| direct::touch(other, range))
    }

    /// Whether a direct job can start now.
    fn is_free_for(&self, operation: &Operation) -> bool {
        self.held.is_empty()
            && direct::parts(operation) <= self.stages.free()
            && self.under_way() < IN_FLIGHT as usize / stage::COUNT
            && !self.is_near(operation, true)
    }

    /// Starts a job that goes by the page cache, as soon as that may be.
    fn submit_cached(&mut self, job: Job) {
        if self.is_near(&job.operation, false) {
            self.held.push_back(job);
            return;
        }
        let pieces = match &job.operation {
            Operation::Read { offset, into }
                if into.len() <= SMALL_READ && self.image.read_cached(*offset, into) =>
            {
                self.done.push(Done { token: job.token, result: Ok(()) });
                return;
            }
            _ if self.under_way() >= IN_FLIGHT as usize => None,
            Operation::Write { from, .. } if from.len() <= SMALL_WRITE => None,
            Operation::Read { .. } | Operation::Write { .. } => pieces(&job.operation),
            _ => Some(Vec::new()),
        };
        match pieces {
            Some(pieces) => self.depart(job, pieces),
            None => self.run(&job),
        }
    }

    /// Starts what had to wait and need not any more.
    fn release(&mut self) {
        // Each is looked at once; one that must go on waiting is put behind the others.
        for _ in 0..self.held.len() {
            if let Some(job) = self.held.pop_front() {
                self.submit_cached(job);
            }
        }
        while let Some(job) = self.queued.pop_front() {
            if !self.chooser.is_possible() {
                self.submit_cached(job);
            } else if self.is_free_for(&job.operation) {
                self.depart_direct(job);
            } else {
                self.queued.push_front(job);
                return;
            }
        }
    }

    /// Notes what the kernel has completed.
    fn reap(&mut self) {
        loop {
            let Some(entry) = self.ring.completion().next() else { break };
            let (place, part) = place(entry.user_data());
            match self.flights.get(place).and_then(Option::as_ref).map(|flight| &flight.way) {
                Some(Way::Direct(_)) => self.conclude_part(place, part, entry.result()),
                Some(Way::Cached { .. }) => {
                    let Some(flight) = self.land(place) else { continue };
                    let result = entry::conclude(&self.image, &flight.job.operation, entry.result());
                    self.done.push(Done { token: flight.job.token, result });
                }
                None => {}
            }
        }
        self.release();
    }

    /// How a part of a direct operation went. What was read is copied to the guest.
    fn conclude_part(&mut self, place: usize, part: usize, answer: i32) {
        let Some(Flight { job, way: Way::Direct(direct) }) =
            self.flights.get_mut(place).and_then(Option::as_mut)
        else {
            return;
        };
        let Some(&Part { stage, skip, len }) = direct.parts.get(part) else { return };
        let outcome = match usize::try_from(answer) {
            Err(_) => Err(Errno::from_raw_os_error(answer.saturating_neg())),
            // Up to the end of a file that has shrunk.
            Ok(moved) if moved != len => Err(Errno::NODATA),
            Ok(_) => match (&job.operation, self.stages.slice(stage, len)) {
                (Operation::Read { into, .. }, Some(slice)) => {
                    into.copy_from(skip, &slice).map_err(|_| Errno::FAULT)
                }
                _ => Ok(()),
            },
        };
        direct.outcome = direct.outcome.and(outcome);
        direct.left = direct.left.saturating_sub(1);
        self.stages.give(stage);
        if direct.left == 0
            && let Some(Flight { job, way: Way::Direct(direct) }) = self.land(place)
        {
            self.conclude_direct(job, direct.outcome);
        }
    }

    /// How a direct operation went. What the kernel could not do so is done again by the page cache, from the start.
    fn conclude_direct(&mut self, job: Job, outcome: Result<(), Errno>) {
        let result = match outcome {
            Ok(()) => {
                self.past_cache = self.past_cache.saturating_add(direct::len(&job.operation));
                Ok(())
            }
            Err(error @ (Errno::IO | Errno::NOSPC)) => Err(error.into()),
            Err(error) => {
                self.chooser.failed(error);
                return self.submit_cached(job);
            }
        };
        self.done.push(Done { token: job.token, result });
    }

    /// Enters the kernel, with everything that was submitted, until `want` jobs are done.
    fn enter(&mut self, want: usize) {
        // A full completion queue or a signal: try again. Giving up is not possible while the kernel has addresses.
        while let Err(error) = self.ring.submit_and_wait(want) {
            self.reap();
            if error.kind() != io::ErrorKind::Interrupted {
                std::thread::sleep(Duration::from_millis(1));
            }
            if want > 0 && !self.done.is_empty() {
                return;
            }
        }
        self.waiting = !self.ring.submission().is_empty();
    }
}

fn is_write(operation: &Operation) -> bool {
    matches!(operation, Operation::Write { .. })
}

/// The memory that an operation reads or writes. `None`: it is in too many pieces.
fn pieces(operation: &Operation) -> Option<Vec<iovec>> {
    let (Operation::Read { into: buffers, .. } | Operation::Write { from: buffers, .. }) = operation else {
        return None;
    };
    let slices = buffers.slices().ok()?;
    Some(vectored::iovecs(&slices)).filter(|pieces| pieces.len() <= MAX_PIECES)
}

/// The name of a flight's part in the ring. There are fewer than 2^32 of either.
fn name(place: usize, part: usize) -> u64 {
    let low = |number: usize| u64::from(u32::try_from(number).unwrap_or(u32::MAX));
    low(part) << 32 | low(place)
}

/// The flight and the part that have a name.
fn place(name: u64) -> (usize, usize) {
    let [a, b, c, d, part @ ..] = name.to_le_bytes();
    let number = |bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    (number([a, b, c, d]), number(part))
}

impl Engine for Uring {
    fn geometry(&self) -> Geometry {
        self.image.geometry()
    }

    fn submit(&mut self, job: Job) {
        if !self.chooser.chooses(&job.operation) {
            self.submit_cached(job);
        } else if self.queued.is_empty() && self.is_free_for(&job.operation) {
            self.depart_direct(job);
        } else {
            self.queued.push_back(job);
        }
    }

    fn start(&mut self) {
        if self.waiting {
            self.enter(0);
        }
    }

    fn completed(&mut self, done: &mut Vec<Done>) {
        self.reap();
        // What had to wait, or is to be done once more.
        self.start();
        done.append(&mut self.done);
    }

    fn wait(&mut self, done: &mut Vec<Done>) {
        self.reap();
        while self.done.is_empty() && self.under_way() > 0 {
            self.enter(1);
            self.reap();
        }
        done.append(&mut self.done);
    }

    fn past_cache(&self) -> u64 {
        self.past_cache
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the descriptor is the ring's, which `self` keeps open for as long as it is borrowed.
        Some(unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) })
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // A ring that is closed ends its operations some time later; until then the kernel may still write.
        self.held.clear();
        self.queued.clear();
        let mut forgotten = Vec::new();
        while self.under_way() > 0 {
            self.wait(&mut forgotten);
            forgotten.clear();
        }
    }
}
