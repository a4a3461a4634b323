//! The ring of buffered requests, with a reader that behaves and one that does not.

use proptest::prelude::*;
use xenolith_abi::ioreq::BUFFERED_SLOTS;

use super::support::*;
use crate::event::Port;
use crate::ioreq::{Buffered, Buffering, Outcome, Request, ServerId, Space};
use xenolith_memory::page::Page;

fn ringed(buffering: Buffering) -> (Domain, ServerId, Page) {
    let mut domain = Domain::new(1);
    let id = domain.create(OWNER, Some(buffering));
    domain.enable(id).unwrap();
    let ring = domain.frame(id, OWNER, 0).unwrap();
    (domain, id, ring)
}

fn positions(ring: Page) -> (u32, u32) {
    (ring.word32(0).unwrap().load(), ring.word32(4).unwrap().load())
}

/// The reader takes one entry, as QEMU does: its address, data and size.
fn take(ring: Page) -> Option<(u32, u64, u32)> {
    let (read, write) = positions(ring);
    if read == write {
        return None;
    }
    let entry = |at: u32| ring.word64(8 + (at % BUFFERED_SLOTS) as usize * 8).unwrap().load();
    let first = entry(read);
    let header = first as u32;
    assert_eq!(header & 0x300, 0, "a write");
    let size = 1 << (header >> 10 & 3);
    let mut data = first >> 32;
    let mut slots = 1;
    if size == 8 {
        let second = entry(read.wrapping_add(1));
        assert_eq!(second as u32, header);
        data |= second >> 32 << 32;
        slots = 2;
    }
    ring.word32(0).unwrap().store(read.wrapping_add(slots));
    Some((header >> 12, data, size))
}

#[test]
fn an_entry_has_the_abis_form() {
    let (mut domain, id, ring) = ringed(Buffering::Atomic);
    let request = Request { space: Space::Port, ..write(0xf_abcd, 2, 0x1234_5678) };
    assert_eq!(domain.servers.post_buffered(id, &request), Buffered::Notify(Port(2)));
    assert_eq!(positions(ring), (0, 1));
    assert_eq!(ring.word32(8).unwrap().load(), 0xfabc_d400);
    assert_eq!(ring.word32(12).unwrap().load(), 0x5678);
    let request = write(0x10, 8, 0x1122_3344_5566_7788);
    assert_eq!(domain.servers.post_buffered(id, &request), Buffered::Notify(Port(2)));
    assert_eq!(positions(ring), (0, 3));
    assert_eq!(take(ring), Some((0xf_abcd, 0x5678, 2)));
    assert_eq!(take(ring), Some((0x10, 0x1122_3344_5566_7788, 8)));
    assert_eq!(take(ring), None);
    assert!(!domain.servers.is_waiting(V0));
}

#[test]
fn what_has_no_form_is_refused() {
    let (mut domain, id, ring) = ringed(Buffering::Atomic);
    let refused = [read(0, 4), write(1 << 20, 4, 0), write(u64::MAX, 4, 0), write(0, 3, 0), write(0, 0, 0)];
    for request in refused {
        assert_eq!(domain.servers.post_buffered(id, &request), Buffered::Refused);
    }
    assert_eq!(positions(ring), (0, 0));
    let ringless = domain.serve();
    assert_eq!(domain.servers.post_buffered(ringless, &write(0, 1, 0)), Buffered::Refused);
    domain.servers.set_enabled(id, OWNER, false, || None).unwrap();
    assert_eq!(domain.servers.post_buffered(id, &write(0, 1, 0)), Buffered::Refused);
    assert_eq!(domain.servers.post_buffered(ServerId(9), &write(0, 1, 0)), Buffered::Refused);
}

#[test]
fn a_full_ring_refuses() {
    for buffering in [Buffering::Legacy, Buffering::Atomic] {
        let (mut domain, id, ring) = ringed(buffering);
        for number in 0..510 {
            assert_ne!(domain.servers.post_buffered(id, &write(number, 1, number)), Buffered::Refused);
        }
        assert_eq!(domain.servers.post_buffered(id, &write(0, 8, 0)), Buffered::Refused);
        assert_ne!(domain.servers.post_buffered(id, &write(510, 1, 0)), Buffered::Refused);
        assert_eq!(domain.servers.post_buffered(id, &write(0, 1, 0)), Buffered::Refused);
        assert_eq!(take(ring), Some((0, 0, 1)));
        assert_ne!(domain.servers.post_buffered(id, &write(511, 1, 0)), Buffered::Refused);
        for number in 1..512 {
            assert_eq!(take(ring).unwrap().0, number);
        }
        assert_eq!(take(ring), None);
    }
}

#[test]
fn a_nonsense_read_position_makes_a_full_ring() {
    let (mut domain, id, ring) = ringed(Buffering::Atomic);
    for read in [1, 2, 511, 512, u32::MAX / 2, u32::MAX - 511, u32::MAX - 510] {
        ring.word32(0).unwrap().store(read);
        assert_eq!(domain.servers.post_buffered(id, &write(0, 1, 0)), Buffered::Refused, "{read:#x}");
    }
    ring.word32(0).unwrap().store(0);
    assert_eq!(domain.servers.post_buffered(id, &write(0, 1, 0)), Buffered::Notify(Port(2)));
}

#[test]
fn the_write_position_in_the_page_is_not_read() {
    let (mut domain, id, ring) = ringed(Buffering::Atomic);
    for number in 1..100 {
        ring.word32(4).unwrap().store(u32::MAX - number);
        assert_ne!(domain.servers.post_buffered(id, &write(0, 1, 0)), Buffered::Refused);
        assert_eq!(positions(ring), (0, number));
    }
}

#[test]
fn a_lost_port_stops_the_ring_but_no_vcpu() {
    let (mut domain, id, _) = ringed(Buffering::Atomic);
    let tag = domain.tag(Port(2));
    assert!(matches!(domain.servers.post(V0, id, &read(0, 1)), crate::ioreq::Posted::Notify(_)));
    domain.answer(id, V0, 3, 0);
    assert_eq!(domain.servers.on_response(tag, V0), Outcome::Nothing);
    assert_eq!(domain.servers.on_peer_closed(tag, V0), Outcome::Nothing);
    assert!(domain.servers.is_waiting(V0));
    assert_eq!(domain.servers.post_buffered(id, &write(0, 1, 0)), Buffered::Refused);
    domain.servers.on_peer_bound(tag, V0);
    assert_ne!(domain.servers.post_buffered(id, &write(0, 1, 0)), Buffered::Refused);
}

proptest! {
    /// Whatever is put in comes out once, in order, over many rounds of the ring.
    #[test]
    fn the_ring_is_a_queue(
        atomic in any::<bool>(),
        steps in prop::collection::vec((0u32..200, 0u32..200), 1..40),
    ) {
        let buffering = if atomic { Buffering::Atomic } else { Buffering::Legacy };
        let (mut domain, id, ring) = ringed(buffering);
        let (mut put, mut got, mut used) = (0u64, 0u64, 0u32);
        for (writes, reads) in steps {
            for _ in 0..writes {
                let size = 1u8 << (put % 4);
                let slots = if size == 8 { 2 } else { 1 };
                let outcome = domain.servers.post_buffered(id, &write(put % (1 << 20), size, put));
                prop_assert_eq!(outcome != Buffered::Refused, used + slots <= BUFFERED_SLOTS);
                if outcome == Buffered::Refused {
                    break;
                }
                put += 1;
                used += slots;
            }
            for _ in 0..reads {
                let Some((address, data, size)) = take(ring) else {
                    prop_assert_eq!(put, got);
                    break;
                };
                prop_assert_eq!(u64::from(address), got % (1 << 20));
                prop_assert_eq!(size, 1 << (got % 4));
                prop_assert_eq!(data, got & (u64::MAX >> (64 - size * 8)));
                used -= if size == 8 { 2 } else { 1 };
                got += 1;
            }
            if atomic {
                prop_assert!(positions(ring).1 < 3 * BUFFERED_SLOTS);
            }
        }
    }

    /// A reader that writes anything anywhere in the page harms only what it reads.
    #[test]
    fn a_hostile_reader_gains_nothing(
        atomic in any::<bool>(),
        steps in prop::collection::vec((any::<u32>(), any::<u32>(), 0u32..4), 1..200),
    ) {
        let buffering = if atomic { Buffering::Atomic } else { Buffering::Legacy };
        let (mut domain, id, ring) = ringed(buffering);
        for (position, value, what) in steps {
            match what {
                0 => ring.word32(0).unwrap().store(value),
                1 => ring.word32(4).unwrap().store(value),
                2 => {
                    let (_, write) = positions(ring);
                    ring.word32(0).unwrap().store(write.wrapping_sub(value % 520));
                }
                _ => ring.word32((position % 1024) as usize * 4).unwrap().store(value),
            }
            let _ = domain.servers.post_buffered(id, &write(0, 1 << (value % 4), 1));
        }
        prop_assert!(!domain.servers.is_waiting(V0));
        let removed = domain.servers.destroy(id, Some(OWNER)).unwrap();
        prop_assert_eq!(removed.frames.len(), 2);
    }
}
