//! What the user brings for the control domain: guests' descriptions, and files.
//!
//! Both are read on the host first, by the same code as in the machine, so that a mistake is named before anything boots.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};
use lith::config::{Backend, Boot, GuestConfig};
use testbed::programs::Extra;
use testbed::roles::{DRIVER_DOMAIN, Description, driver_disk};
use xenolith_abi::DomId;

/// The folder of guests' files in the control domain.
const FOLDER: &str = "/guest";
/// What a guest's file may name there without bringing it: the usual guest's.
const USUAL: [&str; 2] = ["/guest/kernel", "/guest/ramdisk"];

/// A file of the host, and where it is to be in the control domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFile {
    from: PathBuf,
    /// Absolute.
    to: String,
}

impl FromStr for OwnFile {
    type Err = Error;

    /// `FILE`, or `FILE:/PATH`.
    fn from_str(text: &str) -> Result<Self> {
        let (from, to) = match text.rsplit_once(':') {
            Some((from, to)) if to.starts_with('/') => (PathBuf::from(from), to.to_owned()),
            Some((from, to)) if Path::new(from).is_file() => {
                bail!("{to} is no absolute path: say {from}:/{to}")
            }
            _ => {
                let from = PathBuf::from(text);
                let name = from.file_name().and_then(|name| name.to_str());
                let to = format!("{FOLDER}/{}", name.context("it must end in a file's name")?);
                (from, to)
            }
        };
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        ensure!(to.split('/').skip(1).all(is_plain), "{to} must be a plain path, without `.`, `..` and `//`");
        Ok(OwnFile { from, to })
    }
}

impl OwnFile {
    /// Reads it, with its permissions.
    pub fn read(&self) -> Result<Extra> {
        let name = self.from.display();
        let about = fs::metadata(&self.from).with_context(|| format!("--file {name}: it cannot be read"))?;
        ensure!(
            about.is_file(),
            "--file {name}: it is no file; give each of a folder's files, or an archive"
        );
        let data = fs::read(&self.from).with_context(|| format!("--file {name}: it cannot be read"))?;
        let path = self.to.trim_start_matches('/').to_owned();
        Ok(Extra { path, permissions: about.permissions().mode() & 0o777, data })
    }
}

/// A guest of the user's own.
#[derive(Debug)]
pub struct OwnGuest {
    /// As it is in the control domain.
    pub config: GuestConfig,
    /// Its file there.
    pub description: Description,
}

impl OwnGuest {
    /// Reads a guest's file.
    ///
    /// # Errors
    /// It is no description of a guest; the message names file, line and key.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("--guest {}", file.display()))?;
        let name = GuestConfig::parse(file, &text)?.name;
        // Relative paths begin at the folder where it is to be.
        let config = GuestConfig::parse(Path::new(&format!("{FOLDER}/{name}.toml")), &text)?;
        Ok(OwnGuest { description: Description { name, text, autostart: config.autostart }, config })
    }

    /// Whether the machine has what the guest needs, if the control domain has these files besides its own and the driver
    /// domain so many disks.
    pub fn check(&self, files: &[Extra], disks: usize) -> Result<()> {
        let name = &self.config.name;
        let has = |path: &Path| {
            USUAL.iter().any(|usual| path == Path::new(usual))
                || files.iter().any(|file| Path::new("/").join(&file.path) == path)
        };
        let wanted = match &self.config.boot {
            Boot::Files { kernel, ramdisk } => [("kernel", Some(kernel)), ("ramdisk", ramdisk.as_ref())],
            // What is on a disk of the control domain is known there.
            Boot::Disk { .. } => [("kernel", None), ("ramdisk", None)],
        };
        for (what, path) in wanted.into_iter().filter_map(|(what, path)| Some((what, path?))) {
            let path_name = path.display();
            ensure!(
                has(path),
                "guest {name}: the control domain has no {path_name} for its {what}: add --file FILE:{path_name}, or name \
                 one of {}",
                USUAL.join(", ")
            );
        }
        let theirs: Vec<String> = (0..disks).map(driver_disk).collect();
        for disk in &self.config.devices.disks {
            let is_drivers = disk.backend == Backend::Number(DomId(DRIVER_DOMAIN));
            let image = &disk.config.image;
            ensure!(
                !is_drivers || theirs.contains(image),
                "guest {name}: the driver domain has no disk {image}, but {}: each --disk is one",
                theirs.join(", ")
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(text: &str) -> Result<OwnGuest> {
        let dir = std::env::temp_dir().join(format!("xtask-own-{:?}", std::thread::current().id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("web.toml");
        fs::write(&file, text).unwrap();
        let guest = OwnGuest::read(&file);
        fs::remove_dir_all(dir).unwrap();
        guest
    }

    fn refused(text: &str, files: &[&str], disks: usize) -> String {
        let extra = |path: &&str| Extra { path: (*path).into(), permissions: 0o644, data: Vec::new() };
        let files: Vec<Extra> = files.iter().map(extra).collect();
        match guest(text).and_then(|guest| guest.check(&files, disks)) {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_file_has_its_name_s_place_or_one_that_is_said() {
        let to = |text: &str| OwnFile::from_str(text).map(|file| file.to).map_err(|error| error.to_string());
        assert_eq!(to("/boot/Image"), Ok("/guest/Image".into()));
        assert_eq!(to("a:b/Image:/bin/tool"), Ok("/bin/tool".into()));
        assert_eq!(to("a:b"), Ok("/guest/a:b".into()));
        assert!(to("Cargo.toml:x").unwrap_err().contains("Cargo.toml:/x"));
        for bad in ["/", "x:/bin/", "x:/a/../b", "x:/"] {
            assert!(to(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_guest_is_read_as_in_the_control_domain() {
        let own = guest("kernel = \"Image\"\nramdisk = \"/guest/ramdisk\"\nmemory = \"128M\"\n").unwrap();
        let (kernel, ramdisk) = ("/guest/Image".into(), Some("/guest/ramdisk".into()));
        assert_eq!(own.config.boot, Boot::Files { kernel, ramdisk });
        assert_eq!((own.description.name.as_str(), own.description.autostart), ("web", false));
        let wrong = guest("kernel = \"Image\"\nmemory = \"128M\"\nvcpus = 0\n").unwrap_err();
        assert!(format!("{wrong:#}").contains("web.toml:3:"), "{wrong:#}");
    }

    #[test]
    fn what_a_guest_needs_must_be_there() {
        let text = "kernel = \"Image\"\nmemory = \"128M\"\n[[disk]]\nimage = \"/dev/vdb\"\nbackend = 1\n";
        assert!(refused(text, &[], 2).contains("--file FILE:/guest/Image"));
        assert!(refused(text, &["guest/Image"], 1).contains("no disk /dev/vdb, but /dev/vda"));
        assert_eq!(refused(text, &["guest/Image"], 2), "");
        // Of other backends nothing is known here.
        assert_eq!(refused(&text.replace("= 1", "= \"store\""), &["guest/Image"], 1), "");
    }
}
