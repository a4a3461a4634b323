//! Raw images by io_uring: all operations of a batch start with one system call, and what the page cache has is done
//! when it returns.
//!
//! The ring can do nothing but read, write, sync and allocate in the image's file: what a confined process may not do,
//! it cannot do through the ring either.
//!
//! Small writes are done by a plain system call: they end in the page cache, and most file systems would hand them to
//! a thread of the ring's, which costs more than the copy.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{Fixed, FsyncFlags};
use io_uring::{IoUring, opcode, register::Restriction};
use libc::iovec;

use super::raw::RawImage;
use super::{Done, Engine, Geometry, Image, Job, Operation, vectored};

/// Entries of the submission queue.
const ENTRIES: u32 = 256;
/// Entries of the completion queue, and the most jobs that the kernel has: so it never overflows.
const IN_FLIGHT: u32 = 1024;
/// Writes up to so many bytes are done at once.
const SMALL_WRITE: u64 = 128 << 10;
/// The ring's only file.
const FILE: Fixed = Fixed(0);
/// In a ring's entry: the file is a registered one (IOSQE_FIXED_FILE).
const FIXED_FILE: u8 = 1 << 0;

/// A job in the kernel's hands. It keeps what the kernel uses: the guest's memory and the list of pieces.
struct Flight {
    job: Job,
    _pieces: Vec<iovec>,
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
                image,
                ring,
                flights: Vec::new(),
                free: Vec::new(),
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

    /// Notes what the kernel has completed.
    fn reap(&mut self) {
        loop {
            let Some(entry) = self.ring.completion().next() else { return };
            let place = usize::try_from(entry.user_data()).unwrap_or(usize::MAX);
            let Some(flight) = self.land(place) else { continue };
            let result = conclude(&self.image, &flight.job.operation, entry.result());
            self.done.push(Done { token: flight.job.token, result });
        }
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
    ring.submitter().register_files(&[image.file().as_raw_fd()])?;
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

/// The ring's entry for an operation whose pieces are `pieces`.
fn entry(operation: &Operation, pieces: &[iovec]) -> Entry {
    let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    match *operation {
        Operation::Read { offset, .. } => {
            opcode::Readv::new(FILE, pieces.as_ptr(), count).offset(offset).build()
        }
        Operation::Write { offset, durable, .. } => opcode::Writev::new(FILE, pieces.as_ptr(), count)
            .offset(offset)
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
        let pieces = match &job.operation {
            _ if self.under_way() >= IN_FLIGHT as usize => None,
            Operation::Write { from, .. } if from.len() <= SMALL_WRITE => None,
            Operation::Read { into: buffers, .. } | Operation::Write { from: buffers, .. } => buffers
                .slices()
                .ok()
                .map(|slices| vectored::iovecs(&slices))
                .filter(|pieces| pieces.len() <= 1024),
            _ => Some(Vec::new()),
        };
        let Some(pieces) = pieces else {
            self.done.push(Done { token: job.token, result: self.image.run(&job.operation) });
            return;
        };
        let entry = entry(&job.operation, &pieces);
        let place = self.board(Flight { job, _pieces: pieces });
        let entry = entry.user_data(u64::try_from(place).unwrap_or(u64::MAX));
        if !self.enqueue(&entry)
            && let Some(Flight { job, .. }) = self.land(place)
        {
            self.done.push(Done { token: job.token, result: self.image.run(&job.operation) });
        }
    }

    fn start(&mut self) {
        if self.waiting {
            self.enter(0);
        }
    }

    fn completed(&mut self, done: &mut Vec<Done>) {
        self.reap();
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

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the descriptor is the ring's, which `self` keeps open for as long as it is borrowed.
        Some(unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) })
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // A ring that is closed ends its operations some time later; until then the kernel may still write.
        let mut forgotten = Vec::new();
        while self.under_way() > 0 {
            self.wait(&mut forgotten);
            forgotten.clear();
        }
    }
}
