//! `/dev/xen/privcmd`: hypercalls, calls of a device model, and other domains' memory (`xen/privcmd.h` of Linux).
//!
//! In a domain other than the control domain, Linux restricts the file: opening it waits for xenstore, hypercalls are
//! refused and foreign memory is that of one domain only, unless the kernel runs with `xen_privcmd.unrestricted=1`.
#![allow(unsafe_code)]

use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use xenolith_abi::{DomId, Gfn};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::ioctl::{call, number};
use super::{Buffer, Mapping, PAGE_SIZE, open};
use crate::Error;

const HYPERCALL: u32 = number(b'P', 0, size_of::<Hypercall>());
const MMAP_BATCH: u32 = number(b'P', 4, size_of::<MmapBatch>());
const DM_OP: u32 = number(b'P', 5, size_of::<DmOp>());
const RESTRICT: u32 = number(b'P', 6, size_of::<DomId>());
const MMAP_RESOURCE: u32 = number(b'P', 7, size_of::<MmapResource>());

const PATH: &str = "/dev/xen/privcmd";
/// Longer than it takes a restricted file to open where there is a xenstore.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
const UNRESTRICTED: &str = "the kernel waits for xenstore to say which domain this one may serve; \
    put xen_privcmd.unrestricted=1 on the kernel's command line";

/// The most buffers of [`Privcmd::dm_op`].
const MAX_DM_BUFFERS: usize = 16;

#[repr(C)]
struct Hypercall {
    op: u64,
    arguments: [u64; 5],
}

#[repr(C)]
struct MmapBatch {
    count: u32,
    domain: DomId,
    address: u64,
    frames: *const Gfn,
    errors: *mut i32,
}

#[repr(C)]
struct DmOp {
    domain: DomId,
    count: u16,
    buffers: *const DmBuffer,
}

#[repr(C)]
struct DmBuffer {
    address: *mut u8,
    size: u64,
}

#[repr(C)]
struct MmapResource {
    domain: DomId,
    kind: u32,
    id: u32,
    index: u32,
    count: u64,
    address: u64,
}

/// One argument of [`Privcmd::hypercall`].
#[derive(Debug)]
pub enum Argument<'a> {
    /// A number. Never an address.
    Value(u64),
    /// The address of a buffer, whose contents the hypervisor may change.
    Buffer(&'a mut Buffer),
}

/// What came of a batch of pages.
#[derive(Debug)]
pub enum Batch {
    /// All are mapped, in order.
    Mapped(Mapping),
    /// None is mapped, because these were refused: index in the batch, and why.
    Refused(Vec<(usize, Errno)>),
}

/// The open file.
#[derive(Debug)]
pub struct Privcmd {
    file: OwnedFd,
}

impl Privcmd {
    /// Opens it.
    ///
    /// # Errors
    /// The file is missing or denied, Linux restricts it and waits for a xenstore that does not come, or Linux has
    /// pages of another size than the hypervisor.
    pub fn open() -> Result<Privcmd, Error> {
        if rustix::param::page_size() != PAGE_SIZE {
            return Err(Error::unfit("Linux must run with pages of 4 KiB to map memory of other domains"));
        }
        let file = within(OPEN_LIMIT, || open(PATH, OFlags::empty(), "load the kernel's module xen-privcmd"));
        let waits = || Error::Open { path: PATH, source: Errno::TIMEDOUT, advice: UNRESTRICTED };
        Ok(Privcmd { file: file.ok_or_else(waits)?? })
    }

    /// Makes a hypercall; returns what it returns, of which Linux hands over 31 bits.
    ///
    /// The hypervisor reads and writes this process's memory where the arguments lead. So an address in an argument or
    /// inside of a buffer must be that of a [`Buffer`]: by [`Argument::Buffer`] or [`Buffer::with_array`]. An open privcmd is
    /// as powerful as `/proc/self/mem`: a number in the place of an address can change any memory of the process.
    ///
    /// # Errors
    /// The hypervisor's negative answer, or Linux's: `EPERM` for a restricted file.
    pub fn hypercall(&self, op: u64, arguments: &mut [Argument<'_>]) -> Result<u64, Errno> {
        let mut argument = Hypercall { op, arguments: [0; 5] };
        if arguments.len() > argument.arguments.len() {
            return Err(Errno::TOOBIG);
        }
        for (place, given) in argument.arguments.iter_mut().zip(arguments) {
            *place = match given {
                Argument::Value(value) => *value,
                Argument::Buffer(buffer) => buffer.address(),
            };
        }
        // SAFETY: this is privcmd and the structure is its `privcmd_hypercall`. Addresses in it are of buffers that are
        // exclusively borrowed and, with the arrays that they keep, outlive the call; a buffer's memory is only ever
        // copied, so no reference into it exists. Values are no addresses by this function's contract.
        let answer = unsafe { call(self.file.as_fd(), HYPERCALL, &mut argument) }?;
        // A result is positive here: the system call turned negative ones into errors.
        Ok(u64::from(answer.unsigned_abs()))
    }

    /// Makes a call of a device model for `domain` (`dm_op`); the buffers are read and written.
    ///
    /// # Errors
    /// The hypervisor's answer, or Linux's: `E2BIG` for more than 16 buffers, `EPERM` for a file that is restricted to
    /// another domain.
    pub fn dm_op(&self, domain: DomId, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        if buffers.len() > MAX_DM_BUFFERS {
            return Err(Errno::TOOBIG);
        }
        let list: Vec<DmBuffer> = buffers
            .iter_mut()
            .map(|buffer| DmBuffer { address: buffer.as_mut_ptr(), size: buffer.len() as u64 })
            .collect();
        let count = u16::try_from(list.len()).map_err(|_| Errno::TOOBIG)?;
        let mut argument = DmOp { domain, count, buffers: list.as_ptr() };
        // SAFETY: this is privcmd and the structure is its `privcmd_dm_op`; `list` has `count` entries, each of which
        // is a slice that is exclusively borrowed during the call, and any bytes are valid in it.
        unsafe { call(self.file.as_fd(), DM_OP, &mut argument) }?;
        Ok(())
    }

    /// Maps pages of another domain, by their frames (guest physical addresses without the low 12 bits).
    ///
    /// All or none: Linux can neither fill nor drop single pages of a mapping afterwards.
    ///
    /// # Errors
    /// The whole batch failed: `ENOMEM` if Linux has no room for so many pages at once, `EINVAL` for none.
    pub fn map_foreign(&self, domain: DomId, frames: &[Gfn]) -> Result<Batch, Errno> {
        let count = i32::try_from(frames.len()).map_err(|_| Errno::INVAL)?.unsigned_abs();
        let len = frames.len().checked_mul(PAGE_SIZE).filter(|&len| len > 0).ok_or(Errno::INVAL)?;
        let mapping = Mapping::of_file(self.file.as_fd(), len)?;
        let mut errors = vec![0i32; frames.len()];
        let mut argument = MmapBatch {
            count,
            domain,
            address: mapping.address(),
            frames: frames.as_ptr(),
            errors: errors.as_mut_ptr(),
        };
        // SAFETY: this is privcmd and the structure is its `privcmd_mmapbatch_v2`; both lists have `count` entries and
        // outlive the call, and the mapping is of this file, fresh, and of just as many pages.
        let answer = unsafe { call(self.file.as_fd(), MMAP_BATCH, &mut argument) };
        // With a page refused the mapping is dropped: an access to that page would be a fault of this process.
        let refused = refusals(&errors);
        match answer {
            Ok(_) if refused.is_empty() => Ok(Batch::Mapped(mapping)),
            // ENOENT says only that some page was answered so.
            Ok(_) | Err(Errno::NOENT) if !refused.is_empty() => Ok(Batch::Refused(refused)),
            Ok(_) => Err(Errno::IO),
            Err(error) => Err(error),
        }
    }

    /// Maps pages of an object that belongs to a domain (`XENMEM_acquire_resource`), from page `index` of object `id`.
    ///
    /// # Errors
    /// The hypervisor's answer, or Linux's.
    pub fn map_resource(
        &self,
        domain: DomId,
        kind: u32,
        id: u32,
        index: u32,
        pages: usize,
    ) -> Result<Mapping, Errno> {
        let len = pages.checked_mul(PAGE_SIZE).filter(|&len| len > 0).ok_or(Errno::INVAL)?;
        let mapping = Mapping::of_file(self.file.as_fd(), len)?;
        let mut argument =
            MmapResource { domain, kind, id, index, count: pages as u64, address: mapping.address() };
        // SAFETY: this is privcmd and the structure is its `privcmd_mmap_resource`; the mapping is of this file, fresh
        // and of just as many pages.
        unsafe { call(self.file.as_fd(), MMAP_RESOURCE, &mut argument) }?;
        Ok(mapping)
    }

    /// The number of pages of an object that belongs to a domain.
    ///
    /// # Errors
    /// The hypervisor's answer, or Linux's.
    pub fn resource_size(&self, domain: DomId, kind: u32, id: u32) -> Result<u64, Errno> {
        let mut argument = MmapResource { domain, kind, id, index: 0, count: 0, address: 0 };
        // SAFETY: this is privcmd and the structure is its `privcmd_mmap_resource`; without address and count the
        // driver only writes the count back into the structure.
        unsafe { call(self.file.as_fd(), MMAP_RESOURCE, &mut argument) }?;
        Ok(argument.count)
    }

    /// Limits the file to one domain, for good: no hypercalls any more, and foreign memory of that domain only.
    ///
    /// # Errors
    /// Linux's answer: `EINVAL` if it is limited to another one already.
    pub fn restrict(&self, domain: DomId) -> Result<(), Error> {
        let mut argument = domain;
        // SAFETY: this is privcmd, which takes a domain's number for this call.
        let answer = unsafe { call(self.file.as_fd(), RESTRICT, &mut argument) };
        answer.map(drop).map_err(|source| Error::domain(domain, "restrict privcmd to it", source))
    }
}

/// Does something that may wait for ever in the kernel; `None` if it takes longer than the limit. It goes on then.
fn within<T: Send + 'static>(limit: Duration, action: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // Nobody takes the result of an action that was given up.
    thread::spawn(move || sender.send(action()).ok());
    receiver.recv_timeout(limit).ok()
}

/// The pages of a batch that were refused. A number that is no error counts as `EIO`.
fn refusals(errors: &[i32]) -> Vec<(usize, Errno)> {
    let refused = errors.iter().enumerate().filter(|(_, error)| **error != 0);
    refused
        .map(|(index, &error)| {
            let known = error.checked_neg().filter(|error| (1..4096).contains(error));
            (index, known.map_or(Errno::IO, Errno::from_raw_os_error))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn numbers_are_those_of_linux() {
        assert_eq!(HYPERCALL, 0x30_5000);
        assert_eq!(MMAP_BATCH, 0x20_5004);
        assert_eq!(DM_OP, 0x10_5005);
        assert_eq!(RESTRICT, 0x02_5006);
        assert_eq!(MMAP_RESOURCE, 0x20_5007);
    }

    #[test]
    fn layouts_are_those_of_linux() {
        assert_eq!([offset_of!(Hypercall, op), offset_of!(Hypercall, arguments)], [0, 8]);
        assert_eq!(
            [
                offset_of!(MmapBatch, count),
                offset_of!(MmapBatch, domain),
                offset_of!(MmapBatch, address),
                offset_of!(MmapBatch, frames),
                offset_of!(MmapBatch, errors),
            ],
            [0, 4, 8, 16, 24]
        );
        assert_eq!([offset_of!(DmOp, domain), offset_of!(DmOp, count), offset_of!(DmOp, buffers)], [0, 2, 8]);
        assert_eq!([offset_of!(DmBuffer, address), offset_of!(DmBuffer, size)], [0, 8]);
        assert_eq!(
            [
                offset_of!(MmapResource, domain),
                offset_of!(MmapResource, kind),
                offset_of!(MmapResource, id),
                offset_of!(MmapResource, index),
                offset_of!(MmapResource, count),
                offset_of!(MmapResource, address),
            ],
            [0, 4, 8, 12, 16, 24]
        );
    }

    #[test]
    fn what_waits_for_ever_is_given_up() {
        let (keep, wait) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(10), move || wait.recv()), None);
        drop(keep);
        assert_eq!(within(Duration::from_secs(60), || 5), Some(5));
    }

    #[test]
    fn every_page_of_a_batch_is_looked_at() {
        assert_eq!(refusals(&[0, 0, 0]), []);
        assert_eq!(
            refusals(&[0, -22, 0, -1, 5, i32::MIN]),
            [(1, Errno::INVAL), (3, Errno::PERM), (4, Errno::IO), (5, Errno::IO)]
        );
    }
}
