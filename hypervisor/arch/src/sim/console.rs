//! The console: what is written is kept for the test, what is read is what the test typed.

use super::machine::with;
use xenolith_hw::steps;

/// Bytes of output that are kept: a test that never looks must not fill the memory.
const KEPT: usize = 1 << 20;

/// Writes bytes.
pub fn write_console(bytes: &[u8]) {
    steps::count(steps::UART_BYTE * bytes.len() as u64);
    with(|machine| {
        let output = &mut machine.console.output;
        output.extend_from_slice(bytes);
        output.drain(..output.len().saturating_sub(KEPT));
    });
}

/// Writes bytes as far as the transmitter takes them; how many.
pub fn offer_console(bytes: &[u8]) -> usize {
    let room = with(|machine| {
        let room = machine.console.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        machine.console.room = machine.console.room.map(|all| all - room);
        room
    });
    write_console(&bytes[..room]);
    room
}

/// Has the transmitter take so many bytes more and then none; `None`: as many as come.
pub fn give_uart_room(bytes: Option<usize>) {
    with(|machine| machine.console.room = bytes);
}

/// Writes bytes; there is no lock that a dead CPU could hold.
pub fn write_console_unlocked(bytes: &[u8]) {
    write_console(bytes);
}

/// Takes what has been typed. Returns how many bytes were stored.
pub fn read_console(into: &mut [u8]) -> usize {
    with(|machine| {
        let input = &mut machine.console.input;
        let count = into.len().min(input.len());
        for (slot, byte) in into.iter_mut().zip(input.drain(..count)) {
            *slot = byte;
        }
        count
    })
}

/// Types on the console, which raises its interrupt until all is read.
pub fn type_on_console(bytes: &[u8]) {
    with(|machine| machine.console.input.extend(bytes));
}

/// Takes what has been written.
pub fn console_output() -> Vec<u8> {
    with(|machine| std::mem::take(&mut machine.console.output))
}
