//! Where a domain's table frames come from.

use crate::table::{TableList, TablePage};

/// The frames that one domain may use for tables. An empty pool is an error of the call that needed a table, and of no
/// other domain (Xen's advisory 409).
pub trait TablePool {
    /// Takes a frame.
    fn take(&mut self) -> Option<TablePage>;
    /// Puts a frame back, after no TLB leads to it any more.
    fn give(&mut self, page: TablePage);
}

/// A pool that was filled beforehand (`XEN_DOMCTL_set_paging_mempool_size`).
impl TablePool for TableList {
    fn take(&mut self) -> Option<TablePage> {
        self.pop()
    }

    fn give(&mut self, page: TablePage) {
        self.push(page);
    }
}

/// Takes `number` frames, or none at all.
pub(super) fn take_all(pool: &mut impl TablePool, number: u64) -> Option<TableList> {
    let mut taken = TableList::default();
    while taken.len() < number {
        let Some(page) = pool.take() else {
            give_all(pool, taken);
            return None;
        };
        taken.push(page);
    }
    Some(taken)
}

/// Puts frames back that were never linked.
pub(super) fn give_all(pool: &mut impl TablePool, mut pages: TableList) {
    while let Some(page) = pages.pop() {
        pool.give(page);
    }
}
