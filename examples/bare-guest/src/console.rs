//! The console: the UART that the hypervisor emulates, or else the ring of Xen's console, or else the hypervisor's own.
//!
//! A domain that starts with the machine has the UART, with `vpl011`. A guest of `lith` or `xl` has the ring: a page that
//! the toolstack reads, and an event channel to tell it so. The first domain has neither, and writes to the machine's console
//! by a hypercall, which others may do as well as long as nobody minds.

use core::fmt::{self, Write};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;
use bare_guest::machine::Machine;
use bare_guest::ring::next_piece;
use bare_guest::tables::Kind;
use spin::Once;
use xenolith_abi::Port;
use xenolith_abi::console::ring::{OUT, OUT_READ, OUT_WRITTEN};
use xenolith_abi::hvm::HvmParam;

use crate::{mmu, power, xen};

const PAGE: u64 = 4096;

/// Where words go.
#[derive(Clone, Copy)]
enum Console {
    /// An SBSA UART, or a PL011.
    Uart(Registers),
    /// The ring.
    Ring(Registers, Port),
    /// The hypervisor's console.
    Hypervisor,
}

/// The first byte of a page that is mapped for ever.
#[derive(Clone, Copy)]
struct Registers(NonNull<u8>);

// SAFETY: one CPU runs this program; what is there is only accessed by volatile and by atomic accesses.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

static CONSOLE: Once<Console> = Once::new();

/// Finds the console. Without one, nothing is said.
pub fn open(machine: &Machine<'_>) {
    let uart = machine.uart.as_ref().and_then(|uart| Registers::at(uart.start)).map(Console::Uart);
    let of_xen = || machine.xen.map(|_| ring().unwrap_or(Console::Hypervisor));
    if let Some(console) = uart.or_else(of_xen) {
        CONSOLE.call_once(|| console);
    }
}

/// The page of the ring is no part of RAM: it has to be mapped.
fn ring() -> Option<Console> {
    let page = xen::parameter(HvmParam::ConsolePfn)?.checked_mul(PAGE)?;
    let port = Port(u32::try_from(xen::parameter(HvmParam::ConsoleEvtchn)?).ok()?);
    mmu::map(&(page..page.checked_add(PAGE)?), Kind::Normal).ok()?;
    Some(Console::Ring(Registers::at(page)?, port))
}

impl Registers {
    fn at(address: u64) -> Option<Registers> {
        NonNull::new(ptr::with_exposed_provenance_mut(usize::try_from(address).ok()?)).map(Registers)
    }

    /// A count in the ring's page.
    fn count(self, offset: usize) -> &'static AtomicU32 {
        // SAFETY: the page is mapped for ever, the offset is within it and a multiple of four, and whoever else accesses it
        // is in another domain.
        unsafe { AtomicU32::from_ptr(self.0.add(offset).as_ptr().cast()) }
    }
}

impl Console {
    fn send(self, bytes: &[u8]) {
        match self {
            Console::Uart(registers) => bytes.iter().for_each(|&byte| send(registers, byte)),
            Console::Ring(page, port) => put(page, port, bytes),
            Console::Hypervisor => xen::write(bytes),
        }
    }
}

/// What is printed at once, so that no other domain's words come in between, and that one event tells of all of it.
struct Line {
    console: Console,
    bytes: ArrayVec<u8, 128>,
}

impl Line {
    fn send(&mut self) {
        self.console.send(&self.bytes);
        self.bytes.clear();
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.bytes.is_full() {
                self.send();
            }
            self.bytes.push(byte);
        }
        Ok(())
    }
}

/// Sends a byte by a UART.
fn send(registers: Registers, byte: u8) {
    const DATA: usize = 0;
    const FLAGS: usize = 0x18;
    const NO_ROOM: u32 = 1 << 5;
    // SAFETY: these are registers of a UART, in a page that is mapped as Device memory.
    let register = |offset: usize| unsafe { registers.0.add(offset).cast::<u32>() };
    // SAFETY: as above.
    while unsafe { register(FLAGS).read_volatile() } & NO_ROOM != 0 {
        core::hint::spin_loop();
    }
    // SAFETY: as above.
    unsafe { register(DATA).write_volatile(byte.into()) };
}

/// Puts bytes into the ring, and waits for room where there is none.
fn put(page: Registers, port: Port, mut bytes: &[u8]) {
    let (read, written) = (page.count(OUT_READ), page.count(OUT_WRITTEN));
    while !bytes.is_empty() {
        let count = written.load(Ordering::Relaxed);
        // What was read is free: not one byte is written there before that is known.
        let piece = next_piece(count, read.load(Ordering::Acquire), bytes.len());
        if piece.is_empty() {
            xen::give_way();
            continue;
        }
        let (now, later) = bytes.split_at(piece.len());
        for (&byte, place) in now.iter().zip(piece) {
            // SAFETY: the place is within the ring, which is within the page.
            unsafe { page.0.add(OUT + place).write_volatile(byte) };
        }
        bytes = later;
        // The reader sees the bytes before it sees their count.
        let count = count.wrapping_add(u32::try_from(now.len()).unwrap_or(0));
        written.store(count, Ordering::Release);
        xen::send(port);
    }
}

/// Prints a line.
macro_rules! print_line {
    ($($format:tt)*) => { $crate::console::print(format_args!("{}\r\n", format_args!($($format)*))) };
}
pub(crate) use print_line;

/// Prints, if there is a console.
pub fn print(text: fmt::Arguments<'_>) {
    let Some(&console) = CONSOLE.get() else { return };
    let mut line = Line { console, bytes: ArrayVec::new() };
    // It cannot fail.
    let _ = line.write_fmt(text);
    line.send();
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    print_line!("bare-guest: {info}");
    // Whoever made a guest is told that it is broken; a machine of its own it turns off.
    if let Some(Console::Ring(..)) = CONSOLE.get() {
        xen::crash();
    }
    power::off()
}
