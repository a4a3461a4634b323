//! Reads and writes of a file that go to guest memory without a copy in between.
//!
//! Guest memory may be another domain's pages, which the kernel cannot pin: this works on files in the page cache, and
//! not on files opened for direct I/O.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::iovec;
use vm_memory::VolatileSlice;

/// The most pieces in one system call: Linux's IOV_MAX (readv(2)).
const MAX_PIECES: usize = 1024;

/// Addresses of guest memory for the kernel. They are good for as long as the `Buffers` they come from.
pub fn iovecs(slices: &[VolatileSlice<'_>]) -> Vec<iovec> {
    let piece = |slice: &VolatileSlice<'_>| {
        let guard = slice.ptr_guard_mut();
        iovec { iov_base: guard.as_ptr().cast(), iov_len: slice.len() }
    };
    slices.iter().map(piece).collect()
}

/// Fills `slices` from `offset` of a file on.
///
/// # Errors
/// What the system says; `UnexpectedEof` if the file ends before.
pub fn read(file: BorrowedFd<'_>, slices: &[VolatileSlice<'_>], offset: u64) -> io::Result<()> {
    transfer(slices, offset, io::ErrorKind::UnexpectedEof, |pieces, count, offset| {
        // SAFETY: `pieces` are `count` ranges of guest memory, which `slices` borrow and which are mapped for writing;
        // no Rust reference points into them, so the kernel may write at any time.
        unsafe { libc::preadv(file.as_raw_fd(), pieces, count, offset) }
    })
}

/// Fills `slices` if the page cache has all of it. False: it has not, or the file system cannot say, and `slices` hold
/// anything.
pub fn read_cached(file: BorrowedFd<'_>, slices: &[VolatileSlice<'_>], offset: u64) -> bool {
    let read = transfer(slices, offset, io::ErrorKind::UnexpectedEof, |pieces, count, offset| {
        // SAFETY: as in `read`.
        unsafe { libc::preadv2(file.as_raw_fd(), pieces, count, offset, libc::RWF_NOWAIT) }
    });
    read.is_ok()
}

/// Writes all of `slices` from `offset` of a file on; with `durable` it is on stable storage when this returns.
///
/// # Errors
/// What the system says.
pub fn write(
    file: BorrowedFd<'_>,
    slices: &[VolatileSlice<'_>],
    offset: u64,
    durable: bool,
) -> io::Result<()> {
    let flags = if durable { libc::RWF_DSYNC } else { 0 };
    transfer(slices, offset, io::ErrorKind::WriteZero, |pieces, count, offset| {
        // SAFETY: `pieces` are `count` ranges of guest memory, which `slices` borrow and which are mapped for reading.
        // Their bytes may change while the kernel reads them; what it then writes is the guest's own doing.
        unsafe { libc::pwritev2(file.as_raw_fd(), pieces, count, offset, flags) }
    })
}

/// Calls until all of `slices` is done; `nothing` is the error for a call that does nothing.
fn transfer(
    slices: &[VolatileSlice<'_>],
    mut offset: u64,
    nothing: io::ErrorKind,
    call: impl Fn(*const iovec, libc::c_int, libc::off_t) -> isize,
) -> io::Result<()> {
    let mut all = iovecs(slices);
    let mut first = skip(&mut all, 0, 0);
    while let Some(rest) = all.get(first..).filter(|rest| !rest.is_empty()) {
        let count = rest.len().min(MAX_PIECES);
        let at = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let moved = call(rest.as_ptr(), libc::c_int::try_from(count).unwrap_or(libc::c_int::MAX), at);
        let Ok(moved) = usize::try_from(moved) else {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        };
        // A file that has become shorter gives no bytes and no error: trying again would never end.
        if moved == 0 {
            return Err(nothing.into());
        }
        offset = offset.saturating_add(u64::try_from(moved).unwrap_or(u64::MAX));
        first = skip(&mut all, first, moved);
    }
    Ok(())
}

/// Leaves out `count` bytes from piece `first` on. Returns the piece that is then the first; empty ones are not.
fn skip(pieces: &mut [iovec], first: usize, mut count: usize) -> usize {
    let mut index = first;
    while let Some(piece) = pieces.get_mut(index) {
        if piece.iov_len > count {
            piece.iov_base = piece.iov_base.wrapping_byte_add(count);
            piece.iov_len = piece.iov_len.saturating_sub(count);
            break;
        }
        count = count.saturating_sub(piece.iov_len);
        index = index.saturating_add(1);
    }
    index
}
