//! `lith`: the command line of the control domain.

use std::process::ExitCode;

use lith::cli::Cli;
use lith::output::{explain, say};

fn main() -> ExitCode {
    match lith::commands::run(Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("lith: {}", explain(&error)));
            ExitCode::FAILURE
        }
    }
}
