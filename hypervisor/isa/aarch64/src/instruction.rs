//! Decoding of the A64 loads and stores that a data abort does not describe (ISV clear): those that write back their
//! base register, and pairs. Exclusive, atomic and vector accesses to a device are refused.
//!
//! The guest can change the instruction between its fault and our fetch, so the word proves nothing by itself:
//! [`DecodedAccess::explains`] checks it against the fault. Encodings: Arm ARM, C4.1.95 "Loads and Stores".

use crate::regs::GuestRegs;
use crate::trap::mmio::{LoadStore, Size};

/// When the offset counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Added to the base for the access; the base stays.
    Offset,
    /// Added to the base before the access; the base keeps the sum.
    Pre,
    /// Added to the base after the access.
    Post,
}

/// One load or store of one or two general-purpose registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedAccess {
    /// A store.
    pub write: bool,
    /// The register that is moved at [`Self::address`].
    pub first: LoadStore,
    /// In a pair, the register that is moved right after it.
    pub second: Option<LoadStore>,
    /// The register that holds the base address; 31 is the stack pointer.
    pub base: u8,
    /// In bytes.
    pub offset: i16,
    /// When the offset counts.
    pub index: Index,
}

impl DecodedAccess {
    /// The base address. `sp` is the stack pointer that PSTATE selects.
    pub fn base_address(&self, regs: &GuestRegs, sp: u64) -> u64 {
        if self.base == STACK_POINTER { sp } else { regs.get(self.base) }
    }

    /// Where the first register is loaded from or stored to.
    pub fn address(&self, base: u64) -> u64 {
        match self.index {
            Index::Post => base,
            Index::Offset | Index::Pre => base.wrapping_add_signed(self.offset.into()),
        }
    }

    /// Whether this instruction makes an access of that direction that touches `far`. Bits 63 to 56 may be a tag.
    pub fn explains(&self, write: bool, far: u64, base: u64) -> bool {
        const TAG: u64 = 0xff << 56;
        let size = u64::from(self.first.size.bytes());
        let bytes = if self.second.is_some() { 2 * size } else { size };
        self.write == write && far.wrapping_sub(self.address(base)) & !TAG < bytes
    }

    /// Leaves the new base address, if there is one, in its register or in `sp`.
    pub fn write_back(&self, regs: &mut GuestRegs, sp: &mut u64) {
        if self.index == Index::Offset {
            return;
        }
        let new = self.base_address(regs, *sp).wrapping_add_signed(self.offset.into());
        if self.base == STACK_POINTER {
            *sp = new;
        } else {
            regs.set(self.base, new);
        }
    }
}

const STACK_POINTER: u8 = 31;

/// Decodes one A64 instruction; `None` if it is not one of ours, or its result is unpredictable.
pub fn decode(word: u32) -> Option<DecodedAccess> {
    let transfer = if word & 0x3f20_0000 == 0x3800_0000 {
        single(word)?
    } else if word & 0x3e00_0000 == 0x2800_0000 {
        pair(word)?
    } else {
        return None;
    };
    is_predictable(&transfer).then_some(transfer)
}

/// Load or store of one register with a nine-bit offset: LDR, STR, LDUR, STUR and their narrow forms.
fn single(word: u32) -> Option<DecodedAccess> {
    let index = match bits(word, 10, 2) {
        0b00 => Index::Offset,
        0b01 => Index::Post,
        0b11 => Index::Pre,
        _ => return None,
    };
    let size = Size::from_log2(bits(word, 30, 2));
    let (write, sign_extend, sixty_four) = match (bits(word, 22, 2), size) {
        (0b00, _) => (true, false, size == Size::Double),
        (0b01, _) => (false, false, size == Size::Double),
        (0b10, Size::Byte | Size::Half | Size::Word) => (false, true, true),
        (0b11, Size::Byte | Size::Half) => (false, true, false),
        _ => return None,
    };
    let first = LoadStore { size, sign_extend, sixty_four, register: bits(word, 0, 5) };
    let offset = signed(word, 12, 9);
    Some(DecodedAccess { write, first, second: None, base: bits(word, 5, 5), offset, index })
}

/// Load or store of two registers with a seven-bit offset in units of their size: LDP, STP, LDPSW, LDNP, STNP.
fn pair(word: u32) -> Option<DecodedAccess> {
    const NO_ALLOCATE: u8 = 0b00;
    let kind = bits(word, 23, 2);
    let index = match kind {
        0b01 => Index::Post,
        0b11 => Index::Pre,
        _ => Index::Offset,
    };
    let write = bits(word, 22, 1) == 0;
    let (size, sign_extend, sixty_four) = match bits(word, 30, 2) {
        0b00 => (Size::Word, false, false),
        0b01 if !write && kind != NO_ALLOCATE => (Size::Word, true, true),
        0b10 => (Size::Double, false, true),
        _ => return None,
    };
    let access = |register| LoadStore { size, sign_extend, sixty_four, register };
    Some(DecodedAccess {
        write,
        first: access(bits(word, 0, 5)),
        second: Some(access(bits(word, 10, 5))),
        base: bits(word, 5, 5),
        offset: signed(word, 15, 7) * i16::from(size.bytes()),
        index,
    })
}

/// A base that is also moved must not be written back, and a pair must load two different registers (Arm ARM, K1.2).
fn is_predictable(transfer: &DecodedAccess) -> bool {
    let registers = [Some(transfer.first.register), transfer.second.map(|access| access.register)];
    let writes_back = transfer.index != Index::Offset && transfer.base != STACK_POINTER;
    let moves_base = writes_back && registers.contains(&Some(transfer.base));
    let loads_twice = !transfer.write && registers.first() == registers.last();
    !moves_base && !loads_twice
}

/// `count` bits from bit `low` up, at most 8.
const fn bits(word: u32, low: u32, count: u32) -> u8 {
    (word >> low & ((1 << count) - 1)) as u8
}

/// `count` bits from bit `low` up as a signed number, at most 9.
const fn signed(word: u32, low: u32, count: u32) -> i16 {
    ((word << (32 - low - count)) as i32 >> (32 - count)) as i16
}

#[cfg(test)]
mod tests;
