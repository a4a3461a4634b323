//! Rust's library as source, and a compiler, from Debian's packages, unpacked under the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::debian::PrivateApt;
use crate::paths;

/// The library's source of a compiler release, if it was fetched before.
pub fn fetched_source(release: &str) -> Option<PathBuf> {
    find_library(&source_dir(release))
}

/// Fetches the library's source of exactly this compiler release, unless it is there.
pub fn source(release: &str) -> Result<PathBuf> {
    let dir = source_dir(release);
    paths::once(&dir, |partial| {
        let fits = |version: &str| {
            version.strip_prefix(release).is_some_and(|rest| rest.starts_with(['+', '-', '~']))
        };
        PrivateApt::arm64().unpack("rust-src", fits, partial)
    })?;
    find_library(&dir).context("Debian's rust-src holds no library")
}

fn source_dir(release: &str) -> PathBuf {
    paths::cache().join(format!("rust-src-{release}"))
}

/// `usr/src/rustc-VERSION/library` under an unpacked package.
fn find_library(dir: &Path) -> Option<PathBuf> {
    let sources = fs::read_dir(dir.join("usr/src")).ok()?;
    sources.filter_map(|entry| Some(entry.ok()?.path().join("library"))).find(|library| library.is_dir())
}

/// Fetches Debian's own newer compiler with the library's source of its version, unless they are there: the library's
/// folder and the compiler.
pub fn compiler() -> Result<(PathBuf, PathBuf)> {
    bail!("not offered here")
}
