//! Where things stand: the workspace, what is left for the user, and the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace's root folder.
pub fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The folder that holds everything made or fetched.
pub fn target() -> PathBuf {
    workspace().join("target")
}

/// The bootable image (arm64 `Image` format).
pub fn image() -> PathBuf {
    target().join("xenolith.img")
}

/// The image's ELF file, with symbols.
pub fn image_elf() -> PathBuf {
    target().join("xenolith.elf")
}

/// The folder of what was fetched; removing it makes the next run fetch all anew.
pub fn cache() -> PathBuf {
    target().join("testbed")
}

/// Fills `dir` by `fill` unless it is there already.
///
/// `fill` works in a neighbouring folder that takes the name `dir` only at the end, so that a folder under its final
/// name is always complete. A lock keeps two processes from doing the same work at once.
pub fn once(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if dir.exists() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let lock = File::create(dir.with_added_extension("lock"))?;
    lock.lock().context("cannot lock the cache")?;
    if dir.exists() {
        return Ok(());
    }
    let partial = dir.with_added_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    fill(&partial)?;
    fs::rename(&partial, dir).with_context(|| format!("cannot complete {}", dir.display()))
}

/// Writes a file so that a reader never sees half of it.
pub fn write_whole(path: &Path, data: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let partial = path.with_added_extension(format!("partial-{}", std::process::id()));
    fs::write(&partial, data).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fill_leaves_nothing_under_the_final_name() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("thing-6.1");
        let failed = once(&dir, |partial| {
            fs::write(partial.join("half"), "x")?;
            anyhow::bail!("no network")
        });
        assert!(failed.is_err() && !dir.exists());
        once(&dir, |partial| {
            assert!(!partial.join("half").exists());
            Ok(fs::write(partial.join("all"), "y")?)
        })
        .unwrap();
        assert!(dir.join("all").exists());
    }

    #[test]
    fn a_filled_folder_is_not_filled_again() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("thing");
        once(&dir, |_| Ok(())).unwrap();
        once(&dir, |_| anyhow::bail!("filled twice")).unwrap();
    }
}
