//! How values are written, by Xen's rules, so that a command line fits both.

use alloc::string::String;

use log::LevelFilter;

use super::{CrashAction, Problem};

/// A Boolean. The option's name alone is true.
pub fn boolean(value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("yes" | "on" | "true" | "enable" | "1") => Ok(true),
        Some("no" | "off" | "false" | "disable" | "0") => Ok(false),
        Some(_) => Err(Problem::Value("yes, on, true, enable or 1, or no, off, false, disable or 0")),
    }
}

/// A count, of 32 bits.
pub fn count(value: Option<&str>) -> Result<u32, Problem> {
    let number = value.and_then(number).and_then(|number| u32::try_from(number).ok());
    number.ok_or(Problem::Value("a number"))
}

/// A name that the option passes on.
pub fn name(value: Option<&str>) -> Result<String, Problem> {
    value
        .filter(|name| !name.is_empty())
        .map(String::from)
        .ok_or(Problem::Value("a device tree path or alias"))
}

/// A level of logging. What Xen has behind a slash (a level for what is limited in rate) is accepted and unused.
pub fn level(value: Option<&str>) -> Result<LevelFilter, Problem> {
    Ok(match value.and_then(|value| value.split('/').next()) {
        Some("none") => LevelFilter::Off,
        Some("error") => LevelFilter::Error,
        Some("warn" | "warning") => LevelFilter::Warn,
        Some("info") => LevelFilter::Info,
        Some("debug") => LevelFilter::Debug,
        Some("trace" | "all") => LevelFilter::Trace,
        _ => return Err(Problem::Value("none, error, warn, info, debug, trace or all")),
    })
}

/// What happens after a failure.
pub fn crash_action(value: Option<&str>) -> Result<CrashAction, Problem> {
    match value {
        Some("halt") => Ok(CrashAction::Halt),
        Some("reboot") => Ok(CrashAction::Reboot),
        _ => Err(Problem::Value("halt or reboot")),
    }
}

/// Bytes: a number with B, K, M, G or T behind it. A bare number counts KiB, as with Xen.
pub fn size(text: &str) -> Option<u64> {
    let unit = |letter: u8| match letter.to_ascii_uppercase() {
        b'B' => Some(0),
        b'K' => Some(10),
        b'M' => Some(20),
        b'G' => Some(30),
        b'T' => Some(40),
        _ => None,
    };
    let is_hexadecimal = text.starts_with("0x");
    // In a hexadecimal number a last B is a digit.
    let shift =
        text.bytes().last().filter(|last| !(is_hexadecimal && last.is_ascii_hexdigit())).and_then(unit);
    let digits = if shift.is_some() { text.get(..text.len().checked_sub(1)?)? } else { text };
    number(digits)?.checked_mul(1 << shift.unwrap_or(10))
}

/// A number, decimal or hexadecimal.
pub fn number(text: &str) -> Option<u64> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    // The standard parser also takes a sign.
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}
