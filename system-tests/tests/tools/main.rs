//! Xen's own tools, as Debian ships them, in a control domain on our hypervisor: each transcript of `transcripts/` is
//! played there, for each version of the tools, and on a real Xen by option. What that answered is on record.

#![deny(unsafe_code)]

mod dom0;
mod play;
mod record;
mod xen;

use std::process::ExitCode;

use system_tests::harness;

fn main() -> ExitCode {
    harness::main(play::all)
}
