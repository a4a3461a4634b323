//! Programs for the machines under test: built here from the workspace, or taken from Debian.

mod fio;

use std::path::PathBuf;

use anyhow::Result;

pub use fio::fio;

use crate::process::{open_step, pass_through};
use crate::toolchain::{Cross, Target};

/// Builds a program of this workspace (release) for a machine; returns its ELF file.
pub fn build(target: Target, package: &str, program: &str) -> Result<PathBuf> {
    let cross = Cross::prepare(target)?;
    open_step(&format!("Build {program}"), || {
        pass_through(cross.cargo("build").args([
            "--profile",
            "program",
            "--package",
            package,
            "--bin",
            program,
        ]))
    })?;
    Ok(cross.program(program))
}

/// A file to be added to a file system of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Where, from the root, without a leading `/`.
    pub path: String,
    /// Permission bits.
    pub permissions: u32,
    /// The content.
    pub data: Vec<u8>,
}
