//! The programs that run in the measured machines.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use testbed::image;
use testbed::paths;
use testbed::process::{open_step, pass_through};
use testbed::toolchain::{Cross, Target};

/// Where the built programs are.
pub struct Guests {
    /// A first process for Linux, an ELF file.
    pub init: PathBuf,
    /// A kernel that counts what traps cost, an `Image`.
    pub traps: PathBuf,
    /// A kernel that counts what a switch of vCPUs costs, an `Image`.
    pub switch: PathBuf,
    /// A kernel that waits for its timer, or delays another that does, an `Image`.
    pub neighbour: PathBuf,
    /// A guest's kernel that counts what forwarded accesses cost, an `Image`.
    pub forward: PathBuf,
}

impl Guests {
    /// Builds them.
    pub fn build() -> Result<Guests> {
        let cross = Cross::prepare(Target::Hypervisor)?;
        open_step("Build the programs to be measured", || {
            pass_through(cross.cargo("build").args(["--release", "--package", "bench-guests", "--bins"]))
        })?;
        let kernel = |name: &str| -> Result<PathBuf> {
            let file = paths::cache().join(format!("{name}.img"));
            paths::write_whole(&file, &image::pack(&fs::read(cross.release_program(name))?)?.0)?;
            Ok(file)
        };
        Ok(Guests {
            init: cross.release_program("bench-init"),
            traps: kernel("bench-traps")?,
            switch: kernel("bench-switch")?,
            neighbour: kernel("bench-neighbour")?,
            forward: kernel("bench-forward")?,
        })
    }
}
