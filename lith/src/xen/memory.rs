//! A domain's memory: given, filled and mapped.

use std::sync::atomic::Ordering;

use backend::xen::privcmd::Batch;
use backend::xen::{Argument, Buffer, Mapping, PAGE_SIZE};
use rustix::io::Errno;
use vm_memory::Bytes;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{MemoryOp, Reservation};
use xenolith_abi::{DomId, Gfn};
use xenstore::page::SharedPage;

use super::real::{Failed, RealXen};
use super::{Control, Domains, Error, Result};

/// Pages that are mapped at once to be filled: Linux takes as many of its own for that.
const BATCH: usize = 2048;
/// Extents in one call: one page of frame numbers.
const EXTENTS: usize = 512;

/// The calls about a domain's memory.
pub trait Memory {
    /// Puts fresh memory at frames, 2^`order` pages at each; returns at how many of them, from the first on.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn populate(&self, domain: DomId, order: u32, frames: &[Gfn]) -> Result<usize>;

    /// Copies bytes into a domain's memory, from the start of a frame on, and writes them back from the caches.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn load(&self, domain: DomId, frame: Gfn, bytes: &[u8]) -> Result<()>;

    /// Maps a page of a domain.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn map(&self, domain: DomId, frame: Gfn) -> Result<Box<dyn SharedPage>>;
}

impl Memory for RealXen {
    fn populate(&self, domain: DomId, order: u32, frames: &[Gfn]) -> Result<usize> {
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

    fn load(&self, domain: DomId, frame: Gfn, bytes: &[u8]) -> Result<()> {
        let mut first = frame;
        for piece in bytes.chunks(BATCH * PAGE_SIZE) {
            let pages = piece.len().div_ceil(PAGE_SIZE) as u64;
            let end = first.0.checked_add(pages).ok_or_else(|| Error::Unfit("frames past the end".into()))?;
            let frames: Vec<Gfn> = (first.0..end).map(Gfn).collect();
            let mapping = self.map_frames(domain, &frames)?;
            let copied = mapping.slice().write_slice(piece, 0);
            copied.map_err(|_| Error::Unfit("a mapping smaller than what it was made for".into()))?;
            drop(mapping);
            // The guest begins with its own caches turned off.
            self.control(domain, Control::CacheFlush(first, pages))?;
            first = Gfn(end);
        }
        Ok(())
    }

    fn map(&self, domain: DomId, frame: Gfn) -> Result<Box<dyn SharedPage>> {
        Ok(Box::new(MappedPage(self.map_frames(domain, &[frame])?)))
    }
}

impl RealXen {
    fn populate_some(&self, domain: DomId, order: u32, frames: &[Gfn]) -> std::result::Result<usize, Failed> {
        let argument = |extent_start| Reservation {
            extent_start,
            nr_extents: frames.len() as u64,
            extent_order: order,
            domid: domain,
            ..Reservation::default()
        };
        let mut buffer = Buffer::with_array(frames, argument)?;
        let op = Argument::Value(MemoryOp::PopulatePhysmap.number().into());
        let done =
            self.privcmd.hypercall(Hypercall::MemoryOp.number(), &mut [op, Argument::Buffer(&mut buffer)])?;
        Ok(usize::try_from(done).unwrap_or(0))
    }

    fn map_frames(&self, domain: DomId, frames: &[Gfn]) -> Result<Mapping> {
        let page = |index: usize, source: Errno| Error::Page {
            domain,
            frame: frames.get(index).copied().unwrap_or_default(),
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
