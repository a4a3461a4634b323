//! Rust's library as source, and a compiler, from Debian's packages, unpacked under the cache.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::library::Library;
use crate::debian::PrivateApt;
use crate::paths;
use crate::process::capture;

/// Starts the unpacked compiler with the libraries that were unpacked beside it.
const WRAPPER: &str = r#"#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH=
for folder in "$here"/usr/lib/*-linux-gnu "$here"/lib/*-linux-gnu; do
    LD_LIBRARY_PATH=$LD_LIBRARY_PATH${LD_LIBRARY_PATH:+:}$folder
done
exec "$here/usr/bin/rustc" "$@"
"#;

/// The library's source of a compiler release, if it was fetched before.
pub fn fetched_source(release: &str) -> Option<PathBuf> {
    find_library(&source_dir(release))
}

/// Fetches the library's source of exactly this compiler release, unless it is there.
pub fn source(release: &str) -> Result<PathBuf> {
    let dir = source_dir(release);
    paths::once(&dir, |partial| {
        PrivateApt::arm64().unpack("rust-src", |version| is_release(version, release), partial)
    })?;
    find_library(&dir).context("Debian's rust-src holds no library")
}

/// Debian's own newer compiler with its library's source, if they were fetched before.
pub fn fetched_compiler() -> Option<Library> {
    let dir = compiler_dir();
    let rustc = Some(dir.join("rustc")).filter(|rustc| rustc.is_file())?;
    Some(Library::Source { library: find_library(&dir)?, rustc: Some(rustc) })
}

/// Fetches Debian's own newer compiler with its library's source, unless they are there.
pub fn compiler() -> Result<Library> {
    paths::once(&compiler_dir(), |partial| {
        let architecture = capture(Command::new("dpkg").arg("--print-architecture"))?;
        let apt = PrivateApt::new(architecture.trim());
        let mut refused = None;
        for version in apt.versions("rustc-web")? {
            match unpack_compiler(&apt, &version, partial) {
                Ok(()) => return Ok(()),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.context("Debian offers no rustc-web here")?)
    })?;
    fetched_compiler().context("Debian's packages hold no compiler with its library")
}

/// Unpacks the packages of one version that make a compiler, its library for the host, and the library's source.
fn unpack_compiler(apt: &PrivateApt, version: &str, into: &Path) -> Result<()> {
    let series: Vec<&str> = version.split('.').take(2).collect();
    let runtime = format!("libstd-rust-web-{}", series.join("."));
    let mut packages = apt.with_dependencies(&runtime, version)?;
    // The host's C library serves: another one would not fit the host's loader.
    packages.retain(|(package, _)| package != "libc6");
    packages.extend(
        ["rustc-web", "libstd-rust-web-dev", "rust-web-src"].map(|package| (package.into(), version.into())),
    );
    for package in packages {
        apt.unpack_first(&[package], into)?;
    }
    let wrapper = into.join("rustc");
    fs::write(&wrapper, WRAPPER)?;
    Ok(fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?)
}

fn source_dir(release: &str) -> PathBuf {
    paths::cache().join(format!("rust-src-{release}"))
}

fn compiler_dir() -> PathBuf {
    paths::cache().join("rustc-debian")
}

/// Whether a package version is one of this upstream release: `1.95.0+dfsg1-2` is of 1.95.0.
fn is_release(version: &str, release: &str) -> bool {
    version.strip_prefix(release).is_some_and(|rest| rest.starts_with(['+', '-', '~']))
}

/// The folder `usr/src/rustc-VERSION/library` of an unpacked package.
fn find_library(dir: &Path) -> Option<PathBuf> {
    let sources = fs::read_dir(dir.join("usr/src")).ok()?;
    sources.filter_map(|entry| Some(entry.ok()?.path().join("library"))).find(|library| library.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_release_fits() {
        assert!(is_release("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(is_release("1.95.0-1", "1.95.0"));
        assert!(!is_release("1.95.01-1", "1.95.0"));
        assert!(!is_release("1.96.0+dfsg1-1", "1.95.0"));
    }

    #[test]
    fn the_library_is_found_in_an_unpacked_package() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find_library(dir.path()), None);
        let library = dir.path().join("usr/src/rustc-1.95.0/library");
        fs::create_dir_all(&library).unwrap();
        assert_eq!(find_library(dir.path()), Some(library));
    }
}
