//! Each driver against a model of its UART, which starts as firmware may have left it: the transmitter off, a speed being set,
//! interrupts of all kinds enabled. A model refuses registers that the UART does not have.

mod models;

use super::*;
use models::Model;
use proptest::prelude::*;
use xenolith_core::types::Pa;

/// Sends as the hypervisor does; the line takes one byte each time the driver says that there is no room.
fn send(uart: &mut dyn Serial, model: &dyn Model, text: &[u8]) {
    for &byte in text {
        let mut patience = 0;
        while uart.is_full() {
            assert!(patience < 64, "the transmitter stays full");
            patience += 1;
            model.line_takes_a_byte();
        }
        uart.write(byte);
    }
    (0..64).for_each(|_| model.line_takes_a_byte());
}

/// As the hypervisor reads at an interrupt.
fn receive(uart: &mut dyn Serial) -> Vec<u8> {
    uart.acknowledge();
    core::iter::from_fn(|| uart.read()).collect()
}

fn device(kind: UartKind) -> UartDevice {
    UartDevice { kind, base: Pa(0x1000), shift: 0, width: 4 }
}

const KINDS: [UartKind; 6] = [
    UartKind::Ns16550,
    UartKind::DesignWare,
    UartKind::Cadence,
    UartKind::Imx,
    UartKind::Lpuart,
    UartKind::Meson,
];

/// Runs a check with the driver of each kind and its model.
fn each(check: impl Fn(UartKind, &mut dyn Serial, &dyn Model)) {
    for kind in KINDS {
        let model = models::of(kind);
        let mut driver = Driver::new(&device(kind), model.as_ref()).unwrap();
        check(kind, driver.serial_mut(), model.as_ref());
    }
}

impl Registers for &dyn Model {
    fn read(&self, register: u64) -> u32 {
        Registers::read(*self, register)
    }

    fn write(&self, register: u64, value: u32) {
        Registers::write(*self, register, value);
    }
}

#[test]
fn what_is_written_leaves_the_uart_in_order() {
    let text: Vec<u8> = (0..=255).chain(*b"(xenolith) ready\r\n").collect();
    each(|kind, uart, model| {
        send(uart, model, &text);
        assert_eq!(model.sent(), text, "{kind:?}");
        assert!(!model.interrupts(), "{kind:?} interrupts with nothing received");
    });
}

#[test]
fn each_byte_interrupts_until_it_is_read() {
    each(|kind, uart, model| {
        for byte in [b'a', 0, 0xff] {
            model.line_brings(byte);
            assert!(model.interrupts(), "{kind:?}: no interrupt");
            assert_eq!(receive(uart), [byte], "{kind:?}");
            assert!(!model.interrupts(), "{kind:?}: the interrupt stays");
            assert_eq!(receive(uart), [], "{kind:?}");
        }
    });
}

#[test]
fn what_comes_behind_the_acknowledgement_is_read_or_interrupts() {
    each(|kind, uart, model| {
        model.line_brings(b'1');
        uart.acknowledge();
        model.line_brings(b'2');
        assert_eq!([uart.read(), uart.read(), uart.read()], [Some(b'1'), Some(b'2'), None], "{kind:?}");
        model.line_brings(b'3');
        assert!(model.interrupts(), "{kind:?}");
        assert_eq!(receive(uart), [b'3'], "{kind:?}");
    });
}

#[test]
fn a_receiver_that_lost_bytes_goes_on() {
    each(|kind, uart, model| {
        (0..100).for_each(|byte| model.line_brings(byte));
        let first = receive(uart);
        assert!(!first.is_empty() && first.iter().zip(0..).all(|(&byte, index)| byte == index), "{kind:?}");
        model.line_brings(b'x');
        assert!(model.interrupts(), "{kind:?}");
        assert_eq!(receive(uart), [b'x'], "{kind:?}");
        assert!(!model.interrupts(), "{kind:?}");
    });
}

#[test]
fn a_byte_with_an_error_is_dropped() {
    for kind in [UartKind::Ns16550, UartKind::DesignWare, UartKind::Imx, UartKind::Lpuart] {
        let model = models::of(kind);
        let mut driver = Driver::new(&device(kind), model.as_ref()).unwrap();
        model.line_brings(b'a');
        model.line_brings_spoilt(0);
        model.line_brings(b'b');
        assert_eq!(receive(driver.serial_mut()), [b'a', b'b'], "{kind:?}");
        assert!(!model.interrupts(), "{kind:?}");
    }
}

#[test]
fn interrupts_of_design_wares_own_end() {
    let model = models::Ns16550::new(true);
    let mut driver = Ns16550::new(&model as &dyn Model, true);
    for trouble in [models::Trouble::BusyDetect, models::Trouble::EmptyTimeout] {
        model.has(trouble);
        assert!(model.interrupts());
        assert_eq!(receive(&mut driver), []);
        assert!(!model.interrupts(), "{trouble:?}");
    }
    model.line_brings(b'x');
    assert_eq!(receive(&mut driver), [b'x']);
}

#[test]
fn a_pl011_is_none_of_these() {
    let model = models::of(UartKind::Cadence);
    assert!(Driver::new(&device(UartKind::Pl011), model.as_ref()).is_none());
}

proptest! {
    /// Any order of sending and receiving, in bursts that fit the smallest FIFO.
    #[test]
    fn both_directions_are_apart(bursts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..8)), 0..24)) {
        each(|kind, uart, model| {
            let (mut sent, mut typed, mut got) = (Vec::new(), Vec::new(), Vec::new());
            for (out, bytes) in &bursts {
                if *out {
                    send(uart, model, bytes);
                    sent.extend(bytes);
                } else {
                    bytes.iter().for_each(|&byte| model.line_brings(byte));
                    assert_eq!(model.interrupts(), !bytes.is_empty(), "{kind:?}");
                    typed.extend(bytes);
                    got.extend(receive(uart));
                }
            }
            assert_eq!((model.sent(), got), (sent, typed), "{kind:?}");
        });
    }
}

/// What a UART reads as whose clock is off.
struct Dead(u32);

impl Registers for Dead {
    fn read(&self, _: u64) -> u32 {
        self.0
    }

    fn write(&self, _: u64, _: u32) {}
}

#[test]
fn a_dead_uart_keeps_nobody() {
    for (kind, word) in KINDS.into_iter().flat_map(|kind| [0, u32::MAX].map(|word| (kind, word))) {
        let mut driver = Driver::new(&device(kind), Dead(word)).unwrap();
        let uart = driver.serial_mut();
        let is_stuck = AtomicBool::new(false);
        for _ in 0..1000 {
            super::send(uart, b"text", &is_stuck);
        }
        assert_eq!(is_stuck.load(Ordering::Relaxed), uart.is_full(), "{kind:?} {word:#x}");
        uart.acknowledge();
        let _ = uart.read();
    }
}

#[test]
fn a_transmitter_that_was_stuck_is_used_again() {
    each(|kind, uart, model| {
        let is_stuck = AtomicBool::new(false);
        // More than its FIFO holds, and the line takes nothing.
        super::send(uart, &[b'x'; 300], &is_stuck);
        assert!(is_stuck.load(Ordering::Relaxed), "{kind:?}");
        (0..300).for_each(|_| model.line_takes_a_byte());
        let before = model.sent().len();
        super::send(uart, b"y", &is_stuck);
        (0..300).for_each(|_| model.line_takes_a_byte());
        assert!(!is_stuck.load(Ordering::Relaxed), "{kind:?}");
        assert_eq!(model.sent()[before..], *b"y", "{kind:?}");
    });
}

#[test]
fn a_transmitter_is_offered_no_more_than_it_takes() {
    each(|kind, uart, model| {
        let text = [b'x'; 300];
        let taken = offer(uart, &text);
        assert!((1..300).contains(&taken) && uart.is_full(), "{kind:?}: {taken}");
        assert_eq!(offer(uart, &text), 0, "{kind:?}");
        (0..300).for_each(|_| model.line_takes_a_byte());
        assert_eq!(model.sent().len(), taken, "{kind:?}");
        assert_eq!(offer(uart, b"y"), 1, "{kind:?}");
    });
}
