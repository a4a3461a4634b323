use proptest::prelude::*;

use super::*;

const BASE: u64 = 0x2200_0000;

fn uart() -> Vuart {
    Vuart::new(Ipa(BASE), 32)
}

fn read(uart: &mut Vuart, offset: u64) -> u64 {
    uart.read(Ipa(BASE + offset), 4).unwrap().unwrap()
}

fn write(uart: &mut Vuart, offset: u64, value: u64) -> Option<u8> {
    uart.write(Ipa(BASE + offset), 4, value).unwrap().unwrap()
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
    assert_eq!(uart.typed.len(), QUEUE);
}

#[test]
fn the_transmitter_has_always_room() {
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
    assert_eq!(uart.write(Ipa(BASE), 1, b'A'.into()), Some(Ok(Some(b'A'))));
    uart.write(Ipa(BASE + 0x38), 2, 0x50).unwrap().unwrap();
    uart.write(Ipa(BASE + 0x39), 1, 0x04).unwrap().unwrap();
    assert_eq!(read(&mut uart, 0x38), 0x450);
    assert_eq!(uart.read(Ipa(BASE + 0x39), 1), Some(Ok(4)));
}

#[test]
fn other_accesses_are_refused() {
    let mut uart = uart();
    assert_eq!(uart.read(Ipa(BASE + 0xfe0), 4), Some(Err(Fault)));
    assert_eq!(uart.read(Ipa(BASE), 8), Some(Err(Fault)));
    assert_eq!(uart.write(Ipa(BASE + 0x30), 4, 0), Some(Err(Fault)));
    assert_eq!(uart.write(Ipa(BASE + 0x3a), 4, 0), Some(Err(Fault)));
    assert_eq!(uart.read(Ipa(BASE + SIZE), 4), None);
    assert_eq!(uart.write(Ipa(BASE - 4), 4, 0), None);
}

proptest! {
    #[test]
    fn any_access_keeps_the_queue_and_the_flags_in_step(
        steps in prop::collection::vec((0u64..0x50, prop::sample::select(vec![1u8, 2, 4, 8]), any::<u64>(), 0usize..40), 0..200),
    ) {
        let mut uart = uart();
        for (offset, size, value, typed) in steps {
            match value % 3 {
                0 => drop(uart.read(Ipa(BASE + offset), size)),
                1 => drop(uart.write(Ipa(BASE + offset), size, value)),
                _ => uart.receive(&vec![1; typed]),
            }
            prop_assert!(uart.typed.len() <= QUEUE);
            let flags = u32::try_from(read(&mut uart, 0x18)).unwrap();
            prop_assert_eq!(flags & FLAG_RX_EMPTY != 0, uart.typed.is_empty());
            prop_assert!(!uart.typed.is_empty() || uart.raw & (RX | RX_TIMEOUT) == 0);
            prop_assert_eq!(uart.line(), uart.raw & uart.mask != 0);
        }
    }
}
