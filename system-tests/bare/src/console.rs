//! Text to the hypervisor's console, by the `console_io` hypercall.

use core::fmt::{self, Write};

use crate::calls::{CONSOLE_IO, hypercall};

/// The console. Its lines are short: each piece of a format is a call.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const WRITE: u64 = 0;
        hypercall(CONSOLE_IO, [WRITE, text.len() as u64, text.as_ptr() as u64, 0]);
        Ok(())
    }
}

/// Prints a line. Nothing can be done about a console that fails.
macro_rules! print_line {
    ($($format:tt)*) => {{
        let _ = core::fmt::Write::write_fmt(&mut $crate::console::Console, format_args!("{}\r\n", format_args!($($format)*)));
    }};
}
pub(crate) use print_line;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    print_line!("FAILED to go on: {info}");
    crate::calls::power_off()
}
