//! The hypervisor's image: built by cargo, made flat, and given its symbols for back-traces.

mod flat;
mod names;
mod symbols;

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};

use crate::paths;
use crate::process::{open_step, pass_through};
use crate::toolchain::Cross;

/// The section that holds the table of symbols.
const SYMBOLS_SECTION: &str = ".symbols";

/// Sizes of a finished image, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// All of the file.
    pub file: usize,
    /// The part reserved for the table of symbols.
    pub symbols: usize,
    /// The part of that which is in use.
    pub symbols_used: usize,
}

impl Sizes {
    /// Code and data, without the table of symbols.
    pub fn text_and_data(&self) -> usize {
        self.file.saturating_sub(self.symbols)
    }
}

/// Builds the hypervisor (release) and leaves the image and its ELF file where [`paths`] says.
pub fn build(cross: &Cross) -> Result<Sizes> {
    let elf = compile(cross, &[])?;
    let (image, sizes) = pack(&elf).context("cannot make the image from the ELF file")?;
    paths::write_whole(&paths::image_elf(), &elf)?;
    paths::write_whole(&paths::image(), &image)?;
    Ok(sizes)
}

/// Builds the hypervisor with further features of its crate, and leaves the image in a file of its own.
pub fn build_variant(cross: &Cross, features: &[&str], image: &Path) -> Result<()> {
    let features = features.join(",");
    let arguments: &[&str] = if features.is_empty() { &[] } else { &["--features", &features] };
    build_apart(cross, arguments, image)
}

/// Builds the hypervisor with none of the features of its crate, and leaves the image in a file of its own.
pub fn build_without_features(cross: &Cross, image: &Path) -> Result<()> {
    build_apart(cross, &["--no-default-features"], image)
}

fn build_apart(cross: &Cross, arguments: &[&str], image: &Path) -> Result<()> {
    let elf = compile(cross, arguments)?;
    paths::write_whole(image, &pack(&elf).context("cannot make the image from the ELF file")?.0)
}

/// Builds the hypervisor's ELF file (release). Builds with other features leave theirs in the same place: nobody else builds
/// until it is read.
fn compile(cross: &Cross, arguments: &[&str]) -> Result<Vec<u8>> {
    fs::create_dir_all(paths::target())?;
    let lock = File::create(paths::target().join("xenolith.lock"))?;
    lock.lock().context("cannot lock the hypervisor's build")?;
    open_step("Build the hypervisor", || {
        let mut command = cross.cargo("build");
        command.args(["--release", "--package", "xenolith", "--bin", "xenolith"]).args(arguments);
        pass_through(&mut command)
    })?;
    fs::read(cross.release_program("xenolith")).context("the build left no program")
}

/// Makes the flat image of an ELF file, with the table of its symbols filled in.
pub fn pack(elf: &[u8]) -> Result<(Vec<u8>, Sizes)> {
    let elf = ElfFile64::<LittleEndian>::parse(elf).context("not a little-endian 64-bit ELF file")?;
    let mut image = flat::flatten(&elf)?;
    let mut sizes = Sizes { file: image.bytes.len(), symbols: 0, symbols_used: 0 };
    if let Some(section) = elf.section_by_name(SYMBOLS_SECTION) {
        let place = image.place_of(section.address(), section.size())?;
        let table = symbols::table(symbols::functions(&elf, image.base), place.len())?;
        sizes.symbols = place.len();
        sizes.symbols_used = table.len();
        let place = image.bytes.get_mut(place).context("the section of symbols lies outside the image")?;
        for (byte, value) in place.iter_mut().zip(table) {
            *byte = value;
        }
    }
    Ok((image.bytes, sizes))
}

#[cfg(test)]
mod tests;
