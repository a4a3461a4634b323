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
    Serve {
        /// What holds for its devices' processes.
        #[command(flatten)]
        processes: Processes,
    },
    /// Serve the virtio disks that xl gives this domain, until stopped.
    Xenstore {
        /// Where the files are that name the images of devices of the kind `virtio=`, which name none themselves.
        #[arg(long, default_value = "/etc/lithd")]
        disks: PathBuf,
        /// What holds for its devices' processes.
        #[command(flatten)]
        processes: Processes,
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
        /// What holds for its devices' processes.
        #[command(flatten)]
        processes: Processes,
    },
}

/// What holds for the process of each device.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Processes {
    /// Serve devices also where their processes cannot give up all that they should: where the kernel has no Landlock, for
    /// instance. What of it is missing stands behind what lithd says of the device.
    #[arg(long)]
    pub allow_weak: bool,
}

impl Processes {
    /// The arguments that say the same.
    pub fn arguments(self) -> &'static [&'static str] {
        if self.allow_weak { &["--allow-weak"] } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_for_processes_is_handed_on() {
        for allow_weak in [false, true] {
            let said = ["lithd", "device", "--slot", "3"].into_iter();
            let said = said.chain(Processes { allow_weak }.arguments().iter().copied());
            let Command::Device { processes, .. } = Arguments::parse_from(said).command else {
                unreachable!()
            };
            assert_eq!(processes.allow_weak, allow_weak);
        }
    }
}
