//! lithd: serves devices of guests in a backend domain.
//!
//! `lithd serve` looks after the domain's device slots, and `lithd xenstore` after what Xen's tools write for a backend.
//! Both start `lithd device` for each device: one process that serves one device, and that has given up everything else
//! before it looks at what the guest says.

#![forbid(unsafe_code)]

mod adaptive_poll;
mod confine;
mod device;
mod event_loop;
mod job;
mod kinds;
mod logger;
mod process;
mod report;
mod serve;
mod stop;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "lithd runs as root in the domain that has the images. `lith create` in the \
    control domain makes the slots that `lithd serve` serves, and `xl create` the disks of `lithd xenstore`."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve this domain's device slots until stopped.
    Serve,
    /// Serve the virtio disks that xl gives this domain, until stopped.
    Xenstore {
        /// Where the files are that name the images of devices of the kind `virtio=`, which name none themselves.
        #[arg(long, default_value = "/etc/lithd")]
        disks: PathBuf,
    },
    /// Serve one device; the others start this.
    #[command(hide = true)]
    Device {
        /// The number of its slot.
        #[arg(long, conflicts_with = "job", required_unless_present = "job")]
        slot: Option<u32>,
        /// What to serve, without a slot.
        #[arg(long)]
        job: Option<String>,
    },
}

fn main() -> ExitCode {
    logger::start();
    let result = match Arguments::parse().command {
        Command::Serve => serve::run(),
        Command::Xenstore { disks } => store::run(disks),
        Command::Device { slot, job } => device::run(slot, job.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", report::tell(&error));
            ExitCode::FAILURE
        }
    }
}
