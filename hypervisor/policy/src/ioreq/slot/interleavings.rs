//! A slot between the hypervisor and a sound device model, as the memory of both orders it (`public/hvm/ioreq.h`).

use xenolith_hw::model::{explore, thread};
use xenolith_memory::arena;

use super::*;

const SLOT: u16 = 1;
const AT: usize = size_of::<Slot>();

/// The device model's half: it waits for a request, reads it, and answers with its address.
fn serve(page: Page) {
    let word = |offset| page.word64(AT + offset).unwrap();
    let flags = page.byte(AT + offset_of!(Slot, flags)).unwrap();
    while flags.load() & STATE_MASK != State::Ready.number() {
        thread::yield_now();
    }
    let (address, data) = (word(offset_of!(Slot, addr)).load(), word(offset_of!(Slot, data)).load());
    assert_eq!((address, data), (0x1234, 0x77), "the request that was posted");
    word(offset_of!(Slot, data)).store(address);
    flags.store(READ | State::ResponseReady.number());
}

#[test]
fn a_request_arrives_whole_and_so_does_the_response() {
    let page = arena::page();
    let runs = explore(Some(3), move || {
        page.zero();
        let place = SlotPlace::new(page, SLOT);
        for offset in [offset_of!(Slot, addr), offset_of!(Slot, data)] {
            assert_eq!(page.word64(AT + offset).unwrap().load(), 0);
        }
        place.empty();
        let device_model = thread::spawn(move || serve(page));
        place.post(&Content {
            kind: RequestType::Copy,
            address: 0x1234,
            data: 0x77,
            count: 1,
            size: 4,
            read: true,
            port: Port(5),
        });
        let data = loop {
            match place.take() {
                Response::Pending => thread::yield_now(),
                Response::Ready(data) => break data,
                Response::Malformed => panic!("a sound device model"),
            }
        };
        assert_eq!(data, 0x1234, "what the device model answered");
        device_model.join().unwrap();
        assert_eq!(place.take(), Response::Malformed, "the slot is empty");
    });
    assert!(runs > 2);
}

/// Whoever takes a slot back while the device model answers finds it empty afterwards, or answered: never half of both.
#[test]
fn a_slot_that_is_taken_back_is_not_answered_by_halves() {
    let page = arena::page();
    let runs = explore(Some(3), move || {
        page.zero();
        let place = SlotPlace::new(page, SLOT);
        let flags = page.byte(AT + offset_of!(Slot, flags)).unwrap();
        let data = page.word64(AT + offset_of!(Slot, data)).unwrap();
        data.store(0);
        flags.store(READ | State::Ready.number());
        let device_model = thread::spawn(move || {
            data.store(9);
            flags.store(READ | State::ResponseReady.number());
        });
        let first = place.take();
        place.empty();
        device_model.join().unwrap();
        assert!(matches!(first, Response::Pending | Response::Ready(9)), "{first:?}");
        let late = place.take();
        assert!(matches!(late, Response::Malformed | Response::Ready(9)), "{late:?}");
    });
    assert!(runs > 2);
}
