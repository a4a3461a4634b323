//! Raw images by io_uring: all operations of a batch start with one system call, and what the page cache has is done
//! when it returns.
//!
//! The ring can do nothing but read, write, sync and allocate in the image's file: what a confined process may not do,
//! it cannot do through the ring either.
//!
//! Small operations that the page cache can take are done by a plain system call: writes, which most file systems would
//! hand to a thread of the ring's, and reads of what is in the cache. Either costs more by the ring than the copy.
//!
//! Large writes go past the cache where that is possible: the disk's controller reads the guest's pages.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{Fixed, FsyncFlags};
use io_uring::{IoUring, opcode, register::Restriction};
use libc::iovec;
use rustix::io::Errno;

use super::direct::{self, Chooser};
use super::raw::RawImage;
use super::{Done, Engine, Geometry, Image, Job, Operation, vectored};

/// Entries of the submission queue.
const ENTRIES: u32 = 256;
/// Entries of the completion queue, and the most jobs that the kernel has: so it never overflows.
const IN_FLIGHT: u32 = 1024;
/// Writes up to so many bytes are done at once, and reads if the cache has them.
const SMALL_WRITE: u64 = 128 << 10;
const SMALL_READ: u64 = 1 << 20;
/// The most pieces of memory in one operation.
const MAX_PIECES: usize = 1024;
/// The ring's file, and the same for direct I/O.
const FILE: Fixed = Fixed(0);
const DIRECT: Fixed = Fixed(1);
/// In a ring's entry: the file is a registered one (IOSQE_FIXED_FILE).
const FIXED_FILE: u8 = 1 << 0;

/// A job in the kernel's hands. It keeps what the kernel uses: the guest's memory and the list of pieces.
struct Flight {
    job: Job,
    _pieces: Vec<iovec>,
    direct: bool,
    /// Entries of a direct operation that the kernel has not completed.
    left: usize,
    /// What those that it has did: bytes, or the first error.
    moved: Result<u64, Errno>,
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
    uncopied: u64,
    /// Jobs that wait until no direct write near them is under way. If there are any, there is such a write.
    held: VecDeque<Job>,
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
        match ring(&image) {
            Ok(ring) => Ok(Uring {
                chooser: Chooser::new(&image.geometry(), image.direct().is_some()),
                image,
                ring,
                flights: Vec::new(),
                free: Vec::new(),
                uncopied: 0,
                held: VecDeque::new(),
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
            // completion is seen: its pieces are on the heap, and its job keeps the guest's memory mapped. `drop` waits
            // for all completions.
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
        let entry = entry(&job.operation, FILE, 0, &pieces);
        let place = self.board(Flight { job, _pieces: pieces, direct: false, left: 1, moved: Ok(0) });
        if !self.enqueue(&entry.user_data(name(place)))
            && let Some(Flight { job, .. }) = self.land(place)
        {
            self.run(&job);
        }
    }

    /// Hands a direct job to the kernel, in parts of so many pieces.
    fn depart_direct(&mut self, job: Job, pieces: Vec<iovec>, parts: &[usize]) {
        let mut entries = Vec::with_capacity(parts.len());
        let (mut rest, mut skip) = (&pieces[..], 0u64);
        for &count in parts {
            let Some((part, behind)) = rest.split_at_checked(count) else { break };
            entries.push(entry(&job.operation, DIRECT, skip, part));
            skip = skip.saturating_add(bytes(part));
            rest = behind;
        }
        let place =
            self.board(Flight { job, _pieces: pieces, direct: true, left: entries.len(), moved: Ok(0) });
        for entry in entries {
            if !self.enqueue(&entry.user_data(name(place))) {
                self.conclude_part(place, -libc::EAGAIN);
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
        let meets = |flight: &&Flight| match direct {
            true => !flight.direct && is_write(operation),
            false => flight.direct && is_write(&flight.job.operation),
        };
        let others = self.flights.iter().flatten().filter(meets);
        others
            .filter_map(|flight| direct::range(&flight.job.operation))
            .any(|other| direct::touch(other, range))
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

    /// Starts what was held back and need not be any more.
    fn release(&mut self) {
        // Each is looked at once; one that must go on waiting is put behind the others.
        for _ in 0..self.held.len() {
            if let Some(job) = self.held.pop_front() {
                self.submit_cached(job);
            }
        }
    }

    /// Notes what the kernel has completed.
    fn reap(&mut self) {
        let mut direct_ended = false;
        loop {
            let Some(entry) = self.ring.completion().next() else { break };
            let place = usize::try_from(entry.user_data()).unwrap_or(usize::MAX);
            if self.flights.get(place).and_then(Option::as_ref).is_some_and(|flight| flight.direct) {
                direct_ended = true;
                self.conclude_part(place, entry.result());
                continue;
            }
            let Some(flight) = self.land(place) else { continue };
            let result = conclude(&self.image, &flight.job.operation, entry.result());
            self.done.push(Done { token: flight.job.token, result });
        }
        if direct_ended {
            self.release();
        }
    }

    /// How a part of a direct operation went.
    fn conclude_part(&mut self, place: usize, answer: i32) {
        let Some(flight) = self.flights.get_mut(place).and_then(Option::as_mut) else { return };
        let part = u64::try_from(answer).map_err(|_| Errno::from_raw_os_error(answer.saturating_neg()));
        flight.moved = flight.moved.and_then(|moved| Ok(moved.saturating_add(part?)));
        flight.left = flight.left.saturating_sub(1);
        if flight.left == 0
            && let Some(Flight { job, moved, .. }) = self.land(place)
        {
            self.conclude_direct(job, moved);
        }
    }

    /// How a direct operation went. What the kernel could not do so is done again by the page cache, from the start.
    fn conclude_direct(&mut self, job: Job, moved: Result<u64, Errno>) {
        let Operation::Write { from, .. } = &job.operation else { return self.run(&job) };
        let error = match moved {
            Ok(moved) if moved == from.len() => {
                self.uncopied = self.uncopied.saturating_add(moved);
                self.done.push(Done { token: job.token, result: Ok(()) });
                return;
            }
            // Up to memory that it cannot pin, or to the end of the file.
            Ok(_) => Errno::FAULT,
            Err(error) => error,
        };
        if error == Errno::IO || error == Errno::NOSPC {
            self.done.push(Done { token: job.token, result: Err(error.into()) });
            return;
        }
        self.chooser.failed(error);
        self.submit_cached(job);
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

/// A ring that can use the image's file and nothing else.
fn ring(image: &RawImage) -> io::Result<IoUring> {
    let build = |gentle: bool| {
        let mut builder = IoUring::builder();
        builder.setup_r_disabled().setup_cqsize(IN_FLIGHT);
        if gentle {
            // No interrupt of this thread for a completion: it looks by itself. Linux 5.19 and later.
            builder.setup_coop_taskrun();
        }
        builder.build(ENTRIES)
    };
    let ring = build(true).or_else(|_| build(false))?;
    // A hole where there is no direct I/O.
    let direct = image.direct().map_or(-1, |file| file.as_raw_fd());
    ring.submitter().register_files(&[image.file().as_raw_fd(), direct])?;
    let mut restrictions = [
        Restriction::sqe_op(opcode::Readv::CODE),
        Restriction::sqe_op(opcode::Writev::CODE),
        Restriction::sqe_op(opcode::Fsync::CODE),
        Restriction::sqe_op(opcode::Fallocate::CODE),
        Restriction::sqe_flags_allowed(FIXED_FILE),
        Restriction::sqe_flags_required(FIXED_FILE),
    ];
    ring.submitter().register_restrictions(&mut restrictions)?;
    ring.submitter().register_enable_rings()?;
    Ok(ring)
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

/// A flight's name in the ring.
fn name(place: usize) -> u64 {
    u64::try_from(place).unwrap_or(u64::MAX)
}

fn bytes(pieces: &[iovec]) -> u64 {
    pieces.iter().fold(0, |sum, piece| sum.saturating_add(u64::try_from(piece.iov_len).unwrap_or(u64::MAX)))
}

/// The ring's entry for an operation on a file of the ring's, from its byte `skip` on, whose pieces are `pieces`.
fn entry(operation: &Operation, file: Fixed, skip: u64, pieces: &[iovec]) -> Entry {
    let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    match *operation {
        Operation::Read { offset, .. } => {
            opcode::Readv::new(file, pieces.as_ptr(), count).offset(offset.saturating_add(skip)).build()
        }
        Operation::Write { offset, durable, .. } => opcode::Writev::new(file, pieces.as_ptr(), count)
            .offset(offset.saturating_add(skip))
            .rw_flags(if durable { libc::RWF_DSYNC } else { 0 })
            .build(),
        Operation::Flush => opcode::Fsync::new(FILE).flags(FsyncFlags::DATASYNC).build(),
        Operation::Discard { offset, len } => allocate(offset, len, libc::FALLOC_FL_PUNCH_HOLE),
        Operation::WriteZeroes { offset, len, unmap: true, .. } => {
            allocate(offset, len, libc::FALLOC_FL_PUNCH_HOLE)
        }
        Operation::WriteZeroes { offset, len, .. } => allocate(offset, len, libc::FALLOC_FL_ZERO_RANGE),
    }
}

fn allocate(offset: u64, len: u64, mode: libc::c_int) -> Entry {
    opcode::Fallocate::new(FILE, len).offset(offset).mode(mode | libc::FALLOC_FL_KEEP_SIZE).build()
}

/// How an operation went, by the kernel's answer. What it left undone is done here, by plain system calls.
fn conclude(image: &RawImage, operation: &Operation, answer: i32) -> io::Result<()> {
    let whole = match operation {
        Operation::Read { into, .. } => into.len(),
        Operation::Write { from, .. } => from.len(),
        _ => 0,
    };
    match u64::try_from(answer) {
        Ok(moved) if moved == whole => match operation {
            Operation::WriteZeroes { durable: true, .. } => image.flush(),
            _ => Ok(()),
        },
        // Part of it only: a signal, or the end of the file. Done from the start, which harms nothing.
        Ok(_) => image.run(operation),
        Err(_) => {
            let error = io::Error::from_raw_os_error(answer.saturating_neg());
            let retry =
                [libc::EAGAIN, libc::EINTR, libc::EOPNOTSUPP, libc::EINVAL, libc::ENOSYS, libc::ENODEV];
            if retry.contains(&answer.saturating_neg()) { image.run(operation) } else { Err(error) }
        }
    }
}

impl Engine for Uring {
    fn geometry(&self) -> Geometry {
        self.image.geometry()
    }

    fn submit(&mut self, job: Job) {
        // With jobs held back, no more direct ones: theirs is the next turn.
        let is_direct = self.held.is_empty()
            && self.under_way() < IN_FLIGHT as usize / direct::MAX_PARTS
            && self.chooser.chooses(&job.operation)
            && !self.is_near(&job.operation, true);
        let pieces = is_direct.then(|| pieces(&job.operation)).flatten();
        match pieces.and_then(|pieces| self.chooser.split(&pieces).map(|parts| (pieces, parts))) {
            Some((pieces, parts)) => self.depart_direct(job, pieces, &parts),
            None => self.submit_cached(job),
        }
    }

    fn start(&mut self) {
        if self.waiting {
            self.enter(0);
        }
    }

    fn completed(&mut self, done: &mut Vec<Done>) {
        self.reap();
        // What was held back, or is to be done once more.
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

    fn uncopied(&self) -> u64 {
        self.uncopied
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
        let mut forgotten = Vec::new();
        while self.under_way() > 0 {
            self.wait(&mut forgotten);
            forgotten.clear();
        }
    }
}

#[cfg(test)]
mod tests;
