//! Debian's `fio`, with as little around it as it needs to run.
//!
//! The program is linked with the libraries of storage systems that no machine here has (Ceph, GlusterFS, RDMA, …), some
//! hundred packages altogether. In their place it gets libraries of the same names whose functions all fail: so its
//! engines for such systems do not work, and all others do.

mod stubs;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Extra;
use crate::debian::PrivateApt;
use crate::host::{Need, ensure};
use crate::paths;

/// What comes from Debian, by file name: the C library, the loader, and asynchronous I/O.
const REAL: [&str; 4] = ["ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libaio.so.1"];
/// The packages that hold them.
const PACKAGES: [&str; 3] = ["fio", "libc6", "libaio1"];
/// Where Debian keeps libraries of arm64, and where the program is.
const FOLDERS: [&str; 4] = ["usr/bin", "lib", "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"];

/// The files that make `fio` run in a machine: the program, its loader and libraries, in the folders `bin` and `lib`.
///
/// # Errors
/// The packages cannot be fetched, or the cross compiler is missing.
pub fn fio() -> Result<Vec<Extra>> {
    let dir = paths::cache().join("fio");
    paths::once(&dir, |partial| {
        ensure(&[Need::LINKER])?;
        let unpacked = partial.join("package");
        for package in PACKAGES {
            PrivateApt::arm64().unpack(package, |_| true, &unpacked)?;
        }
        take(&unpacked, partial, "fio")?;
        for library in REAL {
            take(&unpacked, partial, library)?;
        }
        stubs::make(&fs::read(partial.join("fio"))?, &REAL, partial)?;
        Ok(fs::remove_dir_all(unpacked)?)
    })?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let folder = if name == "fio" { "bin" } else { "lib" };
        let data = fs::read(entry.path())?;
        files.push(Extra { path: format!("{folder}/{name}"), permissions: 0o755, data });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Copies a file of the unpacked packages, wherever it is among their folders.
fn take(unpacked: &Path, into: &Path, name: &str) -> Result<()> {
    let mut places = FOLDERS.iter().map(|folder| unpacked.join(folder).join(name));
    let file = places.find(|file| file.is_file()).with_context(|| format!("the packages hold no {name}"))?;
    fs::copy(file, into.join(name))?;
    Ok(())
}
