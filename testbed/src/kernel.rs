//! The Linux kernels that boot as the first domain: Debian's own, unmodified, with their modules; and busybox.
//!
//! The cloud flavour is taken: the same kernel with fewer drivers, a quarter of the size.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::debian::PrivateApt;
use crate::paths;

/// A kernel series that Debian keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Series {
    /// Debian 12's.
    V6_1,
    /// Debian 13's, from Debian 12's backports.
    V6_12,
    /// The newest that Debian has, from Debian 13's backports: whatever 7.x that is.
    V7,
}

impl Series {
    /// All of them.
    pub const ALL: [Series; 3] = [Series::V6_1, Series::V6_12, Series::V7];

    /// What the names of its kernels' packages begin with, of which a kernel needs all.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Series::V6_1 | Series::V6_12 => &["linux-image-"],
            Series::V7 => &["linux-binary-", "linux-modules-", "linux-base-"],
        }
    }

    /// The rest of those names, as a regular expression.
    fn version_pattern(self) -> &'static str {
        match self {
            Series::V6_1 => r"6\.1\.0-[0-9]+-cloud-arm64",
            Series::V6_12 => r"6\.12\.[0-9.]+[+](deb|bpo)[0-9.]*-cloud-arm64",
            Series::V7 => r"7\.[0-9.]+[+]deb13-cloud-arm64",
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Series::V6_1 => "6.1",
            Series::V6_12 => "6.12",
            Series::V7 => "7",
        })
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Series::ALL.into_iter().find(|series| series.to_string() == name);
        known.ok_or_else(|| format!("no kernel series {name}: there are 6.1, 6.12 and 7"))
    }
}

/// A kernel that was fetched.
#[derive(Clone, Debug)]
pub struct Kernel {
    dir: PathBuf,
}

impl Kernel {
    /// Fetches the newest kernel of a series, unless one is there.
    pub fn fetch(series: Series) -> Result<Kernel> {
        let dir = paths::cache().join(format!("linux-{series}"));
        paths::once(&dir, |partial| {
            let apt = PrivateApt::arm64();
            let [first, others @ ..] = series.packages() else { bail!("no package has kernel {series}") };
            let mut candidates = Vec::new();
            for package in apt.search(&format!("^{first}{}$", series.version_pattern()))? {
                candidates
                    .extend(apt.versions(&package)?.into_iter().map(|version| (package.clone(), version)));
            }
            let unpacked = partial.join("package");
            let (package, version) = apt.unpack_first(&candidates, &unpacked)?;
            for other in others {
                let other = package.replacen(first, other, 1);
                apt.unpack_first(&[(other, version.clone())], &unpacked)?;
            }
            arrange(&unpacked, partial)
        })?;
        Ok(Kernel { dir })
    }

    /// The kernel, an uncompressed arm64 `Image`.
    pub fn image(&self) -> PathBuf {
        self.dir.join("Image")
    }

    /// The folder of its modules (the one that holds `modules.builtin`).
    pub fn modules(&self) -> PathBuf {
        self.dir.join("modules")
    }

    /// The kernel compressed with gzip, made on first use.
    pub fn gzipped(&self) -> Result<PathBuf> {
        let path = self.dir.join("Image.gz");
        if !path.exists() {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&fs::read(self.image())?)?;
            paths::write_whole(&path, &encoder.finish()?)?;
        }
        Ok(path)
    }

    /// The kernel as the payload of an EFI zboot program, compressed with gzip. The program around it is none: only its header
    /// is there, which is what is read of it.
    pub fn zboot(&self) -> Result<PathBuf> {
        let path = self.dir.join("vmlinuz.efi");
        if !path.exists() {
            paths::write_whole(&path, &zboot("gzip", &fs::read(self.gzipped()?)?)?)?;
        }
        Ok(path)
    }
}

/// A file with the header of an EFI zboot program, and that payload (Linux, `drivers/firmware/efi/libstub/zboot-header.S`).
pub fn zboot(compression: &str, payload: &[u8]) -> Result<Vec<u8>> {
    const HEADER: u32 = 64;
    let mut file = b"MZ\0\0zimg".to_vec();
    file.extend(HEADER.to_le_bytes());
    file.extend(u32::try_from(payload.len())?.to_le_bytes());
    file.extend([0; 8]);
    file.extend(compression.as_bytes());
    file.resize(usize::try_from(HEADER)?, 0);
    file.extend(payload);
    Ok(file)
}

/// Keeps from an unpacked kernel package what is used, under plain names.
fn arrange(package: &Path, into: &Path) -> Result<()> {
    let library = ["lib/modules", "usr/lib/modules"].map(|path| package.join(path));
    let library = library.iter().find(|path| path.is_dir()).context("the kernel package holds no modules")?;
    let modules = only_entry(library, |_| true)?;
    // Newer packages have the kernel beside its modules, and the device trees of boards, which are larger than all else.
    let beside = modules.join("vmlinuz");
    let image = if beside.is_file() {
        beside
    } else {
        only_entry(&package.join("boot"), |name| name.starts_with("vmlinuz-"))?
    };
    let trees = modules.join("dtb");
    if trees.is_dir() {
        fs::remove_dir_all(trees)?;
    }
    fs::rename(image, into.join("Image"))?;
    fs::rename(modules, into.join("modules"))?;
    Ok(fs::remove_dir_all(package)?)
}

fn only_entry(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut found = entries
        .filter_map(Result::ok)
        .filter(|entry| wanted(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path());
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        _ => bail!("{} does not hold exactly one fitting entry", dir.display()),
    }
}

/// Fetches a static busybox for arm64 unless it is there, and returns its path.
pub fn busybox() -> Result<PathBuf> {
    let dir = paths::cache().join("busybox");
    paths::once(&dir, |partial| {
        let unpacked = partial.join("package");
        PrivateApt::arm64().unpack("busybox-static", |_| true, &unpacked)?;
        let places = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path));
        let program = places.iter().find(|path| path.is_file()).context("the package holds no busybox")?;
        fs::rename(program, partial.join("busybox"))?;
        Ok(fs::remove_dir_all(unpacked)?)
    })?;
    Ok(dir.join("busybox"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_names_that_read_back() {
        for series in Series::ALL {
            assert_eq!(series.to_string().parse(), Ok(series));
        }
        assert!("5.10".parse::<Series>().unwrap_err().contains("5.10"));
    }
}
