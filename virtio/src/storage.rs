//! Disk images: where the bytes of a block device are.
//!
//! Two traits. An [`Image`] does one operation and returns when it is done. An [`Engine`] takes many and says later
//! which are done; it is what a device uses. Any image makes an engine, by doing operations where they are submitted
//! ([`Inline`]) or in threads ([`workers::Workers`]); raw images have one of their own ([`uring::Uring`]).
//!
//! Principle: an engine touches guest memory only between an operation's submission and its completion, and what it
//! is given keeps that memory mapped meanwhile.

pub mod open;
pub mod qcow2;
pub mod raw;
pub mod reader;
pub mod uring;
pub mod workers;

mod direct;
mod stage;
mod vectored;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::core::device::IsOver;
use crate::core::memory::Buffers;

/// What an image says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of a logical block: what can be written without reading first.
    pub block: u32,
    /// Bytes of a physical block, a power of two times the logical one.
    pub physical: u32,
    /// Bytes of a good size for transfers. Zero: none is better.
    pub optimal: u32,
    /// Bytes that discards should be aligned to. Zero: unknown.
    pub discard: u32,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// An operation on an image. Offsets and lengths are in bytes and within the image.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Read at an offset.
    Read {
        /// From here on.
        offset: u64,
        /// Until this is full.
        into: Buffers,
    },
    /// Write at an offset.
    Write {
        /// From here on.
        offset: u64,
        /// All of this.
        from: Buffers,
        /// Done only when it is on stable storage.
        durable: bool,
    },
    /// Bring all that was written to stable storage.
    Flush,
    /// A range is no longer needed. What it reads as afterwards is open.
    Discard {
        /// Where the range begins, in bytes.
        offset: u64,
        /// Bytes of the range.
        len: u64,
    },
    /// A range is to read as zeroes.
    WriteZeroes {
        /// Where the range begins, in bytes.
        offset: u64,
        /// Bytes of the range.
        len: u64,
        /// Its room may be given back.
        unmap: bool,
        /// Done only when it is on stable storage.
        durable: bool,
    },
}

/// The most bytes of a range that are zeroed before it is looked whether to go on; and of one that is given up.
const ZEROED: u64 = 2 << 20;
const GIVEN_UP: u64 = 64 << 20;

impl Operation {
    /// Cuts a piece off an operation on a range that may take long: first the piece, then the rest, if there is one. Pieces end
    /// where a cluster of any image format does.
    fn split(&self) -> (Operation, Option<Operation>) {
        let cut = |offset: u64, len: u64, most: u64| {
            let end = offset.saturating_add(1).checked_next_multiple_of(most).unwrap_or(u64::MAX);
            let first = end.saturating_sub(offset).min(len);
            (first, offset.saturating_add(first), len.saturating_sub(first))
        };
        match *self {
            Operation::Discard { offset, len } => {
                let (first, next, rest) = cut(offset, len, GIVEN_UP);
                let rest = (rest > 0).then_some(Operation::Discard { offset: next, len: rest });
                (Operation::Discard { offset, len: first }, rest)
            }
            Operation::WriteZeroes { offset, len, unmap, durable } => {
                let (first, next, rest) = cut(offset, len, ZEROED);
                let is_last = rest == 0;
                let rest =
                    (!is_last).then_some(Operation::WriteZeroes { offset: next, len: rest, unmap, durable });
                // What is on stable storage with the last piece is so as a whole.
                (Operation::WriteZeroes { offset, len: first, unmap, durable: durable && is_last }, rest)
            }
            _ => (self.clone(), None),
        }
    }
}

/// Why a job was not done that nobody waits for any more.
pub fn abandoned() -> io::Error {
    Errno::CANCELED.into()
}

/// An image whose operations return when they are done.
pub trait Image: Send + Sync {
    /// What it says of itself; the same each time.
    fn geometry(&self) -> Geometry;

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, offset: u64, into: &Buffers) -> io::Result<()>;

    /// Writes all of `from` from `offset` on.
    ///
    /// # Errors
    /// What the system says.
    fn write(&self, offset: u64, from: &Buffers, durable: bool) -> io::Result<()>;

    /// Brings all that was written to stable storage.
    ///
    /// # Errors
    /// What the system says.
    fn flush(&self) -> io::Result<()>;

    /// Gives a range's room back, where that is possible.
    ///
    /// # Errors
    /// What the system says; not that it is impossible.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes a range read as zeroes.
    ///
    /// # Errors
    /// What the system says.
    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()>;

    /// Does any operation.
    ///
    /// # Errors
    /// What the system says.
    fn run(&self, operation: &Operation) -> io::Result<()> {
        self.run_while(operation, &|| true)
    }

    /// The same, in pieces, as long as it `goes_on`.
    ///
    /// # Errors
    /// What the system says; [`abandoned`].
    fn run_while(&self, operation: &Operation, goes_on: &dyn Fn() -> bool) -> io::Result<()> {
        if matches!(operation, Operation::Read { .. } | Operation::Write { .. } | Operation::Flush) {
            return if goes_on() { self.run_piece(operation) } else { Err(abandoned()) };
        }
        let mut rest = Some(operation.clone());
        while let Some(operation) = rest {
            if !goes_on() {
                return Err(abandoned());
            }
            let (piece, others) = operation.split();
            self.run_piece(&piece)?;
            rest = others;
        }
        Ok(())
    }

    /// Does an operation as a whole.
    ///
    /// # Errors
    /// What the system says.
    fn run_piece(&self, operation: &Operation) -> io::Result<()> {
        match *operation {
            Operation::Read { offset, ref into } => self.read(offset, into),
            Operation::Write { offset, ref from, durable } => self.write(offset, from, durable),
            Operation::Flush => self.flush(),
            Operation::Discard { offset, len } => self.discard(offset, len),
            Operation::WriteZeroes { offset, len, unmap, durable } => {
                self.write_zeroes(offset, len, unmap)?;
                if durable { self.flush() } else { Ok(()) }
            }
        }
    }
}

/// An operation, with the name under which it will be reported.
#[derive(Debug)]
pub struct Job {
    /// The name, which the submitter chooses.
    pub token: usize,
    /// What is to be done.
    pub operation: Operation,
}

/// A job that is done.
#[derive(Debug)]
pub struct Done {
    /// The job's token.
    pub token: usize,
    /// Its outcome.
    pub result: io::Result<()>,
}

/// An image that does many operations at a time. Their order is open.
pub trait Engine: Send {
    /// What the image says of itself; the same each time.
    fn geometry(&self) -> Geometry;

    /// Whether it can take another job without doing it where it is submitted because too many are under way.
    fn has_room(&self) -> bool {
        true
    }

    /// Takes a job. It need not start before [`Engine::start`].
    fn submit(&mut self, job: Job);

    /// Starts all jobs that were submitted.
    fn start(&mut self);

    /// Adds the jobs that are done to `done`, each once. Does not wait.
    fn completed(&mut self, done: &mut Vec<Done>);

    /// The same, and waits for at least one if any is under way.
    fn wait(&mut self, done: &mut Vec<Done>);

    /// Nobody waits any more for what was submitted: what has not begun, and what is left of operations in pieces, fails
    /// ([`abandoned`]). What the system has in hand is done as ever. All are still reported.
    fn abandon(&mut self) {}

    /// Whoever waits for it does so until `is_over` says that nobody needs it any more: then all that is under way is
    /// abandoned.
    fn set_end(&mut self, _is_over: IsOver) {}

    /// Bytes that went past the host's page cache.
    fn past_cache(&self) -> u64 {
        0
    }

    /// Becomes readable when a job is done. `None`: all are done when [`Engine::start`] returns.
    fn wake(&self) -> Option<BorrowedFd<'_>>;
}

/// An engine that does each job when it is submitted. The submitter waits.
pub struct Inline<I> {
    image: I,
    done: Vec<Done>,
}

impl<I: Image> Inline<I> {
    /// An engine of `image`.
    pub fn new(image: I) -> Inline<I> {
        Inline { image, done: Vec::new() }
    }
}

impl<I: Image> Engine for Inline<I> {
    fn geometry(&self) -> Geometry {
        self.image.geometry()
    }

    fn submit(&mut self, Job { token, operation }: Job) {
        self.done.push(Done { token, result: self.image.run(&operation) });
    }

    fn start(&mut self) {}

    fn completed(&mut self, done: &mut Vec<Done>) {
        done.append(&mut self.done);
    }

    fn wait(&mut self, done: &mut Vec<Done>) {
        self.completed(done);
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
