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

/// The entry for an operation that goes by the page cache, on the pieces of memory in `pieces`.
pub fn cached(operation: &Operation, pieces: &[iovec]) -> Entry {
    let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    match *operation {
        Operation::Read { offset, .. } => {
            opcode::Readv::new(FILE, pieces.as_ptr(), count).offset(offset).build()
        }
        Operation::Write { offset, durable, .. } => {
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

/// The entry for fallocate(2) with `mode`. The image keeps its size in any case, and FALLOC_FL_PUNCH_HOLE
/// is not valid without FALLOC_FL_KEEP_SIZE (fallocate(2)).
fn allocate(offset: u64, len: u64, mode: libc::c_int) -> Entry {
    opcode::Fallocate::new(FILE, len).offset(offset).mode(mode | libc::FALLOC_FL_KEEP_SIZE).build()
}

/// The outcome of a cached operation, by the kernel's answer. What it left undone is done here, by plain system calls.
///
/// # Errors
/// What the system says.
pub fn conclude(image: &RawImage, operation: &Operation, answer: i32) -> io::Result<()> {
    let whole = match operation {
        Operation::Read { into, .. } => into.len(),
        Operation::Write { from, .. } => from.len(),
        _ => 0,
    };
    match u64::try_from(answer) {
        Ok(moved) if moved == whole => match operation {
            // A write has RWF_DSYNC in its entry; fallocate(2) has no such flag.
            Operation::WriteZeroes { durable: true, .. } => image.flush(),
            _ => Ok(()),
        },
        // Part of it only: a signal, or the end of the file. Done from the start, which harms nothing.
        Ok(_) => image.run(operation),
        Err(_) => {
            let error = io::Error::from_raw_os_error(answer.saturating_neg());
            // Refusals of this way to do it, not errors of the disk. A plain call may do better: zeroes can also be
            // written.
            let retry =
                [libc::EAGAIN, libc::EINTR, libc::EOPNOTSUPP, libc::EINVAL, libc::ENOSYS, libc::ENODEV];
            if retry.contains(&answer.saturating_neg()) { image.run(operation) } else { Err(error) }
        }
    }
}
