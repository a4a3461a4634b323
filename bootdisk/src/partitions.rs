//! Partition tables: GPT, and MBR with its logical partitions.

use anyhow::{Result, bail};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;

use crate::area::Area;

/// The most partitions that are looked at: what Linux gives a virtio disk is 15, and GPT's usual table has 128.
const MOST: usize = 128;
/// Bytes of a sector in an MBR.
const SECTOR: u64 = 512;
/// Types of MBR partitions that hold others: by cylinders, by sectors, Linux's own.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its number, as Linux counts.
    pub number: u32,
    /// Its PARTUUID, as Linux writes it.
    pub uuid: String,
    /// Where it is.
    pub area: Area,
}

/// Reads a disk's partition table. None: it has none.
///
/// # Errors
///
/// It has one, which is damaged.
pub fn read(disk: &Area) -> Result<Option<Vec<Partition>>> {
    let sizes = [(LogicalBlockSize::Lb512, 512), (LogicalBlockSize::Lb4096, 4096)];
    for (size, bytes) in sizes {
        if disk.field(bytes) == Some(*b"EFI PART") {
            return gpt(disk, size, bytes).map(Some);
        }
    }
    Ok(mbr(disk))
}

fn gpt(disk: &Area, size: LogicalBlockSize, bytes: u64) -> Result<Vec<Partition>> {
    // The crate takes 128 as given.
    if disk.field::<4>(bytes + 84).map(u32::from_le_bytes) != Some(128) {
        bail!("its GPT has entries of another size than 128 bytes");
    }
    let table = GptConfig::new().logical_block_size(size).open_from_device(disk.stream())?;
    let partitions = table.partitions().iter().filter(|(_, partition)| partition.is_used());
    let partitions = partitions.filter_map(|(&number, partition)| {
        let (start, end) = (partition.first_lba, partition.last_lba.checked_add(1)?);
        let area = disk.part(start.checked_mul(bytes)?, end.checked_sub(start)?.checked_mul(bytes)?)?;
        Some(Partition { number, uuid: partition.part_guid.to_string(), area })
    });
    Ok(partitions.take(MOST).collect())
}

/// The four entries of a sector that is an MBR: type, first sector, sectors.
fn entries(disk: &Area, sector: u64) -> Option<Vec<(u8, u64, u64)>> {
    let bytes: [u8; 512] = disk.field(sector.checked_mul(SECTOR)?)?;
    if bytes.last_chunk() != Some(&[0x55, 0xaa]) {
        return None;
    }
    let word = |entry: &[u8], at: usize| {
        entry.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
    };
    let table = bytes.get(446..510)?.chunks(16);
    // A boot sector that is no MBR has code here.
    if !table.clone().all(|entry| matches!(entry.first(), Some(0 | 0x80))) {
        return None;
    }
    Some(
        table
            .map(|entry| (entry.get(4).copied().unwrap_or(0), word(entry, 8).into(), word(entry, 12).into()))
            .collect(),
    )
}

fn mbr(disk: &Area) -> Option<Vec<Partition>> {
    let primary = entries(disk, 0)?;
    let signature = u32::from_le_bytes(disk.field(440)?);
    let mut found = Vec::new();
    let mut add = |number: u32, start: u64, sectors: u64| {
        let area =
            start.checked_mul(SECTOR).and_then(|start| disk.part(start, sectors.saturating_mul(SECTOR)));
        found.extend(area.map(|area| Partition {
            number,
            uuid: format!("{signature:08x}-{number:02x}"),
            area,
        }));
    };
    let mut extended = None;
    for (number, &(kind, start, sectors)) in (1..).zip(&primary) {
        match kind {
            0 => {}
            kind if EXTENDED.contains(&kind) => extended = extended.or(Some(start)),
            _ => add(number, start, sectors),
        }
    }
    // Each sector of the chain has a partition and the way to the next, both relative. It may be a circle.
    let (base, mut next) = (extended.unwrap_or(0), extended);
    for number in (5..).take(MOST) {
        let Some((sector, table)) = next.and_then(|sector| Some((sector, entries(disk, sector)?))) else {
            break;
        };
        if let Some(&(kind, start, sectors)) =
            table.first().filter(|(kind, ..)| *kind != 0 && !EXTENDED.contains(kind))
        {
            let _ = kind;
            add(number, sector.saturating_add(start), sectors);
        }
        let link = table.get(1).filter(|(kind, ..)| EXTENDED.contains(kind));
        next = link.and_then(|&(_, start, _)| base.checked_add(start));
    }
    Some(found)
}
