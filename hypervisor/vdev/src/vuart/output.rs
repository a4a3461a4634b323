//! What a domain sends, in lines: several domains write to one console, and what stands in one line is of one of them.

use arrayvec::ArrayVec;

/// Bytes that wait for the end of their line at most.
const LINE: usize = 256;

/// The line that a domain is at.
#[derive(Debug, Default)]
pub struct Output(ArrayVec<u8, LINE>);

impl Output {
    /// A byte has been sent. Gives what is to be written now: a line when it is complete or long enough, or, if
    /// `at_once`, each byte as it comes.
    pub fn push(&mut self, byte: u8, at_once: bool) -> Option<ArrayVec<u8, LINE>> {
        // There is room: a full line was given away at once.
        let _ = self.0.try_push(byte);
        if at_once || byte == b'\n' || self.0.is_full() { self.take() } else { None }
    }

    /// What waits, if anything does.
    pub fn take(&mut self) -> Option<ArrayVec<u8, LINE>> {
        (!self.0.is_empty()).then(|| core::mem::take(&mut self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_and_lines_stay_whole(bytes in prop::collection::vec(0u8..20, 0..2000)) {
            let (mut output, mut written) = (Output::default(), Vec::new());
            for &byte in &bytes {
                if let Some(piece) = output.push(byte, false) {
                    prop_assert!(piece.last() == Some(&b'\n') || piece.is_full());
                    prop_assert!(!piece[..piece.len() - 1].contains(&b'\n'));
                    written.extend(piece);
                }
            }
            written.extend(output.take().unwrap_or_default());
            prop_assert_eq!(&written, &bytes);
            prop_assert_eq!(output.take(), None);
        }
    }

    #[test]
    fn what_is_typed_for_is_seen_at_once() {
        let mut output = Output::default();
        assert_eq!(output.push(b'l', false), None);
        assert_eq!(output.push(b'o', true).unwrap().as_slice(), b"lo");
    }
}
