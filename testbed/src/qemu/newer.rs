//! A QEMU with boards and CPUs that Debian 12's own has not: that of its backports, unpacked beside the project's other packages.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::PROGRAM;
use crate::debian::PrivateApt;
use crate::paths;
use crate::process::capture;

/// The oldest major version that will do.
const OLDEST: u32 = 10;

/// The program, and what its command line begins with: the host's QEMU if it is new enough, else the one from Debian, fetched
/// unless it is there.
pub fn newer() -> Result<(PathBuf, Vec<OsString>)> {
    let own = capture(Command::new(PROGRAM).arg("--version"));
    if own.is_ok_and(|version| major(&version).is_some_and(|major| major >= OLDEST)) {
        return Ok((PROGRAM.into(), Vec::new()));
    }
    let dir = paths::cache().join(format!("qemu-{OLDEST}"));
    paths::once(&dir, |partial| {
        let host = capture(Command::new("dpkg").arg("--print-architecture"))?;
        let apt = PrivateApt::new(host.trim());
        for package in ["qemu-system-arm", "qemu-system-common", "qemu-system-data"] {
            apt.unpack(package, |version| version.starts_with(&format!("1:{OLDEST}.")), partial)?;
        }
        Ok(())
    })?;
    Ok((dir.join("usr/bin").join(PROGRAM), vec!["-L".into(), dir.join("usr/share/qemu").into()]))
}

/// The major version in QEMU's answer.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix("QEMU emulator version ")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"), Some(10));
        assert_eq!(major("QEMU emulator version 7.2.22"), Some(7));
        assert_eq!(major("no version"), None);
    }
}
