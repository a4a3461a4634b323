//! The names of our own functions, for back-traces: a table that the build puts into the image.
//!
//! Layout, little endian: magic `XSYM`, count, then `count` pairs of 32-bit words {offset of the function from the
//! image's start, offset of its NUL-terminated name from the table's start}, sorted by the first.

const MAGIC: u32 = 0x4d59_5358;

/// A table of function names. A table that is damaged or absent answers nothing.
pub struct Symbols<'a> {
    table: &'a [u8],
    count: usize,
}

impl<'a> Symbols<'a> {
    /// Takes the table's bytes.
    pub fn new(table: &'a [u8]) -> Self {
        let symbols = Symbols { table, count: usize::MAX };
        let count = match symbols.word(0) {
            Some(MAGIC) => symbols.word(4).map_or(0, |count| count as usize),
            _ => 0,
        };
        Symbols { table, count: count.min(table.len() / 8) }
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.table.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn offset(&self, index: usize) -> Option<u64> {
        self.word(index.checked_mul(8)?.checked_add(8)?).map(u64::from)
    }

    /// The function that `offset` (from the image's start) lies in, and how far behind its first byte.
    pub fn find(&self, offset: u64) -> Option<(&'a str, u64)> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.offset(middle)? <= offset { low = middle + 1 } else { high = middle }
        }
        let index = low.checked_sub(1)?;
        let name = self.word(index * 8 + 12)? as usize;
        let bytes = self.table.get(name..)?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        Some((core::str::from_utf8(bytes.get(..end)?).ok()?, offset - self.offset(index)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(functions: &[(u32, &str)]) -> Vec<u8> {
        let mut head = [MAGIC.to_le_bytes(), (functions.len() as u32).to_le_bytes()].concat();
        let mut names = Vec::new();
        for (offset, name) in functions {
            head.extend(offset.to_le_bytes());
            head.extend((8 + functions.len() as u32 * 8 + names.len() as u32).to_le_bytes());
            names.extend(name.bytes().chain([0]));
        }
        head.extend(names);
        head
    }

    #[test]
    fn an_address_belongs_to_the_function_that_starts_before_it() {
        let bytes = table(&[(0x100, "entry"), (0x180, "boot::main"), (0x400, "panic")]);
        let symbols = Symbols::new(&bytes);
        assert_eq!(symbols.find(0xff), None);
        assert_eq!(symbols.find(0x100), Some(("entry", 0)));
        assert_eq!(symbols.find(0x3ff), Some(("boot::main", 0x27f)));
        assert_eq!(symbols.find(0x10000), Some(("panic", 0xfc00)));
    }

    #[test]
    fn no_table_has_no_names() {
        assert_eq!(Symbols::new(&[0; 64]).find(0), None);
        assert_eq!(Symbols::new(&[]).find(0), None);
    }

    proptest! {
        #[test]
        fn a_damaged_table_is_harmless(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), offset: u64) {
            if let Some(magic) = bytes.get_mut(..4) {
                magic.copy_from_slice(&MAGIC.to_le_bytes());
            }
            let _ = Symbols::new(&bytes).find(offset);
        }
    }
}
