//! Grants between two domains, from the entry to the end of the mapping.

use xenolith_abi::Errno;
use xenolith_abi::grant::{
    CacheFlush, CopySide, EntryV1, GrantCopy, MapGrantRef, UnmapGrantRef, cache, entry, map as flag,
};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::AddToPhysmap;

use super::super::*;
use super::support::*;

/// The second domain grants its page 20 to the first; reference 5.
pub(super) fn granted(machine: &mut Machine, second: &Guest, flags: u16) -> u64 {
    let table = second.page(machine, 10);
    let mut add = AddToPhysmap { domid: SELF, space: 1, gpfn: Gfn(table >> 12), ..AddToPhysmap::default() };
    assert_eq!(second.call(machine, Hypercall::MemoryOp, 7, &mut add), 0);
    let page = second.page(machine, 20);
    let grant = EntryV1 { flags: entry::PERMIT_ACCESS | flags, domid: DomId(0), frame: (page >> 12) as u32 };
    machine.poke(&second.domain, table + 5 * 8, &grant);
    table + 5 * 8
}

pub(super) fn map(machine: &mut Machine, first: &Guest, at: u64, flags: u32) -> MapGrantRef {
    // The fields for the answer hold junk, as Linux leaves it.
    let mut op = MapGrantRef {
        host_addr: at,
        flags,
        reference: 5,
        dom: DomId(1),
        status: 1,
        handle: u32::MAX,
        ..MapGrantRef::default()
    };
    assert_eq!(first.grant_op(machine, 0, &mut op), 0);
    op
}

#[test]
fn a_granted_page_is_seen_by_both_until_it_is_unmapped() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    let entry = granted(machine, &second, 0);
    let (here, there) = (first.page(machine, 30), second.page(machine, 20));
    let op = map(machine, &first, here, flag::HOST);
    assert_eq!((op.status, op.handle), (0, 0));
    assert_eq!(machine.audit(), Ok(()));
    assert_eq!(machine.peek::<u16>(&second.domain, entry), 1 | entry::READING | entry::WRITING);
    machine.poke(&second.domain, there, b"from there");
    assert_eq!(machine.peek::<[u8; 10]>(&first.domain, here), *b"from there");
    machine.poke(&first.domain, here, b"from here!");
    assert_eq!(machine.peek::<[u8; 10]>(&second.domain, there), *b"from here!");

    // The granter may give the page back meanwhile: the frame stays until the mapping goes.
    assert_eq!(second.domain.on(&machine.hv).give_page_back(Ipa(there).frame()), Ok(()));
    assert_eq!(machine.audit(), Ok(()));
    assert_eq!(machine.peek::<[u8; 10]>(&first.domain, here), *b"from here!");

    let mut end = UnmapGrantRef { host_addr: here, handle: op.handle, ..UnmapGrantRef::default() };
    assert_eq!(first.grant_op(machine, 1, &mut end), 0);
    assert_eq!(end.status, 0);
    assert_eq!(first.domain.on(&machine.hv).read_memory(Ipa(here), &mut [0]), Err(Errno::EFAULT));
    assert_eq!(machine.peek::<u16>(&second.domain, entry), 1);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn a_page_that_is_lent_for_reading_is_not_written() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    granted(machine, &second, entry::READ_ONLY);
    let here = first.page(machine, 30);
    assert_ne!(map(machine, &first, here, flag::HOST).status, 0);
    assert_eq!(map(machine, &first, here, flag::HOST | flag::READ_ONLY).status, 0);
    assert_eq!(first.domain.on(&machine.hv).write_memory(Ipa(here), &[1]), Err(Errno::EFAULT));
    assert_eq!(first.domain.on(&machine.hv).read_memory(Ipa(here), &mut [1]), Ok(()));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn bytes_are_copied_out_of_a_grant() {
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    granted(machine, &second, entry::READ_ONLY);
    let (here, there) = (first.page(machine, 30), second.page(machine, 20));
    machine.poke(&second.domain, there + 100, b"packet");
    let mut op = GrantCopy {
        source: CopySide { frame_or_reference: 5, domid: DomId(1), offset: 100, ..CopySide::default() },
        dest: CopySide { frame_or_reference: here >> 12, domid: SELF, offset: 4090, ..CopySide::default() },
        len: 6,
        flags: 1,
        status: 1,
        ..GrantCopy::default()
    };
    assert_eq!(first.grant_op(machine, 5, &mut op), 0);
    assert_eq!(op.status, 0);
    assert_eq!(machine.peek::<[u8; 6]>(&first.domain, here + 4090), *b"packet");
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn the_search_for_who_lends_a_frame_is_made_in_pieces() {
    const CACHE_FLUSH: u64 = 12;
    const PIECE: u32 = 256;
    let (mut machine, first, second) = Guest::two();
    let machine = &mut machine;
    // Reference 5 of the second domain; the first maps it, and a page that it is not lent stands beside it.
    granted(machine, &second, 0);
    let here = first.page(machine, 30);
    assert_eq!(map(machine, &first, here, flag::HOST).status, 0);
    let frame =
        |number| second.domain.lookup(Ipa(second.page(machine, number)).frame()).unwrap().mfn.base().0;
    let (lent, kept) = (frame(20), frame(21));
    let entries = second.domain.grants.lock().size().0 * 512;
    let at = first.scratch(machine);
    let mut flush = |dev_bus_addr, command| {
        let request = CacheFlush { dev_bus_addr, offset: 0, length: 64, op: cache::CLEAN };
        machine.poke(&first.domain, at, &request);
        first.call_in_rounds(machine, Hypercall::GrantTableOp, [command, at, 1, 0, 0])
    };
    assert_eq!(flush(lent, CACHE_FLUSH), (0, 1), "it is among the first");
    let (result, rounds) = flush(kept, CACHE_FLUSH);
    assert_eq!((result, rounds), (error(Errno::EPERM), entries / PIECE + 1));
    // Who begins behind its grant of its own accord does not find it.
    assert_eq!(flush(lent, CACHE_FLUSH | 1 << 12).0, error(Errno::EPERM));
    assert_eq!(flush(lent, CACHE_FLUSH | 0xf_ffff << 12).0, error(Errno::EPERM));
    // Other operations have no progress there.
    assert_eq!(flush(lent, 6 | 1 << 12), (error(Errno::ENOSYS), 1));
}
