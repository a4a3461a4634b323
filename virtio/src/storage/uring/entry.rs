//! What the kernel is told and what it answers: the ring, its entries, their results.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use io_uring::squeue::Entry;
use io_uring::types::{Fixed, FsyncFlags};
use io_uring::{IoUring, opcode, register::Restriction};
use libc::iovec;
use vm_memory::VolatileSlice;

use super::super::raw::RawImage;
use super::super::{Image as _, Operation};

/// Entries of the submission queue.
const ENTRIES: u32 = 256;
/// Entries of the completion queue, and the most that the kernel has at a time: so it never overflows.
pub const IN_FLIGHT: u32 = 1024;
/// The ring's file, and the same for direct I/O.
const FILE: Fixed = Fixed(0);
const DIRECT: Fixed = Fixed(1);
/// In a ring's entry: the file is a registered one (IOSQE_FIXED_FILE).
const FIXED_FILE: u8 = 1 << 0;

/// A ring that can use the image's file and nothing else. Whether it knows the memory of `stages`, so that the kernel need
/// not look its pages up each time.
///
/// # Errors
/// Why the system gives none.
pub fn ring(image: &RawImage, stages: &VolatileSlice<'_>) -> io::Result<(IoUring, bool)> {
    let build = |gentle: bool| {
        let mut builder = IoUring::builder();
        // Disabled at first: only then does a ring take restrictions (io_uring_register(2)).
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
    // Beyond the limit of locked memory it is refused (RLIMIT_MEMLOCK); then each write has its pages pinned by itself.
    let known = image.direct().is_some() && {
        let piece = iovec { iov_base: stages.ptr_guard_mut().as_ptr().cast(), iov_len: stages.len() };
        // SAFETY: the memory is the stages', which outlive the ring, and is touched by volatile copies only.
        unsafe { ring.submitter().register_buffers(&[piece]) }.is_ok()
    };
    let mut restrictions = [
        Restriction::sqe_op(opcode::Readv::CODE),
        Restriction::sqe_op(opcode::Writev::CODE),
        Restriction::sqe_op(opcode::Write::CODE),
        Restriction::sqe_op(opcode::WriteFixed::CODE),
        Restriction::sqe_op(opcode::Fsync::CODE),
        Restriction::sqe_op(opcode::Fallocate::CODE),
        // Required too: without the flag an entry names any open file of the process.
        Restriction::sqe_flags_allowed(FIXED_FILE),
        Restriction::sqe_flags_required(FIXED_FILE),
    ];
    // No registration is among them: once the ring is enabled, the files and the memory that it knows are settled.
    ring.submitter().register_restrictions(&mut restrictions)?;
    ring.submitter().register_enable_rings()?;
    Ok((ring, known))
}

/// The entry for an operation that goes by the page cache, on the pieces of memory in `pieces`, which begin behind the first
/// `done` bytes of a read or a write.
pub fn cached(operation: &Operation, done: u64, pieces: &[iovec]) -> Entry {
    let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    match *operation {
        Operation::Read { offset, .. } => {
            let offset = offset.saturating_add(done);
            opcode::Readv::new(FILE, pieces.as_ptr(), count).offset(offset).build()
        }
        Operation::Write { offset, durable, .. } => {
            let offset = offset.saturating_add(done);
            let flags = if durable { libc::RWF_DSYNC } else { 0 };
            opcode::Writev::new(FILE, pieces.as_ptr(), count).offset(offset).rw_flags(flags).build()
        }
        Operation::Flush => opcode::Fsync::new(FILE).flags(FsyncFlags::DATASYNC).build(),
        Operation::Discard { offset, len } => allocate(offset, len, libc::FALLOC_FL_PUNCH_HOLE),
        Operation::WriteZeroes { offset, len, unmap: true, .. } => {
            allocate(offset, len, libc::FALLOC_FL_PUNCH_HOLE)
        }
        Operation::WriteZeroes { offset, len, .. } => allocate(offset, len, libc::FALLOC_FL_ZERO_RANGE),
    }
}

/// The entry that writes all of `stage` from `offset` on, past the page cache; `known`: of memory that the ring knows.
pub fn direct(offset: u64, stage: &VolatileSlice<'_>, durable: bool, known: bool) -> Entry {
    let (address, len) = (stage.ptr_guard().as_ptr(), u32::try_from(stage.len()).unwrap_or(u32::MAX));
    let flags = if durable { libc::RWF_DSYNC } else { 0 };
    match known {
        true => opcode::WriteFixed::new(DIRECT, address, len, 0).offset(offset).rw_flags(flags).build(),
        false => opcode::Write::new(DIRECT, address, len).offset(offset).rw_flags(flags).build(),
    }
}

/// The entry that writes all of `bytes` from `offset` on, by the page cache.
pub fn write(offset: u64, bytes: &VolatileSlice<'_>) -> Entry {
    let (address, len) = (bytes.ptr_guard().as_ptr(), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    opcode::Write::new(FILE, address, len).offset(offset).build()
}

/// The entry for fallocate(2) with `mode`. The image keeps its size in any case, and FALLOC_FL_PUNCH_HOLE
/// is not valid without FALLOC_FL_KEEP_SIZE (fallocate(2)).
fn allocate(offset: u64, len: u64, mode: libc::c_int) -> Entry {
    opcode::Fallocate::new(FILE, len).offset(offset).mode(mode | libc::FALLOC_FL_KEEP_SIZE).build()
}

/// What is to be done about a cached operation next.
#[derive(Debug)]
pub enum Next {
    /// Nothing: this is its outcome.
    Over(io::Result<()>),
    /// The piece behind so many bytes.
    Piece(u64),
    /// The zeroes are to be written.
    Zeroes,
    /// It is done, and to be brought to stable storage.
    Flush,
}

/// What follows from the kernel's answer to a cached operation, of a read or a write to the piece behind `done` bytes. What the
/// kernel refuses to do this way is done here, by plain system calls, unless it takes long.
pub fn conclude(image: &RawImage, operation: &Operation, done: u64, answer: i32) -> Next {
    let whole = match operation {
        Operation::Read { into, .. } => into.len(),
        Operation::Write { from, .. } => from.len(),
        _ => 0,
    };
    match (u64::try_from(answer), operation) {
        // A write has RWF_DSYNC in its entry; fallocate(2) has no such flag.
        (Ok(_), Operation::WriteZeroes { durable: true, .. }) => Next::Flush,
        (Ok(moved), _) if done.saturating_add(moved) >= whole => Next::Over(Ok(())),
        // Behind the end of the file there is nothing.
        (Ok(0), Operation::Read { .. }) => Next::Over(Err(io::ErrorKind::UnexpectedEof.into())),
        (Ok(0), _) => Next::Over(Err(io::ErrorKind::WriteZero.into())),
        (Ok(moved), _) => Next::Piece(done.saturating_add(moved)),
        (Err(_), _) => refused(image, operation, answer.saturating_neg()),
    }
}

fn refused(image: &RawImage, operation: &Operation, error: i32) -> Next {
    // Refusals of this way to do it, not errors of the disk. A plain call may do better: zeroes can also be written.
    let retry = [libc::EAGAIN, libc::EINTR, libc::EOPNOTSUPP, libc::EINVAL, libc::ENOSYS, libc::ENODEV];
    if !retry.contains(&error) {
        return Next::Over(Err(io::Error::from_raw_os_error(error)));
    }
    let Operation::WriteZeroes { offset, len, unmap, durable } = *operation else {
        return Next::Over(image.run(operation));
    };
    match image.zero_quickly(offset, len, unmap) {
        Ok(true) if durable => Next::Flush,
        Ok(true) => Next::Over(Ok(())),
        Ok(false) => Next::Zeroes,
        Err(error) => Next::Over(Err(error)),
    }
}
