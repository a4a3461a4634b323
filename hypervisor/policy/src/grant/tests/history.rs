//! Any history of calls, of guests that write their tables, and of failing steps, against a model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use xenolith_abi::grant::{CopySide, EntryV1, GrantCopy, GrantStatus, MapGrantRef, UnmapGrantRef, entry};
use zerocopy::FromZeros;

use super::world::{DOMAINS, LIMIT, RAM_PAGES, TABLE_FRAMES, World};
use crate::grant::{Mapping, Rights, copy, map, unmap};
use xenolith_core::types::{DomId, Gfn, Mfn, PAGE_SHIFT};

#[derive(Clone, Debug)]
enum Op {
    Write(u16, u32, EntryV1),
    Map {
        caller: u16,
        granter: u16,
        reference: u32,
        flags: u32,
        gfn: u64,
    },
    Unmap {
        caller: u16,
        handle: u32,
        right_address: bool,
    },
    Copy {
        caller: u16,
        op: GrantCopy,
    },
    Swap(u16, u32, u32),
    /// The domain gives a page of its RAM away.
    GiveUp(u16, u64),
    /// The next operation fails at its step of this number.
    Fail(u32),
}

fn domain() -> impl Strategy<Value = u16> {
    0..DOMAINS
}

fn reference() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..4u32, 1 => 510..514u32, 1 => Just(1024), 1 => Just(u32::MAX)]
}

fn entries() -> impl Strategy<Value = EntryV1> {
    let flags = prop_oneof![4 => Just(1u16), 2 => Just(5), 1 => Just(0), 1 => Just(2), 1 => Just(0x19)];
    (flags, domain(), 0..RAM_PAGES as u32 + 1).prop_map(|(flags, domid, frame)| EntryV1 {
        flags,
        domid: DomId(domid),
        frame,
    })
}

fn side() -> impl Strategy<Value = (bool, CopySide)> {
    let domid = prop_oneof![3 => domain(), 2 => Just(DomId::SELF.0), 1 => Just(77)];
    let offset = prop_oneof![Just(0u16), Just(100), Just(4095), any::<u16>()];
    (any::<bool>(), reference(), domid, offset).prop_map(|(by_reference, place, domid, offset)| {
        (by_reference, CopySide { frame_or_reference: place.into(), domid: DomId(domid), offset, pad: 0 })
    })
}

fn op() -> impl Strategy<Value = Op> {
    let flags = prop_oneof![4 => Just(2u32), 4 => Just(6), 1 => 0..32u32];
    let dom = prop_oneof![6 => domain(), 1 => Just(77), 1 => Just(DomId::SELF.0)];
    let gfn = prop_oneof![6 => 50..54u64, 1 => Just(LIMIT)];
    let len = prop_oneof![3 => 0..1000u16, 1 => any::<u16>()];
    prop_oneof![
        6 => (domain(), 0..4u32, entries()).prop_map(|(domain, place, entry)| Op::Write(domain, place, entry)),
        8 => (domain(), dom, reference(), flags, gfn).prop_map(|(caller, granter, reference, flags, gfn)| {
            Op::Map { caller, granter, reference, flags, gfn }
        }),
        5 => (domain(), 0..8u32, proptest::bool::weighted(0.8)).prop_map(|(caller, handle, right_address)| {
            Op::Unmap { caller, handle, right_address }
        }),
        4 => (domain(), side(), side(), len).prop_map(|(caller, source, dest, len)| {
            let flags = u16::from(source.0) | u16::from(dest.0) << 1;
            let op = GrantCopy { source: source.1, dest: dest.1, len, flags, ..FromZeros::new_zeroed() };
            Op::Copy { caller, op }
        }),
        1 => (domain(), reference(), reference()).prop_map(|(domain, a, b)| Op::Swap(domain, a, b)),
        1 => (domain(), 0..RAM_PAGES).prop_map(|(domain, gfn)| Op::GiveUp(domain, gfn)),
        3 => (0..3u32).prop_map(Op::Fail),
    ]
}

/// A grant in use, by the model's account.
#[derive(Clone, Copy, Debug)]
struct Use {
    by: u16,
    mfn: Mfn,
    writable: bool,
    readers: u32,
    writers: u32,
}

struct Model {
    world: World,
    uses: BTreeMap<(u16, u32), Use>,
    mappings: BTreeMap<(u16, u32), Mapping>,
    /// Entries that their domain wrote while they were in use.
    tampered: Vec<(u16, u32)>,
}

impl Model {
    /// What the tables of the reference say about beginning a use; on success the frame and whether it is writable.
    fn judge(
        &self,
        caller: u16,
        granter: u16,
        reference: u32,
        rights: Rights,
    ) -> Result<(Mfn, bool), GrantStatus> {
        if reference >= 512 * TABLE_FRAMES {
            return Err(GrantStatus::BadReference);
        }
        let current = self.uses.get(&(granter, reference));
        if current.is_some_and(|current| current.by != caller) {
            return Err(GrantStatus::GeneralError);
        }
        let writes = rights == Rights::ReadWrite;
        if current.is_some_and(|current| writes && !current.writable) {
            return Err(GrantStatus::BadPage);
        }
        if current.is_none_or(|current| writes && current.writers == 0) {
            let found = self.world.read_entry(granter, reference);
            let read_only = found.flags & entry::READ_ONLY != 0;
            if found.flags & 3 != 1 || found.domid != DomId(caller) || writes && read_only {
                return Err(GrantStatus::GeneralError);
            }
            if current.is_none() {
                let writable = u64::from(found.frame) != RAM_PAGES - 1;
                let ram = self.world.domain(granter).ram.borrow();
                let page = ram.get(found.frame as usize).copied().flatten();
                let page = page.filter(|_| writable || !writes).ok_or(GrantStatus::BadPage)?;
                return Ok((page.mfn(), writable));
            }
        }
        current.map(|current| (current.mfn, current.writable)).ok_or(GrantStatus::GeneralError)
    }

    fn begin(&mut self, caller: u16, granter: u16, reference: u32, rights: Rights, frame: (Mfn, bool)) {
        let fresh = Use { by: caller, mfn: frame.0, writable: frame.1, readers: 0, writers: 0 };
        let grant = self.uses.entry((granter, reference)).or_insert(fresh);
        match rights {
            Rights::ReadOnly => grant.readers += 1,
            Rights::ReadWrite => grant.writers += 1,
        }
    }

    fn end_use(&mut self, granter: u16, reference: u32, rights: Rights) {
        let grant = self.uses.get_mut(&(granter, reference)).unwrap();
        match rights {
            Rights::ReadOnly => grant.readers -= 1,
            Rights::ReadWrite => grant.writers -= 1,
        }
        if (grant.readers, grant.writers) == (0, 0) {
            self.uses.remove(&(granter, reference));
        }
    }

    fn may_use(caller: u16, granter: u16) -> Result<(), GrantStatus> {
        match granter {
            DOMAINS.. => Err(GrantStatus::BadDomain),
            _ if !World::permits(caller, granter) => Err(GrantStatus::PermissionDenied),
            _ => Ok(()),
        }
    }

    fn map(&mut self, caller: u16, granter: u16, reference: u32, flags: u32, gfn: u64) {
        let rights = if flags & 4 == 0 { Rights::ReadWrite } else { Rights::ReadOnly };
        let due = match flags {
            2 | 6 => Ok(()),
            _ if flags & 3 == 0 => Err(GrantStatus::BadReference),
            _ => Err(GrantStatus::GeneralError),
        };
        let due = due.and_then(|()| Self::may_use(caller, granter));
        let due = due.and_then(|()| self.judge(caller, granter, reference, rights));
        let due = due.and_then(|frame| if gfn < LIMIT { Ok(frame) } else { Err(GrantStatus::GeneralError) });
        let mut op = MapGrantRef {
            host_addr: gfn << PAGE_SHIFT,
            flags,
            reference,
            dom: DomId(granter),
            ..FromZeros::new_zeroed()
        };
        map(&self.world.view(caller), &mut op);
        if self.world.failed.get() {
            assert_ne!(op.status, 0);
            return;
        }
        assert_eq!(op.status, due.err().unwrap_or(GrantStatus::Okay).number());
        if let Ok((mfn, writable)) = due {
            assert_eq!(op.dev_bus_addr, mfn.base().0);
            self.begin(caller, granter, reference, rights, (mfn, writable));
            let mapping = Mapping { granter: DomId(granter), reference, rights, gfn: Gfn(gfn), mfn };
            assert_eq!(self.mappings.insert((caller, op.handle), mapping), None);
            assert_eq!(self.world.domain(caller).mapped.borrow()[&gfn].mfn, mfn);
            assert_eq!(self.world.domain(caller).mapped.borrow()[&gfn].rights, rights);
        }
    }

    fn unmap(&mut self, caller: u16, handle: u32, right_address: bool) {
        let mapping = self.mappings.get(&(caller, handle)).copied();
        let gfn = mapping.filter(|_| right_address).map_or(49, |mapping| mapping.gfn.0);
        let mut op = UnmapGrantRef { host_addr: gfn << PAGE_SHIFT, handle, ..FromZeros::new_zeroed() };
        unmap(&self.world.view(caller), &mut op);
        let due = match mapping {
            None => GrantStatus::BadHandle,
            Some(_) if !right_address => GrantStatus::GeneralError,
            Some(mapping) => {
                self.mappings.remove(&(caller, handle));
                self.end_use(mapping.granter.0, mapping.reference, mapping.rights);
                GrantStatus::Okay
            }
        };
        assert_eq!(op.status, due.number());
    }

    /// One side of a copy: the frame, or the status due. A use is begun, so that the other side sees it.
    fn open(
        &mut self,
        caller: u16,
        side: &CopySide,
        by_reference: bool,
        rights: Rights,
    ) -> Result<Mfn, GrantStatus> {
        let place = side.frame_or_reference;
        if by_reference {
            let granter = if side.domid == DomId::SELF { caller } else { side.domid.0 };
            let frame = self.judge(caller, granter, place as u32, rights)?;
            self.begin(caller, granter, place as u32, rights, frame);
            return Ok(frame.0);
        }
        let ram = self.world.domain(caller).ram.borrow();
        let page = ram.get(place as usize).copied().flatten().ok_or(GrantStatus::BadPage)?;
        let usable = place != RAM_PAGES - 1 || rights == Rights::ReadOnly;
        if usable { Ok(page.mfn()) } else { Err(GrantStatus::BadPage) }
    }

    fn close(&mut self, caller: u16, side: &CopySide, by_reference: bool, rights: Rights) {
        if by_reference {
            let granter = if side.domid == DomId::SELF { caller } else { side.domid.0 };
            self.end_use(granter, side.frame_or_reference as u32, rights);
        }
    }

    fn copy(&mut self, caller: u16, mut op: GrantCopy) {
        let by_reference = |bit: u16| op.flags & bit != 0;
        let (source, dest) = ((op.source, by_reference(1)), (op.dest, by_reference(2)));
        let place = |(side, by_reference): (CopySide, bool)| match (by_reference, side.domid == DomId::SELF) {
            (false, true) => Ok(()),
            (false, false) => Err(GrantStatus::PermissionDenied),
            (true, true) => Self::may_use(caller, caller),
            (true, false) => Self::may_use(caller, side.domid.0),
        };
        let due = place(source).and_then(|()| place(dest)).and_then(|()| {
            let from = self.open(caller, &source.0, source.1, Rights::ReadOnly)?;
            let to = self.open(caller, &dest.0, dest.1, Rights::ReadWrite);
            if to.is_ok() {
                self.close(caller, &dest.0, dest.1, Rights::ReadWrite);
            }
            self.close(caller, &source.0, source.1, Rights::ReadOnly);
            to.map(|to| (from, to))
        });
        let fits = |side: &CopySide| u32::from(side.offset) + u32::from(op.len) <= 4096;
        let fits = fits(&op.source) && fits(&op.dest);
        let due = due.and_then(|frames| if fits { Ok(frames) } else { Err(GrantStatus::BadCopyArgument) });
        copy(&self.world.view(caller), &mut op);
        if self.world.failed.get() {
            assert_ne!(op.status, 0);
        } else {
            assert_eq!(op.status, due.err().unwrap_or(GrantStatus::Okay).number());
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write(domain, reference, entry) => {
                self.world.write_entry(*domain, *reference, *entry);
                self.tampered.push((*domain, *reference));
            }
            Op::Map { caller, granter, reference, flags, gfn } => {
                self.map(*caller, *granter, *reference, *flags, *gfn);
            }
            Op::Unmap { caller, handle, right_address } => self.unmap(*caller, *handle, *right_address),
            Op::Copy { caller, op } => self.copy(*caller, *op),
            Op::Swap(domain, a, b) => {
                let used = [a, b].iter().any(|&&reference| self.uses.contains_key(&(*domain, reference)));
                let due = match (a, b) {
                    _ if *a.max(b) >= 512 * TABLE_FRAMES => GrantStatus::BadReference,
                    _ if used => GrantStatus::TryAgain,
                    _ => GrantStatus::Okay,
                };
                let status = self.world.domain(*domain).table.borrow_mut().swap(*a, *b);
                assert_eq!(status, due);
                self.tampered.extend([(*domain, *a), (*domain, *b)]);
            }
            Op::GiveUp(domain, gfn) => self.world.domain(*domain).ram.borrow_mut()[*gfn as usize] = None,
            Op::Fail(_) => (),
        }
    }

    /// The books agree with the model.
    fn audit(&self) {
        for number in 0..DOMAINS {
            let domain = self.world.domain(number);
            let table = domain.table.borrow();
            let in_use = self.uses.keys().filter(|(granter, _)| *granter == number).count();
            assert_eq!(table.in_use() as usize, in_use);
            let live = self.mappings.keys().filter(|(caller, _)| *caller == number).count();
            assert_eq!(domain.maptrack.borrow().live() as usize, live);
            assert_eq!(domain.maptrack.borrow().taken(), 0);
        }
        for (&(granter, reference), grant) in &self.uses {
            let uses = self.world.domain(granter).table.borrow().uses(reference);
            assert_eq!((u32::from(uses.0), u32::from(uses.1)), (grant.readers, grant.writers));
        }
        let mut due = BTreeMap::<u64, i64>::new();
        let mapped =
            self.world.domains.iter().flat_map(|domain| domain.mapped.borrow().clone().into_values());
        let mapped = mapped.map(|mapped| mapped.mfn);
        for mfn in mapped.chain(self.uses.values().map(|grant| grant.mfn)) {
            *due.entry(mfn.0).or_default() += 1;
        }
        for (&mfn, &count) in &due {
            assert_eq!(self.world.references(Mfn(mfn)), count);
        }
        let held: i64 = self.world.ledger.borrow().values().sum();
        assert_eq!(held, due.values().sum::<i64>() + i64::from(TABLE_FRAMES) * i64::from(DOMAINS));
        for granter in 0..DOMAINS {
            for reference in (0..4).filter(|&reference| !self.tampered.contains(&(granter, reference))) {
                let marks =
                    self.world.read_entry(granter, reference).flags & (entry::READING | entry::WRITING);
                let due = match self.uses.get(&(granter, reference)) {
                    None => 0,
                    Some(grant) if grant.writers == 0 => entry::READING,
                    Some(_) => entry::READING | entry::WRITING,
                };
                assert_eq!(marks, due, "marks of entry {reference} of domain {granter}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_history_keeps_the_books(
        granted in proptest::collection::vec(entries(), 12),
        history in proptest::collection::vec(op(), 0..150),
        order in Just([0u16, 1, 2]).prop_shuffle(),
    ) {
        let world = World::new();
        for (number, entry) in granted.into_iter().enumerate() {
            let entry = EntryV1 { flags: entry.flags & 0b111, ..entry };
            world.write_entry(number as u16 % DOMAINS, number as u32 / u32::from(DOMAINS), entry);
        }
        let mut model = Model { world, uses: BTreeMap::new(), mappings: BTreeMap::new(), tampered: Vec::new() };
        for op in &history {
            model.apply(op);
            model.audit();
            model.world.failed.set(false);
            model.world.steps_left.set(match op {
                Op::Fail(step) => Some(*step),
                _ => None,
            });
        }
        model.world.steps_left.set(None);
        model.world.end(&order);
    }
}
