//! Stage 2 as the MMU of an Arm CPU walks it (Arm ARM D8.2 and D8.3, VMSAv8-64, granule 4 KiB): from the values of VTTBR_EL2
//! and VTCR_EL2 and from the words in memory, to an output address, a memory type and rights.
//!
//! It is written from the architecture's text, and calls none of the hypervisor's own functions for tables: what those and
//! the hardware understand differently is to be found here. Bits that the architecture reserves must be zero. It serves the
//! [specification](crate::specification) of stage 2, and nothing that a guest waits for.

use xenolith_core::types::{PAGE_SHIFT, PAGE_SIZE};
use xenolith_memory::page::Page;

use crate::stage2::Stage2;

/// Why a walk goes wrong where the hypervisor means it to end in a page, or what no walk may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// VTCR_EL2 or VTTBR_EL2 select no walk that this hypervisor uses.
    Registers(Stage2),
    /// A table outside the machine's RAM.
    NoTable(u64),
    /// At this guest address: a descriptor with reserved bits, or none of the architecture.
    Reserved(u64, u64),
    /// At this guest address: a leaf without the access flag, which is a fault.
    NoAccessFlag(u64),
    /// At this guest address: an output address beyond VTCR_EL2.PS or not aligned to the block.
    Output(u64, u64),
}

/// What stage 2 makes of an access, with the strongest type and rights that stage 1 can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryType {
    /// Normal, write-back, inner shareable: RAM as all CPUs and the hypervisor see it.
    WriteBack,
    /// Normal, write-back, outer shareable: stage 1 chooses the type.
    Weak,
    /// Device-nGnRnE or Device-nGnRE.
    Device,
    /// Anything else.
    Other,
}

/// A block or a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The first guest address.
    pub ipa: u64,
    /// The machine's.
    pub pa: u64,
    /// Bytes.
    pub size: u64,
    /// How it is accessed.
    pub memory: MemoryType,
    /// Loads are allowed.
    pub read: bool,
    /// Stores are allowed.
    pub write: bool,
    /// EL1 or EL0 may execute it.
    pub execute: bool,
    /// Bits 55 to 58, which the MMU ignores.
    pub software: u8,
}

/// What a walk meets.
pub trait Visitor {
    /// A table at this address: access to it, if there can be one.
    fn table(&mut self, pa: u64) -> Option<Page>;
    /// A block or a page. Whether the walk goes on behind it.
    fn leaf(&mut self, translation: Translation) -> bool;
}

const LAST_LEVEL: u32 = 3;
const DESCRIPTORS: u64 = 512;
/// Output and table addresses without FEAT_LPA.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const ACCESS_FLAG: u64 = 1 << 10;
/// Bits of a leaf that are RES0 or belong to features that are not used: FnXS, nT, bits 48 to 50, DBM, Contiguous, and PBHA,
/// NS and AMEC above what software has.
const LEAF_RESERVED: u64 = 1 << 11 | 0x7 << 48 | 1 << 51 | 1 << 52 | 0x1f << 59;
/// Bits of a table's descriptor that are RES0.
const TABLE_RESERVED: u64 = 0xf << 48 | 0x1f << 59;

fn bits(word: u64, low: u32, count: u32) -> u64 {
    word >> low & ((1 << count) - 1)
}

/// The walk that the registers select.
struct Walk<'v, V> {
    visitor: &'v mut V,
    /// Guest addresses.
    input_bits: u32,
    /// Machine addresses.
    output_bits: u32,
    /// The first guest address of interest.
    from: u64,
}

/// Walks all that the tables hold for the guest address `from` and those behind it, in their order. Whether it came to their
/// end.
///
/// # Errors
/// The first [`WalkError`].
pub fn walk(stage2: Stage2, from: u64, visitor: &mut impl Visitor) -> Result<bool, WalkError> {
    let Stage2 { vttbr, vtcr } = stage2;
    let wrong = Err(WalkError::Registers(stage2));
    let output_bits = match bits(vtcr, 16, 3) {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => return wrong,
    };
    // TG0, hardware updates (HA, HD), and the 52-bit format (DS, SL2).
    if bits(vtcr, 14, 2) != 0 || bits(vtcr, 21, 2) != 0 || bits(vtcr, 32, 2) != 0 {
        return wrong;
    }
    // Walks look at memory as the hypervisor writes it: write-back, inner shareable.
    if (bits(vtcr, 8, 2), bits(vtcr, 10, 2), bits(vtcr, 12, 2)) != (0b01, 0b01, 0b11) {
        return wrong;
    }
    let input_bits = 64 - bits(vtcr, 0, 6) as u32;
    let level = match bits(vtcr, 6, 2) {
        0 => 2,
        1 => 1,
        2 => 0,
        _ => return wrong,
    };
    // Up to 16 tables in a row resolve the address bits that one of the initial level does not.
    let resolved = PAGE_SHIFT + 9 * (LAST_LEVEL - level + 1);
    let more = input_bits.saturating_sub(resolved);
    let root = bits(vttbr.0, 1, 47) << 1;
    if input_bits + 9 <= resolved || more > 4 || !root.is_multiple_of(PAGE_SIZE << more) {
        return wrong;
    }
    let mut walk = Walk { visitor, input_bits, output_bits, from };
    let tables = 1_u64 << more;
    for number in (from >> resolved.min(63)).min(tables)..tables {
        let first = number << resolved.min(63);
        if !walk.table(root + number * PAGE_SIZE, level, first)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<V: Visitor> Walk<'_, V> {
    /// Follows a table of a level, whose first descriptor stands for the guest address `first`. Whether the walk goes on.
    fn table(&mut self, pa: u64, level: u32, first: u64) -> Result<bool, WalkError> {
        let page = self.visitor.table(pa).ok_or(WalkError::NoTable(pa))?;
        let size = PAGE_SIZE << (9 * (LAST_LEVEL - level));
        for index in (self.from.saturating_sub(first) / size).min(DESCRIPTORS)..DESCRIPTORS {
            let found = page.word64(index as usize * 8).map_or(0, |word| word.load());
            if found & VALID == 0 {
                continue;
            }
            let ipa = first + index * size;
            // What the guest cannot name, nothing may be mapped at.
            if ipa >> self.input_bits != 0 {
                return Err(WalkError::Reserved(ipa, found));
            }
            let goes_on = match (found & TABLE_OR_PAGE != 0, level) {
                (true, LAST_LEVEL) => self.leaf(ipa, size, found)?,
                (true, _) => {
                    if found & TABLE_RESERVED != 0 {
                        return Err(WalkError::Reserved(ipa, found));
                    }
                    self.output(ipa, found & ADDRESS, PAGE_SIZE)?;
                    self.table(found & ADDRESS, level + 1, ipa)?
                }
                (false, 1 | 2) => self.leaf(ipa, size, found)?,
                (false, _) => return Err(WalkError::Reserved(ipa, found)),
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn output(&self, ipa: u64, pa: u64, alignment: u64) -> Result<(), WalkError> {
        if pa >> self.output_bits != 0 || !pa.is_multiple_of(alignment) {
            return Err(WalkError::Output(ipa, pa));
        }
        Ok(())
    }

    fn leaf(&mut self, ipa: u64, size: u64, word: u64) -> Result<bool, WalkError> {
        if word & LEAF_RESERVED != 0 {
            return Err(WalkError::Reserved(ipa, word));
        }
        if word & ACCESS_FLAG == 0 {
            return Err(WalkError::NoAccessFlag(ipa));
        }
        self.output(ipa, word & ADDRESS, size)?;
        // MemAttr with HCR_EL2.FWB clear, and SH.
        let memory = match (bits(word, 2, 4), bits(word, 8, 2)) {
            (0b1111, 0b11) => MemoryType::WriteBack,
            (0b1111, 0b10) => MemoryType::Weak,
            (0b0000 | 0b0001, _) => MemoryType::Device,
            _ => MemoryType::Other,
        };
        Ok(self.visitor.leaf(Translation {
            ipa,
            pa: word & ADDRESS,
            size,
            memory,
            // S2AP.
            read: word & 1 << 6 != 0,
            write: word & 1 << 7 != 0,
            // XN[1:0]: 0b10 forbids both levels; 0b01 and 0b11 one of them each, with FEAT_XNX.
            execute: bits(word, 53, 2) != 0b10,
            software: bits(word, 55, 4) as u8,
        }))
    }
}
