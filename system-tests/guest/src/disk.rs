//! Files on a disk: written, flushed, read back past the cache.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::report::Report;

const FILES: u64 = 8;
/// Files that are to outlive a boot: 64 MiB.
const LASTING_FILES: u64 = 16;
const BLOCKS: u64 = 64;
const BLOCK: usize = 64 * 1024;

/// Runs all tests of a disk, in a folder on it.
pub fn run(report: &mut Report, folder: &Path) {
    report.test("files hold what was written, past the cache", || write_and_read(folder));
    report.test("a file rewritten in parts", || rewrite(folder));
}

/// Bytes that differ from block to block: a multiplicative generator with 64 bits of state.
fn block(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()
    });
    words.take(BLOCK / 8).flatten().collect()
}

fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")
}

fn write_and_read(folder: &Path) -> Result<()> {
    write(folder, FILES)?;
    drop_caches()?;
    check(folder, FILES)
}

/// Writes 64 MiB of files and syncs them.
pub fn write_files(folder: &Path) -> Result<()> {
    write(folder, LASTING_FILES)?;
    rustix::fs::sync();
    Ok(())
}

/// Reads what [`write_files`] has written, in this boot or an earlier one.
pub fn check_files(folder: &Path) -> Result<()> {
    drop_caches()?;
    check(folder, LASTING_FILES)
}

/// Has a range of a file or a disk read as zeroes; a hole besides gives its storage back.
pub fn clear(file: &Path, at: u64, len: u64, hole: bool) -> Result<()> {
    use rustix::fs::FallocateFlags as Flags;
    let how = if hole { Flags::PUNCH_HOLE } else { Flags::ZERO_RANGE };
    let file = File::options().write(true).open(file)?;
    rustix::fs::fallocate(&file, how | Flags::KEEP_SIZE, at, len)?;
    Ok(file.sync_all()?)
}

fn write(folder: &Path, files: u64) -> Result<()> {
    for file in 0..files {
        let mut out = File::create(folder.join(format!("file{file}")))?;
        for number in 0..BLOCKS {
            out.write_all(&block(file << 32 | number))?;
        }
        out.sync_all()?;
    }
    Ok(())
}

fn check(folder: &Path, files: u64) -> Result<()> {
    for file in 0..files {
        let mut input = File::open(folder.join(format!("file{file}")))?;
        let mut content = vec![0; BLOCK];
        for number in 0..BLOCKS {
            input.read_exact(&mut content)?;
            ensure!(content == block(file << 32 | number), "block {number} of file {file} differs");
        }
    }
    Ok(())
}

fn rewrite(folder: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(folder.join("rewritten"))?;
    for round in 0..3 {
        for number in (0..BLOCKS).filter(|number| round == 0 || number % (round + 1) == 0) {
            file.write_all_at(&block(round << 32 | number), number * BLOCK as u64)?;
        }
        file.sync_all()?;
    }
    drop_caches()?;
    let mut content = vec![0; BLOCK];
    for number in 0..BLOCKS {
        let round = (0..3).rev().find(|round| *round == 0 || number % (round + 1) == 0).unwrap_or(0);
        file.read_exact_at(&mut content, number * BLOCK as u64)?;
        ensure!(content == block(round << 32 | number), "block {number} differs");
    }
    Ok(())
}
