//! One slot of a synchronous page: filled by one copy, then handed over by its state, whose store comes last.

use core::mem::offset_of;

use xenolith_abi::ioreq::{READ, RequestType, SLOTS_PER_PAGE, STATE_MASK, Slot, State};
use zerocopy::IntoBytes;

use crate::event::Port;
use xenolith_core::bug;
use xenolith_memory::page::Page;

/// What a slot tells of a request that was posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// The device model has not answered.
    Pending,
    /// The device model has answered with this value.
    Ready(u64),
    /// The slot is in a state in which neither we nor a sound device model put it.
    Malformed,
}

/// A vCPU's slot.
#[derive(Clone, Copy)]
pub(super) struct SlotPlace {
    page: Page,
    offset: usize,
}

/// The request that goes into a slot.
#[derive(Clone, Copy)]
pub(super) struct Content {
    pub kind: RequestType,
    pub address: u64,
    pub data: u64,
    pub count: u32,
    pub size: u8,
    pub read: bool,
    pub port: Port,
}

impl SlotPlace {
    /// The slot with this index in its page; only the index modulo [`SLOTS_PER_PAGE`] counts.
    pub(super) fn new(page: Page, index: u16) -> Self {
        let index = u32::from(index) % SLOTS_PER_PAGE;
        SlotPlace { page, offset: index as usize * size_of::<Slot>() }
    }

    /// Tells the device model its port.
    pub(super) fn announce(self, port: Port) {
        if let Some(word) = self.page.word32(self.offset + offset_of!(Slot, vp_eport)) {
            word.store(port.0);
        }
    }

    /// Hands a request over. What stood in the slot is overwritten, port included: it is nobody's turn but ours.
    #[inline]
    pub(super) fn post(self, content: &Content) {
        let direction = if content.read { READ } else { 0 };
        // The copy leaves the slot empty, since its bytes are written in no order; only the state that follows hands it
        // over.
        let slot = Slot {
            addr: content.address,
            data: content.data,
            count: content.count,
            size: u32::from(content.size),
            vp_eport: content.port.0,
            pad: 0,
            flags: direction | State::None.number(),
            kind: content.kind.number(),
        };
        if !self.page.write(self.offset, slot.as_bytes()) {
            bug!("a slot lies outside of its page");
        }
        // A release: a device model that sees this state sees the rest of the slot.
        self.set_flags(direction | State::Ready.number());
    }

    /// Looks at the state once, and takes the value and empties the slot if it is an answer.
    pub(super) fn take(self) -> Response {
        let Some(flags) = self.page.byte(self.offset + offset_of!(Slot, flags)) else {
            return Response::Malformed;
        };
        match State::from_number(flags.load() & STATE_MASK) {
            Some(State::Ready | State::InProcess) => Response::Pending,
            Some(State::ResponseReady) => {
                // After the state, which was loaded with acquire: the device model writes the data first.
                let data = self.page.word64(self.offset + offset_of!(Slot, data)).map(|word| word.load());
                self.empty();
                data.map_or(Response::Malformed, Response::Ready)
            }
            Some(State::None) | None => {
                self.empty();
                Response::Malformed
            }
        }
    }

    /// Takes the slot back, whatever is in it.
    pub(super) fn empty(self) {
        self.set_flags(State::None.number());
    }

    fn set_flags(self, flags: u8) {
        if let Some(byte) = self.page.byte(self.offset + offset_of!(Slot, flags)) {
            byte.store(flags);
        }
    }
}

/// The bits of a value of this many bytes; nothing if no access is that large.
pub(super) fn mask(size: u8) -> Option<u64> {
    match size {
        1 => Some(0xff),
        2 => Some(0xffff),
        4 => Some(0xffff_ffff),
        8 => Some(u64::MAX),
        _ => None,
    }
}

#[cfg(test)]
mod interleavings;
