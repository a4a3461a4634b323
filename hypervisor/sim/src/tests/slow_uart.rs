//! A console whose UART takes bytes slowly, or none: nobody waits for it at EL2, and nobody loses by it what another writes.

use std::panic::{self, AssertUnwindSafe};

use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sched::{Shutdown, ShutdownReason};

use super::super::*;
use super::stay::short;
use super::support::*;
use xenolith_arch::machine::Ending;

/// Where the domains' UARTs are, and their interrupt.
const UART: u64 = 0x0900_0000;
const LINE: Intid = Intid(33);
/// FR: full.
const FULL: u64 = 1 << 5;
/// The UART's interrupt for room.
const ROOM: u64 = 1 << 5;

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|number| b"0123456789abcdef\n"[number % 17]).collect()
}

/// Writes as the control domain, whose call is made again until it is done; before each round the UART gets so much room.
/// How many rounds it took.
fn write(machine: &mut Machine, guest: &Guest, text: &[u8], room: usize) -> u32 {
    let at = guest.page(machine, 8);
    machine.poke(&guest.domain, at, text);
    let pc = machine.regs(guest.cpu).pc;
    let regs = machine.regs(guest.cpu);
    regs.x[16] = Hypercall::ConsoleIo.number();
    regs.x[..3].copy_from_slice(&[0, text.len() as u64, at]);
    for round in 1..100_000 {
        sim::give_uart_room(Some(room));
        machine.regs(guest.cpu).pc = pc.wrapping_add(4);
        short("a write", || machine.event(guest.cpu, instructions::hvc(xenolith_isa::trap::IMMEDIATE_XEN)));
        if machine.regs(guest.cpu).pc != pc {
            assert_eq!(machine.regs(guest.cpu).x[0], 0);
            return round;
        }
        sim::advance(xenolith_arch::ticks(1_000_000));
        machine.settle();
    }
    panic!("it is never done");
}

/// Lets milliseconds pass, in each of which the UART takes so many bytes.
fn pass(machine: &mut Machine, milliseconds: u32, room: usize) {
    for _ in 0..milliseconds {
        sim::give_uart_room(Some(room));
        sim::advance(xenolith_arch::ticks(1_100_000));
        machine.settle();
    }
}

#[test]
fn what_output_makes_for_work_is_done_by_the_cpu_of_who_wrote() {
    let (mut machine, guest) = Guest::alone();
    let at = guest.page(&machine, 8);
    machine.poke(&guest.domain, at, b"a line\n\0");
    assert_eq!(guest.plain(&mut machine, Hypercall::ConsoleIo, [0, 7, at, 0, 0]), 0);
    assert!(!console().has_news(), "left to whoever chooses next");
    sim::give_uart_room(None);
    for &byte in b"another\n" {
        machine.store(guest.cpu, UART, 1, byte.into());
    }
    assert!(!console().has_news(), "left to whoever chooses next");
}

#[test]
fn what_waits_goes_when_there_is_room() {
    let (mut machine, guest) = Guest::alone();
    let text = text(2000);
    sim::console_output();
    assert!(write(&mut machine, &guest, &text, 16) < 5, "there is room in the ring");
    let mut shown = sim::console_output();
    assert!(shown.len() < 16 * 10);
    // Nothing but the CPU's own interrupts brings the rest out.
    pass(&mut machine, 2000 / 16, 16);
    shown.extend(sim::console_output());
    assert!(shown == text);
    // The CPU is left alone then.
    machine.settle();
    sim::advance(xenolith_arch::ticks(5_000_000));
    assert!(!sim::gic::pending());
}

#[test]
fn who_can_wait_loses_nothing() {
    let (mut machine, guest) = Guest::alone();
    let text = text(40_000);
    sim::console_output();
    assert!(write(&mut machine, &guest, &text, 100) > 200);
    let mut shown = sim::console_output();
    pass(&mut machine, 100, 200);
    shown.extend(sim::console_output());
    assert!(shown == text);
}

#[test]
fn a_uart_that_is_stuck_is_given_up_until_it_takes_a_byte() {
    let (mut machine, guest) = Guest::alone();
    sim::console_output();
    assert!(write(&mut machine, &guest, &text(40_000), 0) > 900);
    pass(&mut machine, 1100, 0);
    assert_eq!(sim::console_output(), b"");
    xenolith_domain::console::init_log();
    pass(&mut machine, 1, 1000);
    assert_eq!(write(&mut machine, &guest, b"again\n", 1000), 1);
    guest.plain(&mut machine, Hypercall::SchedOp, [0; 5]);
    let shown = String::from_utf8(sim::console_output()).unwrap();
    assert!(shown.starts_with("again\n") || shown.contains("\nagain\n"), "{shown}");
    assert!(shown.contains("40000 bytes are left out above"), "{shown}");
}

#[test]
fn the_end_of_the_machine_shows_all() {
    let (mut machine, guest) = Guest::alone();
    let text = text(3000);
    write(&mut machine, &guest, &text, 5);
    let at = guest.scratch(&machine);
    machine.poke(&guest.domain, at, &Shutdown { reason: ShutdownReason::Poweroff.number() });
    let end = panic::catch_unwind(AssertUnwindSafe(|| {
        machine.hypercall(guest.cpu, Hypercall::SchedOp.number(), [2, at, 0, 0, 0])
    }));
    assert_eq!(end.unwrap_err().downcast_ref(), Some(&Ending::PowerOff));
    assert!(sim::console_output().starts_with(&text));
}

/// A machine with a control domain and two others with UARTs, whose interrupts come.
fn with_uarts() -> (Machine, Guest, [Guest; 2]) {
    let mut machine = Machine::new(3, 4096);
    let control = Guest::boot(&mut machine, CONTROL);
    let guests = [1, 2].map(|id| {
        let guest = Guest::boot(&mut machine, Plan { id, ..OTHER });
        assert_eq!(guest.domain.make_console_uart(Ipa(UART), LINE), Ok(()));
        guest
    });
    sim::console_output();
    (machine, control, guests)
}

fn say(machine: &mut Machine, guest: &Guest, text: &[u8]) {
    for &byte in text {
        short("a byte", || machine.store(guest.cpu, UART, 1, byte.into()));
    }
}

#[test]
fn a_domain_fills_no_more_than_its_share() {
    let (mut machine, _, [rude, polite]) = with_uarts();
    xenolith_domain::console::init_log();
    sim::give_uart_room(Some(0));
    // It looks neither at the flags nor at what becomes of it.
    (0..600).for_each(|_| say(&mut machine, &rude, b"a line that nobody wants to read\n"));
    assert_eq!(machine.load(rude.cpu, UART + 0x18, 4) & FULL, FULL);
    assert_eq!(machine.load(rude.cpu, UART + 0x3c, 4) & ROOM, 0);
    // Its neighbour has room, and loses nothing.
    say(&mut machine, &polite, b"hello\n");
    assert_eq!(machine.load(polite.cpu, UART + 0x18, 4) & FULL, 0);
    pass(&mut machine, 20, 200);
    let shown = String::from_utf8(sim::console_output()).unwrap();
    assert!(shown.contains("(d2) hello\n"), "{shown}");
    assert!(shown.len() < 3000, "{} bytes", shown.len());
    // There is room again, its UART says so, and it is told of what was dropped.
    assert_eq!(machine.load(rude.cpu, UART + 0x18, 4) & FULL, 0);
    assert_eq!(machine.load(rude.cpu, UART + 0x3c, 4) & ROOM, ROOM);
    say(&mut machine, &rude, b"last\n");
    pass(&mut machine, 5, 500);
    let shown = String::from_utf8(sim::console_output()).unwrap();
    assert!(shown.contains("(d1) last\n"), "{shown}");
    assert!(
        shown.contains("warning: d1: ") && shown.contains(" bytes of its output are left out"),
        "{shown}"
    );
}

#[test]
fn a_domain_that_looks_at_its_uart_loses_nothing() {
    let (mut machine, _, [guest, _]) = with_uarts();
    let mut shown = Vec::new();
    let lines: Vec<String> =
        (0..100).map(|number| format!("line {number} of a domain that waits\n")).collect();
    sim::give_uart_room(Some(0));
    for byte in lines.concat().bytes() {
        while machine.load(guest.cpu, UART + 0x18, 4) & FULL != 0 {
            pass(&mut machine, 1, 16);
        }
        say(&mut machine, &guest, &[byte]);
    }
    pass(&mut machine, 100, 16);
    shown.extend(sim::console_output());
    let expected: String = lines.iter().map(|line| format!("(d1) {line}")).collect();
    assert_eq!(String::from_utf8(shown).unwrap(), expected);
}

#[test]
fn last_words_are_few() {
    let (mut machine, _first) = (Machine::new(2, 1 << 13), ());
    xenolith_domain::console::init_log();
    let _control = Guest::boot(&mut machine, CONTROL);
    let guest = Guest::boot(&mut machine, Plan { vcpus: 128, ..OTHER });
    let at = guest.scratch(&machine);
    machine.poke(&guest.domain, at, &[0_u32, 1]);
    assert_eq!(guest.plain(&mut machine, Hypercall::SchedOp, [6, at, 0, 0, 0]), 1);
    sim::console_output();
    sim::advance(xenolith_arch::ticks(2_000_000_000));
    sim::stay::take_longest();
    machine.settle();
    let longest = sim::stay::take_longest();
    assert!(longest < LONGEST_STAY, "{longest} steps");
    let shown = String::from_utf8(sim::console_output()).unwrap();
    assert!(shown.contains("124 more vCPUs are not shown"), "{shown}");
}
