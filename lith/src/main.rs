//! `lith`: the command line of the control domain.

use std::process::ExitCode;

use clap::Parser;
use lith::cli::Cli;

fn main() -> ExitCode {
    match lith::commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lith: {error:#}");
            ExitCode::FAILURE
        }
    }
}
