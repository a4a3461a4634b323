//! The commands, one file each or a few that belong together.

mod all;
mod completion;
mod console;
mod control;
mod create;
mod devices;
mod disks;
mod domains;
mod end;
mod extract;
mod info;
mod messages;
mod terminal;
mod unpack;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::cli::{Cli, Command, DiskCommand, Forced};
use crate::monitor;
use crate::registry::{FOLDER, Registry};
use crate::xen::RealXen;

/// Does what the command line says.
///
/// # Errors
///
/// What went wrong, for whoever typed it.
pub fn run(cli: Cli) -> Result<()> {
    let json = cli.json;
    match cli.command {
        Command::Completion { shell } => completion::print(shell),
        Command::ExtractKernel { image, folder, format, entry } => {
            extract::run(&image, &folder, format, entry)
        }
        Command::UnpackKernel { file, image } => unpack::run(&file, &image),
        Command::Monitor => monitor::main(),
        Command::ReadBootDisk => bootdisk::process::serve(),
        Command::Create { file, paused, console } => create::run(&registry()?, &file, paused, console, json),
        Command::List => domains::list(&RealXen::open()?, &registry()?, json),
        Command::Console(guest) => console::run(&RealXen::open()?, &registry()?, &guest.guest),
        Command::Attach(guest) => create::attach(&RealXen::open()?, &registry()?, &guest.guest),
        Command::Pause(guest) => control::pause(&RealXen::open()?, &registry()?, &guest.guest),
        Command::Resume(guest) => control::resume(&RealXen::open()?, &registry()?, &guest.guest),
        Command::Unpause(guest) => control::unpause(&RealXen::open()?, &registry()?, &guest.guest),
        Command::Shutdown { guest: Some(guest), wait, timeout, .. } => {
            let wait = wait.then(|| seconds(timeout));
            end::shutdown(&RealXen::open()?, &registry()?, &guest, wait)
        }
        Command::Shutdown { guest: None, timeout, .. } => {
            all::shutdown(&RealXen::open()?, &registry()?, seconds(timeout))
        }
        Command::Autostart { folder } => all::start(&RealXen::open()?, &registry()?, &folder),
        Command::Reboot { guest, timeout } => {
            end::reboot(&RealXen::open()?, &registry()?, &guest.guest, seconds(timeout))
        }
        Command::Reset(Forced { guest, force }) => {
            end::reset(&RealXen::open()?, &registry()?, &guest.guest, force)
        }
        Command::Destroy(Forced { guest, force }) => {
            end::destroy(&RealXen::open()?, &registry()?, &guest.guest, force)
        }
        Command::Info { guest: None } => info::machine(&RealXen::open()?, json),
        Command::Info { guest: Some(guest) } => info::guest(&RealXen::open()?, &registry()?, &guest, json),
        Command::Dmesg { all } => messages::print(&RealXen::open()?, all, json),
        Command::Disk(DiskCommand::List) => disks::list(&RealXen::open()?, &registry()?, json),
    }
}

fn registry() -> Result<Registry> {
    Registry::open(Path::new(FOLDER))
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::devices::tests::device;
}
