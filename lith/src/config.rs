//! The file that describes a guest.
//!
//! One TOML file says what a guest is. Nothing is guessed: an unknown key, a value of the wrong kind or out of its
//! range is an error that names file, line and key. `docs/lith.md` lists the keys.

mod backend;
mod boot;
mod disk;
mod error;
mod kinds;
mod reader;
mod size;
mod sve;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use backend::Backend;
pub use boot::Boot;
pub use disk::Disk;
pub use error::ConfigError;
pub use kinds::{Device, Devices};
pub use size::parse_size;
pub use sve::Sve;

use machine_model::layout;
use reader::Table;

/// The most vCPUs of a guest.
pub const MAX_VCPUS: u16 = layout::MAX_VCPUS_GICV3;
/// The most devices of a guest: as many as virtio-mmio devices have interrupts.
pub const MAX_DEVICES: usize = layout::MAX_VIRTIO_MMIO as usize;
/// The least memory of a guest.
const MIN_MEMORY: u64 = 16 << 20;
/// Memory comes in units of this.
const MEMORY_UNIT: u64 = 1 << 20;
/// The longest name.
const MAX_NAME: usize = 32;
/// The longest command line that Linux takes on arm64 (`COMMAND_LINE_SIZE`, with its end).
pub const MAX_COMMAND_LINE: usize = 2047;

/// What to do when a guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Give back what it had.
    Destroy,
    /// Give back what it had, and start it again with the same disks.
    Restart,
    /// Keep it as it is, for someone to look at.
    Preserve,
}

impl Action {
    const NAMES: [&'static str; 3] = ["destroy", "restart", "preserve"];

    fn from_name(name: &str) -> Option<Action> {
        match name {
            "destroy" => Some(Action::Destroy),
            "restart" => Some(Action::Restart),
            "preserve" => Some(Action::Preserve),
            _ => None,
        }
    }
}

/// A guest, as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// By what it is called.
    pub name: String,
    /// Where its kernel comes from.
    #[serde(flatten)]
    pub boot: Boot,
    /// Its kernel's command line; behind that of the boot loader's entry, if the kernel comes from the disk.
    pub cmdline: String,
    /// Bytes of RAM.
    pub memory: u64,
    /// vCPUs.
    pub vcpus: u16,
    /// The SVE that its CPUs have.
    #[serde(default)]
    pub sve: Sve,
    /// Whether its kernel finds a seed by which it places itself.
    #[serde(default = "yes")]
    pub kaslr: bool,
    /// Devices that other domains serve.
    #[serde(flatten)]
    pub devices: Devices,
    /// Whether it starts with the machine, if its file is in the folder of those that do.
    #[serde(default)]
    pub autostart: bool,
    /// What to do when it turns itself off.
    pub on_poweroff: Action,
    /// What to do when it reboots.
    pub on_reboot: Action,
    /// What to do when it crashes.
    pub on_crash: Action,
}

/// Keys before those of devices, behind where the kernel comes from.
const HEAD: [&str; 6] = ["name", "cmdline", "memory", "vcpus", "sve", "kaslr"];
/// Keys behind them.
const TAIL: [&str; 4] = ["autostart", "on_poweroff", "on_reboot", "on_crash"];

impl GuestConfig {
    /// Reads a file. Relative paths of kernel and ramdisk begin at the file's folder.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names file, line and key.
    pub fn read(file: &Path) -> Result<GuestConfig, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::unreadable(file, &error))?;
        GuestConfig::parse(file, &text)
    }

    /// Reads what stands in a file. `file` names it in errors, gives the guest a name if the text does not, and
    /// relative paths their folder.
    ///
    /// # Errors
    ///
    /// As [`GuestConfig::read`].
    pub fn parse(file: &Path, text: &str) -> Result<GuestConfig, ConfigError> {
        let (source, root) = reader::parse(file, text)?;
        let keys = [HEAD.as_slice(), Boot::KEYS, Devices::KEYS, &TAIL].concat();
        let table = Table::root(&source, &root, &keys)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let vcpus = table.number("vcpus", 1, MAX_VCPUS)?.unwrap_or(1);
        let devices = Devices::read(&table, vcpus)?;
        Ok(GuestConfig {
            name: name(&table, file)?,
            boot: Boot::read(&table, folder, &devices)?,
            cmdline: cmdline(&table)?,
            memory: memory(&table)?,
            vcpus,
            sve: Sve::read(&table)?,
            kaslr: table.bool("kaslr")?.unwrap_or_else(yes),
            devices,
            autostart: table.bool("autostart")?.unwrap_or(false),
            on_poweroff: action(&table, "on_poweroff", Action::Destroy)?,
            on_reboot: action(&table, "on_reboot", Action::Restart)?,
            on_crash: action(&table, "on_crash", Action::Destroy)?,
        })
    }
}

/// What a guest has unless its file says otherwise.
fn yes() -> bool {
    true
}

fn name(table: &Table<'_>, file: &Path) -> Result<String, ConfigError> {
    let Some(name) = table.text("name")? else {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        return match check_name(stem) {
            Ok(()) => Ok(stem.to_owned()),
            Err(_) => Err(table.missing("name")),
        };
    };
    check_name(&name).map_err(|reason| table.bad("name", reason))?;
    Ok(name)
}

/// Whether a guest may be called so.
///
/// # Errors
///
/// What a name must be, as a sentence without subject.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME {
        return Err("must have 1 to 32 characters");
    }
    if !name.bytes().all(is_plain) {
        return Err("may only have letters, digits, '-', '_' and '.'");
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Err("must begin with a letter, so that it is no domain number");
    }
    if name == CONTROL_DOMAIN {
        return Err("must be another one: this is the control domain's name");
    }
    if name.strip_prefix(NAMELESS).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("must be another one: such is what a domain without a name is called");
    }
    Ok(())
}

/// What a domain without a name is called: this, and its number.
pub const NAMELESS: &str = "domain-";
/// What the control domain is called where a domain is named.
pub const CONTROL_DOMAIN: &str = "control";

fn cmdline(table: &Table<'_>) -> Result<String, ConfigError> {
    let cmdline = table.text("cmdline")?.unwrap_or_default();
    if cmdline.len() > MAX_COMMAND_LINE {
        return Err(table.bad("cmdline", "must have at most 2047 bytes"));
    }
    if cmdline.contains('\0') {
        return Err(table.bad("cmdline", "must not have a zero byte"));
    }
    Ok(cmdline)
}

fn memory(table: &Table<'_>) -> Result<u64, ConfigError> {
    let text = table.text("memory")?.ok_or_else(|| table.missing("memory"))?;
    let bytes = parse_size(&text).map_err(|reason| table.bad("memory", reason))?;
    if !bytes.is_multiple_of(MEMORY_UNIT) {
        return Err(table.bad("memory", "must be a multiple of 1 MiB"));
    }
    if !(MIN_MEMORY..=layout::MAX_RAM).contains(&bytes) {
        return Err(table.bad("memory", "must be from 16M to 1019G"));
    }
    Ok(bytes)
}

fn action(table: &Table<'_>, key: &'static str, default: Action) -> Result<Action, ConfigError> {
    let Some(text) = table.text(key)? else { return Ok(default) };
    Action::from_name(&text).ok_or_else(|| table.no_choice(key, &text, &Action::NAMES))
}
