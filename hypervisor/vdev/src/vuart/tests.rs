use proptest::prelude::*;

use super::*;
use xenolith_abi::console::ring::{IN, IN_READ, IN_SIZE, IN_WRITTEN, OUT, OUT_READ, OUT_SIZE, OUT_WRITTEN};
use xenolith_memory::arena::page;
use xenolith_memory::page::Page;

struct Frame(Page);

impl SharedFrame for Frame {
    fn page(&self) -> Page {
        self.0
    }
}

fn uart() -> Vuart<Frame> {
    Vuart::on_console(Intid(32))
}

fn read(uart: &mut Vuart<Frame>, offset: u64) -> u64 {
    uart.read(offset, 4).unwrap()
}

fn write(uart: &mut Vuart<Frame>, offset: u64, value: u64) -> Option<u8> {
    uart.write(offset, 4, value).unwrap()
}

#[test]
fn it_begins_empty_and_idle() {
    let mut uart = uart();
    assert_eq!(read(&mut uart, 0x18), 0x90);
    assert_eq!([0, 4, 0x38, 0x3c, 0x40, 0x44].map(|offset| read(&mut uart, offset)), [0; 6]);
    assert!(!uart.line());
}

#[test]
fn what_is_typed_is_read_in_order_and_announced() {
    let mut uart = uart();
    write(&mut uart, 0x38, 0x50);
    uart.receive(b"ls");
    assert!(uart.line());
    assert_eq!((read(&mut uart, 0x18), read(&mut uart, 0x40)), (0x80, 0x40));
    assert_eq!([0; 3].map(|_| read(&mut uart, 0)), [b'l'.into(), b's'.into(), 0]);
    assert!(!uart.line());
    uart.receive(&[b'x'; 16]);
    assert_eq!(read(&mut uart, 0x3c), 0x50);
    read(&mut uart, 0);
    assert_eq!(read(&mut uart, 0x3c), 0x40);
    uart.receive(&[b'x'; 17]);
    assert_eq!(read(&mut uart, 0x18), 0xc0);
    uart.receive(&[b'x'; 3 * QUEUE]);
    assert_eq!(uart.waiting(), QUEUE);
}

#[test]
fn one_that_is_held_is_full_and_interrupts_when_it_is_let() {
    let mut uart = uart();
    write(&mut uart, 0x38, 0x20);
    write(&mut uart, 0, b'A'.into());
    uart.hold(true);
    assert_eq!((read(&mut uart, 0x18), uart.line(), uart.is_held()), (0x30, false, true));
    assert_eq!(write(&mut uart, 0, b'B'.into()), Some(b'B'), "who sends all the same is not hindered");
    assert!(!uart.line());
    uart.hold(false);
    assert_eq!((read(&mut uart, 0x18), uart.line(), uart.is_held()), (0x90, true, false));
}

#[test]
fn the_transmitter_has_room_unless_it_is_held() {
    let mut uart = uart();
    assert_eq!(write(&mut uart, 0, 0x141), Some(b'A'));
    assert_eq!((read(&mut uart, 0x3c), uart.line()), (0x20, false));
    write(&mut uart, 0x38, 0x20);
    assert!(uart.line());
    write(&mut uart, 0x44, 0x20);
    assert!(!uart.line());
    assert_eq!(write(&mut uart, 0, b'B'.into()), Some(b'B'));
    assert!(uart.line());
}

#[test]
fn parts_of_registers_are_reached() {
    let mut uart = uart();
    assert_eq!(uart.write(0, 1, b'A'.into()), Ok(Some(b'A')));
    uart.write(0x38, 2, 0x50).unwrap();
    uart.write(0x39, 1, 0x04).unwrap();
    assert_eq!(read(&mut uart, 0x38), 0x450);
    assert_eq!(uart.read(0x39, 1), Ok(4));
}

#[test]
fn other_accesses_are_refused() {
    let mut uart = uart();
    assert_eq!(uart.read(0xfe0, 4), Err(Fault));
    assert_eq!(uart.read(0, 8), Err(Fault));
    assert_eq!(uart.write(0x30, 4, 0), Err(Fault));
    assert_eq!(uart.write(0x3a, 4, 0), Err(Fault));
    assert_eq!(uart.read(SIZE, 4), Err(Fault));
    assert_eq!(uart.write(u64::MAX - 3, 4, 0), Err(Fault));
}

proptest! {
    #[test]
    fn any_access_keeps_the_queue_and_the_flags_in_step(
        steps in prop::collection::vec((0u64..0x50, prop::sample::select(vec![1u8, 2, 4, 8]), any::<u64>(), 0usize..40), 0..200),
    ) {
        let mut uart = uart();
        for (offset, size, value, typed) in steps {
            match value % 3 {
                0 => drop(uart.read(offset, size)),
                1 => drop(uart.write(offset, size, value)),
                _ => uart.receive(&vec![1; typed]),
            }
            prop_assert!(uart.waiting() <= QUEUE);
            let flags = u32::try_from(read(&mut uart, 0x18)).unwrap();
            prop_assert_eq!(flags & FLAG_RX_EMPTY != 0, uart.waiting() == 0);
            prop_assert!(uart.waiting() != 0 || uart.raw & (RX | RX_TIMEOUT) == 0);
            prop_assert_eq!(uart.line(), uart.raw & uart.mask != 0);
        }
    }
}

/// A UART whose other end is the page, and which somebody serves.
fn on_ring(at: Page) -> Vuart<Frame> {
    let mut uart = Vuart::on_ring(Intid(32), Frame(at), Port(3));
    uart.other_end_changed(true);
    uart
}

fn position(at: Page, offset: usize) -> u32 {
    at.word32(offset).unwrap().load()
}

fn set_position(at: Page, offset: usize, value: u32) {
    at.word32(offset).unwrap().store(value);
}

/// The other end types.
fn type_at(at: Page, bytes: &[u8]) {
    let from = position(at, IN_WRITTEN);
    for (n, byte) in (0..).map(|n| from.wrapping_add(n)).zip(bytes) {
        at.byte(IN + (n % IN_SIZE) as usize).unwrap().store(*byte);
    }
    set_position(at, IN_WRITTEN, from.wrapping_add(bytes.len() as u32));
}

/// The other end reads all that there is.
fn read_at(at: Page) -> Vec<u8> {
    let (from, to) = (position(at, OUT_READ), position(at, OUT_WRITTEN));
    let bytes = (0..to.wrapping_sub(from)).map(|n| from.wrapping_add(n) % OUT_SIZE);
    let bytes = bytes.map(|n| at.byte(OUT + n as usize).unwrap().load()).collect();
    set_position(at, OUT_READ, to);
    bytes
}

#[test]
fn a_page_of_another_domain_carries_both_directions() {
    for start in [0, u32::MAX - 2] {
        let at = page();
        for offset in [IN_READ, IN_WRITTEN, OUT_READ, OUT_WRITTEN] {
            set_position(at, offset, start);
        }
        let mut uart = on_ring(at);
        write(&mut uart, 0x38, 0x50);
        assert_eq!((read(&mut uart, 0x18), uart.take_news()), (0x90, None));
        for byte in b"hello" {
            assert_eq!(write(&mut uart, 0, (*byte).into()), None, "nothing for the machine's console");
        }
        assert_eq!((uart.take_news(), uart.take_news()), (Some(Port(3)), None));
        assert_eq!(read_at(at), b"hello");
        type_at(at, b"ls");
        uart.other_end_changed(true);
        assert!(uart.line());
        assert_eq!((read(&mut uart, 0x18), read(&mut uart, 0x40)), (0x80, 0x40));
        assert_eq!((read(&mut uart, 0), uart.take_news()), (b'l'.into(), None));
        assert_eq!((read(&mut uart, 0), uart.take_news()), (b's'.into(), Some(Port(3))));
        assert_eq!((read(&mut uart, 0), uart.line()), (0, false));
        assert_eq!(position(at, IN_READ), start.wrapping_add(2));
        uart.receive(b"from the machine's console");
        assert_eq!(uart.waiting(), 0);
    }
}

#[test]
fn a_slow_reader_is_waited_for_and_none_at_all_is_not() {
    let at = page();
    let mut uart = on_ring(at);
    write(&mut uart, 0x38, 0x20);
    for n in 0..OUT_SIZE {
        assert_eq!(read(&mut uart, 0x18), 0x90, "{n}");
        write(&mut uart, 0, b'x'.into());
    }
    assert_eq!((read(&mut uart, 0x18), uart.line()), (0x30, false));
    write(&mut uart, 0, b'y'.into());
    assert_eq!(read_at(at), vec![b'x'; OUT_SIZE as usize]);
    assert!(!uart.line(), "it has not been told");
    uart.other_end_changed(true);
    assert_eq!((read(&mut uart, 0x18), uart.line()), (0x90, true));
    uart.other_end_changed(false);
    for _ in 0..2 * OUT_SIZE {
        assert_eq!(read(&mut uart, 0x18), 0x90);
        write(&mut uart, 0, b'z'.into());
    }
    assert_eq!(read_at(at), vec![b'z'; OUT_SIZE as usize]);
}

#[test]
fn what_was_typed_before_the_guest_looked_is_found() {
    let at = page();
    let mut uart = on_ring(at);
    type_at(at, &[b'x'; IN_SIZE as usize]);
    uart.other_end_changed(true);
    assert_eq!((read(&mut uart, 0x3c), read(&mut uart, 0x18)), (0x70, 0xc0));
    for _ in 0..IN_SIZE {
        assert_eq!((uart.take_news(), read(&mut uart, 0)), (None, b'x'.into()));
    }
    assert_eq!((uart.take_news(), read(&mut uart, 0x3c)), (Some(Port(3)), 0x20));
}

#[test]
fn a_uart_that_was_cut_is_idle() {
    let at = page();
    let mut uart = on_ring(at);
    type_at(at, b"x");
    assert_eq!((uart.held_frames(), uart.cut().is_some(), uart.held_frames()), (1, true, 0));
    assert!(uart.cut().is_none() && uart.port().is_none());
    assert_eq!((write(&mut uart, 0, 1), read(&mut uart, 0), read(&mut uart, 0x18)), (None, 0, 0x90));
}

proptest! {
    #[test]
    fn positions_that_cannot_be_are_no_news(
        steps in prop::collection::vec((0u8..6, any::<u32>()), 0..200),
    ) {
        let at = page();
        let mut uart = on_ring(at);
        for (step, value) in steps {
            match step {
                0 => set_position(at, IN_WRITTEN, value),
                1 => set_position(at, OUT_READ, value),
                2 => set_position(at, IN_READ, value),
                3 => drop(write(&mut uart, 0, value.into())),
                4 => drop(read(&mut uart, 0)),
                _ => uart.other_end_changed(value % 2 == 0),
            }
            prop_assert!(uart.waiting() <= IN_SIZE as usize && uart.room() <= OUT_SIZE as usize);
            let flags = u32::try_from(read(&mut uart, 0x18)).unwrap();
            prop_assert_eq!(flags & FLAG_RX_EMPTY != 0, uart.waiting() == 0);
            prop_assert_eq!(flags & FLAG_TX_FULL != 0, uart.room() == 0);
        }
    }
}
