//! Where the log goes: to standard error, which who starts lithd sends where it wants.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

/// Writes each record as a line.
struct StandardError;

impl Log for StandardError {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // In one piece: other processes write there, too. A log that nobody takes is no reason to stop serving.
        let _ = std::io::stderr().write_all(line(record).as_bytes());
    }

    fn flush(&self) {}
}

fn line(record: &Record<'_>) -> String {
    // One line, whatever stands in the text.
    format!("lithd: {}\n", record.args().to_string().replace(['\n', '\r'], " "))
}

/// Has all that is logged from here on written.
pub fn start() {
    // It is an error only where there is a logger already, which then has it.
    if log::set_logger(&StandardError).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let text = |text: &str| line(&Record::builder().args(format_args!("{text}")).build());
        assert_eq!(text("slot 3: process 7"), "lithd: slot 3: process 7\n");
        assert_eq!(text("two\nlines\r"), "lithd: two lines \n");
    }
}
