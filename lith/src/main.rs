//! `lith`: the command line of the control domain.

use std::process::ExitCode;

use lith::cli::Cli;
use lith::output::explain;

fn main() -> ExitCode {
    match lith::commands::run(Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lith: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}
