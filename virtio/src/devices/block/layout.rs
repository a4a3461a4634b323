//! The configuration space of a block device (5.2.4): offsets of its fields, little-endian.

use super::{Geometry, SECTOR};

/// Bytes of the space.
pub const SIZE: usize = 60;
/// The byte that says whether writes are cached.
pub const WRITEBACK: usize = 32;

/// The most data segments of one request: more than 1 MiB in single pages.
pub const SEG_MAX: u32 = 510;
/// The most bytes of one segment.
pub const SIZE_MAX: u32 = 1 << 22;
/// The most sectors that one discard may name: 4 GiB.
pub const MAX_DISCARD: u32 = 1 << 23;
/// The most sectors that one write-zeroes may name: 64 MiB, which can be written where nothing quicker is possible.
pub const MAX_WRITE_ZEROES: u32 = 1 << 17;

/// The space of a disk. `unmap`: write-zeroes may also free the room.
pub fn space(geometry: &Geometry, queues: u16, writeback: bool) -> [u8; SIZE] {
    let mut space = [0; SIZE];
    let block = geometry.block.max(512);
    let physical = geometry.physical.max(block);
    let exponent = u8::try_from((physical / block).checked_ilog2().unwrap_or(0)).unwrap_or(0);
    let optimal = geometry.optimal / block;
    // `struct virtio_blk_config`: capacity, size_max, seg_max, (geometry, not offered), blk_size, topology with
    // physical_block_exp, alignment_offset, min_io_size and opt_io_size, writeback, num_queues, then three fields of
    // discard and three of write_zeroes. Sizes in topology are in logical blocks, those of discard and write_zeroes in
    // sectors.
    put(&mut space, 0, &(geometry.size / SECTOR).to_le_bytes());
    put(&mut space, 8, &SIZE_MAX.to_le_bytes());
    put(&mut space, 12, &SEG_MAX.to_le_bytes());
    put(&mut space, 20, &block.to_le_bytes());
    put(&mut space, 24, &[exponent, 0]);
    put(&mut space, 26, &u16::try_from(physical / block).unwrap_or(1).to_le_bytes());
    put(&mut space, 28, &optimal.to_le_bytes());
    put(&mut space, WRITEBACK, &[writeback.into()]);
    put(&mut space, 34, &queues.to_le_bytes());
    put(&mut space, 36, &MAX_DISCARD.to_le_bytes());
    put(&mut space, 40, &1u32.to_le_bytes());
    put(&mut space, 44, &(geometry.discard.max(block) / 512).to_le_bytes());
    put(&mut space, 48, &MAX_WRITE_ZEROES.to_le_bytes());
    put(&mut space, 52, &1u32.to_le_bytes());
    put(&mut space, 56, &[1]);
    space
}

fn put(space: &mut [u8; SIZE], at: usize, bytes: &[u8]) {
    if let Some(field) = at.checked_add(bytes.len()).and_then(|end| space.get_mut(at..end)) {
        field.copy_from_slice(bytes);
    }
}
