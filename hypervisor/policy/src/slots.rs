//! Device slots: which devices guests have, which domain serves each, and what that one last reported of it.
//!
//! A slot is made by the control domain and found by the domain that is to serve it, so the two need no store between
//! them. The hypervisor keeps what they tell each other and does not look into it. Here is only the register; who may
//! call, and what follows for permissions and interrupts, is decided by its callers.

use alloc::boxed::Box;
use alloc::vec::Vec;

use xenolith_abi::xenolith::{CONFIG_SIZE, Interrupt, MESSAGE_SIZE, Slot, SlotReport, SlotState, Transport};
use xenolith_abi::{Errno, Intid};
use zerocopy::FromZeros;

use xenolith_core::types::DomId;

/// Slots of one guest.
pub const SLOTS_PER_GUEST: usize = 64;
/// Slots of all guests.
pub const MAX_SLOTS: usize = 1024;

/// The lines that a device may have: shared interrupts of the guest.
const LINES: core::ops::Range<Intid> = Intid::FIRST_SHARED..Intid::SHARED_END;

/// The register of all slots.
#[derive(Debug, Default)]
pub struct Slots {
    /// In the order of their numbers. Boxed, so that one that goes moves no others of their size.
    #[expect(clippy::vec_box, reason = "a slot is large, and the list is searched and shifted")]
    slots: Vec<Box<Entry>>,
    last: u32,
}

#[derive(Debug, FromZeros)]
struct Entry {
    slot: Slot,
    /// Whether the backend's permission to be the guest's device model rests on this slot too.
    permits: bool,
}

/// The two domains that a slot is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// The domain that has the device.
    pub guest: DomId,
    /// The domain that serves it.
    pub backend: DomId,
}

impl Slots {
    /// Makes a slot, which waits for its backend and carries the permission. Returns its number.
    ///
    /// `EINVAL`: a transport, device or interrupt that there is none of, an empty or wrapping range, or a text that is too
    /// long. `EOPNOTSUPP`: a transport or interrupt that the ABI has, and this hypervisor does not serve.
    /// `EEXIST`: the guest has another device at the address. `ENOSPC`: too many slots. `ENOMEM`: no memory.
    pub fn create(&mut self, wanted: &Slot) -> Result<u32, Errno> {
        check_kind(wanted)?;
        let last = wanted.base.checked_add(wanted.size.checked_sub(1).ok_or(Errno::EINVAL)?);
        let last = last.ok_or(Errno::EINVAL)?;
        if wanted.config_len as usize > CONFIG_SIZE {
            return Err(Errno::EINVAL);
        }
        let own = self.all().filter(|slot| slot.guest == wanted.guest);
        if own.clone().any(|slot| slot.base <= last && wanted.base < slot.base.saturating_add(slot.size)) {
            return Err(Errno::EEXIST);
        }
        if own.count() >= SLOTS_PER_GUEST || self.slots.len() >= MAX_SLOTS {
            return Err(Errno::ENOSPC);
        }
        // Never one that was used before: a late report about a slot that is gone must not reach another one.
        let number = self.last.checked_add(1).ok_or(Errno::ENOSPC)?;
        self.slots.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let mut entry = Entry::new_box_zeroed().map_err(|_| Errno::ENOMEM)?;
        entry.permits = true;
        entry.slot = Slot {
            number,
            state: SlotState::Waiting.number(),
            message_len: 0,
            message: [0; MESSAGE_SIZE],
            pad: 0,
            ..*wanted
        };
        self.slots.push(entry);
        self.last = number;
        Ok(number)
    }

    /// Takes a slot away. `ENOENT`: there is none of this number.
    pub fn destroy(&mut self, number: u32) -> Result<Parties, Errno> {
        let index = self.index(number).ok_or(Errno::ENOENT)?;
        Ok(parties(&self.slots.remove(index).slot))
    }

    /// Whose slot it is, and whether it is the last that carries their permission. `ENOENT`: there is none of this number.
    pub fn find(&self, number: u32) -> Result<(Parties, bool), Errno> {
        let entry = self.index(number).and_then(|index| self.slots.get(index)).ok_or(Errno::ENOENT)?;
        let parties = parties(&entry.slot);
        Ok((parties, entry.permits && self.permitting(parties).count() == 1))
    }

    /// The permission is taken back by itself: no slot of the two carries it any more.
    pub fn revoke(&mut self, of: Parties) {
        self.slots
            .iter_mut()
            .filter(|entry| parties(&entry.slot) == of)
            .for_each(|entry| entry.permits = false);
    }

    /// The first slot whose number is at least `number`, of all or of those that `backend` serves.
    pub fn next(&self, number: u32, backend: Option<DomId>) -> Option<&Slot> {
        let mut later = self.all().filter(|slot| slot.number >= number);
        later.find(|slot| backend.is_none_or(|backend| slot.backend == backend))
    }

    /// Stores the state and the message that a backend reports of its slot.
    ///
    /// `ENOENT`: it serves no slot of this number. `EINVAL`: a state that does not exist, or a text that is too long.
    pub fn report(&mut self, backend: DomId, report: &SlotReport) -> Result<(), Errno> {
        let index = self.index(report.number).ok_or(Errno::ENOENT)?;
        let slot = self.slots.get_mut(index).map(|entry| &mut entry.slot);
        // Another's slot is as good as none: a backend learns nothing of those that it does not serve.
        let slot = slot.filter(|slot| slot.backend == backend).ok_or(Errno::ENOENT)?;
        let state = SlotState::from_number(report.state).ok_or(Errno::EINVAL)?;
        if report.message_len as usize > MESSAGE_SIZE {
            return Err(Errno::EINVAL);
        }
        (slot.state, slot.message_len, slot.message) = (state.number(), report.message_len, report.message);
        Ok(())
    }

    /// A guest is gone: so are its slots. Returns one of them at a time, for what its backend is to be told.
    pub fn take_of_guest(&mut self, guest: DomId) -> Option<Parties> {
        let index = self.all().position(|slot| slot.guest == guest)?;
        Some(parties(&self.slots.remove(index).slot))
    }

    /// A backend is gone: its slots say so, and keep their configuration. True if there are any.
    pub fn abandon(&mut self, backend: DomId) -> bool {
        const MESSAGE: &[u8] = b"the domain that served it is gone";
        const MESSAGE_BYTES: [u8; MESSAGE_SIZE] = {
            let mut bytes = [0; MESSAGE_SIZE];
            bytes.split_at_mut(MESSAGE.len()).0.copy_from_slice(MESSAGE);
            bytes
        };
        let mut any = false;
        let slots = self.slots.iter_mut().map(|entry| &mut entry.slot);
        for slot in slots.filter(|slot| slot.backend == backend) {
            any = true;
            slot.state = SlotState::Gone.number();
            slot.message = MESSAGE_BYTES;
            slot.message_len = MESSAGE.len() as u32;
        }
        any
    }

    fn all(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.slots.iter().map(|entry| &entry.slot)
    }

    /// The slots that carry the permission of these two.
    fn permitting(&self, of: Parties) -> impl Iterator<Item = &Entry> {
        self.slots.iter().map(Box::as_ref).filter(move |entry| entry.permits && parties(&entry.slot) == of)
    }

    fn index(&self, number: u32) -> Option<usize> {
        self.slots.binary_search_by_key(&number, |entry| entry.slot.number).ok()
    }
}

/// Whether a device of this kind can be had, before anything is asked of where it is.
///
/// `EINVAL`: a transport or a kind of interrupt that the ABI does not have, a device id of 0 (virtio 1.2, 5: reserved), or
/// a line that is no shared interrupt. `EOPNOTSUPP`: one that the ABI has, and this hypervisor does not serve.
fn check_kind(wanted: &Slot) -> Result<(), Errno> {
    let transport = Transport::from_number(wanted.transport).ok_or(Errno::EINVAL)?;
    let interrupt = wanted.interrupt.get().ok_or(Errno::EINVAL)?;
    if wanted.device_id == 0 {
        return Err(Errno::EINVAL);
    }
    match (transport, interrupt) {
        (Transport::VirtioMmio, Interrupt::Line { intid }) if LINES.contains(&intid) => Ok(()),
        (Transport::VirtioMmio, Interrupt::Line { .. }) => Err(Errno::EINVAL),
        (Transport::VirtioMmio, Interrupt::Message { .. }) | (Transport::VirtioPci, _) => {
            Err(Errno::EOPNOTSUPP)
        }
    }
}

fn parties(slot: &Slot) -> Parties {
    Parties { guest: slot.guest, backend: slot.backend }
}

#[cfg(test)]
mod tests;
