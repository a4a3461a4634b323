//! The room of a qcow2 image in its host's file system: clusters that the image does not use any more become holes.
//!
//! Principle: a hole is made only of a cluster whose reference count in the file is zero, which nothing in the image uses.
//! The caller sees to it that the file's tables are up to date and that nobody changes them meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, fallocate, fstat};

use super::header::{Header, offset_of};
use crate::storage::raw::is_impossible;

/// An L2 entry's bit for a compressed cluster.
const COMPRESSED: u64 = 1 << 62;
/// Bytes of an entry of any table.
const ENTRY: u64 = 8;
/// The unit of a compressed cluster's length.
const SECTOR: u64 = 512;

/// Clusters one after the other, by their numbers in the file.
pub type Run = std::ops::Range<u64>;

/// An image's file, beside the crate that reads and writes it.
#[derive(Debug)]
pub struct Space {
    file: File,
}

impl Space {
    /// Of an image that is open once more.
    pub fn new(file: File) -> Space {
        Space { file }
    }

    /// The clusters that hold `len` bytes of the disk from `offset` on.
    ///
    /// # Errors
    /// What the system says, or a header that is none any more.
    pub fn clusters(&self, offset: u64, len: u64) -> io::Result<Vec<Run>> {
        // Read each time: a table that grows moves.
        let header = Header::read(&self.file)?;
        let entries = header.cluster() / ENTRY;
        let first = offset >> header.cluster_bits;
        let end = offset.saturating_add(len).div_ceil(header.cluster());
        let mut runs: Vec<Run> = Vec::new();
        let mut at = first;
        while at < end {
            let (table, index) = (at / entries, at % entries);
            let count = entries.saturating_sub(index).min(end.saturating_sub(at));
            at = at.saturating_add(count);
            if table >= u64::from(header.l1_entries) {
                break;
            }
            let l2 = self.entry(header.l1_table.saturating_add(table.saturating_mul(ENTRY)))?;
            let l2 = offset_of(l2);
            if l2 == 0 {
                continue;
            }
            for entry in self.entries(l2.saturating_add(index.saturating_mul(ENTRY)), count)? {
                if let Some(run) = run_of(entry, &header) {
                    add(&mut runs, run);
                }
            }
        }
        Ok(runs)
    }

    /// Makes holes of those clusters that nothing in the image uses. Where the file system has no holes, nothing happens.
    ///
    /// # Errors
    /// What the system says.
    pub fn give_back(&self, clusters: &[Run]) -> io::Result<()> {
        let header = Header::read(&self.file)?;
        let mut counts = Counts { file: &self.file, header, block: None };
        let mut unused: Vec<Run> = Vec::new();
        for cluster in clusters.iter().cloned().flatten() {
            if !counts.is_used(cluster)? {
                add(&mut unused, cluster..cluster.saturating_add(1));
            }
        }
        // A cluster behind the file's end has no bytes.
        let size = fstat(&self.file).map_or(u64::MAX, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        for run in unused {
            let start = run.start << header.cluster_bits;
            let len = (run.end << header.cluster_bits).min(size).saturating_sub(start);
            if len == 0 {
                continue;
            }
            match fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, len) {
                Err(error) if is_impossible(error) => return Ok(()),
                other => other?,
            }
        }
        Ok(())
    }

    fn entry(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn entries(&self, at: u64, count: u64) -> io::Result<Vec<u64>> {
        let bytes = usize::try_from(count.saturating_mul(ENTRY)).unwrap_or(0);
        let mut table = vec![0; bytes];
        self.file.read_exact_at(&mut table, at)?;
        Ok(table.as_chunks().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect())
    }
}

/// The clusters that an L2 entry names. A compressed one begins and ends anywhere, in as many sectors as it says.
fn run_of(entry: u64, header: &Header) -> Option<Run> {
    let bits = header.cluster_bits;
    if entry & COMPRESSED == 0 {
        let cluster = offset_of(entry) >> bits;
        return (cluster != 0).then(|| cluster..cluster.saturating_add(1));
    }
    let width = 62u32.saturating_sub(bits.saturating_sub(8));
    let mask = |width: u32| 1u64.checked_shl(width).map_or(u64::MAX, |bit| bit.saturating_sub(1));
    let start = entry & mask(width);
    let sectors = (entry & mask(62)) >> width;
    let end = (start & !(SECTOR.saturating_sub(1)))
        .saturating_add(sectors.saturating_add(1).saturating_mul(SECTOR));
    Some(start >> bits..end.div_ceil(header.cluster()))
}

/// Adds clusters behind others: to the last of them where they follow or overlap.
fn add(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if (last.start..=last.end).contains(&run.start) => last.end = last.end.max(run.end),
        _ => runs.push(run),
    }
}

/// Reference counts, of which one block is kept.
struct Counts<'a> {
    file: &'a File,
    header: Header,
    /// The number of a block, and its bytes: none, where all of its counts are zero.
    block: Option<(u64, Vec<u8>)>,
}

impl Counts<'_> {
    fn is_used(&mut self, cluster: u64) -> io::Result<bool> {
        let order = self.header.refcount_order;
        // Counts of one block, which is a cluster.
        let each = (self.header.cluster() << 3) >> order;
        let (number, index) = (cluster / each, cluster % each);
        if self.block.as_ref().is_none_or(|(kept, _)| *kept != number) {
            self.block = Some((number, self.read_block(number)?));
        }
        let Some((_, block)) = &self.block else { return Ok(true) };
        if block.is_empty() {
            return Ok(false);
        }
        let bit = index << order;
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        Ok(match order {
            // Several counts in a byte, the first in the lowest bits.
            0..=2 => {
                let mask = (1u8 << (1 << order)).wrapping_sub(1);
                block.get(at).is_none_or(|byte| (byte >> (bit % 8)) & mask != 0)
            }
            _ => {
                let end = at.saturating_add(1 << order.saturating_sub(3));
                block.get(at..end).is_none_or(|count| count.iter().any(|byte| *byte != 0))
            }
        })
    }

    fn read_block(&self, number: u64) -> io::Result<Vec<u8>> {
        let Header { refcount_table, refcount_clusters, .. } = self.header;
        let size = self.header.cluster();
        if number >= u64::from(refcount_clusters).saturating_mul(size / ENTRY) {
            return Ok(Vec::new());
        }
        let mut entry = [0; 8];
        self.file.read_exact_at(&mut entry, refcount_table.saturating_add(number.saturating_mul(ENTRY)))?;
        let at = offset_of(u64::from_be_bytes(entry));
        if at == 0 {
            return Ok(Vec::new());
        }
        let mut block = vec![0; usize::try_from(size).unwrap_or(0)];
        self.file.read_exact_at(&mut block, at)?;
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(cluster_bits: u32, refcount_order: u32) -> Header {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        crate::driver::files::qcow2(&path, 1 << 20, None);
        let mut header = Header::read(&File::open(path).unwrap()).unwrap();
        (header.cluster_bits, header.refcount_order) = (cluster_bits, refcount_order);
        header
    }

    #[test]
    fn an_entry_names_the_clusters_of_its_bytes() {
        let header = header(16, 4);
        assert_eq!(run_of(0, &header), None);
        assert_eq!(run_of(1, &header), None, "zeroes without a place");
        assert_eq!(run_of(1 << 63 | 5 << 16, &header), Some(5..6));
        assert_eq!(run_of(1 << 63 | 5 << 16 | 1, &header), Some(5..6), "zeroes that keep their place");
        // With clusters of 64 KiB an offset has 54 bits, and more sectors than the first follow in 8.
        let compressed = |at: u64, more: u64| COMPRESSED | more << 54 | at;
        assert_eq!(run_of(compressed(0x5_0010, 0), &header), Some(5..6));
        assert_eq!(run_of(compressed(0x5_fe10, 0), &header), Some(5..6), "to the last byte");
        assert_eq!(run_of(compressed(0x5_fe10, 1), &header), Some(5..7));
    }

    #[test]
    fn neighbours_are_one_run() {
        let mut runs = Vec::new();
        [5..6, 6..7, 6..8, 3..4, 9..10].into_iter().for_each(|run| add(&mut runs, run));
        assert_eq!(runs, [5..8, 3..4, 9..10]);
    }

    #[test]
    fn counts_of_any_width_are_read() {
        for order in 0..=6 {
            let header = header(16, order);
            let file = tempfile::tempfile().unwrap();
            let each = (65536 * 8) >> order;
            let mut counts = Counts { file: &file, header, block: Some((1, vec![0; 65536])) };
            let (cluster, bit) = (each + 13, 13u64 << order);
            assert!(!counts.is_used(cluster).unwrap());
            // The lowest bit of a count is the last byte's, of one that has less than a byte the lowest of its own.
            let at = usize::try_from(bit / 8).unwrap() + (1usize << order).div_ceil(8) - 1;
            counts.block.as_mut().unwrap().1[at] = 1 << (bit % 8);
            assert!(counts.is_used(cluster).unwrap(), "{order}");
            assert!(
                !counts.is_used(cluster - 1).unwrap() && !counts.is_used(cluster + 1).unwrap(),
                "{order}"
            );
        }
    }
}
