//! One slot of the ioreq page: what is asked, and the answer.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use virtio::core::ram::StalePages;
use vm_memory::{Bytes, VolatileMemory, VolatileSlice};
use xenolith_abi::ioreq::{ALL_STALE, DATA_IS_POINTER, READ, RequestType, STATE_MASK, Slot, State};
use zerocopy::{FromBytes, IntoBytes};

use crate::Mmio;
use crate::xen::PAGE_SIZE;

/// Where the port stands in a slot.
pub(super) const PORT: usize = offset_of!(Slot, vp_eport);
const DATA: usize = offset_of!(Slot, data);
const FLAGS: usize = offset_of!(Slot, flags);

/// What was found in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An access, which the device answered.
    Access,
    /// Pages left the guest, and the device was told.
    Invalidate,
    /// A request that makes no sense; it is answered with all ones.
    Garbage,
    /// Nothing that is the server's turn.
    Nothing,
}

impl Found {
    /// Whether the hypervisor waits for an event now.
    pub fn is_answered(self) -> bool {
        self != Found::Nothing
    }
}

/// Where a vCPU's slot begins in the pages.
pub(crate) fn offset(vcpu: u32) -> Option<usize> {
    usize::try_from(vcpu).ok()?.checked_mul(size_of::<Slot>())
}

/// Serves the slot that begins at `offset`.
pub(super) fn serve(page: &VolatileSlice<'_>, offset: usize, device: &mut dyn Mmio) -> Found {
    try_serve(page, offset, device).unwrap_or(Found::Nothing)
}

/// As [`serve`]; `None` if the slot is not in the page.
fn try_serve(page: &VolatileSlice<'_>, offset: usize, device: &mut dyn Mmio) -> Option<Found> {
    let slot = page.get_slice(offset, size_of::<Slot>()).ok()?;
    // Pairs with the hypervisor's release: the rest of the slot is at least as new.
    let flags: u8 = slot.load(FLAGS, Ordering::Acquire).ok()?;
    if flags & STATE_MASK != State::Ready.number() {
        return Some(Found::Nothing);
    }
    slot.store(with_state(flags, State::InProcess), FLAGS, Ordering::Relaxed).ok()?;
    // The one copy that is judged and answered: the page may change at any time.
    let mut request = Slot::default();
    slot.read_slice(request.as_mut_bytes(), 0).ok()?;
    // With the flags that were looked at above, not those that may stand there by now.
    let (found, data) = answer(&Slot { flags, ..request }, device);
    if let Some(data) = data {
        slot.store(data, DATA, Ordering::Relaxed).ok()?;
    }
    // The hypervisor's acquire pairs with this: it sees the data.
    slot.store(with_state(flags, State::ResponseReady), FLAGS, Ordering::Release).ok()?;
    Some(found)
}

fn with_state(flags: u8, state: State) -> u8 {
    flags & !STATE_MASK | state.number()
}

/// Has the device do what is asked; returns the data to write back, if any.
fn answer(request: &Slot, device: &mut dyn Mmio) -> (Found, Option<u64>) {
    let reads = request.flags & READ != 0;
    match RequestType::from_number(request.kind) {
        Some(RequestType::Invalidate) => {
            device.invalidate(&stale_pages(request));
            (Found::Invalidate, None)
        }
        Some(RequestType::Copy) if request.flags & DATA_IS_POINTER == 0 && request.count == 1 => {
            let Some((size, mask)) = size_and_mask(request.size) else {
                return (Found::Garbage, reads.then_some(u64::MAX));
            };
            // A device sees no bits above the access's size, whoever wrote them.
            let data = if reads {
                Some(device.read(request.addr, size) & mask)
            } else {
                device.write(request.addr, size, request.data & mask);
                None
            };
            (Found::Access, data)
        }
        _ => (Found::Garbage, reads.then_some(u64::MAX)),
    }
}

/// The pages that an invalidation names; all of them, where it is Xen's.
fn stale_pages(request: &Slot) -> StalePages {
    if request.data == ALL_STALE || request.count == 0 {
        return StalePages::ALL;
    }
    let len = u64::from(request.count).saturating_mul(PAGE_SIZE as u64);
    StalePages { range: request.addr..request.addr.saturating_add(len), classes: request.data }
}

/// The bytes of an access, and the bits of its value.
fn size_and_mask(size: u32) -> Option<(u8, u64)> {
    match size {
        1 => Some((1, 0xff)),
        2 => Some((2, 0xffff)),
        4 => Some((4, 0xffff_ffff)),
        8 => Some((8, u64::MAX)),
        _ => None,
    }
}

/// The slot as it stands, for the hypervisor's side in tests.
pub(crate) fn peek(page: &VolatileSlice<'_>, offset: usize) -> Option<Slot> {
    let mut bytes = [0; size_of::<Slot>()];
    let slot = page.get_slice(offset, bytes.len()).ok()?;
    let flags: u8 = slot.load(FLAGS, Ordering::Acquire).ok()?;
    slot.read_slice(&mut bytes, 0).ok()?;
    let slot = Slot::read_from_bytes(&bytes).ok()?;
    Some(Slot { flags, ..slot })
}

/// Puts a slot in, its state last, for the hypervisor's side in tests.
pub(crate) fn poke(page: &VolatileSlice<'_>, offset: usize, slot: &Slot) -> Option<()> {
    let place = page.get_slice(offset, size_of::<Slot>()).ok()?;
    let quiet = Slot { flags: with_state(slot.flags, State::None), ..*slot };
    place.write_slice(quiet.as_bytes(), 0).ok()?;
    place.store(slot.flags, FLAGS, Ordering::Release).ok()
}
