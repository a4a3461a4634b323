//! The hypervisor's command line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenolith_host::command_line::{MAX_COMPLAINTS, Options};

fuzz_target!(|line: &str| {
    let (options, complaints) = Options::parse(line);
    assert!(complaints.len() <= MAX_COMPLAINTS);
    complaints.iter().for_each(|complaint| drop(complaint.to_string()));
    let _ = options.validate(8).inspect_err(|error| drop(error.to_string()));
});
