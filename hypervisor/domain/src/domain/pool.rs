//! The paging pool of a domain: the pages that the tables of its p2m are made of, set aside for it alone. A domain that has its
//! memory split into single pages, or mapped at scattered addresses, uses up no table of another (Xen's advisory 409).

use xenolith_abi::Errno;

use xenolith_core::types::{PAGE_SHIFT, PAGE_SIZE};

use super::{Domain, DomainRef};
use crate::parts::progress::Progress;

impl Domain {
    /// The size of the paging pool in bytes, tables in use included (`XEN_DOMCTL_get_paging_mempool_size`).
    pub fn paging_pool(&self) -> u64 {
        self.memory.lock().pool_pages() << PAGE_SHIFT
    }
}

impl DomainRef<'_> {
    /// Sets the size of the paging pool in bytes (`XEN_DOMCTL_set_paging_mempool_size`), and changes it by `budget` pages at
    /// most. [`Progress::Again`]: it has not that size yet; a hypercall continuation with the same size does the rest.
    ///
    /// `EINVAL`: not a multiple of 4096 bytes, or the domain is dying. `ENOMEM`: no memory, or more pages are in use as
    /// tables than are to be left; what was done before stays.
    pub fn set_paging_pool(self, bytes: u64, budget: u32) -> Result<Progress, Errno> {
        if !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let wanted = bytes >> PAGE_SHIFT;
        for _ in 0..budget {
            // For each page anew: a guest whose vCPUs fault meanwhile waits for one page, and not for all.
            let mut memory = self.memory.lock();
            if memory.closed {
                return Err(Errno::EINVAL);
            }
            let pages = memory.pool_pages();
            if pages == wanted {
                return Ok(Progress::Done);
            }
            if pages < wanted {
                let table = self.hv.frames.alloc_table(self.id).ok_or(Errno::ENOMEM)?;
                memory.p2m.pool_mut().push(table);
            } else {
                // Only those that hold no table can go: what is mapped stays mapped.
                let table = memory.p2m.pool_mut().pop().ok_or(Errno::ENOMEM)?;
                self.hv.free_table(table, self.id);
            }
        }
        let is_done = self.memory.lock().pool_pages() == wanted;
        Ok(if is_done { Progress::Done } else { Progress::Again })
    }
}
