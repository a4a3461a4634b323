//! Bitmaps in the caller's memory, of CPUs and nodes: up to 64 bits of them mean something.

use xenolith_abi::Errno;
use xenolith_abi::control::Bitmap;

use crate::caller::Caller;
use xenolith_core::bug;

/// Bits that a word holds.
const WORD: u32 = u64::BITS;
/// The most bytes that are filled with zeroes behind the word.
const MAX_BYTES: u64 = 4096;

/// The bits below 64. What stands behind them names nothing that there is.
pub fn read_bitmap(caller: &Caller<'_>, bitmap: &Bitmap) -> Result<u64, Errno> {
    let bits = bitmap.nr_bits.min(WORD);
    let mut bytes = [0; 8];
    let count = bits.div_ceil(8) as usize;
    let Some(wanted) = bytes.get_mut(..count) else {
        bug!("64 bits are more than 8 bytes");
        return Err(Errno::EINVAL);
    };
    caller.read_bytes(bitmap.bitmap, wanted)?;
    let mask = 1_u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1);
    Ok(u64::from_le_bytes(bytes) & mask)
}

/// Fills exactly the bytes that the bitmap has; zeroes stand behind the word. `EINVAL`: it is longer than a page.
pub fn write_bitmap(caller: &Caller<'_>, bitmap: &Bitmap, value: u64) -> Result<(), Errno> {
    let total = u64::from(bitmap.nr_bits.div_ceil(8));
    if total > MAX_BYTES {
        return Err(Errno::EINVAL);
    }
    let mask = 1_u64.checked_shl(bitmap.nr_bits).map_or(u64::MAX, |bit| bit - 1);
    let mut word = (value & mask).to_le_bytes();
    let mut done = 0;
    while done < total {
        let count = (total - done).min(8);
        let place = Caller::element(bitmap.bitmap, done)?;
        caller.write_bytes(place, word.get(..count as usize).unwrap_or_default())?;
        word = [0; 8];
        done += count;
    }
    Ok(())
}
