//! Whose turn it is on the one line of output that all share, and who was cut off in the middle of a line.

use arrayvec::ArrayVec;

use xenolith_core::types::DomId;

/// Domains whose line was cut and that have written nothing since; of more, the first is forgotten.
const CUTS: usize = 8;

/// The writers of the console.
///
/// A line that somebody else had to end is ended: what its writer had left of it may be its line end alone, and that
/// would show as an empty line.
pub struct Turns {
    last: DomId,
    cut: ArrayVec<DomId, CUTS>,
}

impl Turns {
    /// The control domain comes first.
    pub const fn new() -> Self {
        Turns { last: DomId::CONTROL, cut: ArrayVec::new_const() }
    }

    /// Somebody who is no domain writes a line. `end_line` ends one that was begun, and says whether there was one.
    pub fn interrupt(&mut self, end_line: impl FnOnce() -> bool) {
        if end_line() && !self.cut.contains(&self.last) {
            if self.cut.is_full() {
                self.cut.remove(0);
            }
            // There is room.
            let _ = self.cut.try_push(self.last);
        }
    }

    /// It is the turn of `domain`. Returns what is to be written of its `bytes`: all but the end of a line that was cut.
    pub fn give_to<'a>(
        &mut self,
        domain: DomId,
        bytes: &'a [u8],
        end_line: impl FnOnce() -> bool,
    ) -> &'a [u8] {
        let bytes = self.without_end_of_cut(domain, bytes);
        if self.last != domain && !bytes.is_empty() {
            self.interrupt(end_line);
            self.last = domain;
        }
        bytes
    }

    fn without_end_of_cut<'a>(&mut self, domain: DomId, bytes: &'a [u8]) -> &'a [u8] {
        let Some(index) = self.cut.iter().position(|&cut| cut == domain) else {
            return bytes;
        };
        // A serial port is written byte by byte: the return may come alone.
        let returns = bytes.iter().take_while(|&&byte| byte == b'\r').count();
        match bytes.get(returns) {
            None => &[],
            Some(b'\n') => {
                self.cut.remove(index);
                bytes.get(returns + 1..).unwrap_or_default()
            }
            Some(_) => {
                self.cut.remove(index);
                bytes
            }
        }
    }
}
