//! A page that a guest writes at the same time.
//!
//! It is reached by copies and single words only. What is read may be anything, and something else the next time:
//! read once, check, then use.

#[cfg(any(test, feature = "mock"))]
pub mod mock;

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;

/// A shared page. Offsets are in bytes; what lies outside of the page reads as zero and is not written.
pub trait SharedPage: Send {
    /// A word of 32 bits at a multiple of 4. What is read after it is at least as new as what the guest wrote before it.
    fn load(&self, offset: usize) -> u32;

    /// Writes a word of 32 bits at a multiple of 4. A guest that sees it sees all that was written before it.
    fn store(&self, offset: usize, value: u32);

    /// Copies bytes out.
    fn read(&self, offset: usize, bytes: &mut [u8]);

    /// Copies bytes in.
    fn write(&self, offset: usize, bytes: &[u8]);
}

/// Copies out of a ring in a page: `ring` is its offset and its bytes, a power of two; `index` runs freely.
pub fn read_ring(page: &dyn SharedPage, ring: (usize, u32), index: u32, bytes: &mut [u8]) {
    let (start, first) = split(ring, index, bytes.len());
    let (head, tail) = bytes.split_at_mut(first);
    page.read(start, head);
    page.read(ring.0, tail);
}

/// Copies into a ring, as [`read_ring`] copies out.
pub fn write_ring(page: &dyn SharedPage, ring: (usize, u32), index: u32, bytes: &[u8]) {
    let (start, first) = split(ring, index, bytes.len());
    let (head, tail) = bytes.split_at(first);
    page.write(start, head);
    page.write(ring.0, tail);
}

/// Splits a copy at the ring's end: its offset in the page, and the bytes before the end.
fn split((offset, size): (usize, u32), index: u32, count: usize) -> (usize, usize) {
    let at = index & size.wrapping_sub(1);
    let behind = usize::try_from(size.wrapping_sub(at)).unwrap_or(0);
    let start = offset.saturating_add(usize::try_from(at).unwrap_or(0));
    (start, count.min(behind))
}
