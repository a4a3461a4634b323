//! Raw images by io_uring: all operations of a batch start with one system call, and what the page cache has is done
//! when it returns.
//!
//! The ring can do nothing but read, write, sync and allocate in the image's file: what a confined process may not do,
//! it cannot do through the ring either.
//!
//! Small operations that the page cache can take are done by a plain system call: writes, which most file systems would
//! hand to a thread of the ring's, and reads of what is in the cache. Either costs more by the ring than the copy.
//!
//! Large ones go past the cache where that is possible (`past_cache.rs`), by memory of our own (`stage.rs`).
#![allow(unsafe_code)]

mod entry;
mod past_cache;
#[cfg(test)]
mod tests;
mod write;
mod zeroes;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::IoUring;
use io_uring::squeue::Entry;
use libc::iovec;
use rustix::io::Errno;
use vm_memory::MmapRegion;

use crate::core::device::IsOver;

use super::direct::{self, Chooser};
use super::raw::RawImage;
use super::stage::{self, Stages};
use super::{Done, Engine, Geometry, Image, Job, Operation, abandoned, vectored};
use entry::IN_FLIGHT;
use write::DirectWrite;
use zeroes::ZEROES;

/// The most bytes of a cached write that a plain system call does.
const SMALL_WRITE: u64 = 128 << 10;
/// The most bytes of a read that a plain system call is tried for, which does it only if the page cache has all of it.
const SMALL_READ: u64 = 1 << 20;
/// With so many flights no other cached one is handed to the ring. A direct write has a completion for each stage that
/// it uses, so that all completions together still fit into the ring's queue of them.
const MOST_CACHED: usize = IN_FLIGHT as usize - stage::COUNT;
/// The most bytes of a cached read or write that the kernel has in hand at a time: what is left can be abandoned.
const MOST_AT_ONCE: u64 = 4 << 20;
/// The most pieces of memory in one operation: Linux's IOV_MAX (readv(2)).
const MAX_PIECES: usize = 1024;

/// What is in the kernel's hands.
enum Flight {
    /// A job that goes by the page cache, from and to the guest's memory, which the job keeps mapped. Of a read or a write the
    /// kernel has the piece that begins behind `done` bytes.
    Cached { job: Job, done: u64, epoch: usize, _pieces: Vec<iovec> },
    /// Zeroes of a job that the file system cannot make otherwise: the kernel writes the piece behind `done` bytes.
    Zeroes { job: Job, done: u64, epoch: usize },
    /// A write that goes past it.
    Direct(DirectWrite),
}

// SAFETY: the addresses in `_pieces` are of guest memory that `job` keeps mapped; they belong to no thread, and only the
// kernel uses them.
unsafe impl Send for Flight {}

/// A raw image and its ring.
pub struct Uring {
    image: RawImage,
    ring: IoUring,
    /// The ring knows the stages' memory.
    known: bool,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    chooser: Chooser,
    /// Declared after `ring`, which is therefore dropped first: it has this memory registered.
    stages: Stages,
    /// Memory that nobody writes.
    zeroes: MmapRegion<()>,
    /// Counts how often jobs were abandoned: what is left of those of an earlier count is not wanted any more.
    epoch: usize,
    is_over: Option<IsOver>,
    /// Bytes of all direct writes that succeeded.
    past_cache: u64,
    /// Jobs that go by the cache, and wait until no direct write that they must not meet is under way. If there are any,
    /// there is such a write.
    held: VecDeque<Job>,
    /// Direct jobs that wait for stages, for others that they must not meet, or until none of `held` is left. If there are
    /// any, something is under way.
    queued: VecDeque<Job>,
    /// Direct writes that are done for the guest as soon as the kernel has them.
    early: Vec<usize>,
    /// A direct write has succeeded: from then on others may be reported to the guest before they have completed.
    proven: bool,
    /// Why bytes that the guest believes written are not. The next flush says so.
    lost: Option<Errno>,
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
            Ok((ring, known, stages, MmapRegion::new(ZEROES).map_err(io::Error::other)?))
        });
        match parts {
            Ok((ring, known, stages, zeroes)) => Ok(Uring {
                chooser: Chooser::new(&image.geometry(), image.direct().is_some()),
                image,
                ring,
                known,
                flights: Vec::new(),
                free: Vec::new(),
                stages,
                zeroes,
                epoch: 0,
                is_over: None,
                past_cache: 0,
                held: VecDeque::new(),
                queued: VecDeque::new(),
                early: Vec::new(),
                proven: false,
                lost: None,
                waiting: false,
                done: Vec::new(),
            }),
            Err(error) => Err((image, error)),
        }
    }

    /// Flights that have not landed.
    fn under_way(&self) -> usize {
        self.flights.len().saturating_sub(self.free.len())
    }

    /// Keeps a flight while the kernel has it. Returns its index in `flights`, by which its entries name it.
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

    /// Takes a flight out of which the kernel has nothing any more. Its index is free for another.
    fn land(&mut self, place: usize) -> Option<Flight> {
        let flight = self.flights.get_mut(place)?.take()?;
        self.free.push(place);
        Some(flight)
    }

    /// Puts an entry into the submission queue, making room if there is none. False: it cannot be.
    fn enqueue(&mut self, entry: &Entry) -> bool {
        // Twice: without a polling thread of the kernel's, io_uring_enter(2) has taken the entries out when it returns.
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

    /// Hands a job to the kernel, of a read or a write the piece behind `done` bytes. If that cannot be, it is done here.
    fn depart(&mut self, job: Job, done: u64, pieces: Vec<iovec>) {
        let entry = entry::cached(&job.operation, done, &pieces);
        let place = self.board(Flight::Cached { job, done, epoch: self.epoch, _pieces: pieces });
        if !self.enqueue(&entry.user_data(name(place, 0)))
            && let Some(Flight::Cached { job, .. }) = self.land(place)
        {
            self.run(&job);
        }
    }

    /// Goes on with a job that goes by the page cache, as the kernel has answered.
    fn arrive(&mut self, job: Job, done: u64, epoch: usize, answer: i32) {
        let next = entry::conclude(&self.image, &job.operation, done, answer);
        match next {
            entry::Next::Over(result) => self.finish(&job, result),
            entry::Next::Piece(_) if epoch != self.epoch => self.finish(&job, Err(abandoned())),
            entry::Next::Piece(done) => match pieces(&job.operation, done) {
                Some(pieces) => self.depart(job, done, pieces),
                None => self.run(&job),
            },
            entry::Next::Zeroes => self.zero(job, 0, epoch),
            entry::Next::Flush => {
                self.submit_cached(Job { token: job.token, operation: Operation::Flush });
            }
        }
    }

    /// Does a job here.
    fn run(&mut self, job: &Job) {
        let result = self.image.run(&job.operation);
        self.finish(job, result);
    }

    /// A job that went by the page cache is done. A flush has not succeeded if bytes were lost before it.
    fn finish(&mut self, job: &Job, result: io::Result<()>) {
        let lost = matches!(job.operation, Operation::Flush).then(|| self.lost.take()).flatten();
        self.done.push(Done { token: job.token, result: lost.map_or(result, |error| Err(error.into())) });
    }

    /// Whether a direct write is under way that an operation by the page cache must not meet: one near it, or for a flush
    /// one that the guest believes done.
    fn must_wait(&self, operation: &Operation) -> bool {
        let range = direct::range(operation);
        let meets = |write: &DirectWrite| match range {
            // By folios and not by bytes: what the cache handles as one may hold old bytes beside those that are asked
            // for.
            Some(range) => direct::touch(range, direct::folios(write.offset, write.len)),
            // A flush covers what the driver knows to be done (5.2.6.2). Of others it need not wait.
            None => write.job.is_none(),
        };
        self.flights.iter().flatten().any(|flight| matches!(flight, Flight::Direct(write) if meets(write)))
    }

    /// Whether a direct write can start now: it must not meet what goes by the page cache near it, nor another one of
    /// the same bytes.
    fn is_free_for(&self, operation: &Operation) -> bool {
        let (Operation::Write { offset, from, .. }, Some(range)) = (operation, direct::range(operation))
        else {
            return false;
        };
        let meets = |flight: &Flight| match flight {
            Flight::Cached { job, .. } | Flight::Zeroes { job, .. } => {
                direct::range(&job.operation).is_some_and(|other| direct::touch(other, range))
            }
            // Neither of two direct writes leaves anything in the cache: only the order of the same bytes matters.
            Flight::Direct(write) => write.overlaps(*offset, from.len()),
        };
        // With none to start while others are held, those that the held ones wait for come to an end.
        self.held.is_empty()
            && direct::parts(operation) <= self.stages.free()
            && !self.flights.iter().flatten().any(meets)
    }

    /// Starts a job that goes by the page cache, as soon as that may be.
    fn submit_cached(&mut self, job: Job) {
        if self.must_wait(&job.operation) {
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
            // Done here, which keeps the guest waiting: the kernel must not have more completions than places for them.
            _ if self.under_way() >= MOST_CACHED => None,
            Operation::Write { from, .. } if from.len() <= SMALL_WRITE => None,
            Operation::Read { .. } | Operation::Write { .. } => pieces(&job.operation, 0),
            _ => Some(Vec::new()),
        };
        match pieces {
            Some(pieces) => self.depart(job, 0, pieces),
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
        // In order, and none past one that has to wait: a write that needs all stages would otherwise never find them
        // free.
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
            // Borrowed anew for each entry, which gives its place back to the kernel: concluding one may submit others.
            let Some(entry) = self.ring.completion().next() else { break };
            let (place, part) = place(entry.user_data());
            if self.direct(place).is_some() {
                self.conclude_part(place, part, entry.result());
                continue;
            }
            match self.land(place) {
                Some(Flight::Cached { job, done, epoch, .. }) => {
                    self.arrive(job, done, epoch, entry.result())
                }
                Some(Flight::Zeroes { job, done, epoch }) => self.zeroed(job, done, epoch, entry.result()),
                Some(Flight::Direct(_)) | None => {}
            }
        }
        self.release();
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
        // The kernel stops at an entry that it cannot submit, and leaves the others where they are (io_uring_enter(2)).
        self.waiting = !self.ring.submission().is_empty();
    }
}

/// The memory of the piece of a read or a write that begins behind `done` bytes. `None`: it is none, or not in RAM.
fn pieces(operation: &Operation, done: u64) -> Option<Vec<iovec>> {
    let (Operation::Read { into: buffers, .. } | Operation::Write { from: buffers, .. }) = operation else {
        return None;
    };
    let mut slices = buffers.slices_from(done, MOST_AT_ONCE).ok()?;
    slices.truncate(MAX_PIECES);
    Some(vectored::iovecs(&slices))
}

/// The user data of a part's entry, by the flight's index and the part's number. There are fewer than 2^32 of either.
fn name(place: usize, part: usize) -> u64 {
    let low = |number: usize| u64::from(u32::try_from(number).unwrap_or(u32::MAX));
    low(part) << 32 | low(place)
}

/// The flight's index and the part's number in an entry's user data.
fn place(name: u64) -> (usize, usize) {
    let [a, b, c, d, part @ ..] = name.to_le_bytes();
    let number = |bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    (number([a, b, c, d]), number(part))
}

impl Engine for Uring {
    fn geometry(&self) -> Geometry {
        self.image.geometry()
    }

    fn has_room(&self) -> bool {
        self.under_way() < MOST_CACHED
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
        self.acknowledge();
        done.append(&mut self.done);
    }

    fn wait(&mut self, done: &mut Vec<Done>) {
        self.completed(done);
        // Held and queued jobs need no look of their own: each waits for a flight.
        while done.is_empty() && self.under_way() > 0 {
            if self.is_over.as_ref().is_some_and(|is_over| is_over()) {
                self.abandon();
            }
            self.enter(1);
            self.completed(done);
        }
    }

    fn abandon(&mut self) {
        let waiting = self.held.drain(..).chain(self.queued.drain(..));
        self.done.extend(waiting.map(|job| Done { token: job.token, result: Err(abandoned()) }));
        self.epoch = self.epoch.wrapping_add(1);
    }

    fn set_end(&mut self, is_over: IsOver) {
        self.is_over = Some(is_over);
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
        // Jobs that were not started first, or each completion would start some of them.
        self.held.clear();
        self.queued.clear();
        self.epoch = self.epoch.wrapping_add(1);
        while self.under_way() > 0 {
            self.enter(1);
            self.reap();
        }
    }
}
