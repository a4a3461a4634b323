//! A stage-2 walk from VTTBR_EL2 and VTCR_EL2 alone, after the pseudocode of Arm ARM D8.2: an independent reading of
//! the tables.

use xenolith_core::types::{Ipa, Pa};
use xenolith_memory::arena;

/// What a walk ended in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Where the block or page begins.
    pub base: Pa,
    /// Its size.
    pub pages: u64,
    /// S2AP allows writes.
    pub write: bool,
    /// XN allows execution.
    pub execute: bool,
    /// The other attributes.
    pub attributes: u64,
}

/// `None` is a translation fault. Anything that the architecture calls a misuse panics.
pub fn walk(vttbr: u64, vtcr: u64, ipa: Ipa) -> Option<Walked> {
    let bits = 64 - (vtcr & 0x3f);
    let start = match vtcr >> 6 & 3 {
        0 => 2,
        1 => 1,
        2 => 0,
        other => panic!("SL0 {other}"),
    };
    assert_eq!(vtcr >> 14 & 3, 0, "granule");
    if ipa.0 >> bits != 0 {
        return None;
    }
    let shift = |level: u64| 12 + 9 * (3 - level);
    let root_entries = 1_u64 << bits.saturating_sub(shift(start));
    let size = (root_entries * 8).max(4096);
    assert!(size <= 16 * 4096, "more than 16 tables in a row");
    let mut table = vttbr & 0x0000_ffff_ffff_ffff;
    assert_eq!(table % size, 0, "the root is not aligned to its size");
    let mut index = ipa.0 >> shift(start);
    let mut level = start;
    loop {
        let address = Pa(table + index * 8);
        let word = arena::at(address.frame()).expect("a table in RAM").word64((address.0 & 0xfff) as usize);
        let descriptor = word.unwrap().load();
        let output = descriptor & 0x0000_ffff_ffff_f000;
        match (descriptor & 3, level) {
            (0 | 2, _) => return None,
            (3, 0..=2) => {
                table = output;
                level += 1;
                index = ipa.0 >> shift(level) & 511;
            }
            (1, 1 | 2) | (3, 3) => {
                let pages = 1 << (shift(level) - 12);
                assert_eq!(output >> 12 & (pages - 1), 0, "a block is aligned to its size");
                assert_eq!(descriptor >> 10 & 1, 1, "access flag");
                assert_eq!(descriptor >> 6 & 1, 1, "readable");
                return Some(Walked {
                    base: Pa(output),
                    pages,
                    write: descriptor >> 7 & 1 == 1,
                    execute: descriptor >> 53 & 3 == 0,
                    attributes: descriptor & !0x0000_ffff_ffff_f003,
                });
            }
            _ => panic!("reserved descriptor {descriptor:#x} at level {level}"),
        }
    }
}
