//! The command line's words.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use virtio::config::Format;

/// How long a guest may take to end, in seconds, unless the command line says.
const TIMEOUT: u32 = 60;

/// Makes guests, shows them, and ends them.
#[derive(Debug, Parser)]
#[command(
    name = "lith",
    version,
    about,
    arg_required_else_help = true,
    after_help = "A guest is named by its name or by its domain's number, as `lith list` shows them."
)]
pub struct Cli {
    /// Print JSON, for programs: with create, list, info, dmesg and disk list
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make and start the guest that a TOML file describes
    Create {
        /// The file
        file: PathBuf,
        /// Leave it paused: `lith unpause` starts it
        #[arg(long)]
        paused: bool,
        /// Connect to its console
        #[arg(long, conflicts_with = "json")]
        console: bool,
    },
    /// Make and start the guests of a folder whose files say `autostart = true`
    Autostart {
        /// The folder
        #[arg(default_value = "/etc/lith/guests")]
        folder: PathBuf,
    },
    /// List all domains
    #[command(visible_alias = "ls")]
    List,
    /// Connect to a guest's console; Ctrl-] leaves it
    Console(Guest),
    /// Look after a guest again whose monitor was killed
    Attach(Guest),
    /// Stop a guest until it is unpaused
    Pause(Guest),
    /// Let a paused guest go on
    Unpause(Guest),
    /// Wake a guest that has suspended itself
    Resume(Guest),
    /// Ask a guest to turn itself off; comes back when its kernel has taken the request
    Shutdown {
        /// Its name or its domain's number
        #[arg(required_unless_present = "all")]
        guest: Option<String>,
        /// Come back when it is gone, and its name and its disks are free
        #[arg(long)]
        wait: bool,
        /// Ask all guests, wait until they are gone, and destroy those that do not go: before the machine's end
        #[arg(long, conflicts_with_all = ["guest", "wait"])]
        all: bool,
        /// With --wait or --all, wait for so many seconds at most
        #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT)]
        timeout: u32,
    },
    /// Ask a guest to start again; comes back when it has
    Reboot {
        /// Which guest.
        #[command(flatten)]
        guest: Guest,
        /// Give up after so many seconds; the guest may still start again
        #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT)]
        timeout: u32,
    },
    /// Start a guest again at once, as its reset button would
    Reset(Forced),
    /// End a guest at once, as if its power were cut; comes back when it is gone
    Destroy(Forced),
    /// Describe the machine, or a guest
    Info {
        /// The guest; none for the machine
        guest: Option<String>,
    },
    /// Print the hypervisor's messages
    Dmesg {
        /// With what domains have written to its console
        #[arg(long)]
        all: bool,
    },
    /// Disks of guests
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Take the kernel, the ramdisk and the command line out of a disk image that its boot loader would start
    ExtractKernel {
        /// The image
        image: PathBuf,
        /// Where the files `kernel`, `ramdisk` and `cmdline` are to be written
        folder: PathBuf,
        /// Format of the image: raw, the default if its bytes do not say otherwise, or qcow2
        #[arg(long, value_parser = format)]
        format: Option<Format>,
        /// The boot loader's entry, by its ID or title, in place of the one that it starts by itself
        #[arg(long)]
        entry: Option<String>,
    },
    /// Unpack a kernel, for who takes plain ones only: gzip, zstd or EFI zboot in, arm64 Image out
    UnpackKernel {
        /// The kernel as it came
        file: PathBuf,
        /// Where the plain kernel is to be written
        image: PathBuf,
    },
    /// Print a shell's completion script
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Look after one guest; `lith create` starts it
    #[command(hide = true)]
    Monitor,
    /// Read kernel and ramdisk from a guest's disk; the monitor starts it
    #[command(hide = true)]
    ReadBootDisk,
}

impl Command {
    /// Whether it has an answer for programs.
    pub fn has_json(&self) -> bool {
        match self {
            Command::Create { .. }
            | Command::List
            | Command::Info { .. }
            | Command::Dmesg { .. }
            | Command::Disk(DiskCommand::List) => true,
            Command::Autostart { .. }
            | Command::Console(_)
            | Command::Attach(_)
            | Command::Pause(_)
            | Command::Unpause(_)
            | Command::Resume(_)
            | Command::Shutdown { .. }
            | Command::Reboot { .. }
            | Command::Reset(_)
            | Command::Destroy(_)
            | Command::ExtractKernel { .. }
            | Command::UnpackKernel { .. }
            | Command::Completion { .. }
            | Command::Monitor
            | Command::ReadBootDisk => false,
        }
    }
}

/// A format of disk images, by its name.
fn format(name: &str) -> Result<Format, String> {
    let known = [Format::Raw, Format::Qcow2].into_iter().find(|format| format.name() == name);
    known.ok_or_else(|| "raw and qcow2 are known".into())
}

impl Cli {
    /// Reads the command line of this process; ends it if that is none.
    pub fn read() -> Cli {
        Cli::parse().checked().unwrap_or_else(|error| error.exit())
    }

    /// The same command line, if its parts go together.
    fn checked(self) -> Result<Cli, clap::Error> {
        if self.json && !self.command.has_json() {
            let words = "--json is for create, list, info, dmesg and disk list: this command has no answer for programs";
            return Err(Cli::command().error(ErrorKind::ArgumentConflict, words));
        }
        Ok(self)
    }
}

/// A guest.
#[derive(Debug, Args)]
pub struct Guest {
    /// Its name or its domain's number
    #[arg(value_name = "GUEST")]
    pub guest: String,
}

/// A guest that is to end at once.
#[derive(Debug, Args)]
pub struct Forced {
    /// Which guest.
    #[command(flatten)]
    pub guest: Guest,
    /// Also if other guests lose devices that it serves, or if lith did not make it and cannot make it again
    #[arg(long)]
    pub force: bool,
}

/// What to do with disks.
#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// List the disks of all guests, with who serves them and how that goes
    #[command(visible_alias = "ls")]
    List,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_understood() {
        let cli = Cli::try_parse_from(["lith", "create", "web.toml", "--paused", "--json"]).unwrap();
        assert!(cli.json && matches!(cli.command, Command::Create { paused: true, console: false, .. }));
        assert!(Cli::try_parse_from(["lith", "create", "web.toml", "--console", "--json"]).is_err());
        assert!(matches!(
            Cli::try_parse_from(["lith", "disk", "list"]).unwrap().command,
            Command::Disk(DiskCommand::List)
        ));
        assert!(Cli::try_parse_from(["lith", "console"]).is_err());
        let shutdown = Cli::try_parse_from(["lith", "shutdown", "web", "--wait", "--timeout", "5"]).unwrap();
        assert!(matches!(shutdown.command, Command::Shutdown { wait: true, timeout: 5, .. }));
        let all = Cli::try_parse_from(["lith", "shutdown", "--all"]).unwrap();
        assert!(matches!(all.command, Command::Shutdown { all: true, guest: None, timeout: TIMEOUT, .. }));
        assert!(Cli::try_parse_from(["lith", "shutdown"]).is_err());
        assert!(Cli::try_parse_from(["lith", "shutdown", "--all", "web"]).is_err());
        let reboot = Cli::try_parse_from(["lith", "reboot", "web"]).unwrap();
        assert!(matches!(reboot.command, Command::Reboot { timeout: TIMEOUT, .. }));
    }

    #[test]
    fn json_is_refused_where_there_is_none() {
        let checked = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().checked().map(drop);
        for line in ["list", "info", "info web", "disk list", "dmesg", "create web.toml"] {
            assert!(checked(&format!("lith --json {line}")).is_ok(), "{line}");
            assert!(checked(&format!("lith {line} --json")).is_ok(), "{line}");
        }
        for line in [
            "pause web",
            "reset web",
            "console web",
            "shutdown --all",
            "completion bash",
            "autostart",
            "unpack-kernel a b",
        ] {
            let error = checked(&format!("lith {line} --json")).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("--json is for"), "{error}");
            assert!(checked(&format!("lith {line}")).is_ok(), "{line}");
        }
    }
}
