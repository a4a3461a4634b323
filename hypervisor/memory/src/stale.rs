//! Pages that have left a guest's memory, of which device models are to drop their mappings.
//!
//! Principle: what is kept is small, whatever the guest gives up in one call, and never names less than what has left: the
//! first and the last page, and the classes ([`stale_class`]) of those between them. So a single page costs a device model
//! the 2 MiB around it, and a few pages far apart cost little more.

use xenolith_abi::ioreq::{ALL_STALE, stale_class};
use xenolith_core::types::{Gfn, PAGE_SIZE};

/// Pages that have left, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StalePages {
    first: u64,
    last: u64,
    classes: u64,
}

impl StalePages {
    /// One page.
    pub const fn page(gfn: Gfn) -> Self {
        StalePages { first: gfn.0, last: gfn.0, classes: stale_class(gfn.0.saturating_mul(PAGE_SIZE)) }
    }

    /// So many pages in a row.
    pub fn run(first: Gfn, pages: u64) -> Self {
        let others = (1..pages).map(|page| Self::page(Gfn(first.0.saturating_add(page))));
        others.fold(Self::page(first), Self::and)
    }

    /// These, and others.
    #[must_use]
    pub fn and(self, other: StalePages) -> Self {
        StalePages {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            classes: self.classes | other.classes,
        }
    }

    /// Where the first one was.
    pub fn address(&self) -> u64 {
        self.first.saturating_mul(PAGE_SIZE)
    }

    /// The pages from the first to the last one; 0 if the slot has no room for their number.
    pub fn count(&self) -> u32 {
        let count = self.last.saturating_sub(self.first).saturating_add(1);
        u32::try_from(count).unwrap_or(0)
    }

    /// What an invalidation says: the classes, or everything, where a range cannot be said.
    pub fn data(&self) -> u64 {
        if self.count() == 0 { ALL_STALE } else { self.classes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_is_told_as_it_is() {
        let page = StalePages::page(Gfn(0x4_0203));
        assert_eq!((page.address(), page.count(), page.data()), (0x4020_3000, 1, 1 << 1));
    }

    #[test]
    fn what_is_too_far_apart_is_everything() {
        let far = StalePages::page(Gfn(0)).and(StalePages::page(Gfn(u64::from(u32::MAX))));
        assert_eq!((far.count(), far.data()), (0, ALL_STALE));
    }

    proptest! {
        #[test]
        fn no_page_is_left_out(pages in prop::collection::vec(0..1u64 << 28, 1..20)) {
            let mut stale = StalePages::page(Gfn(pages[0]));
            for page in &pages {
                stale = stale.and(StalePages::page(Gfn(*page)));
            }
            for page in pages {
                let address = page * PAGE_SIZE;
                let range = stale.address()..stale.address() + u64::from(stale.count()) * PAGE_SIZE;
                prop_assert!(range.contains(&address) && stale.data() & stale_class(address) != 0);
            }
        }
    }
}
