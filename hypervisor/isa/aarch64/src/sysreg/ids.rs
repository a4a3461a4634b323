//! The identification registers that a guest reads: the machine's, cut down to what [`super::fields`] allows.
//!
//! The filter is an allow-list. A feature that a later CPU adds stays hidden until someone has looked at what it
//! needs from EL2.

use super::encoding::Encoding;
use super::fields::{self, Field};
use super::guest::Guest;
use super::names::ID_AA64PFR0_EL1;
use xenolith_core::guest_index::GuestIndex;

/// Encodings with op0 3, op1 0, CRn 0, CRm 1 to 7: allocated or not, HCR_EL2.TID3 traps their reads.
pub const COUNT: usize = 7 * 8;

/// The index of an encoding among the [`COUNT`] registers: CRm − 1, then op2.
pub const fn index(encoding: Encoding) -> Option<usize> {
    match encoding.parts() {
        (3, 0, 0, crm @ 1..=7, op2) => Some((crm as usize - 1) * 8 + op2 as usize),
        _ => None,
    }
}

/// The registers of one physical CPU as EL2 reads them, by [`index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRegisters(pub [u64; COUNT]);

impl IdRegisters {
    /// The four-bit field from bit `low` on of the register with this CRm and op2; 0 outside the group.
    pub fn field(&self, crm: usize, op2: usize, low: u8) -> u8 {
        let register = crm.checked_sub(1).and_then(|line| self.0.get(line * 8 + op2)).copied();
        (register.unwrap_or(0) >> low & 0xf) as u8
    }
}

/// The registers as a guest reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilteredIds([u64; COUNT]);

impl FilteredIds {
    /// What a guest may know of a machine whose CPUs are all like `cpu`.
    pub fn new(cpu: &IdRegisters, guest: &Guest) -> FilteredIds {
        let mut ids = FilteredIds([0; COUNT]);
        for (index, (allowed, host)) in ids.0.iter_mut().zip(cpu.0).enumerate() {
            for field in fields::allowed(index) {
                *allowed |= field.place(field.filter(field.of(host), guest));
            }
        }
        ids.drop_aarch32_unless_supported();
        ids
    }

    /// Leaves only what `other`, made for the same guest from another CPU of the machine, offers too.
    pub fn restrict(&mut self, other: &FilteredIds) {
        for (index, (mine, theirs)) in self.0.iter_mut().zip(other.0).enumerate() {
            let common = |field: &Field| field.place(field.common(field.of(*mine), field.of(theirs)));
            *mine = fields::allowed(index).iter().map(common).fold(0, |all, field| all | field);
        }
        self.drop_aarch32_unless_supported();
    }

    /// The value of a register; 0 for an unallocated one, `None` for one outside the group.
    pub fn get(&self, encoding: Encoding) -> Option<u64> {
        GuestIndex::from(index(encoding)?).of(&self.0).copied()
    }

    /// The AArch32 registers (CRm 1 to 3) are unknown values where EL0 has no AArch32; a guest reads zero.
    fn drop_aarch32_unless_supported(&mut self) {
        const BOTH_STATES: u64 = 2;
        let el0 = self.get(ID_AA64PFR0_EL1).unwrap_or(0) & 0xf;
        if el0 < BOTH_STATES {
            self.0.iter_mut().take(3 * 8).for_each(|register| *register = 0);
        }
    }
}

#[cfg(not(target_os = "none"))]
pub mod samples;
#[cfg(test)]
mod tests;
