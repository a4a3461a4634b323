//! A QEMU with boards that Debian 12's own has not: that of its backports, unpacked beside the project's other packages.

use std::process::Command;

use anyhow::Result;
use testbed::debian::PrivateApt;
use testbed::paths;
use testbed::process::capture;
use testbed::qemu::PROGRAM;

/// The oldest major version that will do.
const OLDEST: u32 = 10;

/// The start of a command line: the host's QEMU if it is new enough, else the one from Debian, fetched unless it is there.
pub fn command() -> Result<Command> {
    let own = capture(Command::new(PROGRAM).arg("--version"));
    if own.is_ok_and(|version| major(&version).is_some_and(|major| major >= OLDEST)) {
        return Ok(Command::new(PROGRAM));
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
    let mut command = Command::new(dir.join("usr/bin").join(PROGRAM));
    command.arg("-L").arg(dir.join("usr/share/qemu"));
    Ok(command)
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
