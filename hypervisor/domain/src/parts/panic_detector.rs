//! Hearing in what a domain's console shows that its kernel panics.

/// What Linux writes first when it panics (kernel/panic.c).
const LAST_WORDS: &[u8] = b"Kernel panic - not syncing";

/// Looks for `LAST_WORDS` in output that comes in pieces.
#[derive(Debug, Default)]
pub struct PanicDetector {
    matched: usize,
    /// The words have come, and the line that they are in goes on.
    in_line: bool,
}

impl PanicDetector {
    /// Takes a piece of output; true when a line ends in it that has the words.
    pub fn scan(&mut self, bytes: &[u8]) -> bool {
        let mut heard = false;
        for byte in bytes {
            // The first letter of the words comes in them only once, so that a failed match starts anew at once.
            self.matched = match LAST_WORDS.get(self.matched) {
                Some(expected) if expected == byte => self.matched + 1,
                _ => usize::from(LAST_WORDS.first() == Some(byte)),
            };
            if self.matched == LAST_WORDS.len() {
                self.in_line = true;
                self.matched = 0;
            }
            if *byte == b'\n' && self.in_line {
                self.in_line = false;
                heard = true;
            }
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_heard_in_any_pieces() {
        let text = b"[    1.2] KKernel Kernel panic - not syncing: sysrq\n";
        for size in 1..text.len() {
            let mut panic_detector = PanicDetector::default();
            let heard = text.chunks(size).filter(|piece| panic_detector.scan(piece)).count();
            assert_eq!(heard, 1, "pieces of {size}");
        }
        let mut panic_detector = PanicDetector::default();
        assert!(!panic_detector.scan(b"Kernel panic - not sync"));
        assert!(!panic_detector.scan(b"?ing\n"));
    }
}
