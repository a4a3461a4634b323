//! Xen's own tools, as Debian ships them, in a control domain on our hypervisor: each transcript of `transcripts/` is
//! played there, for each version of the tools, and on a real Xen where there is one.

#![deny(unsafe_code)]

mod dom0;
mod play;
mod xen;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use system_tests::assets::Assets;
use system_tests::harness;

/// Machines that run at once, unless `--test-threads` says otherwise.
const MACHINES: usize = 2;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(MACHINES);
    let assets = if arguments.list { Ok(None) } else { Assets::prepare().map(Some) };
    match assets.and_then(|assets| Ok((assets, play::all()?))) {
        Ok((assets, plays)) => libtest_mimic::run(&arguments, harness::trials(assets, plays)).exit_code(),
        Err(error) => {
            eprintln!("system-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
