//! The command that builds for a target.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::library::{Compiler, Library};
use super::target::Target;
use crate::host::{Need, ensure};
use crate::paths;

/// A way to build for one target.
#[derive(Clone, Debug)]
pub struct Cross {
    target: Target,
    library: Library,
    linker: Option<PathBuf>,
}

impl Cross {
    /// Finds or fetches what a build for `target` needs.
    ///
    /// # Errors
    /// No place has the target's library, or the linker is missing; the message says how to get it.
    pub fn prepare(target: Target) -> Result<Cross> {
        let compiler = Compiler::ask()?;
        let library = compiler.library(target)?;
        let linker = match target {
            Target::Hypervisor => bare_metal_linker(&compiler, &library)?,
            Target::Domain => {
                ensure(&[Need::LINKER, Need::LIBC])?;
                None
            }
            Target::Arm | Target::X86 => None,
        };
        Ok(Cross { target, library, linker })
    }

    /// The target that it builds for.
    pub fn target(&self) -> Target {
        self.target
    }

    /// A `cargo SUBCOMMAND` for the target, in the workspace's folder; packages and profile are to be added.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = cargo(subcommand);
        command
            .args(["--target", self.target.triple(), "--target-dir"])
            .arg(target_dir())
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", self.encoded_flags());
        if let Library::Source { library, rustc } = &self.library {
            // Cargo takes the library from a folder of our choice under this name only.
            command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library).env("RUSTC_BOOTSTRAP", "1");
            command.args(self.target.library_flags());
            if let Some(rustc) = rustc {
                command.env("RUSTC", rustc);
            }
        }
        command
    }

    /// The file that a build with the profile `program` leaves for a program.
    pub fn program(&self, name: &str) -> PathBuf {
        target_dir().join(self.target.triple()).join("program").join(name)
    }

    /// The file that a release build leaves for a program.
    pub fn release_program(&self, name: &str) -> PathBuf {
        target_dir().join(self.target.triple()).join("release").join(name)
    }

    /// The compiler flags in Cargo's encoding, in which they may hold spaces.
    fn encoded_flags(&self) -> OsString {
        let mut flags = OsString::from(self.target.rust_flags().join("\u{1f}"));
        if let Some(linker) = &self.linker {
            flags.push("\u{1f}-Clinker=");
            flags.push(linker);
        }
        flags
    }
}

/// A `cargo SUBCOMMAND` for the host, in the workspace's folder.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::workspace()).arg(subcommand);
    command
}

/// A folder of its own: builds with another environment than the host's would else undo one another's work.
fn target_dir() -> PathBuf {
    paths::target().join("cross")
}

/// The linker to name to the compiler, if it does not bring its own: another compiler's, or the system's LLD.
fn bare_metal_linker(compiler: &Compiler, library: &Library) -> Result<Option<PathBuf>> {
    let Some(own) = compiler.own_linker() else {
        ensure(&[Need::LLD])?;
        return Ok(Some("ld.lld".into()));
    };
    let foreign = matches!(library, Library::Source { rustc: Some(_), .. });
    Ok(foreign.then_some(own))
}
