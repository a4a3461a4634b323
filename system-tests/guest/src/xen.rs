//! Linux's device files of Xen: the ioctls of privcmd, evtchn, gntdev and gntalloc (include/uapi/xen), each
//! as a function.

#![expect(unsafe_code, reason = "ioctls: each structure has the size and layout that its number promises")]

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use xenolith_abi::DomId;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, ioctl, opcode};

use crate::pages::Pages;

/// This domain, to itself.
pub const DOMID_SELF: u16 = 0x7ff0;
/// The first domain.
pub const DOM0: DomId = DomId::CONTROL;

/// Opens a device file of Xen for reading and writing.
pub fn open(name: &str) -> Result<File> {
    let path = format!("/dev/xen/{name}");
    OpenOptions::new().read(true).write(true).open(&path).with_context(|| path)
}

/// An ioctl on a structure that the kernel reads and writes, with the kernel's non-negative answer.
struct Call<'a, T, const OPCODE: Opcode>(&'a mut T);

// SAFETY: the pointer is to the one structure that the opcode of each caller below means, which lives through
// the call; IS_MUTATING tells rustix that the kernel writes it.
unsafe impl<T, const OPCODE: Opcode> Ioctl for Call<'_, T, OPCODE> {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<IoctlOutput> {
        Ok(out)
    }
}

/// The number of an ioctl: Xen's declare no direction, only the size of their structure.
const fn number(group: u8, number: u8, size: usize) -> Opcode {
    opcode::from_components(Direction::None, group, number, size)
}

fn call<T, const OPCODE: Opcode>(device: impl AsFd, argument: &mut T) -> Result<u32, Errno> {
    // SAFETY: `Call` passes a valid structure; pointers inside it are the callers' concern, and the kernel
    // and the hypervisor answer a bad one by an error.
    let answer = unsafe { ioctl(device, Call::<'_, T, OPCODE>(argument)) }?;
    Ok(u32::try_from(answer).unwrap_or(u32::MAX))
}

#[repr(C)]
struct Hypercall {
    op: u64,
    args: [u64; 5],
}

/// Makes the hypercall `op` on behalf of this process. Pointers among the arguments are this process's.
pub fn hypercall(privcmd: &File, op: u64, args: [u64; 5]) -> Result<u32, Errno> {
    call::<_, { number(b'P', 0, 48) }>(privcmd, &mut Hypercall { op, args })
}

/// Binds a virtual interrupt; returns the port.
pub fn bind_virq(evtchn: &File, virq: u32) -> Result<u32, Errno> {
    call::<_, { number(b'E', 0, 4) }>(evtchn, &mut [virq])
}

/// Binds to a port that `domain` offers; returns the local port.
pub fn bind_interdomain(evtchn: &File, domain: DomId, port: u32) -> Result<u32, Errno> {
    call::<_, { number(b'E', 1, 8) }>(evtchn, &mut [u32::from(domain.0), port])
}

/// Allocates a port that `domain` may bind to.
pub fn bind_unbound_port(evtchn: &File, domain: DomId) -> Result<u32, Errno> {
    call::<_, { number(b'E', 2, 4) }>(evtchn, &mut [u32::from(domain.0)])
}

/// Binds a port that was connected before this domain started. It stays open when the file is closed.
pub fn bind_static(evtchn: &File, port: u32) -> Result<(), Errno> {
    call::<_, { number(b'E', 7, 4) }>(evtchn, &mut [port]).map(drop)
}

/// Closes a port of this file.
pub fn unbind(evtchn: &File, port: u32) -> Result<(), Errno> {
    call::<_, { number(b'E', 3, 4) }>(evtchn, &mut [port]).map(drop)
}

/// Notifies the other end of a port of this file.
pub fn notify(evtchn: &File, port: u32) -> Result<(), Errno> {
    call::<_, { number(b'E', 4, 4) }>(evtchn, &mut [port]).map(drop)
}

/// The most grants that one call of ours makes or maps.
pub const MOST: usize = 64;

#[repr(C)]
struct AllocGrefs {
    domid: DomId,
    flags: u16,
    count: u32,
    index: u64,
    refs: [u32; MOST],
}

#[repr(C)]
struct DeallocGrefs {
    index: u64,
    count: u32,
}

/// Pages of ours that are granted to a domain, mapped here; the grants end with the value.
pub struct Granted<'a> {
    gntalloc: &'a File,
    index: u64,
    /// Their references.
    pub refs: Vec<u32>,
    /// Their content.
    pub pages: Pages,
}

impl<'a> Granted<'a> {
    /// Grants `count` fresh pages to `domain`.
    pub fn new(gntalloc: &'a File, domain: DomId, count: usize, writable: bool) -> Result<Self> {
        assert!(count <= MOST);
        let narrow = u32::try_from(count)?;
        let mut grefs = AllocGrefs {
            domid: domain,
            flags: u16::from(writable),
            count: narrow,
            index: 0,
            refs: [0; MOST],
        };
        call::<_, { number(b'G', 5, 24) }>(gntalloc, &mut grefs).context("allocating grants")?;
        let pages = Pages::of_device(gntalloc, grefs.index, count, true).context("mapping own pages")?;
        Ok(Self { gntalloc, index: grefs.index, refs: grefs.refs[..count].to_vec(), pages })
    }
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        let count = u32::try_from(self.refs.len()).unwrap_or(0);
        let mut grefs = DeallocGrefs { index: self.index, count };
        call::<_, { number(b'G', 6, 16) }>(self.gntalloc, &mut grefs).expect("own grants can be ended");
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Gref {
    domid: u32,
    reference: u32,
}

#[repr(C)]
struct MapGrefs {
    count: u32,
    pad: u32,
    index: u64,
    refs: [Gref; MOST],
}

#[repr(C)]
struct UnmapGrefs {
    index: u64,
    count: u32,
    pad: u32,
}

/// Grants that gntdev holds for mapping; they are let go with the value.
pub struct Foreign<'a> {
    gntdev: &'a File,
    index: u64,
    count: usize,
}

impl<'a> Foreign<'a> {
    /// Names the grants `refs` of `domain` to gntdev. Whether they are good shows when they are mapped.
    pub fn new(gntdev: &'a File, domain: DomId, refs: &[u32]) -> Result<Self> {
        assert!(refs.len() <= MOST);
        let mut grefs = [Gref { domid: u32::from(domain.0), reference: 0 }; MOST];
        for (gref, &reference) in grefs.iter_mut().zip(refs) {
            gref.reference = reference;
        }
        let mut map = MapGrefs { count: u32::try_from(refs.len())?, pad: 0, index: 0, refs: grefs };
        call::<_, { number(b'G', 0, 24) }>(gntdev, &mut map).context("naming grants to gntdev")?;
        Ok(Self { gntdev, index: map.index, count: refs.len() })
    }

    /// Maps them.
    pub fn map(&self, writable: bool) -> Result<Pages> {
        Pages::of_device(self.gntdev, self.index, self.count, writable)
    }
}

impl Drop for Foreign<'_> {
    fn drop(&mut self) {
        let count = u32::try_from(self.count).unwrap_or(0);
        let mut unmap = UnmapGrefs { index: self.index, count, pad: 0 };
        call::<_, { number(b'G', 1, 16) }>(self.gntdev, &mut unmap).expect("named grants can be let go");
    }
}

/// One side of a grant copy.
#[derive(Clone, Copy)]
pub enum Side {
    /// An address of this process.
    Own(u64),
    /// A place in a granted page.
    Grant {
        /// Who granted it.
        domain: DomId,
        /// The reference.
        reference: u32,
        /// Bytes from the start of the page.
        offset: u16,
    },
}

#[repr(C)]
struct CopySegment {
    source: u64,
    dest: u64,
    len: u16,
    flags: u16,
    status: i16,
}

#[repr(C)]
struct GrantCopy {
    count: u32,
    segments: u64,
}

impl Side {
    /// The word in which gntdev takes a side: a pointer, or reference, offset and domain.
    fn encode(self) -> u64 {
        match self {
            Self::Own(address) => address,
            Self::Grant { domain, reference, offset } => {
                u64::from(reference) | u64::from(offset) << 32 | u64::from(domain.0) << 48
            }
        }
    }

    fn is_grant(self) -> bool {
        matches!(self, Self::Grant { .. })
    }
}

/// Copies `len` bytes by GNTTABOP_copy; returns the grant status, 0 for success.
pub fn grant_copy(gntdev: &File, source: Side, dest: Side, len: u16) -> Result<i16, Errno> {
    let flags = u16::from(source.is_grant()) | u16::from(dest.is_grant()) << 1;
    let mut segment = CopySegment { source: source.encode(), dest: dest.encode(), len, flags, status: 0 };
    let mut copy =
        GrantCopy { count: 1, segments: std::ptr::from_mut(&mut segment).expose_provenance() as u64 };
    call::<_, { number(b'G', 8, 16) }>(gntdev, &mut copy)?;
    Ok(segment.status)
}
