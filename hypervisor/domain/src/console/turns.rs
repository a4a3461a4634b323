//! Turns on the console's output, which all domains and the hypervisor share: who wrote last, and whose unfinished line another
//! writer has ended.

use arrayvec::ArrayVec;

use xenolith_core::types::DomId;

/// Domains that are remembered as cut; of more, the one that was cut first is forgotten.
const CUTS: usize = 8;

/// The writers of the console.
///
/// A domain is *cut* when another writer ends its unfinished line. If the domain then writes only the end of that line, it
/// is left out: the line has ended, and it would show as an empty one.
pub struct Turns {
    /// The domain that wrote last.
    last: DomId,
    /// Those that are cut and have written nothing since, in order.
    cut: ArrayVec<DomId, CUTS>,
}

impl Turns {
    /// Nobody is cut, and the control domain counts as the one that wrote last.
    pub const fn new() -> Self {
        Turns { last: DomId::CONTROL, cut: ArrayVec::new_const() }
    }

    /// The hypervisor writes a line. `end_line` ends one that is unfinished, and says whether there was one.
    pub fn interrupt(&mut self, end_line: impl FnOnce() -> bool) {
        if end_line() && !self.cut.contains(&self.last) {
            if self.cut.is_full() {
                self.cut.remove(0);
            }
            // There is room.
            let _ = self.cut.try_push(self.last);
        }
    }

    /// `domain` writes `bytes`. Returns what is to be shown of them: all but the end of a line that was cut.
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
