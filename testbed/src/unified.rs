//! Unified kernel images, made around the stub of systemd as `ukify` makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::PrivateApt;
use crate::host::{Need, ensure};
use crate::paths;
use crate::process::capture;

/// What adds sections to an EFI program, of the same packages as the linker.
const OBJCOPY: &str = "aarch64-linux-gnu-objcopy";
/// Where the first section goes, behind all of the stub's own.
const FIRST: u64 = 0x0100_0000;
/// What sections are aligned to.
const ALIGNMENT: u64 = 0x1_0000;

/// Makes an image of these sections, whose names begin with a point. `scratch` is a folder for what they are made of.
///
/// # Errors
/// The stub cannot be fetched, or the tools of the linker are not there.
pub fn make(image: &Path, sections: &[(&str, &[u8])], scratch: &Path) -> Result<()> {
    ensure(&[Need::LINKER])?;
    let mut objcopy = Command::new(OBJCOPY);
    let mut place = FIRST;
    for (name, bytes) in sections {
        let file = scratch.join(format!("section{name}"));
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        objcopy.arg("--add-section").arg(format!("{name}={}", file.display()));
        objcopy.arg("--change-section-vma").arg(format!("{name}={place:#x}"));
        place = place.saturating_add(bytes.len() as u64).next_multiple_of(ALIGNMENT);
    }
    capture(objcopy.arg(stub()?).arg(image)).map(drop)
}

/// systemd's stub, fetched unless it is there.
fn stub() -> Result<PathBuf> {
    let dir = paths::cache().join("systemd-stub");
    let file = "linuxaa64.efi.stub";
    paths::once(&dir, |partial| {
        let unpacked = partial.join("package");
        PrivateApt::arm64().unpack("systemd-boot-efi", |_| true, &unpacked)?;
        fs::rename(unpacked.join("usr/lib/systemd/boot/efi").join(file), partial.join(file))
            .context("the package holds no stub")?;
        Ok(fs::remove_dir_all(unpacked)?)
    })?;
    Ok(dir.join(file))
}
