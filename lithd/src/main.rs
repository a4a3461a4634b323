//! lithd: serves devices of guests in a backend domain.
//!
//! `lithd serve` looks after the domain's device slots, and `lithd xenstore` after what Xen's tools write for a backend.
//! Both start `lithd device` for each device: one process that serves one device, and that has given up everything else
//! before it looks at what the guest says.

#![forbid(unsafe_code)]

mod adaptive_poll;
mod cgroup;
mod complaints;
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

use std::process::ExitCode;

use clap::Parser;
use lithd::cli::{Arguments, Command};

use process::Children;

fn main() -> ExitCode {
    logger::start();
    let result = match Arguments::parse().command {
        Command::Serve { processes } => serve::run(Children::new(processes)),
        Command::Xenstore { disks, processes } => store::run(disks, Children::new(processes)),
        Command::Device { slot, job, processes } => device::run(slot, job.as_deref(), processes.allow_weak),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", report::tell(&error));
            ExitCode::FAILURE
        }
    }
}
