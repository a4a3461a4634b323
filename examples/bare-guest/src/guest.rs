//! What the guest does, from its device tree to its end.

use core::sync::atomic::{AtomicU32, Ordering};

use bare_guest::machine::Machine;
use spin::Once;

use crate::console::{self, print_line};
use crate::gic::Gic;
use crate::timer::Timer;
use crate::{cpu, entry, mmu, power};

/// Ticks that are taken, unless `ticks=` on the command line says another number.
const TICKS: u32 = 5;
/// Ticks in a second.
const TICKS_PER_SECOND: u64 = 10;

/// What the interrupt handler works with.
static INTERRUPTS: Once<(Gic, Timer)> = Once::new();
/// Ticks that were taken.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The program, with the device tree's bytes.
pub fn run(tree: &[u8]) -> ! {
    let machine = Machine::read(tree).unwrap_or_else(|missing| panic!("{missing}"));
    power::set_conduit(machine.conduit);
    mmu::turn_on(&machine);
    console::open(&machine);
    print_line!("bare-guest: on {}, {}", machine.model, machine.xen.unwrap_or("no /hypervisor in its tree"));
    print_line!("image at {:#x}, EL{}, CPU {:#x}", entry::image().start, cpu::level(), cpu::affinity());
    for bank in &machine.memory {
        print_line!("memory from {:#x} to {:#x}", bank.start, bank.end);
    }
    print_line!("command line: {:?}", machine.arguments);
    if machine.number("fault").is_some() {
        entry::fault();
    }
    tick(&machine, machine.number("ticks").unwrap_or(TICKS));
    print_line!("bare-guest: done, turns off");
    power::off()
}

/// Says when the timer ticks, so often.
fn tick(machine: &Machine<'_>, ticks: u32) {
    let (gic, timer) =
        INTERRUPTS.call_once(|| (Gic::new(&machine.gic), Timer::new(machine.timer, TICKS_PER_SECOND)));
    print_line!("{gic}; timer with interrupt {} and {} Hz", timer.interrupt().0, timer.frequency());
    gic.enable(timer.interrupt());
    timer.start();
    for said in 0..ticks {
        cpu::wait_until(|| TAKEN.load(Ordering::Relaxed) > said);
        print_line!("tick {} after {} ms", said.saturating_add(1), timer.milliseconds());
    }
    timer.stop();
}

/// An interrupt: the vector calls this, with interrupts masked.
pub fn interrupt() {
    let Some((gic, timer)) = INTERRUPTS.get() else { return };
    while let Some(interrupt) = gic.acknowledge() {
        if interrupt == timer.interrupt() {
            // Before the interrupt's end: the timer holds its line until it is given its next time.
            timer.advance();
            TAKEN.fetch_add(1, Ordering::Relaxed);
        } else {
            print_line!("interrupt {}, which nobody has asked for", interrupt.0);
        }
        gic.end(interrupt);
    }
}
