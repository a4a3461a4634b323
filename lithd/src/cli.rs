//! The command line's words, which its manual pages are made of too.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The daemon of a backend domain: serves the devices of guests, one confined process for each.
#[derive(Debug, Parser)]
#[command(
    name = "lithd",
    version,
    about,
    after_help = "lithd runs as root in the domain that has the images. `lith create` in the \
    control domain makes the slots that `lithd serve` serves, and `xl create` the disks of `lithd xenstore`."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
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
