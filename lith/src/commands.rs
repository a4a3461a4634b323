//! The commands, one file each or a few that belong together.

mod completion;
mod console;
mod control;
mod create;
mod devices;
mod disks;
mod domains;
mod info;
mod terminal;

use std::path::Path;

use anyhow::Result;

use crate::cli::{Cli, Command, DiskCommand};
use crate::monitor;
use crate::output::print;
use crate::registry::{FOLDER, Registry};
use crate::xen::{RealXen, System, Xen};

/// Does what the command line says.
///
/// # Errors
///
/// What went wrong, for whoever typed it.
pub fn run(cli: Cli) -> Result<()> {
    let json = cli.json;
    match cli.command {
        Command::Completion { shell } => completion::print(shell),
        Command::Monitor => monitor::main(),
        Command::Create { file, paused, console } => create::run(&registry()?, &file, paused, console, json),
        Command::List => domains::list(&RealXen::open()?, &registry()?, json),
        Command::Console(guest) => console::run(&registry()?, &guest.guest),
        Command::Pause(guest) => control::pause(&RealXen::open()?, &registry()?, &guest.guest),
        Command::Unpause(guest) => control::unpause(&RealXen::open()?, &registry()?, &guest.guest),
        Command::Shutdown { guest, wait } => {
            let wait = wait.then(RealXen::open).transpose()?;
            control::shutdown(&registry()?, &guest.guest, wait.as_ref().map(|xen| xen as &dyn Xen))
        }
        Command::Reboot(guest) => control::reboot(&registry()?, &guest.guest),
        Command::Destroy(guest) => control::destroy(&RealXen::open()?, &registry()?, &guest.guest),
        Command::Info { guest: None } => info::machine(&RealXen::open()?, json),
        Command::Info { guest: Some(guest) } => info::guest(&RealXen::open()?, &registry()?, &guest, json),
        Command::Dmesg => {
            let text = RealXen::open()?.console()?;
            print(&String::from_utf8_lossy(&text))
        }
        Command::Disk(DiskCommand::List) => disks::list(&RealXen::open()?, &registry()?, json),
    }
}

fn registry() -> Result<Registry> {
    Registry::open(Path::new(FOLDER))
}
