//! Three domains with a few pages each, and a ledger of all references to frames.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use xenolith_abi::Errno;
use xenolith_abi::grant::{EntryV1, MapGrantRef, UnmapGrantRef, map as flag};
use zerocopy::{FromZeros, IntoBytes};

use crate::grant::{
    Domains, GrantTable, Maptrack, Resolved, Resolver, Rights, SharedFrame, map, release_held, unmap,
};
use xenolith_core::types::{DomId, Gfn, Mfn, PAGE_SHIFT};
use xenolith_memory::arena::page;
use xenolith_memory::page::Page;

/// References by frame.
type Ledger = Rc<RefCell<BTreeMap<u64, i64>>>;

fn book(ledger: &Ledger, mfn: Mfn, change: i64) {
    *ledger.borrow_mut().entry(mfn.0).or_default() += change;
}

/// A reference, which must be let go of and not merely dropped.
pub struct Frame {
    page: Page,
    ledger: Ledger,
    let_go: bool,
}

impl Frame {
    fn new(page: Page, ledger: &Ledger) -> Self {
        book(ledger, page.mfn(), 1);
        Frame { page, ledger: ledger.clone(), let_go: false }
    }
}

impl SharedFrame for Frame {
    fn page(&self) -> Page {
        self.page
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        assert!(self.let_go || std::thread::panicking(), "a reference was lost");
        book(&self.ledger, self.page.mfn(), -1);
    }
}

/// A mapping in a domain's p2m.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub mfn: Mfn,
    pub rights: Rights,
}

pub struct Domain {
    pub table: RefCell<GrantTable<Frame>>,
    pub maptrack: RefCell<Maptrack>,
    pub mapped: RefCell<BTreeMap<u64, Mapped>>,
    /// RAM by guest frame.
    pub ram: RefCell<Vec<Option<Page>>>,
}

/// The last page of RAM is one that its domain may only read.
pub const RAM_PAGES: u64 = 4;
/// Guest frames from here on are beyond what a p2m takes.
pub const LIMIT: u64 = 100;
/// Frames of each domain's table.
pub const TABLE_FRAMES: u32 = 2;
pub const DOMAINS: u16 = 3;

pub struct World {
    pub domains: Vec<Domain>,
    pub ledger: Ledger,
    /// How many more steps that can fail do not.
    pub steps_left: Cell<Option<u32>>,
    pub failed: Cell<bool>,
}

impl World {
    pub fn new() -> Self {
        let ledger = Ledger::default();
        let domain = || {
            let mut table = GrantTable::new(TABLE_FRAMES + 1).unwrap();
            table.grow(TABLE_FRAMES, || Some(Frame::new(page(), &ledger))).unwrap();
            Domain {
                table: RefCell::new(table),
                maptrack: RefCell::new(Maptrack::new(1).unwrap()),
                mapped: RefCell::default(),
                ram: RefCell::new((0..RAM_PAGES).map(|_| Some(page())).collect()),
            }
        };
        let domains = (0..DOMAINS).map(|_| domain()).collect();
        World { domains, ledger, steps_left: Cell::new(None), failed: Cell::new(false) }
    }

    pub fn view(&self, caller: u16) -> View<'_> {
        View { world: self, caller }
    }

    pub fn domain(&self, number: u16) -> &Domain {
        &self.domains[usize::from(number)]
    }

    /// Policy: domain 2 may not use what domain 0 grants.
    pub fn permits(caller: u16, granter: u16) -> bool {
        (caller, granter) != (2, 0)
    }

    pub fn references(&self, mfn: Mfn) -> i64 {
        self.ledger.borrow().get(&mfn.0).copied().unwrap_or(0)
    }

    fn step(&self) -> bool {
        let left = self.steps_left.get();
        self.failed.set(self.failed.get() || left == Some(0));
        self.steps_left.set(left.and_then(|left| left.checked_sub(1)));
        left != Some(0)
    }

    /// The page of a domain's table with an entry, and the offset of the entry.
    fn place(&self, domain: u16, reference: u32) -> (Page, usize) {
        let mut table = self.domain(domain).table.borrow_mut();
        let page = table.frame(u64::from(reference / 512), || None).unwrap();
        (page, reference as usize % 512 * 8)
    }

    /// The guest writes one of its entries.
    pub fn write_entry(&self, domain: u16, reference: u32, entry: EntryV1) {
        let (page, offset) = self.place(domain, reference);
        assert!(page.write(offset, entry.as_bytes()));
    }

    pub fn read_entry(&self, domain: u16, reference: u32) -> EntryV1 {
        let (page, offset) = self.place(domain, reference);
        let mut entry = EntryV1::new_zeroed();
        assert!(page.read(offset, entry.as_mut_bytes()));
        entry
    }

    pub fn permit(&self, domain: u16, reference: u32, to: u16, gfn: u32) {
        self.write_entry(domain, reference, EntryV1 { flags: 1, domid: DomId(to), frame: gfn });
    }

    pub fn map(&self, caller: u16, granter: u16, reference: u32, gfn: u64, rights: Rights) -> MapGrantRef {
        let read_only = if rights == Rights::ReadOnly { flag::READ_ONLY } else { 0 };
        let flags = flag::HOST | read_only;
        let mut op = MapGrantRef {
            host_addr: gfn << PAGE_SHIFT,
            flags,
            reference,
            dom: DomId(granter),
            ..FromZeros::new_zeroed()
        };
        map(&self.view(caller), &mut op);
        op
    }

    pub fn unmap(&self, caller: u16, handle: u32, gfn: u64) -> i16 {
        let mut op = UnmapGrantRef { host_addr: gfn << PAGE_SHIFT, handle, ..FromZeros::new_zeroed() };
        unmap(&self.view(caller), &mut op);
        op.status
    }

    /// A domain dies: it lets go of what it has mapped, then of its table.
    pub fn kill(&self, domain: u16, budget: u32) {
        let mut next = Some(0);
        while let Some(from) = next {
            next = release_held(&self.view(domain), from, budget);
        }
        assert_eq!(self.domain(domain).maptrack.borrow().live(), 0);
        self.domain(domain).table.borrow_mut().close();
        while let Some(frame) = { self.domain(domain).table.borrow_mut().take_frame() } {
            self.view(domain).let_go(frame);
        }
    }

    /// All domains die in this order, after which nothing refers to anything.
    pub fn end(&self, order: &[u16]) {
        order.iter().for_each(|&domain| self.kill(domain, 5));
        for domain in &self.domains {
            assert_eq!(domain.table.borrow().in_use(), 0);
            assert_eq!(*domain.mapped.borrow(), BTreeMap::new());
        }
        assert!(self.ledger.borrow().values().all(|&count| count == 0), "{:?}", self.ledger);
    }
}

/// The world as a calling domain sees it.
pub struct View<'a> {
    pub world: &'a World,
    pub caller: u16,
}

impl View<'_> {
    fn me(&self) -> &Domain {
        self.world.domain(self.caller)
    }
}

fn ram(domain: &Domain, gfn: Gfn, rights: Rights) -> Option<(Page, bool)> {
    let page = *domain.ram.borrow().get(usize::try_from(gfn.0).ok()?)?;
    let writable = gfn.0 != RAM_PAGES - 1;
    page.filter(|_| writable || rights == Rights::ReadOnly).map(|page| (page, writable))
}

impl Domains for View<'_> {
    type Frame = Frame;

    fn caller(&self) -> DomId {
        DomId(self.caller)
    }

    fn exists(&self, domain: DomId) -> bool {
        domain.0 < DOMAINS
    }

    fn permits(&self, granter: DomId) -> bool {
        World::permits(self.caller, granter.0)
    }

    fn with_table<R>(
        &self,
        domain: DomId,
        work: impl FnOnce(&mut GrantTable<Frame>, &mut Resolver<'_, Frame>) -> R,
    ) -> Option<R> {
        let domain = self.world.domains.get(usize::from(domain.0))?;
        let mut resolve = |gfn: Gfn, rights: Rights| {
            let (page, writable) = ram(domain, gfn, rights).filter(|_| self.world.step())?;
            Some(Resolved { frame: Frame::new(page, &self.world.ledger), writable })
        };
        let mut table = domain.table.borrow_mut();
        Some(work(&mut table, &mut resolve))
    }

    fn with_maptrack<R>(&self, work: impl FnOnce(&mut Maptrack) -> R) -> R {
        work(&mut self.me().maptrack.borrow_mut())
    }

    fn own_frame(&self, gfn: Gfn, rights: Rights) -> Option<Frame> {
        let (page, _) = ram(self.me(), gfn, rights).filter(|_| self.world.step())?;
        Some(Frame::new(page, &self.world.ledger))
    }

    fn map(&self, gfn: Gfn, mfn: Mfn, _: DomId, rights: Rights) -> Result<(), Errno> {
        if gfn.0 >= LIMIT || !self.world.step() {
            return Err(Errno::EINVAL);
        }
        book(&self.world.ledger, mfn, 1);
        let old = self.me().mapped.borrow_mut().insert(gfn.0, Mapped { mfn, rights });
        if let Some(old) = old {
            book(&self.world.ledger, old.mfn, -1);
        }
        Ok(())
    }

    fn unmap(&self, gfn: Gfn, mfn: Mfn) {
        let mut mapped = self.me().mapped.borrow_mut();
        if mapped.get(&gfn.0).is_some_and(|there| there.mfn == mfn) {
            mapped.remove(&gfn.0);
            book(&self.world.ledger, mfn, -1);
        }
    }

    fn let_go(&self, mut frame: Frame) {
        frame.let_go = true;
    }
}
