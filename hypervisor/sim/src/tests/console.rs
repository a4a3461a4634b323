//! The console of the first domain.

use xenolith_abi::Errno;
use xenolith_abi::event::BindVirq;
use xenolith_abi::hypercall::Hypercall;

use super::super::*;
use super::support::*;

#[test]
fn output_crosses_pages_and_interrupts() {
    let (mut machine, guest) = Guest::alone();
    let at = guest.page(&machine, 5) - 700;
    let text: Vec<u8> = (0..1500).map(|n| b'a' + (n % 26) as u8).collect();
    machine.poke(&guest.domain, at, text.as_slice());
    for every in [None, Some(1), Some(3)] {
        sim::pause_every(every);
        sim::console_output();
        assert_eq!(guest.plain(&mut machine, Hypercall::ConsoleIo, [0, 1500, at, 0, 0]), 0);
        assert_eq!(sim::console_output(), text);
    }
}

#[test]
fn what_is_typed_is_announced_and_read() {
    let (mut machine, guest) = Guest::alone();
    let mut bind = BindVirq { virq: 2, ..BindVirq::default() };
    assert_eq!(guest.call(&mut machine, Hypercall::EventChannelOp, 1, &mut bind), 0);
    sim::type_on_console(b"ls\r");
    machine.settle();
    let pending = guest.domain.shared_info.word64(48).unwrap().load();
    assert_eq!(pending, 1 << bind.port.0);
    let at = guest.page(&machine, 3) - 2;
    assert_eq!(guest.plain(&mut machine, Hypercall::ConsoleIo, [1, 16, at, 0, 0]), 3);
    assert_eq!(machine.peek::<[u8; 3]>(&guest.domain, at), *b"ls\r");
    assert_eq!(guest.plain(&mut machine, Hypercall::ConsoleIo, [1, u64::MAX, at, 0, 0]), error(Errno::E2BIG));
}

#[test]
fn no_other_domain_has_it() {
    let (mut machine, _first, second) = Guest::two();
    let at = second.page(&machine, 3);
    for op in [0, 1] {
        assert_eq!(second.plain(&mut machine, Hypercall::ConsoleIo, [op, 4, at, 0, 0]), error(Errno::EPERM));
    }
}

#[test]
fn the_command_line_is_the_control_domain_s_in_every_form() {
    let options =
        Options { xen_version: xenolith_host::command_line::XenVersion::V4_20, ..Options::default() };
    let mut machine = Machine::with_options(2, 1024, options);
    let (first, second) = (Guest::boot(&mut machine, CONTROL), Guest::boot(&mut machine, OTHER));
    // The second form has a length before the text, which it is the room for first.
    for (op, at) in [(9, 0), (14, 4)] {
        let told = |guest: &Guest, machine: &mut Machine| {
            let mut text = [0; 1024];
            text[..4].copy_from_slice(&1000_u32.to_le_bytes());
            assert!(guest.call(machine, Hypercall::XenVersion, op, &mut text) >= 0);
            text[at..].split(|&byte| byte == 0).next().map(<[u8]>::to_vec)
        };
        assert_eq!(told(&first, &mut machine).as_deref(), Some(b"test".as_slice()), "{op}");
        assert_eq!(told(&second, &mut machine).as_deref(), Some(b"<denied>".as_slice()), "{op}");
    }
}

#[test]
fn another_domain_adds_lines_if_it_may() {
    let options = Options { guest_console: true, ..Options::default() };
    let mut machine = Machine::with_options(2, 1024, options);
    Guest::boot(&mut machine, CONTROL);
    let other = Guest::boot(&mut machine, OTHER);
    let at = other.page(&machine, 5);
    machine.poke(&other.domain, at, b"one\ntwo\x1b");
    sim::console_output();
    assert_eq!(other.plain(&mut machine, Hypercall::ConsoleIo, [0, 8, at, 0, 0]), 0);
    assert_eq!(sim::console_output(), b"(d1) one\r\n(d1) two");
    assert_eq!(other.plain(&mut machine, Hypercall::ConsoleIo, [0, 4, at, 0, 0]), 0);
    assert_eq!(sim::console_output(), b"one\r\n");
    assert_eq!(other.plain(&mut machine, Hypercall::ConsoleIo, [1, 8, at, 0, 0]), error(Errno::EPERM));
}
