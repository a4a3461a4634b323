//! The console's ring: where the next bytes go.

use core::ops::Range;

use xenolith_abi::console::ring::OUT_SIZE;

/// The part of the ring, in bytes from its start, into which `wanted` more bytes go at once: fewer if the reader has yet
/// to make room, or if the ring's end comes first. `written` and `read` are the counts in the page; both run freely.
pub fn next_piece(written: u32, read: u32, wanted: usize) -> Range<usize> {
    // The reader is another domain: a count of its that no ring can have makes no room, and nothing else.
    let waiting = written.wrapping_sub(read);
    let room = OUT_SIZE.saturating_sub(waiting);
    let start = written % OUT_SIZE;
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
    let length = wanted.min(room).min(OUT_SIZE - start);
    start as usize..(start + length) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_piece_ends_where_the_ring_or_the_room_does() {
        assert_eq!(next_piece(0, 0, 10), 0..10);
        assert_eq!(next_piece(2040, 2000, 10), 2040..2048);
        assert_eq!(next_piece(2048, 2000, 10), 0..10);
        assert_eq!(next_piece(2048, 0, 10), 0..0);
        assert_eq!(next_piece(2047, 0, 10), 2047..2048);
        assert_eq!(next_piece(3, u32::MAX - 2, 10), 3..13);
        assert_eq!(next_piece(0, 1, 10), 0..0);
    }

    proptest! {
        #[test]
        fn no_counts_lead_out_of_the_ring(written in any::<u32>(), read in any::<u32>(), wanted in any::<usize>()) {
            let piece = next_piece(written, read, wanted);
            prop_assert!(piece.start <= piece.end && piece.end <= OUT_SIZE as usize && piece.len() <= wanted);
        }
    }
}
