//! Pages of stage-2 descriptors, and how one leads to the next.
//!
//! A table is owned by exactly one slot of another table, or by whoever holds its token. Only [`TableMut::link`] makes
//! a descriptor that leads on, out of a token, and only [`View::child`] and [`TableMut::unlink`] follow one. So walking
//! needs no trust in what the bits say, and a table that is still linked cannot be freed. What the bits are is the
//! [`Descriptor`]'s.

use core::marker::PhantomData;

use crate::descriptor::Descriptor;
use crate::map_kind::MapKind;
use crate::page::Page;
use xenolith_core::bug;
use xenolith_core::types::{Mfn, PAGE_SIZE, Pa};

mod list;
mod root;

pub use list::TableList;
pub use root::{Root, RootPages};

/// Descriptors in a table with a granule of 4 KiB.
pub const ENTRIES: usize = 512;
/// Address bits that one level resolves.
pub const BITS_PER_LEVEL: u32 = 9;

/// A frame for a table, held by nobody else. Not linked anywhere; its content means nothing yet.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct TablePage(Page);

impl TablePage {
    /// Wraps a frame.
    ///
    /// # Safety
    /// As for [`Page::new`], for as long as the token or a table made of it exists; and nothing else reads or writes
    /// the frame in that time, except the hardware's table walk.
    pub unsafe fn new(mfn: Mfn) -> Self {
        // SAFETY: the caller's promise includes that of `Page::new`.
        TablePage(unsafe { Page::new(mfn) })
    }

    /// The frame.
    pub fn mfn(&self) -> Mfn {
        self.0.mfn()
    }
}

/// The level of a table in the walk, 0 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// A slot leads to 512 GiB.
    pub const L0: Level = Level(0);
    /// A slot is 1 GiB.
    pub const L1: Level = Level(1);
    /// A slot is 2 MiB.
    pub const L2: Level = Level(2);
    /// A slot is 4 KiB.
    pub const L3: Level = Level(3);

    /// The level below; none below level 3.
    pub const fn next(self) -> Option<Level> {
        if self.0 < 3 { Some(Level(self.0 + 1)) } else { None }
    }

    /// log2 of the pages in the reach of one slot.
    pub const fn order(self) -> u32 {
        BITS_PER_LEVEL * (3 - self.0 as u32)
    }

    /// Pages in the reach of one slot.
    pub const fn slot_pages(self) -> u64 {
        1 << self.order()
    }

    /// Whether a slot can be a leaf. No architecture has blocks of 512 GiB with this granule.
    pub const fn has_leaves(self) -> bool {
        self.0 > 0
    }

    /// Which slot leads to a frame number.
    pub const fn index(self, frame: u64) -> Index {
        Index((frame >> self.order()) as u16 & (ENTRIES as u16 - 1))
    }

    /// Whether its slots lead no further.
    pub const fn is_last(self) -> bool {
        self.0 == 3
    }

    /// The number, as a TLB maintenance hint or a register field needs it.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A slot of a table: below [`ENTRIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Index(u16);

impl Index {
    /// All slots of a table, in order.
    pub fn all() -> impl Iterator<Item = Index> {
        (0..ENTRIES as u16).map(Index)
    }

    /// Whether it is a table's last slot.
    pub const fn is_last(self) -> bool {
        self.0 == ENTRIES as u16 - 1
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableSlot {
    /// Nothing: the walk ends in a fault.
    Empty,
    /// A block or page.
    Leaf(Leaf),
    /// Another table.
    Table,
}

/// The machine frames that a block or page maps, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The first frame.
    pub mfn: Mfn,
    /// What it is to the domain.
    pub kind: MapKind,
}

/// The bits of a leaf's descriptor that are neither address nor attributes.
const fn leaf_bits<D: Descriptor>(level: Level) -> u64 {
    if level.is_last() { D::PAGE } else { D::BLOCK }
}

/// Whether a word leads to another table.
const fn is_table<D: Descriptor>(level: Level, word: u64) -> bool {
    const {
        assert!(
            D::ADDRESS & (PAGE_SIZE - 1) == 0 && D::VALID & D::ADDRESS == 0 && D::TABLE & D::ADDRESS == 0
        );
        assert!(D::TABLE & D::VALID != 0);
    }
    !level.is_last() && word & D::VALID != 0 && word & D::TABLE_MASK == D::TABLE & D::TABLE_MASK
}

/// What a word of a table of `level` says.
#[inline(always)]
fn decode<D: Descriptor>(level: Level, word: u64) -> TableSlot {
    if word & D::VALID == 0 {
        TableSlot::Empty
    } else if is_table::<D>(level, word) {
        TableSlot::Table
    } else {
        TableSlot::Leaf(Leaf { mfn: Pa(word & D::ADDRESS).frame(), kind: D::kind(word) })
    }
}

/// A table that can be read for as long as the borrow lasts.
pub struct View<'a, D> {
    page: Page,
    level: Level,
    linked: PhantomData<(&'a (), D)>,
}

impl<D> Clone for View<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for View<'_, D> {}

impl<'a, D: Descriptor> View<'a, D> {
    fn load(self, index: Index) -> u64 {
        // An index is below 512, so the word exists.
        self.page.word64(usize::from(index.0) * 8).map_or(0, |word| word.load())
    }

    /// Which step of the walk this is.
    pub fn level(self) -> Level {
        self.level
    }

    /// What the slot holds.
    #[inline]
    pub fn slot(self, index: Index) -> TableSlot {
        decode::<D>(self.level, self.load(index))
    }

    /// The table that the slot leads to, if it holds one.
    #[inline]
    pub fn child(self, index: Index) -> Option<View<'a, D>> {
        let word = self.load(index);
        if !is_table::<D>(self.level, word) {
            return None;
        }
        let mfn = Pa(word & D::ADDRESS).frame();
        // SAFETY: only `link` writes such a word, from a token that it consumed, and `set` none. The frame is a table for as
        // long as it is linked, and unlinking it needs this table to be borrowed for writing, which `'a` excludes.
        let page = unsafe { Page::new(mfn) };
        Some(View { page, level: self.level.next()?, linked: PhantomData })
    }

    /// Whether no slot holds anything.
    pub fn is_empty(self) -> bool {
        Index::all().all(|index| self.slot(index) == TableSlot::Empty)
    }
}

/// A table that can be changed for as long as the borrow lasts.
pub struct TableMut<'a, D>(View<'a, D>);

impl<D: Descriptor> TableMut<'_, D> {
    /// The same table, to read.
    pub fn view(&self) -> View<'_, D> {
        self.0
    }

    /// The table that the slot leads to, if it holds one.
    pub fn child(&mut self, index: Index) -> Option<TableMut<'_, D>> {
        self.0.child(index).map(TableMut)
    }

    fn store(&mut self, index: Index, value: u64) {
        if let Some(word) = self.0.page.word64(usize::from(index.0) * 8) {
            word.store(value);
        }
    }

    /// Makes an empty slot, or one that holds a leaf, hold this leaf. False, and nothing changed, when the slot holds
    /// a table or the level has no leaves.
    #[must_use]
    pub fn set(&mut self, index: Index, leaf: Leaf) -> bool {
        // A table would be lost: nothing but its descriptor leads to it.
        if self.0.slot(index) == TableSlot::Table || !self.0.level.has_leaves() {
            return false;
        }
        let word = D::attributes(leaf.kind) & !D::ADDRESS
            | leaf.mfn.base().0 & D::ADDRESS
            | leaf_bits::<D>(self.0.level);
        if is_table::<D>(self.0.level, word) {
            bug!("a leaf that reads as a table");
            return false;
        }
        self.store(index, word);
        true
    }

    /// Empties a slot and returns the leaf that it held, if it held one.
    pub fn take(&mut self, index: Index) -> Option<Leaf> {
        let TableSlot::Leaf(leaf) = self.0.slot(index) else { return None };
        self.store(index, 0);
        Some(leaf)
    }

    /// Makes an empty slot lead to `table`. Gives the table back when the slot is not empty or the table is not of the
    /// level below.
    pub fn link(&mut self, index: Index, table: Table<D>) -> Result<(), Table<D>> {
        if self.0.slot(index) != TableSlot::Empty || self.0.level.next() != Some(table.level) {
            return Err(table);
        }
        let address = table.page.mfn().base().0;
        if address & !D::ADDRESS != 0 {
            bug!("a table that no descriptor can name");
            return Err(table);
        }
        // The store is a release: who follows the descriptor finds the table filled.
        self.store(index, address | D::TABLE);
        Ok(())
    }

    /// Empties a slot that leads to a table and returns the table. The hardware may know it until the TLB is flushed.
    pub fn unlink(&mut self, index: Index) -> Option<Table<D>> {
        let child = self.0.child(index)?;
        self.store(index, 0);
        Some(Table { page: TablePage(child.page), level: child.level, format: PhantomData })
    }
}

/// A table that is not linked anywhere.
#[must_use]
pub struct Table<D> {
    page: TablePage,
    level: Level,
    format: PhantomData<D>,
}

impl<D: Descriptor> Table<D> {
    /// An empty table for a step of the walk.
    pub fn new(page: TablePage, level: Level) -> Self {
        page.0.zero();
        Table { page, level, format: PhantomData }
    }

    /// The table, to change.
    pub fn borrow(&mut self) -> TableMut<'_, D> {
        TableMut(View { page: self.page.0, level: self.level, linked: PhantomData })
    }

    /// The frame of a table that leads nowhere; the table itself when it leads to others.
    pub fn into_page(mut self) -> Result<TablePage, Self> {
        let table = self.borrow();
        if Index::all().any(|index| table.0.slot(index) == TableSlot::Table) {
            Err(self)
        } else {
            Ok(self.page)
        }
    }
}
