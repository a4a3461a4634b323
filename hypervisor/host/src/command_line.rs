//! The hypervisor's command line.
//!
//! A wrong option must not keep a machine from booting: [`Options::parse`] always gives options, the defaults for all
//! that it could not understand, and says by name what it did not understand and what it would have. The few values
//! with which no domain can be built are found by [`Options::validate`]. The options are described for users in
//! docs/command-line.md; `OPTIONS` is the list.

mod complaint;
#[cfg(test)]
mod tests;
mod value;

use alloc::string::String;
use alloc::vec::Vec;

use log::LevelFilter;

pub(crate) use value::number;

pub use complaint::{Complaint, InvalidOptions, Problem};

/// Complaints that are kept; the rest of a long wrong command line is not worth memory.
pub const MAX_COMPLAINTS: usize = 16;
/// Names in the list of tests that are kept.
const MAX_TESTS: usize = 16;

/// How vCPUs share CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Each gets its share; one that wakes up goes first.
    Fair,
    /// Each has a CPU of its own.
    Pinned,
}

/// What becomes of the machine when it cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashAction {
    /// It stands still, its last words on the console.
    Halt,
    /// It starts again.
    Reboot,
}

/// Which Xen the ABI claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XenVersion {
    /// 4.17, of Debian 12.
    V4_17,
    /// 4.20, of Debian 13.
    V4_20,
}

impl XenVersion {
    /// Major and minor number.
    pub const fn numbers(self) -> (u16, u16) {
        match self {
            XenVersion::V4_17 => (4, 17),
            XenVersion::V4_20 => (4, 20),
        }
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether the hypervisor writes to a UART.
    pub console: bool,
    /// The control character that passes the console's input on; `None`: none does.
    pub console_switch: Option<u8>,
    /// Path or alias of the UART's node, in place of `stdout-path`.
    pub uart_path: Option<String>,
    /// The first domain's memory in bytes; the boot code has a default.
    pub dom0_memory: Option<u64>,
    /// What the first domain's memory may grow to, in bytes.
    pub dom0_memory_limit: Option<u64>,
    /// The first domain's vCPUs; as many as there are CPUs if not given.
    pub dom0_vcpus: Option<u32>,
    /// Whether domains other than the first may write lines to the hypervisor's console.
    pub guest_console: bool,
    /// The least important messages that are still written.
    pub log_level: LevelFilter,
    /// How vCPUs share CPUs.
    pub scheduler: Scheduler,
    /// Whether memory that is free at boot is cleared by CPUs that are idle.
    pub scrub: bool,
    /// After a panic of the hypervisor.
    pub after_panic: CrashAction,
    /// After a crash of the first domain.
    pub after_crash: CrashAction,
    /// Names of tests to run in the hypervisor at boot.
    pub tests: Vec<String>,
    /// Which Xen the ABI claims to be.
    pub xen_version: XenVersion,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            console: true,
            console_switch: Some(1),
            uart_path: None,
            dom0_memory: None,
            dom0_memory_limit: None,
            dom0_vcpus: None,
            guest_console: false,
            log_level: LevelFilter::Info,
            scheduler: Scheduler::Fair,
            scrub: true,
            after_panic: CrashAction::Reboot,
            after_crash: CrashAction::Reboot,
            tests: Vec::new(),
            xen_version: XenVersion::V4_17,
        }
    }
}

/// An option: its name, and what a value of it does. A value is what stands behind `=`, `None` if nothing does;
/// `no-` before the name is the value "no".
struct Known {
    name: &'static str,
    set: fn(&mut Options, Option<&str>) -> Result<(), Problem>,
}

/// All options, each documented in docs/command-line.md.
const OPTIONS: [Known; 15] = [
    Known { name: "bootscrub", set: |options, value| value::boolean(value).map(|on| options.scrub = on) },
    Known { name: "conswitch", set: set_console_switch },
    Known { name: "console", set: set_console },
    Known {
        name: "dom0_max_vcpus",
        set: |options, value| value::count(value).map(|n| options.dom0_vcpus = Some(n)),
    },
    Known { name: "dom0_mem", set: set_memory },
    Known {
        name: "dtuart",
        set: |options, value| value::name(value).map(|name| options.uart_path = Some(name)),
    },
    Known {
        name: "guest_console",
        set: |options, value| value::boolean(value).map(|on| options.guest_console = on),
    },
    Known {
        name: "loglvl",
        set: |options, value| value::level(value).map(|level| options.log_level = level),
    },
    Known { name: "noreboot", set: set_noreboot },
    Known {
        name: "on_crash",
        set: |options, value| value::crash_action(value).map(|then| options.after_crash = then),
    },
    Known {
        name: "panic",
        set: |options, value| value::crash_action(value).map(|then| options.after_panic = then),
    },
    Known { name: "reboot_on_panic", set: set_reboot_on_panic },
    Known { name: "sched", set: set_scheduler },
    Known { name: "test", set: set_tests },
    Known { name: "xen_version", set: set_version },
];

impl Options {
    /// Reads a command line: options separated by white space, the last of equals counts, `--` ends them.
    pub fn parse(command_line: &str) -> (Options, Vec<Complaint>) {
        let mut options = Options::default();
        let mut complaints = Vec::new();
        for word in command_line.split_ascii_whitespace().take_while(|&word| word != "--") {
            if let Err(problem) = options.set(word)
                && complaints.len() < MAX_COMPLAINTS
            {
                complaints.push(Complaint::new(word, problem));
            }
        }
        (options, complaints)
    }

    fn set(&mut self, word: &str) -> Result<(), Problem> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let known = |name: &str| OPTIONS.iter().find(|known| same_name(known.name, name));
        match (known(name), name.strip_prefix("no-").and_then(known), value) {
            (Some(option), _, value) => (option.set)(self, value),
            (None, Some(option), None) => (option.set)(self, Some("no")),
            (None, Some(_), Some(_)) => Err(Problem::NegatedWithValue),
            (None, None, _) => Err(Problem::Unknown),
        }
    }

    /// Checks what no domain can be built with.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`] names the option. `max_vcpus` is what the machine's interrupt controller allows a domain.
    pub fn validate(&self, max_vcpus: u32) -> Result<(), InvalidOptions> {
        match self.dom0_vcpus {
            Some(0) => return Err(InvalidOptions::NoVcpus),
            Some(vcpus) if vcpus > max_vcpus => {
                return Err(InvalidOptions::TooManyVcpus { vcpus, max_vcpus });
            }
            _ => {}
        }
        match (self.dom0_memory, self.dom0_memory_limit) {
            (Some(0), _) | (_, Some(0)) => Err(InvalidOptions::NoMemory),
            (Some(size), Some(limit)) if size > limit => {
                Err(InvalidOptions::MemoryAboveLimit { size, limit })
            }
            _ => Ok(()),
        }
    }
}

/// What the `dtuart=` option of a command line names, for who has no heap for [`Options`].
pub fn uart_path(command_line: &str) -> Option<&str> {
    let words = command_line.split_ascii_whitespace().take_while(|&word| word != "--");
    let options = words.filter_map(|word| word.split_once('='));
    options
        .filter(|&(name, value)| same_name("dtuart", name) && !value.is_empty())
        .map(|(_, value)| value)
        .last()
}

/// Whether two names are equal, where a hyphen is as good as an underscore.
fn same_name(known: &str, written: &str) -> bool {
    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte };
    known.bytes().map(plain).eq(written.bytes().map(plain))
}

fn set_console(options: &mut Options, value: Option<&str>) -> Result<(), Problem> {
    options.console = match value {
        Some("dtuart") => true,
        Some("none" | "no") => false,
        _ => return Err(Problem::Value("dtuart or none")),
    };
    Ok(())
}

/// Xen's form: a letter, and an `x` that is of no account, because the input is the first domain's from the start.
fn set_console_switch(options: &mut Options, value: Option<&str>) -> Result<(), Problem> {
    options.console_switch = match value.map(str::as_bytes) {
        Some([letter @ b'a'..=b'z'] | [letter @ b'a'..=b'z', b'x']) => Some(letter & 0x1f),
        Some(b"none" | b"no") => None,
        _ => return Err(Problem::Value("a letter from a to z, or none")),
    };
    Ok(())
}

/// Xen's form: a size, `max:` and `min:` sizes, in any order with commas between. The minimum means nothing here,
/// where a domain gets what it asks for or the boot ends.
fn set_memory(options: &mut Options, value: Option<&str>) -> Result<(), Problem> {
    let wanted = Problem::Value("SIZE[,max:SIZE], a size being a number with K, M, G or T behind it");
    let (mut size, mut limit) = (None, None);
    for part in value.ok_or(wanted)?.split(',') {
        if let Some(part) = part.strip_prefix("max:") {
            limit = Some(value::size(part).ok_or(wanted)?);
        } else if let Some(part) = part.strip_prefix("min:") {
            value::size(part).ok_or(wanted)?;
        } else {
            size = Some(value::size(part).ok_or(wanted)?);
        }
    }
    options.dom0_memory = size.or(options.dom0_memory);
    options.dom0_memory_limit = limit.or(options.dom0_memory_limit);
    Ok(())
}

fn set_noreboot(options: &mut Options, value: Option<&str>) -> Result<(), Problem> {
    let then = if value::boolean(value)? { CrashAction::Halt } else { CrashAction::Reboot };
    (options.after_panic, options.after_crash) = (then, then);
    Ok(())
}

fn set_reboot_on_panic(options: &mut Options, value: Option<&str>) -> Result<(), Problem> {
    options.after_panic = if value::boolean(value)? { CrashAction::Reboot } else { CrashAction::Halt };
    Ok(())
}

fn set_scheduler(options: &mut Options, value: Option<&str>) -> Result<(), Problem> {
    let (scheduler, renamed) = match value {
        Some("fair") => (Scheduler::Fair, None),
        Some("pinned") => (Scheduler::Pinned, None),
        Some("credit" | "credit2") => (Scheduler::Fair, Some("fair")),
        Some("null") => (Scheduler::Pinned, Some("pinned")),
        _ => return Err(Problem::Value("fair or pinned")),
    };
    options.scheduler = scheduler;
    renamed.map_or(Ok(()), |taken| Err(Problem::TakenAs(taken)))
}

fn set_tests(options: &mut Options, value: Option<&str>) -> Result<(), Problem> {
    let names =
        value.filter(|names| !names.is_empty()).ok_or(Problem::Value("names of tests, commas between"))?;
    options.tests =
        names.split(',').filter(|name| !name.is_empty()).take(MAX_TESTS).map(String::from).collect();
    Ok(())
}

fn set_version(options: &mut Options, value: Option<&str>) -> Result<(), Problem> {
    options.xen_version = match value {
        Some("4.17") => XenVersion::V4_17,
        Some("4.20") => XenVersion::V4_20,
        _ => return Err(Problem::Value("4.17 or 4.20")),
    };
    Ok(())
}
