//! A domain's memory: given, filled and mapped.

use std::sync::atomic::Ordering;

use backend::xen::privcmd::Batch;
use backend::xen::{Argument, Buffer, Mapping, PAGE_SIZE};
use rustix::io::Errno;
use vm_memory::Bytes;
use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{CacheFlush, Domctl, DomctlOp, VERSION_4_20};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{MemoryOp, Reservation};

use super::{Failed, RealXen};
use crate::xen::{DomainId, Error, Result};
use xenstore::page::SharedPage;

/// Pages that are mapped at once to be filled: Linux takes as many of its own for that.
const BATCH: usize = 2048;
/// Extents in one call: one page of frame numbers.
const EXTENTS: usize = 512;

impl RealXen {
    pub(super) fn populate_frames(&self, domain: DomainId, order: u32, frames: &[u64]) -> Result<usize> {
        let mut done = 0usize;
        for some in frames.chunks(EXTENTS) {
            let extents = self.populate_some(domain, order, some);
            let extents = extents.map_err(|failed| failed.of(domain, "give it memory"))?;
            done = done.saturating_add(extents);
            if extents < some.len() {
                break;
            }
        }
        Ok(done)
    }

    fn populate_some(
        &self,
        domain: DomainId,
        order: u32,
        frames: &[u64],
    ) -> std::result::Result<usize, Failed> {
        let argument = Reservation {
            nr_extents: frames.len() as u64,
            extent_order: order,
            domid: domain,
            ..Reservation::default()
        };
        let mut buffer = Buffer::of(&argument)?;
        buffer.link(std::mem::offset_of!(Reservation, extent_start), Buffer::of(frames)?)?;
        let op = Argument::Value(MemoryOp::PopulatePhysmap.number().into());
        let done =
            self.privcmd.hypercall(Hypercall::MemoryOp.number(), &mut [op, Argument::Buffer(&mut buffer)])?;
        Ok(usize::try_from(done).unwrap_or(0))
    }

    pub(super) fn copy_in(&self, domain: DomainId, frame: u64, bytes: &[u8]) -> Result<()> {
        let mut first = frame;
        for piece in bytes.chunks(BATCH * PAGE_SIZE) {
            let pages = piece.len().div_ceil(PAGE_SIZE) as u64;
            let end = first.checked_add(pages).ok_or_else(|| Error::Unfit("frames past the end".into()))?;
            let frames: Vec<u64> = (first..end).collect();
            let mapping = self.map_frames(domain, &frames)?;
            let copied = mapping.slice().write_slice(piece, 0);
            copied.map_err(|_| Error::Unfit("a mapping smaller than what it was made for".into()))?;
            drop(mapping);
            self.flush(domain, first, pages)?;
            first = end;
        }
        Ok(())
    }

    /// Writes frames back from the caches: the guest begins with its own turned off.
    fn flush(&self, domain: DomainId, first: u64, pages: u64) -> Result<()> {
        let call = Domctl {
            cmd: DomctlOp::CacheFlush.number(),
            interface_version: VERSION_4_20,
            domain,
            pad: [0; 3],
            payload: Payload::of(&CacheFlush { start_pfn: first, nr_pfns: pages }),
        };
        let flush = || -> std::result::Result<(), Failed> {
            let mut buffer = Buffer::of(&call)?;
            self.privcmd.hypercall(Hypercall::Domctl.number(), &mut [Argument::Buffer(&mut buffer)])?;
            Ok(())
        };
        flush().map_err(|failed| failed.of(domain, "write its memory back from the caches"))
    }

    fn map_frames(&self, domain: DomainId, frames: &[u64]) -> Result<Mapping> {
        let page = |index: usize, source: Errno| Error::Page {
            domain,
            frame: frames.get(index).copied().unwrap_or(0),
            source,
            advice: "",
        };
        match self.privcmd.map_foreign(domain, frames) {
            Ok(Batch::Mapped(mapping)) => Ok(mapping),
            Ok(Batch::Refused(refused)) => {
                let &(index, source) = refused.first().unwrap_or(&(0, Errno::IO));
                Err(page(index, source))
            }
            Err(source) => Err(page(0, source)),
        }
    }

    pub(super) fn map_page(&self, domain: DomainId, frame: u64) -> Result<Box<dyn SharedPage>> {
        Ok(Box::new(MappedPage(self.map_frames(domain, &[frame])?)))
    }
}

/// A page of a domain. An offset outside of it, which no caller has, reads as zero.
#[derive(Debug)]
struct MappedPage(Mapping);

impl SharedPage for MappedPage {
    fn load(&self, offset: usize) -> u32 {
        self.0.slice().load(offset, Ordering::SeqCst).unwrap_or(0)
    }

    fn store(&self, offset: usize, value: u32) {
        let _ = self.0.slice().store(value, offset, Ordering::SeqCst);
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        let _ = self.0.slice().read_slice(bytes, offset);
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        let _ = self.0.slice().write_slice(bytes, offset);
    }
}
