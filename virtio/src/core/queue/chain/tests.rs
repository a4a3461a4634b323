use super::*;
use crate::core::ram::{Bank, zeroed};
use crate::driver::{INDIRECT, NEXT, WRITE};
use proptest::prelude::*;
use std::sync::atomic::Ordering;
use virtio_queue::{Queue, QueueOwnedT, QueueT};

/// The queue's descriptors; with eight entries they end at the end of a region.
const QUEUE: u64 = 0x1000;
const SIZE: u16 = 8;
const AVAILABLE: u64 = 0x1100;
const USED: u64 = 0x1200;
/// A table, at no address in particular. Regions end within it.
const TABLE: u64 = 0x1309;

/// Regions without a gap, of sizes that cut descriptors through.
fn ram() -> Ram {
    let ends = [0x1080, 0x1400, 0x1465, 0x2000, 0x8000];
    let starts = [0x1000].into_iter().chain(ends);
    let banks: Vec<_> = starts.zip(ends).map(|(base, end)| Bank { base, size: end - base }).collect();
    zeroed(&banks).unwrap()
}

type Entry = (u64, u32, u16, u16);

fn describe(ram: &Ram, table: u64, index: usize, (address, len, flags, next): Entry) {
    let descriptor = Descriptor::new(address, len, flags, next);
    ram.write_obj(descriptor, GuestAddress(table + 16 * index as u64)).unwrap();
}

/// A memory with these descriptors in the queue and in the table.
fn with(queue: &[Entry], table: &[Entry]) -> Ram {
    let ram = ram();
    queue.iter().enumerate().for_each(|(index, &entry)| describe(&ram, QUEUE, index, entry));
    table.iter().enumerate().for_each(|(index, &entry)| describe(&ram, TABLE, index, entry));
    ram
}

fn taken(queue: &[Entry], table: &[Entry]) -> Option<Chain> {
    walk(&with(queue, table), GuestAddress(QUEUE), SIZE, 0).ok()
}

fn part((address, len): (u64, u32)) -> Part {
    Part { address: GuestAddress(address), len }
}

/// The descriptor that refers to a table of so many bytes.
fn refers(len: u32) -> Entry {
    (TABLE, len, INDIRECT, 0)
}

#[test]
fn parts_come_in_the_order_of_the_chain() {
    let queue = [(10, 1, NEXT, 2), (30, 3, WRITE, 0), (20, 2, NEXT, 3), (40, 4, NEXT | WRITE, 1)];
    let expected = Chain {
        head: 0,
        readable: vec![part((10, 1)), part((20, 2))],
        writable: vec![part((40, 4)), part((30, 3))],
    };
    assert_eq!(taken(&queue, &[]), Some(expected.clone()));
    assert_eq!(taken(&[refers(64)], &queue), Some(expected.clone()));
    let behind = [(10, 1, NEXT, 1), refers(32)];
    assert_eq!(taken(&behind, &[(20, 2, NEXT, 1), (40, 4, WRITE, 0)]).unwrap().readable, expected.readable);
    assert_eq!(walk(&with(&queue, &[]), GuestAddress(QUEUE), SIZE, 1).unwrap().head, 1);
}

#[test]
fn a_chain_stays_in_its_table() {
    let last = (10, 1, 0, 0);
    for (queue, table) in [
        (&[(10, 1, NEXT, SIZE)][..], &[][..]),
        (&[(10, 1, NEXT, u16::MAX)], &[]),
        (&[refers(16)], &[(10, 1, NEXT, 1), last]),
        (&[refers(32)], &[(10, 1, NEXT, 2), last, last]),
    ] {
        assert_eq!(taken(queue, table), None, "{queue:?} {table:?}");
    }
    assert!(walk(&with(&[last], &[]), GuestAddress(QUEUE), SIZE, SIZE).is_err());
    let missing = Broken::NotRam(Part { address: GuestAddress(0x100), len: 16 });
    assert_eq!(walk(&with(&[last], &[]), GuestAddress(0x100), SIZE, 0), Err(missing));
    assert!(walk(&with(&[last], &[]), GuestAddress(u64::MAX), SIZE, 1).is_err());
}

#[test]
fn a_chain_ends() {
    assert_eq!(taken(&[(10, 1, NEXT, 1), (10, 1, NEXT, 0)], &[]), None);
    assert_eq!(taken(&[refers(32)], &[(10, 1, NEXT, 1), (10, 1, NEXT, 0)]), None);
    let round: Vec<_> = (1..=SIZE).map(|next| (10, 1, NEXT, next % SIZE)).collect();
    assert_eq!(taken(&round, &[]), None);
}

#[test]
fn readable_parts_come_before_writable_ones() {
    let wrong = [(10, 1, NEXT | WRITE, 1), (20, 1, 0, 0)];
    assert_eq!(taken(&wrong, &[]), None);
    assert_eq!(taken(&[refers(32)], &wrong), None);
    assert_eq!(taken(&[(10, 1, NEXT | WRITE, 1), refers(16)], &[(20, 1, 0, 0)]), None);
}

#[test]
fn a_table_is_whole_descriptors_in_ram() {
    let table = [(10, 1, WRITE, 0)];
    let expected = Some(Chain { head: 0, readable: vec![], writable: vec![part((10, 1))] });
    assert_eq!(taken(&[refers(16)], &table), expected);
    for len in [0, 1, 15, 17, 24, 1 << 20, u32::MAX - 15, u32::MAX] {
        assert_eq!(taken(&[refers(len)], &table), None, "{len:#x}");
    }
    for address in [0, 0xfff, 0x7ff8, 0x8000, u64::MAX - 15, u64::MAX] {
        assert_eq!(taken(&[(address, 16, INDIRECT, 0)], &table), None, "{address:#x}");
    }
}

#[test]
fn a_table_is_referred_to_once_and_by_the_last_of_the_queue() {
    let table = [(10, 1, 0, 0), (20, 1, 0, 0)];
    assert!(taken(&[(TABLE, 32, INDIRECT | WRITE, 0)], &table).is_some(), "WRITE is nothing there");
    assert_eq!(taken(&[(TABLE, 32, INDIRECT | NEXT, 1), (10, 1, 0, 0)], &table), None);
    assert_eq!(taken(&[refers(32)], &[(10, 1, NEXT, 1), (TABLE, 32, INDIRECT, 0)]), None);
    assert_eq!(taken(&[refers(32)], &[(TABLE, 32, INDIRECT, 0)]), None);
}

#[test]
fn a_chain_has_a_greatest_length_and_a_table_has_not() {
    // From both ends of a table in turn: (0, last, 1, last - 1 ...).
    let zigzag = |count: u16, entries: u16| -> Vec<Entry> {
        let mut table = vec![(0, 0, 0, 0); usize::from(entries)];
        let index = |step: u16| if step.is_multiple_of(2) { step / 2 } else { entries - 1 - step / 2 };
        for step in 0..count {
            let flags = if step + 1 < count { NEXT } else { 0 };
            table[usize::from(index(step))] = (step.into(), 1, flags, index(step + 1));
        }
        table
    };
    let readable = |count: u16, entries: u16| {
        let chain = taken(&[refers(u32::from(entries) * 16)], &zigzag(count, entries))?;
        Some(chain.readable)
    };
    let most = MAX_CHAIN as u16;
    for entries in [most, most + 1, 3 * most] {
        let expected: Vec<_> = (0..u64::from(most)).map(|step| part((step, 1))).collect();
        assert_eq!(readable(most, entries), Some(expected));
    }
    assert_eq!(readable(most + 1, most + 1), None);
    let table = zigzag(most, most);
    let len = u32::from(most) * 16;
    assert_eq!(taken(&[(10, 1, NEXT, 1), refers(len)], &table), None, "with one before the table");
}

#[test]
fn a_chain_has_less_than_four_gigabytes() {
    let sum = |last| taken(&[(10, u32::MAX - 1, NEXT, 1), (20, last, WRITE, 0)], &[]);
    assert!(sum(1).is_some());
    assert!(sum(2).is_none());
}

/// What `virtio-queue` makes of the chain that begins with entry 0 of the queue.
fn reference(ram: &Ram) -> Option<Chain> {
    ram.write_obj(1u16, GuestAddress(AVAILABLE + 2)).unwrap();
    let mut queue = Queue::new(SIZE).unwrap();
    queue.try_set_desc_table_address(GuestAddress(QUEUE)).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(AVAILABLE)).unwrap();
    queue.try_set_used_ring_address(GuestAddress(USED)).unwrap();
    queue.set_ready(true);
    assert!(queue.is_valid(ram));
    assert_eq!(queue.avail_idx(ram, Ordering::Acquire).unwrap().0, 1);
    let mut chain = Chain::default();
    let mut complete = false;
    for descriptor in queue.iter(ram).unwrap().next().unwrap() {
        complete = !descriptor.has_next();
        let part = Part { address: descriptor.addr(), len: descriptor.len() };
        match (descriptor.is_write_only(), chain.writable.is_empty()) {
            (true, _) => chain.writable.push(part),
            (false, true) => chain.readable.push(part),
            (false, false) => return None,
        }
    }
    (complete && chain.readable.len() + chain.writable.len() <= MAX_CHAIN).then_some(chain)
}

/// A chain through all of `order`, the entries of a table, of parts of which the first `readable` are for reading.
fn linked(order: &[u16], lens: &[u32], readable: usize, goes_on: Option<u16>) -> Vec<(u16, Entry)> {
    let nexts = order.iter().skip(1).copied().map(Some).chain([goes_on]);
    let entry = |(count, ((&index, next), &len)): (usize, ((&u16, Option<u16>), &u32))| {
        let write = if count < readable { 0 } else { WRITE };
        let link = if next.is_some() { NEXT } else { 0 };
        (index, (u64::from(len) << 20 | count as u64, len, write | link, next.unwrap_or(7)))
    };
    order.iter().zip(nexts).zip(lens).enumerate().map(entry).collect()
}

prop_compose! {
    /// A legal chain but for its length: some descriptors of the queue, then some of a table that may have more. With
    /// the number of its parts.
    fn legal()(
        direct in 0..SIZE,
        indirect in 0..700u16,
        spare in 0..200u16,
    )(
        queue in Just((1..SIZE).collect::<Vec<_>>()).prop_shuffle(),
        table in Just((1..indirect + spare).collect::<Vec<_>>()).prop_shuffle(),
        lens in prop::collection::vec(0..=4_000_000u32, 1000),
        readable in 0..=usize::from(direct + indirect) + 1,
        write in prop_oneof![Just(0), Just(WRITE)],
        direct in Just(usize::from(direct)),
        indirect in Just(usize::from(indirect)),
        spare in Just(usize::from(spare)),
    ) -> (Ram, usize) {
        let mut queue: Vec<u16> = [0].into_iter().chain(queue).take(direct + 1).collect();
        let refers_at = (indirect > 0).then(|| queue.pop()).flatten();
        let table: Vec<u16> = [0].into_iter().chain(table).take(indirect).collect();
        let ram = ram();
        let (first, rest) = lens.split_at(queue.len());
        for (index, entry) in linked(&queue, first, readable, refers_at) {
            describe(&ram, QUEUE, index.into(), entry);
        }
        if let Some(index) = refers_at {
            let len = (indirect + spare) as u32 * 16;
            describe(&ram, QUEUE, index.into(), (TABLE, len, INDIRECT | write, 3));
            for (index, entry) in linked(&table, rest, readable.saturating_sub(first.len()), None) {
                describe(&ram, TABLE, index.into(), entry);
            }
        }
        (ram, queue.len() + indirect)
    }
}

prop_compose! {
    /// Any descriptor, rather a good than a bad one. `INDIRECT` goes only without `NEXT`, and names the table.
    fn any_entry()(
        address in any::<u64>(),
        len in prop_oneof![8 => 0..0x1000u32, 1 => any::<u32>()],
        flags in prop_oneof![6 => Just(NEXT), 4 => Just(NEXT | WRITE), 1 => Just(0), 1 => Just(WRITE), 2 => Just(INDIRECT)],
        next in prop_oneof![8 => 0..SIZE, 1 => any::<u16>()],
        entries in prop_oneof![8 => 0..12u32, 1 => 0..600u32, 1 => Just(65_536)],
        odd in prop_oneof![9 => Just(0), 1 => 1..16u32],
    ) -> Entry {
        if flags & INDIRECT == 0 { (address, len, flags, next) } else { (TABLE, entries * 16 + odd, flags, next) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_legal_chain_is_what_virtio_queue_makes_of_it((ram, parts) in legal()) {
        let chain = walk(&ram, GuestAddress(QUEUE), SIZE, 0);
        prop_assert_eq!(chain.is_ok(), parts <= MAX_CHAIN);
        prop_assert_eq!(chain.ok(), reference(&ram));
    }

    #[test]
    fn any_descriptors_are_what_virtio_queue_makes_of_them(
        queue in prop::collection::vec(any_entry(), usize::from(SIZE)),
        table in prop::collection::vec(any_entry(), 8..20),
    ) {
        let ram = with(&queue, &table);
        prop_assert_eq!(walk(&ram, GuestAddress(QUEUE), SIZE, 0).ok(), reference(&ram));
    }
}
