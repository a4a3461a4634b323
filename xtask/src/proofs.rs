//! The proofs for Kani, compiled as Kani has them: with `cfg(kani)`, against the names of Kani's library that they use.
//!
//! Nothing is proved here: Kani has a compiler of its own, which no registry of packages has. What `cargo test` tries are the
//! same properties by values.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testbed::paths;
use testbed::process::{capture, pass_through};
use testbed::toolchain::cargo;

use crate::layers::workspace;

/// How properties are stated.
const STATED: &str = "proofs! {";

/// Compiles the packages that state properties, as Kani would.
pub fn check() -> Result<()> {
    let packages = packages()?;
    ensure!(!packages.is_empty(), "no package states a property with `{STATED}`");
    let folder = paths::target().join("proofs");
    let library = stand_in(&folder)?;
    for package in packages {
        let mut command = cargo("rustc");
        command.args(["--package", &package, "--lib", "--", "--cfg", "kani", "-D", "warnings", "--extern"]);
        command.arg(format!("kani={}", library.display())).arg("-L").arg(&folder);
        pass_through(&mut command)?;
    }
    Ok(())
}

/// The packages whose sources state properties.
fn packages() -> Result<Vec<String>> {
    let (packages, sources) = workspace::read()?;
    let states = |manifest: &Path| {
        let folder = manifest.parent().unwrap_or(Path::new(""));
        sources.iter().any(|(path, text)| path.starts_with(folder) && text.contains(&format!("::{STATED}")))
    };
    let found = packages.iter().filter(|package| states(&package.manifest));
    Ok(found.map(|package| package.name.clone()).collect())
}

/// Builds what stands in for Kani's library; returns where it is.
fn stand_in(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let sources = paths::workspace().join("xtask/src/proofs");
    for (name, kind) in [("kani_macros", "proc-macro"), ("kani", "rlib")] {
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.args(["--edition", "2024", "--crate-type", kind, "--crate-name", name, "-L"]).arg(folder);
        command.arg("--out-dir").arg(folder).arg(sources.join(name).with_extension("rs"));
        if name == "kani" {
            command.arg("--extern").arg(format!("kani_macros={}", folder.join(macros()).display()));
        }
        capture(&mut command)?;
    }
    Ok(folder.join("libkani.rlib"))
}

/// The file of a library of macros on this host.
fn macros() -> String {
    format!("{}kani_macros{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_state_properties_are_found_and_no_others() {
        let found = packages().unwrap();
        assert!(
            ["xenolith-core", "xenolith-memory", "xenolith-isa"]
                .iter()
                .all(|name| found.contains(&(*name).into()))
        );
        assert!(!found.contains(&"xenolith-hw".into()));
    }
}
