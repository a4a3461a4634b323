//! When stale translations have to go, and what must wait until they are gone.
//!
//! Adding a mapping where there was none flushes nothing, because the TLB holds no faulting translations. Removing
//! gathers addresses; they are flushed together, each on its own while there are few, the domain's whole TLB when
//! there are many.

use arrayvec::ArrayVec;

use super::TablePool;
use crate::descriptor::Descriptor;
use crate::table::{Level, TableList, TablePage};
use xenolith_core::types::{Gfn, Ipa, Mfn};

/// What tells the TLB entries of one guest from another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vmid(pub u16);

/// The tables that the hardware walks for a domain, and the mark of its TLB entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressSpace {
    /// Where its walks begin.
    pub root: Mfn,
    /// What its TLB entries are marked with.
    pub vmid: Vmid,
}

/// Up to this many leaves are flushed one by one. Each costs a broadcast to all CPUs, and the guest pays for walks that
/// the other way would repeat.
pub const FLUSH_BY_ADDRESS: usize = 16;

/// Which levels of a walk a flush concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Only leaves changed.
    Leaves,
    /// Tables were unlinked too.
    AllLevels,
}

/// What walks the tables of stage 2 and keeps what it found.
///
/// An implementation orders earlier table writes before a flush, reaches all CPUs with it, also drops translations that
/// combine both stages, and returns when all CPUs are done.
pub trait Tlb {
    /// The format that it reads.
    type Format: Descriptor;

    /// Makes new descriptors visible to table walks. Nothing is flushed.
    fn publish(&self);
    /// Flushes what the TLBs hold for these addresses. One address inside a block stands for all of the block.
    fn flush_addresses(&self, space: AddressSpace, addresses: &[Ipa], depth: Depth);
    /// Flushes all that the TLBs hold for the domain.
    fn flush_all(&self, space: AddressSpace);
}

impl<T: Tlb + ?Sized> Tlb for &T {
    type Format = T::Format;

    fn publish(&self) {
        (**self).publish();
    }

    fn flush_addresses(&self, space: AddressSpace, addresses: &[Ipa], depth: Depth) {
        (**self).flush_addresses(space, addresses, depth);
    }

    fn flush_all(&self, space: AddressSpace) {
        (**self).flush_all(space);
    }
}

/// What was taken out of the tables and may still be in a TLB.
#[derive(Default)]
pub(super) struct Stale {
    addresses: ArrayVec<Ipa, FLUSH_BY_ADDRESS>,
    many: bool,
    tables: TableList,
}

impl Stale {
    /// Notes a leaf that was taken out.
    pub fn leaf(&mut self, first: u64) {
        // Beyond the limit addresses are not kept: all of the domain is flushed then.
        self.many |= self.addresses.try_push(Gfn(first).base()).is_err();
    }

    /// Notes a table that was unlinked from the slot that begins at frame `first` of a table of `level`, and keeps its
    /// frame.
    pub fn table(&mut self, first: u64, level: Level, page: TablePage) {
        self.tables.push(page);
        // A leaf that was taken out below the table flushes the way to it as well.
        let reach = first..first.saturating_add(level.slot_pages());
        if !self.addresses.last().is_some_and(|address| reach.contains(&address.frame().0)) {
            self.leaf(first);
        }
    }

    /// Flushes what there is, if anything. Only then do the frames of unlinked tables go back.
    pub fn flush(&mut self, space: AddressSpace, tlb: &impl Tlb, pool: &mut impl TablePool) {
        // No table is noted without an address.
        if self.addresses.is_empty() && !self.many {
            return;
        }
        if self.many {
            tlb.flush_all(space);
        } else {
            let depth = if self.tables.is_empty() { Depth::Leaves } else { Depth::AllLevels };
            tlb.flush_addresses(space, &self.addresses, depth);
        }
        self.addresses.clear();
        self.many = false;
        // No walk leads to them any more: they may become tables of something else.
        while let Some(page) = self.tables.pop() {
            pool.give(page);
        }
    }
}
