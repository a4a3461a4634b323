//! Where a real Xen is, to play the same transcripts on: only where somebody asks for it, since what is tested then is not
//! ours. What it answered is on record ([`crate::record`]).

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use testbed::tools::Version;

/// Names folders, with `:` between them, in each of which a Xen was built from Debian's source package: the image is
/// `xen/xen/xen`, and `root/oracle/version` says its version. `debian` in a folder's place is Debian's own build.
const FOLDERS: &str = "XEN_ORACLE_DIR";
/// In a folder's place: Debian's packages of the hypervisor, fetched.
const DEBIAN: &str = "debian";

/// The image of a Xen of that version, if there is one. With `forwarding` Debian's own, which lacks that, does not count.
pub fn find(version: Version, forwarding: bool) -> Result<Option<PathBuf>> {
    for folder in folders() {
        if folder == Path::new(DEBIAN) {
            if forwarding {
                continue;
            }
            return version.xen().map(Some);
        }
        let its_version = std::fs::read_to_string(folder.join("root/oracle/version")).unwrap_or_default();
        let image = folder.join("xen/xen/xen");
        if its_version.trim() == version.to_string() && image.is_file() {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

fn folders() -> Vec<PathBuf> {
    env::var_os(FOLDERS).map(|folders| env::split_paths(&folders).collect()).unwrap_or_default()
}
