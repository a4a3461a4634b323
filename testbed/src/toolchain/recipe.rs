//! The command that builds for a target, and where the target's library comes from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian;
use crate::paths;
use crate::process::{capture, find, step};

/// Links programs for the domains.
pub const GUEST_LINKER: &str = "aarch64-linux-gnu-gcc";
/// Set to `installed`, `source` or `debian`, it leaves only that place to take a target's library from.
const CHOICE: &str = "XENOLITH_RUST_LIBRARY";

/// What a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The hypervisor: bare metal, no floating-point registers.
    Hypervisor,
    /// Programs that run in a domain: Linux, statically linked.
    Domain,
}

impl Target {
    /// Rust's name for it.
    pub fn triple(self) -> &'static str {
        match self {
            Target::Hypervisor => "aarch64-unknown-none-softfloat",
            Target::Domain => "aarch64-unknown-linux-gnu",
        }
    }

    /// Flags for every crate of a build, the standard library included. Those of one image, such as its linker
    /// script, are in that crate's build script.
    fn rust_flags(self) -> &'static str {
        match self {
            Target::Hypervisor => "-C force-frame-pointers=yes -C relocation-model=pie",
            Target::Domain => "-C target-feature=+crt-static -C linker=aarch64-linux-gnu-gcc",
        }
    }

    /// Crates to build where the library comes as source.
    fn library_crates(self) -> &'static str {
        match self {
            Target::Hypervisor => "-Zbuild-std=core,alloc,compiler_builtins",
            Target::Domain => "-Zbuild-std=std,panic_abort",
        }
    }

    fn library_features(self) -> Option<&'static str> {
        match self {
            Target::Hypervisor => Some("-Zbuild-std-features=compiler-builtins-mem"),
            Target::Domain => None,
        }
    }
}

/// Where a target's standard library is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Library {
    /// Ready for the user's compiler.
    Installed,
    /// As source, to be built along; `rustc` names another compiler than the user's.
    Source { library: PathBuf, rustc: Option<PathBuf> },
}

/// A way to build for one target.
#[derive(Clone, Debug)]
pub struct Cross {
    target: Target,
    library: Library,
}

impl Cross {
    /// Finds or fetches what a build for `target` needs.
    ///
    /// # Errors
    /// No place has the target's library; the message says how to get it.
    pub fn prepare(target: Target) -> Result<Cross> {
        let compiler = Compiler::ask()?;
        let choice = std::env::var(CHOICE).unwrap_or_default();
        let library = match choice.as_str() {
            "" => compiler.any_library(target)?,
            "installed" => {
                compiler.installed(target).with_context(|| format!("{} is not installed", target.triple()))?
            }
            "source" => debian::source(&compiler.release).map(plain_source)?,
            "debian" => debian::compiler().map(other_compiler)?,
            other => bail!("{CHOICE}={other} is not known: it may be installed, source or debian"),
        };
        Ok(Cross { target, library })
    }

    /// The target that it builds for.
    pub fn target(&self) -> Target {
        self.target
    }

    /// A `cargo SUBCOMMAND` for the target, in the workspace's folder; packages and profile are to be added.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .current_dir(paths::workspace())
            .args([subcommand, "--target", self.target.triple(), "--target-dir"])
            .arg(target_dir())
            .env("RUSTFLAGS", self.target.rust_flags())
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        if let Library::Source { library, rustc } = &self.library {
            // Cargo builds the library from a folder of our choice only for its own tests' sake, under this name.
            command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library).env("RUSTC_BOOTSTRAP", "1");
            command.arg(self.target.library_crates()).args(self.target.library_features());
            if let Some(rustc) = rustc {
                command.env("RUSTC", rustc);
            }
        }
        command
    }

    /// The file that a release build leaves for a program.
    pub fn release_program(&self, name: &str) -> PathBuf {
        target_dir().join(self.target.triple()).join("release").join(name)
    }
}

/// A folder of its own: builds with another environment than the host's would else undo one another's work.
fn target_dir() -> PathBuf {
    paths::target().join("cross")
}

fn plain_source(library: PathBuf) -> Library {
    Library::Source { library, rustc: None }
}

fn other_compiler((library, rustc): (PathBuf, PathBuf)) -> Library {
    Library::Source { library, rustc: Some(rustc) }
}

/// The user's compiler.
struct Compiler {
    release: String,
    sysroot: PathBuf,
}

impl Compiler {
    fn ask() -> Result<Compiler> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let version = capture(Command::new(&rustc).arg("-vV"))?;
        let release = version.lines().find_map(|line| line.strip_prefix("release: "));
        let release = release.context("rustc does not say its release")?.to_owned();
        let sysroot = capture(Command::new(&rustc).args(["--print", "sysroot"]))?;
        Ok(Compiler { release, sysroot: PathBuf::from(sysroot.trim()) })
    }

    fn installed(&self, target: Target) -> Option<Library> {
        let library = self.sysroot.join("lib/rustlib").join(target.triple()).join("lib");
        holds_core(&library).then_some(Library::Installed)
    }

    fn any_library(&self, target: Target) -> Result<Library> {
        if let Some(library) = self.installed(target) {
            return Ok(library);
        }
        if let Some(library) = debian::fetched_source(&self.release) {
            return Ok(plain_source(library));
        }
        if let Some(library) = self.ask_rustup(target) {
            return Ok(library);
        }
        let own = match debian::source(&self.release) {
            Ok(library) => return Ok(plain_source(library)),
            Err(error) => error,
        };
        debian::compiler().map(other_compiler).map_err(|other| {
            anyhow::anyhow!(
                "The Rust library for {} is missing, and none could be had.\n\
                 Sources of Rust {}: {own:#}\nDebian's own compiler: {other:#}\n\
                 The way out: rustup target add {}",
                target.triple(),
                self.release,
                target.triple()
            )
        })
    }

    /// Asks rustup; a host that cannot reach its server is no error.
    fn ask_rustup(&self, target: Target) -> Option<Library> {
        find("rustup")?;
        let mut command = Command::new("rustup");
        command.args(["target", "add", target.triple()]);
        let what = format!("Ask rustup for the Rust library for {}", target.triple());
        step(&what, || capture(&mut command)).ok()?;
        self.installed(target)
    }
}

fn holds_core(library: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(library) else { return false };
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}
