//! How stretches of frames are mapped: in the largest batches that Linux takes, around the pages that are refused.

use std::sync::Arc;

use rustix::io::Errno;
use vm_memory::{Address, GuestMemoryRegion};

use super::Foreign;
use crate::xen::PAGE_SIZE;
use crate::xen::privcmd::Batch;
use crate::{Bank, Region};

/// Pages of a batch at most: 128 MiB, the unit in which Linux finds room for other domains' pages.
pub(super) const BATCH_PAGES: u64 = 32768;
/// A batch that Linux has no room for is halved down to this.
const SMALLEST_HALF: u64 = 512;
/// How often a stretch is tried again around refused pages. The guest may give up pages meanwhile, but not for ever.
const TRIES: u32 = 8;
/// Linux gives a process about 65,000 mappings; a guest that gives up every second page must not use them up.
const MAX_REGIONS: usize = 16384;

const PAGE: u64 = PAGE_SIZE as u64;

/// What came of mapping.
#[derive(Default)]
pub(super) struct Mapped {
    /// What is mapped, in no order.
    pub(super) regions: Vec<Arc<Region>>,
    /// What is not, in order.
    pub(super) holes: Vec<Bank>,
    /// The first frame that was refused, and why.
    pub(super) first_error: Option<(u64, Errno)>,
}

/// Frames to be mapped.
struct Stretch {
    first: u64,
    count: u64,
    tries: u32,
}

/// Whether a bank begins and ends on a page, below the end of the address space.
pub(super) fn is_whole_pages(bank: &Bank) -> bool {
    bank.base.is_multiple_of(PAGE)
        && bank.size.is_multiple_of(PAGE)
        && bank.size > 0
        && bank.base.checked_add(bank.size).is_some()
}

/// A region's first address.
pub(super) fn start(region: &Region) -> u64 {
    region.start_addr().raw_value()
}

/// Maps all of the banks that can be mapped.
pub(super) fn map_all(source: &dyn Foreign, domain: u16, banks: &[Bank]) -> Mapped {
    let mut mapped = Mapped::default();
    let mut left: Vec<Stretch> = banks
        .iter()
        .map(|bank| Stretch { first: bank.base / PAGE, count: bank.size / PAGE, tries: 0 })
        .collect();
    while let Some(stretch) = left.pop() {
        if stretch.count > BATCH_PAGES {
            stretch.split(BATCH_PAGES, &mut left);
            continue;
        }
        if mapped.regions.len() >= MAX_REGIONS || stretch.tries > TRIES {
            mapped.refuse(stretch.first, stretch.count, Errno::NOMEM);
            continue;
        }
        let frames: Vec<u64> = (stretch.first..stretch.first + stretch.count).collect();
        match source.map(domain, &frames) {
            Ok(Batch::Mapped(mapping)) => {
                let whole = u64::try_from(mapping.len()) == Ok(stretch.count * PAGE);
                let region = Some(mapping).filter(|_| whole);
                match region.and_then(|mapping| Region::new(stretch.first * PAGE, mapping)) {
                    Some(region) => mapped.regions.push(Arc::new(region)),
                    None => mapped.refuse(stretch.first, stretch.count, Errno::IO),
                }
            }
            Ok(Batch::Refused(pages)) => stretch.go_around(&pages, &mut mapped, &mut left),
            Err(Errno::NOMEM) if stretch.count > SMALLEST_HALF => {
                stretch.split(stretch.count / 2, &mut left);
            }
            Err(error) => mapped.refuse(stretch.first, stretch.count, error),
        }
    }
    mapped.tidy();
    mapped
}

impl Stretch {
    /// Puts both parts back, the first `count` frames and the rest.
    fn split(&self, count: u64, left: &mut Vec<Stretch>) {
        let rest = self.count.saturating_sub(count);
        left.push(Stretch { first: self.first.saturating_add(count), count: rest, tries: self.tries });
        left.push(Stretch { first: self.first, count, tries: self.tries });
    }

    /// Makes holes of refused pages, and puts back the stretches between them. `pages` is in order.
    fn go_around(&self, pages: &[(usize, Errno)], mapped: &mut Mapped, left: &mut Vec<Stretch>) {
        let end = self.first.saturating_add(self.count);
        let mut next = self.first;
        for &(index, error) in pages {
            let frame = self.first.saturating_add(index as u64).min(end);
            mapped.refuse(frame, 1, error);
            self.put_back(next, frame, left);
            next = frame.saturating_add(1);
        }
        self.put_back(next, end, left);
    }

    fn put_back(&self, first: u64, end: u64, left: &mut Vec<Stretch>) {
        let count = end.saturating_sub(first);
        if count > 0 {
            left.push(Stretch { first, count, tries: self.tries.saturating_add(1) });
        }
    }
}

impl Mapped {
    fn refuse(&mut self, first: u64, count: u64, error: Errno) {
        if self.first_error.is_none_or(|(frame, _)| first < frame) {
            self.first_error = Some((first, error));
        }
        self.holes.push(Bank { base: first.saturating_mul(PAGE), size: count.saturating_mul(PAGE) });
    }

    /// Puts the holes in order, neighbours as one.
    fn tidy(&mut self) {
        self.holes.sort_by_key(|hole| hole.base);
        self.holes.dedup_by(|next, hole| {
            let joins = hole.base.saturating_add(hole.size) == next.base;
            if joins {
                hole.size = hole.size.saturating_add(next.size);
            }
            joins
        });
    }
}
