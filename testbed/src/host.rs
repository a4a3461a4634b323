//! Programs of the host: which ones a job needs, and their installation with the system's package manager.
//!
//! Nothing is installed when nothing is missing. Without root, the user is asked before `sudo` runs; where nobody can
//! be asked, the error says the command to type.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{find, line_of, open_step, pass_through};

/// Something that must be on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// What is looked for: a program's name, or a file's path.
    what: &'static str,
    /// The Debian package that brings it.
    package: &'static str,
    /// How to do without it, for a host where it cannot be installed.
    way_out: &'static str,
}

impl Need {
    /// The machine that everything boots in.
    pub const QEMU: Need = Need {
        what: crate::qemu::PROGRAM,
        package: "qemu-system-arm",
        way_out: "install QEMU 7.2 or later for arm64 machines, or name its program with --qemu",
    };
    /// Unpacks Debian's packages.
    pub const DPKG: Need = Need {
        what: "dpkg-deb",
        package: "dpkg",
        way_out: "name a kernel and an initramfs of your own with --kernel and --initrd",
    };
    /// Links programs for the domains.
    pub const LINKER: Need = Need {
        what: crate::toolchain::DOMAIN_LINKER,
        package: "gcc-aarch64-linux-gnu",
        way_out: "install a GCC that makes aarch64-linux-gnu programs",
    };
    /// The C library that programs for the domains are linked with, statically.
    pub const LIBC: Need = Need {
        what: "/usr/aarch64-linux-gnu/lib/libc.a",
        package: "libc6-dev-arm64-cross",
        way_out: "install the static arm64 GNU C library for the cross compiler",
    };
    /// Links the hypervisor where the compiler brings no linker of its own.
    pub const LLD: Need =
        Need { what: "ld.lld", package: "lld", way_out: "install LLD, or Rust by rustup, which brings it" };
    /// Compiles libFuzzer.
    pub const CXX: Need = Need { what: "c++", package: "g++", way_out: "install a C++ compiler" };
    /// Makes disk images.
    pub const MKE2FS: Need = Need { what: "mke2fs", package: "e2fsprogs", way_out: "install e2fsprogs" };
    /// Makes and checks images of other formats than raw.
    pub const QEMU_IMG: Need =
        Need { what: "qemu-img", package: "qemu-utils", way_out: "install QEMU's tools for disk images" };

    fn is_met(&self) -> bool {
        find(self.what).is_some()
    }
}

/// Sees to it that all of `needs` are on the host.
///
/// # Errors
/// Something is missing and was not installed; the message names it and the way out.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        bail!("{}\nThere is no apt-get here to install it with.", shortage(&missing));
    }
    let root = is_root();
    let [update, install] = commands(&missing, root);
    let typed = format!("{} && {}", line_of(&update), line_of(&install));
    if !root && !agreed(&missing, &typed)? {
        bail!("{}\nTo install it, type:\n  {typed}", shortage(&missing));
    }
    for mut command in [update, install] {
        open_step(&line_of(&command), || pass_through(&mut command))?;
    }
    match missing.iter().find(|need| !need.is_met()) {
        None => Ok(()),
        Some(need) => bail!("{} is still missing after its installation: {}", need.what, need.way_out),
    }
}

/// A list of what is missing, with the ways out.
fn shortage(missing: &[&Need]) -> String {
    let lines: Vec<String> = missing
        .iter()
        .map(|need| format!("  {} (Debian package {}): {}", need.what, need.package, need.way_out))
        .collect();
    format!("This host lacks:\n{}", lines.join("\n"))
}

fn commands(missing: &[&Need], root: bool) -> [Command; 2] {
    let apt = || {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let (mut update, mut install) = (apt(), apt());
    update.args(["-q", "update"]);
    install
        .args(["-q", "-y", "--no-install-recommends", "install"])
        .args(missing.iter().map(|need| need.package));
    [update, install]
}

fn agreed(missing: &[&Need], typed: &str) -> Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    eprint!("{}\nInstall with `{typed}`? [Y/n] ", shortage(missing));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Need =
        Need { what: "no-such-program-here", package: "no-such-package", way_out: "do without" };

    #[test]
    fn nothing_happens_when_nothing_is_missing() {
        let sh = Need { what: "sh", package: "no-such-package", way_out: "" };
        ensure(&[sh]).unwrap();
    }

    #[test]
    fn the_shortage_names_the_thing_the_package_and_the_way_out() {
        let text = shortage(&[&ABSENT]);
        for part in ["no-such-program-here", "no-such-package", "do without"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn only_a_plain_user_needs_sudo() {
        let [_, install] = commands(&[&ABSENT], false);
        assert_eq!(line_of(&install), "sudo apt-get -q -y --no-install-recommends install no-such-package");
        let [update, _] = commands(&[&ABSENT], true);
        assert_eq!(line_of(&update), "apt-get -q update");
    }
}
