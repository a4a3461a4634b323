//! The console's bytes: kept for those who come later, and sent to those who are there.

use std::collections::VecDeque;

/// Bytes that are kept.
const BACKLOG: usize = 64 << 10;
/// Bytes that wait for a reader who is slower than the guest; older ones are lost to it.
const WAITING: usize = 256 << 10;

/// The last bytes of a stream: at most a fixed number of them.
#[derive(Clone, Debug)]
pub struct Tail {
    bytes: VecDeque<u8>,
    limit: usize,
}

impl Tail {
    /// What is kept of the guest's output.
    pub fn backlog() -> Tail {
        Tail { bytes: VecDeque::new(), limit: BACKLOG }
    }

    /// What waits for a reader.
    pub fn waiting() -> Tail {
        Tail { bytes: VecDeque::new(), limit: WAITING }
    }

    /// Adds bytes; those at the front that are too many go.
    pub fn push(&mut self, bytes: &[u8]) {
        let last = bytes.get(bytes.len().saturating_sub(self.limit)..).unwrap_or_default();
        let too_many = self.bytes.len().saturating_add(last.len()).saturating_sub(self.limit);
        self.bytes.drain(..too_many.min(self.bytes.len()));
        self.bytes.extend(last);
    }

    /// Whether no bytes are kept.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes.iter().copied().collect()
    }

    /// The first bytes, as many as lie together.
    pub fn front(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// Drops the first bytes, which were sent.
    pub fn consume(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_bytes_are_kept(pieces in proptest::collection::vec(0usize..50, 0..40), limit in 1usize..64) {
            let mut tail = Tail { bytes: VecDeque::new(), limit };
            let mut all: Vec<u8> = Vec::new();
            for (index, size) in pieces.into_iter().enumerate() {
                let piece = vec![u8::try_from(index).unwrap(); size];
                all.extend(&piece);
                tail.push(&piece);
            }
            prop_assert_eq!(tail.to_vec(), &all[all.len().saturating_sub(limit)..]);
        }
    }
}
