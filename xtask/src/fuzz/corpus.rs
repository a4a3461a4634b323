//! The corpora that are kept in the tree, `fuzz/corpus/TARGET.cpio.gz`: small inputs that reach the code that longer runs have
//! found, so that a short run begins where they ended.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cpio::newc::{Builder, Reader, trailer};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use testbed::paths;
use testbed::process::line_of;

use super::LIMITS;

/// The most bytes of inputs that a target's corpus has, so that all of them have 2 MiB at most.
const MOST: u64 = 150 << 10;

/// Where a target's kept corpus is.
fn kept(target: &str) -> PathBuf {
    paths::workspace().join("fuzz/corpus").join(format!("{target}.cpio.gz"))
}

/// Folders of inputs that a run of a target begins with, beside what earlier runs on this machine found: the kept corpus, which
/// is unpacked into `folder`, and files that are there anyway.
pub fn seeds(folder: &Path, target: &str) -> Result<Vec<PathBuf>> {
    let unpacked = folder.join("kept").join(target);
    unpack(&kept(target), &unpacked)?;
    let trees = (target == "device_tree").then(|| paths::workspace().join("hypervisor/host/tests/data"));
    Ok([Some(unpacked), trees].into_iter().flatten().collect())
}

/// Unpacks a corpus into a folder, which has nothing else afterwards. One that is not there is an empty one.
fn unpack(archive: &Path, into: &Path) -> Result<()> {
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    fs::create_dir_all(into)?;
    if !archive.exists() {
        return Ok(());
    }
    let mut archive = GzDecoder::new(fs::File::open(archive)?);
    loop {
        let mut reader = Reader::new(&mut archive)?;
        let entry = reader.entry();
        if entry.is_trailer() {
            return Ok(());
        }
        // A name alone: the archive writes nowhere else.
        let name = Path::new(entry.name()).file_name().context("an input without a name")?.to_owned();
        let mut input = Vec::new();
        reader.read_to_end(&mut input)?;
        fs::write(into.join(name), input)?;
        reader.finish()?;
    }
}

/// Makes the kept corpus anew of all inputs in `found` and of those that were kept: as few and small ones as reach the same
/// code. Returns their number and bytes.
pub fn keep(folder: &Path, program: &Path, target: &str, found: &Path) -> Result<(usize, u64)> {
    let merged = folder.join("merged").join(target);
    unpack(Path::new(""), &merged)?;
    let mut command = Command::new(program);
    command.arg("-merge=1").args(LIMITS).arg(&merged).args(seeds(folder, target)?).arg(found);
    let output = command.stdin(Stdio::null()).output().with_context(|| line_of(&command))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            line_of(&command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&merged)? {
        let input = fs::read(entry?.path())?;
        inputs.push((input.len() as u64, input));
    }
    // The small ones first: they are the most for their bytes.
    inputs.sort();
    let mut bytes = 0;
    inputs.retain(|(length, _)| {
        bytes += length;
        bytes <= MOST
    });
    let mut archive = GzEncoder::new(Vec::new(), Compression::best());
    for (number, (length, input)) in (0_u32..).zip(&inputs) {
        let mut entry = Builder::new(&format!("{number:05}"))
            .mode(0o10_0644)
            .write(&mut archive, u32::try_from(*length)?);
        entry.write_all(input)?;
        entry.finish()?;
    }
    trailer(&mut archive)?;
    let into = kept(target);
    fs::create_dir_all(into.parent().context("a corpus has a folder")?)?;
    paths::write_whole(&into, &archive.finish()?)?;
    Ok((inputs.len(), inputs.iter().map(|(length, _)| length).sum()))
}

#[cfg(test)]
mod tests {
    use super::super::targets;
    use super::*;

    #[test]
    fn each_target_and_nothing_else_has_a_corpus_of_a_bounded_size() {
        let folder = std::env::temp_dir().join(format!("xtask-corpus-{}", std::process::id()));
        let mut all = Vec::new();
        for entry in fs::read_dir(paths::workspace().join("fuzz/corpus")).unwrap() {
            let path = entry.unwrap().path();
            unpack(&path, &folder).unwrap();
            let inputs = fs::read_dir(&folder).unwrap();
            let bytes: u64 = inputs.map(|input| input.unwrap().metadata().unwrap().len()).sum();
            assert!(bytes > 0 && bytes <= MOST, "{} has {bytes} bytes", path.display());
            let name = path.file_name().unwrap().to_str().unwrap();
            all.push(name.strip_suffix(".cpio.gz").unwrap().to_owned());
        }
        all.sort();
        assert_eq!(all, targets().unwrap());
        fs::remove_dir_all(folder).unwrap();
    }
}
