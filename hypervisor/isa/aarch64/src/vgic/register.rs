//! The registers that hold one, two or eight bits for each interrupt. A distributor and a redistributor's SGI frame
//! have them at the same offsets (IHI 0069 chapter 12, IHI 0048 chapter 4).
//!
//! Words and doublewords only where the register is so wide, bytes only where a byte is an interrupt's own; everything
//! else is a [`Fault`]. What is reserved reads as zero and ignores writes at any size.

use super::interrupt::{BankId, SGIS, bit, bits, slot};
use super::{Fault, Vgic};
use xenolith_abi::domctl::GicVersion;
use xenolith_core::types::{Intid, VcpuId};

/// An access to a frame: naturally aligned, of 1, 2, 4 or 8 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct GicAccess {
    pub(super) offset: u32,
    size: u8,
}

impl GicAccess {
    #[inline]
    pub(super) fn new(offset: u64, size: u8) -> Result<Self, Fault> {
        let offset = u32::try_from(offset).map_err(|_| Fault)?;
        if size.is_power_of_two() && size <= 8 && offset.is_multiple_of(size.into()) {
            Ok(GicAccess { offset, size })
        } else {
            Err(Fault)
        }
    }

    /// For a register of 32 bits.
    pub(super) fn word(self) -> Result<(), Fault> {
        self.require(self.size == 4)
    }

    /// For a register of 32 bits whose bytes are registers of their own. The number of bytes.
    pub(super) fn bytes(self) -> Result<u32, Fault> {
        self.require(self.size == 1 || self.size == 4).map(|()| self.size.into())
    }

    /// For a register of 64 bits, whole or one half of it.
    pub(super) fn half_or_whole(self) -> Result<Part, Fault> {
        match (self.size, self.offset % 8) {
            (8, _) => Ok(Part::Whole),
            (4, 0) => Ok(Part::Low),
            (4, _) => Ok(Part::High),
            _ => Err(Fault),
        }
    }

    fn require(self, legal: bool) -> Result<(), Fault> {
        if legal { Ok(()) } else { Err(Fault) }
    }
}

/// What an access reaches of a register of 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Whole,
    Low,
    High,
}

impl Part {
    /// What a load of this part gives.
    pub(super) const fn of(self, register: u64) -> u64 {
        match self {
            Part::Whole => register,
            Part::Low => register & 0xffff_ffff,
            Part::High => register >> 32,
        }
    }

    /// The register after a store to this part.
    pub(super) const fn replaced(self, register: u64, value: u64) -> u64 {
        match self {
            Part::Whole => value,
            Part::Low => register >> 32 << 32 | value & 0xffff_ffff,
            Part::High => register & 0xffff_ffff | value << 32,
        }
    }
}

#[cfg(any(test, kani))]
mod proofs {
    use super::*;

    xenolith_core::proofs! {
        // Any access to a register of 64 bits is refused, or reaches its part and nothing else.
        fn a_store_changes_its_part_alone(offset: u64, size: u8, register: u64, value: u64) {
            let Ok(part) = GicAccess::new(offset, size).and_then(GicAccess::half_or_whole) else { return };
            let stored = part.replaced(register, value);
            let (seen, others) = match part {
                Part::Whole => (value, 0),
                Part::Low => (value & 0xffff_ffff, !0 << 32),
                Part::High => (value & 0xffff_ffff, 0xffff_ffff),
            };
            assert_eq!(part.of(stored), seen);
            assert_eq!(stored & others, register & others);
            assert_eq!(u64::from(size), if others == 0 { 8 } else { 4 });
        }
    }
}

/// The low 32 bits of a stored value.
pub(super) const fn low_word(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

/// Registers with one bit for each interrupt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bits {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

/// A register with a field for each interrupt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    /// One bit each: the word for this bank.
    Bits(Bits, usize),
    /// A byte each, from this INTID on.
    Priority(Intid),
    /// A byte each, from this INTID on. GICv2 only.
    Targets(Intid),
    /// Two bits each, from this INTID on.
    Trigger(Intid),
}

impl Field {
    /// The register at an offset.
    #[inline]
    pub(super) fn decode(offset: u32) -> Option<Self> {
        let bits = |kind| Some(Field::Bits(kind, (offset / 4 % 32) as usize));
        match offset {
            0x080..0x100 => bits(Bits::Group),
            0x100..0x180 => bits(Bits::SetEnable),
            0x180..0x200 => bits(Bits::ClearEnable),
            0x200..0x280 => bits(Bits::SetPending),
            0x280..0x300 => bits(Bits::ClearPending),
            0x300..0x380 => bits(Bits::SetActive),
            0x380..0x400 => bits(Bits::ClearActive),
            0x400..0x800 => Some(Field::Priority(Intid(offset - 0x400))),
            0x800..0xc00 => Some(Field::Targets(Intid(offset - 0x800))),
            0xc00..0xd00 => Some(Field::Trigger(Intid((offset - 0xc00) / 4 * 16))),
            _ => None,
        }
    }

    /// Whether it is about SGIs and PPIs.
    pub(super) const fn is_private(self) -> bool {
        match self {
            Field::Bits(_, bank) => bank == 0,
            Field::Priority(intid) | Field::Targets(intid) | Field::Trigger(intid) => {
                intid.0 < Intid::FIRST_SHARED.0
            }
        }
    }
}

impl Vgic {
    /// A load, by `vcpu` or from its redistributor.
    pub(super) fn read_field(&mut self, vcpu: VcpuId, field: Field, access: GicAccess) -> Result<u64, Fault> {
        match field {
            Field::Bits(kind, bank) => {
                access.word()?;
                let id = self.confined(BankId::of_word(vcpu, bank));
                Ok(id.map_or(0, |id| self.read_bits(id, kind)).into())
            }
            Field::Priority(intid) => {
                let count = access.bytes()?;
                let bank = self.confined(BankId::of_intid(vcpu, intid)).and_then(|id| self.bank(id));
                Ok(gather(intid, count, |n| bank?.priority.get(slot(n)).copied()))
            }
            Field::Targets(intid) => {
                let count = access.bytes()?;
                Ok(gather(intid, count, |n| self.target_byte(vcpu, n)))
            }
            Field::Trigger(intid) => {
                access.word()?;
                let bank = self.confined(BankId::of_intid(vcpu, intid)).and_then(|id| self.bank(id));
                let edge = bank.map_or(0, |bank| bank.edge);
                let half = edge >> slot(intid) & 0xffff;
                Ok(bits(half).fold(0, |word, n| word | 2 << (2 * n)))
            }
        }
    }

    /// A store, by `vcpu` or to its redistributor.
    pub(super) fn write_field(
        &mut self,
        vcpu: VcpuId,
        field: Field,
        access: GicAccess,
        value: u64,
    ) -> Result<(), Fault> {
        match field {
            Field::Bits(kind, bank) => {
                access.word()?;
                if let Some(id) = self.confined(BankId::of_word(vcpu, bank)) {
                    self.write_bits(id, kind, low_word(value));
                }
            }
            Field::Priority(intid) => {
                let count = access.bytes()?;
                if let Some(id) = self.confined(BankId::of_intid(vcpu, intid)) {
                    self.write_priorities(id, intid, count, value);
                }
            }
            Field::Targets(intid) => {
                let count = access.bytes()?;
                for (intid, byte) in (intid.0..).map(Intid).zip(value.to_le_bytes()).take(count as usize) {
                    self.set_target_byte(intid, byte);
                }
            }
            Field::Trigger(intid) => {
                access.word()?;
                if let Some(id) = self.confined(BankId::of_intid(vcpu, intid)) {
                    self.write_triggers(id, intid, low_word(value));
                }
            }
        }
        Ok(())
    }

    fn read_bits(&mut self, id: BankId, kind: Bits) -> u32 {
        let Some(bank) = self.bank(id) else { return 0 };
        match kind {
            Bits::Group => bank.group1,
            Bits::SetEnable | Bits::ClearEnable => bank.enabled,
            Bits::SetPending | Bits::ClearPending => bank.pending(),
            Bits::SetActive | Bits::ClearActive => {
                let active = bank.active;
                // Its vCPU may be done with it. A guest that waits for that finds out at a later read.
                let uncertain = active & bank.listed & !bank.overruled;
                self.recall(id, uncertain);
                active
            }
        }
    }

    fn write_bits(&mut self, id: BankId, kind: Bits, word: u32) {
        // GICv2 keeps an SGI's pending state for each sender, in registers of its own.
        let read_only = match id {
            BankId::Private(_) if self.version == GicVersion::V2 => SGIS,
            _ => 0,
        };
        let event_ppi = 1_u32.checked_shl(self.event_ppi.0).unwrap_or(0);
        // On Xen all of a guest's interrupts are in Group 1, whatever it writes. A system that takes itself for the secure
        // world's, as Zephyr does, writes zeroes, which with two security states mean Secure Group 1, and waits for Group 1.
        let is_v3 = self.version == GicVersion::V3;
        let Some(bank) = self.bank_mut(id) else { return };
        let changed = match kind {
            Bits::Group if is_v3 => 0,
            Bits::Group => {
                let changed = bank.set_group1(word);
                // The group is in the list register too, and what is queued may be in an enabled group now.
                self.recall(id, changed);
                changed
            }
            Bits::SetEnable => {
                let changed = bank.enable(word);
                if let BankId::Private(vcpu) = id
                    && changed & event_ppi != 0
                {
                    // Events that came while it was disabled left nothing but the byte in `vcpu_info`.
                    self.effects.event_ppi_enabled.insert(vcpu);
                }
                changed
            }
            Bits::ClearEnable => bank.disable(word),
            Bits::SetPending => bank.set_pending(word & !read_only),
            Bits::ClearPending => bank.clear_pending(word & !read_only),
            Bits::SetActive => bank.activate(word),
            Bits::ClearActive => bank.deactivate(word),
        };
        self.update(id, changed);
    }

    fn write_priorities(&mut self, id: BankId, first: Intid, count: u32, value: u64) {
        let kept = self.priority_mask;
        let Some(bank) = self.bank_mut(id) else { return };
        let mut changed = 0;
        for (intid, byte) in (first.0..).map(Intid).zip(value.to_le_bytes()).take(count as usize) {
            let mask = bit(intid) & bank.implemented;
            let priority = bank.priority.get_mut(slot(intid));
            if let Some(priority) = priority.filter(|p| mask != 0 && **p != byte & kept) {
                *priority = byte & kept;
                changed |= mask;
            }
        }
        // A list register keeps the priority that it was filled with, and the order of the queue has changed.
        self.recall(id, changed);
    }

    fn write_triggers(&mut self, id: BankId, first: Intid, word: u32) {
        // SGIs are edge-triggered for good (`GICD_ICFGR0`).
        let fixed = match id {
            BankId::Private(_) => SGIS,
            BankId::Shared(_) => 0,
        };
        let Some(bank) = self.bank_mut(id) else { return };
        // Of each pair of bits, the upper says "edge".
        let edge = (0..16).filter(|n| word >> (2 * n) & 2 != 0).fold(0, |mask, n| mask | 1 << n);
        let shift = slot(first);
        let changed = bank.set_edge((0xffff << shift) & !fixed, edge << shift);
        self.update(id, changed);
    }
}

/// Bytes of consecutive interrupts as a little-endian word; those that do not exist read as zero.
fn gather(first: Intid, count: u32, byte: impl Fn(Intid) -> Option<u8>) -> u64 {
    (0..count).fold(0, |word, n| {
        let byte = first.0.checked_add(n).map(Intid).and_then(&byte).unwrap_or(0);
        word | u64::from(byte) << (8 * n)
    })
}
