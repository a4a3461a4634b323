//! lithd: serves devices of guests in a backend domain.
//!
//! `lithd serve` looks after the domain's device slots and starts `lithd device` for each: one process that serves one
//! device, and that has given up everything else before it looks at what the guest says.

#![forbid(unsafe_code)]

mod attend;
mod confine;
mod device;
mod disk;
mod pace;
mod report;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "lithd runs as root in the domain that has the images. `lith create` in the \
    control domain makes the slots that it serves."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve this domain's device slots until stopped.
    Serve,
    /// Serve one device; `lithd serve` starts this.
    #[command(hide = true)]
    Device {
        /// The number of its slot.
        #[arg(long)]
        slot: u32,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve => serve::run(),
        Command::Device { slot } => device::run(slot),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::log!("{}", report::tell(&error));
            ExitCode::FAILURE
        }
    }
}
