//! The scenarios, each a trial of its own name. `cargo test -p system-tests --test machines -- gicv2` runs
//! those with `gicv2` in their names.

#![deny(unsafe_code)]

mod rig;
mod scenarios;

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
    match assets {
        Ok(assets) => libtest_mimic::run(&arguments, harness::trials(assets, scenarios::all())).exit_code(),
        Err(error) => {
            eprintln!("system-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
