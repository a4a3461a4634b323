//! The search for a target's standard library.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::debian;
use super::target::Target;
use crate::process::{capture, find, step};

/// Set to `installed`, `source` or `debian`, it leaves only that place to take a target's library from.
const CHOICE: &str = "XENOLITH_RUST_LIBRARY";

/// Where a target's standard library is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Library {
    /// Ready for the user's compiler.
    Installed,
    /// As source, to be built along; `rustc` names another compiler than the user's.
    Source {
        /// The folder `library` of Rust's source.
        library: PathBuf,
        /// The compiler of the same version, where it is not the user's.
        rustc: Option<PathBuf>,
    },
}

/// The user's compiler.
pub struct Compiler {
    release: String,
    host: String,
    sysroot: PathBuf,
}

impl Compiler {
    /// Asks the compiler about itself.
    pub fn ask() -> Result<Compiler> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let version = capture(Command::new(&rustc).arg("-vV"))?;
        let field = |name: &str| {
            let line = version.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
                .with_context(|| format!("rustc -vV does not say `{name}`"))
        };
        let sysroot = capture(Command::new(&rustc).args(["--print", "sysroot"]))?;
        Ok(Compiler { release: field("release:")?, host: field("host:")?, sysroot: sysroot.trim().into() })
    }

    /// Rust's name for the host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The linker for bare metal that the compiler brings along.
    pub(super) fn own_linker(&self) -> Option<PathBuf> {
        let linker = self.sysroot.join("lib/rustlib").join(&self.host).join("bin/rust-lld");
        Some(linker).filter(|path| path.is_file())
    }

    /// Finds or fetches the library for a target.
    pub(super) fn library(&self, target: Target) -> Result<Library> {
        match std::env::var(CHOICE).unwrap_or_default().as_str() {
            "" => self.any_library(target),
            "installed" => {
                self.installed(target).with_context(|| format!("{} is not installed", target.triple()))
            }
            "source" => debian::source(&self.release).map(for_own_compiler),
            "debian" => debian::compiler(),
            other => bail!("{CHOICE}={other} is not known: it may be installed, source or debian"),
        }
    }

    fn any_library(&self, target: Target) -> Result<Library> {
        if let Some(library) = self.installed(target) {
            return Ok(library);
        }
        if let Some(library) = debian::fetched_source(&self.release) {
            return Ok(for_own_compiler(library));
        }
        if let Some(library) = debian::fetched_compiler() {
            return Ok(library);
        }
        if let Some(library) = self.ask_rustup(target) {
            return Ok(library);
        }
        let same_version = match debian::source(&self.release) {
            Ok(library) => return Ok(for_own_compiler(library)),
            Err(error) => error,
        };
        debian::compiler().map_err(|other_version| {
            let (triple, release) = (target.triple(), &self.release);
            anyhow!(
                "the Rust library for {triple} is missing, and no place has it.\n\
                 Source of Rust {release}: {same_version:#}\n\
                 Debian's own compiler: {other_version:#}\n\
                 The way out: rustup target add {triple}"
            )
        })
    }

    fn installed(&self, target: Target) -> Option<Library> {
        let library = self.sysroot.join("lib/rustlib").join(target.triple()).join("lib");
        holds_core(&library).then_some(Library::Installed)
    }

    /// Asks rustup; a host that cannot reach rustup's server is no error.
    fn ask_rustup(&self, target: Target) -> Option<Library> {
        find("rustup")?;
        let mut command = Command::new("rustup");
        command.args(["target", "add", target.triple()]);
        let what = format!("Ask rustup for the Rust library for {}", target.triple());
        step(&what, || capture(&mut command)).ok()?;
        self.installed(target)
    }
}

fn for_own_compiler(library: PathBuf) -> Library {
    Library::Source { library, rustc: None }
}

fn holds_core(library: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(library) else { return false };
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}
