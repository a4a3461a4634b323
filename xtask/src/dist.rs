//! `cargo xtask dist`: what a board needs, in `target/dist`: a folder for each package, laid out as the root of a file system,
//! and Debian packages of them.

mod contents;
mod debian;
mod pages;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use testbed::host::{self, Need};
use testbed::paths;
use testbed::process::step;
use testbed::programs::{self, Extra};
use testbed::toolchain::Target;

use crate::build;

/// What is made.
#[derive(Args)]
pub struct Options {
    /// Only the folders, no Debian packages: what a recipe of Yocto or Buildroot installs
    #[arg(long)]
    files: bool,
}

/// Builds, lays out and packs.
pub fn dist(options: &Options) -> Result<()> {
    if !options.files {
        host::ensure(&[Need::DPKG])?;
    }
    build::build()?;
    let program = |name| -> Result<Vec<u8>> { Ok(fs::read(programs::build(Target::Domain, name, name)?)?) };
    let (lith, lithd) = (program("lith")?, program("lithd")?);
    let packages = [
        contents::hypervisor(fs::read(paths::image())?, fs::read(paths::image_elf())?),
        contents::lith(lith)?,
        contents::lithd(lithd)?,
    ];
    let folder = folder();
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for package in &packages {
        let root = folder.join(package.name);
        lay_out(&root, &package.files)?;
        println!("{}/", root.display());
        if !options.files {
            let file = step(&format!("Pack {}", package.name), || debian::pack(package, &folder))?;
            println!("{}", file.display());
        }
    }
    Ok(())
}

/// Where it all is.
fn folder() -> PathBuf {
    paths::target().join("dist")
}

/// Writes files below a folder, with their permissions.
fn lay_out(root: &Path, files: &[Extra]) -> Result<()> {
    for Extra { path, permissions, data } in files {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap_or(root))?;
        fs::write(&file, data).with_context(|| format!("cannot write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(*permissions))?;
    }
    Ok(())
}
