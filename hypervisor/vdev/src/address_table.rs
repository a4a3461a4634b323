//! Who answers a guest's access to an address where it has no memory: one table for a domain, sorted, one look-up for an
//! access.
//!
//! The rows are disjoint. What the hypervisor emulates comes before what a device model claims: of a claim over an
//! emulated window the rest becomes rows, and the claim itself stays in the books of the ioreq servers
//! (`xenolith_policy::ioreq`), from which it is taken back as it was given.
//!
//! A new emulated window is these places and no more:
//! 1. the device itself, as a file beside this one, which is given offsets and knows no address;
//! 2. a variant of [`Handler`], and its number in both directions;
//! 3. the device's lock as a field of `Domain` in `xenolith-domain`, and the call of [`AddressTable::emulate`] where a domain
//!    gets the device;
//! 4. an arm of `DomainRef::access_other` there, which takes the device's lock and does what follows.

use xenolith_abi::Errno;
use xenolith_core::bug;
use xenolith_core::types::Ipa;
use xenolith_memory::intervals::{IntervalError, Intervals, Value};
#[cfg(feature = "ioreq")]
use xenolith_policy::ioreq::{RANGES, ServerId};

/// As many more rows as there is room for: claims are counted where they are made.
const ANY: usize = usize::MAX;
/// Ranges that ioreq servers claim, at most.
#[cfg(not(feature = "ioreq"))]
const RANGES: usize = 0;

/// Who answers an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// The emulated UART.
    Vuart,
    /// A frame of the emulated interrupt controller, by the number that the controller gives its frames.
    InterruptController(u8),
    /// An ioreq server.
    #[cfg(feature = "ioreq")]
    Server(ServerId),
}

impl Handler {
    /// Whether the hypervisor answers itself.
    fn is_emulated(self) -> bool {
        match self {
            Handler::Vuart | Handler::InterruptController(_) => true,
            #[cfg(feature = "ioreq")]
            Handler::Server(_) => false,
        }
    }
}

/// The kind in the upper half of a handler's number, which of it in the lower.
const KIND_SHIFT: u32 = u16::BITS;
const KIND_VUART: u32 = 0;
const KIND_INTERRUPT_CONTROLLER: u32 = 1;
#[cfg(feature = "ioreq")]
const KIND_SERVER: u32 = 2;

impl Value for Handler {
    fn to_number(self) -> u32 {
        match self {
            Handler::Vuart => KIND_VUART << KIND_SHIFT,
            Handler::InterruptController(frame) => KIND_INTERRUPT_CONTROLLER << KIND_SHIFT | u32::from(frame),
            #[cfg(feature = "ioreq")]
            Handler::Server(id) => KIND_SERVER << KIND_SHIFT | u32::from(id.0),
        }
    }

    #[inline]
    fn from_number(number: u32) -> Self {
        match number >> KIND_SHIFT {
            KIND_INTERRUPT_CONTROLLER => Handler::InterruptController((number & 0xff) as u8),
            #[cfg(feature = "ioreq")]
            KIND_SERVER => Handler::Server(ServerId((number & 0xffff) as u16)),
            KIND_VUART => Handler::Vuart,
            kind => {
                bug!("a row of an address table whose kind is {kind}");
                Handler::Vuart
            }
        }
    }
}

/// Where an address was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who answers.
    pub handler: Handler,
    /// How far from the first address of its row: for what is emulated, the offset in its window.
    pub offset: u64,
    /// The last address of the row.
    pub last: Ipa,
}

/// The table of one domain.
#[derive(Debug)]
pub struct AddressTable(Intervals<Handler>);

impl AddressTable {
    /// Rows for this many emulated windows and all claims.
    const fn rows(windows: usize) -> usize {
        // Each window is a row, and splits a claim; and a change has room for as many rows, and for two at its sides.
        RANGES.saturating_add(windows.saturating_mul(3)).saturating_add(2)
    }

    /// The most pages that a table with so many windows takes of its domain's promise.
    pub const fn pages(windows: usize) -> u64 {
        Intervals::<Handler>::pages(Self::rows(windows))
    }

    /// Nobody answers. There can be this many emulated windows. `ENOMEM`: no memory.
    pub fn try_new(windows: usize) -> Result<Self, Errno> {
        Intervals::try_new(Self::rows(windows)).map(AddressTable).map_err(errno)
    }

    /// Gives a page of the table back, of a domain that has ended: nobody answers any more. False when there is none left.
    pub fn shrink(&mut self) -> bool {
        self.0.shrink()
    }

    /// The pages that it has of its domain's promise.
    pub fn held_pages(&self) -> u64 {
        self.0.held_pages()
    }

    /// The row that has an address.
    #[inline]
    pub fn find(&self, at: Ipa) -> Option<Found> {
        let row = self.0.find(at.0)?;
        Some(Found { handler: row.value, offset: at.0.wrapping_sub(row.first), last: Ipa(row.last) })
    }

    /// Adds a window of `size` bytes that the hypervisor emulates; claims of ioreq servers give way to it.
    ///
    /// `EINVAL`: it is empty, or wraps. `EEXIST`: another emulated window has a part of it, or the handler has one already.
    /// `ENOMEM`: no memory. After an error nothing has changed.
    pub fn emulate(&mut self, first: Ipa, size: u64, handler: Handler) -> Result<(), Errno> {
        let last = size.checked_sub(1).and_then(|more| first.0.checked_add(more)).ok_or(Errno::EINVAL)?;
        let taken = self.0.overlapping(first.0, last).any(|row| row.value.is_emulated());
        // A second window could become one with the first, and its offsets would be wrong.
        if taken || self.0.iter().any(|row| row.value == handler) {
            return Err(Errno::EEXIST);
        }
        self.0.set(first.0, last, Some(handler), ANY).map_err(errno)
    }
}

/// What ioreq servers claim.
#[cfg(feature = "ioreq")]
impl AddressTable {
    /// Makes room for a change at `first..=last`, so that the claim or its end cannot fail. `ENOMEM`: no memory.
    pub fn reserve(&mut self, first: u64, last: u64) -> Result<(), Errno> {
        // A claim has pieces before, between and behind the windows; the end of one may leave something at both sides. What
        // others claim there it does not change.
        let windows = self.0.overlapping(first, last).filter(|row| row.value.is_emulated()).count();
        self.0.reserve(windows.saturating_add(2)).map_err(errno)
    }

    /// Has a server answer at `first..=last`, which no other server has claimed, but where a window is emulated.
    ///
    /// `ENOMEM`: room was not [reserved](Self::reserve), and there is no memory.
    pub fn claim(&mut self, first: u64, last: u64, server: ServerId) -> Result<(), Errno> {
        self.change(first, last, Some(Handler::Server(server)))
    }

    /// Has a server no longer answer at `first..=last`, all of which it has claimed. `ENOMEM` as for [`claim`](Self::claim).
    pub fn unclaim(&mut self, first: u64, last: u64) -> Result<(), Errno> {
        self.change(first, last, None)
    }

    /// Takes out all rows of a server.
    pub fn remove_server(&mut self, server: ServerId) {
        self.0.remove_all(Handler::Server(server));
    }

    /// Sets what is in `first..=last` but the emulated windows.
    fn change(&mut self, first: u64, last: u64, value: Option<Handler>) -> Result<(), Errno> {
        let mut next = Some(first);
        // Each round goes beyond one window, of which there are few.
        while let Some(from) = next.filter(|&from| from <= last) {
            let window = self.0.overlapping(from, last).find(|row| row.value.is_emulated());
            let end = window.map_or(Some(last), |window| window.first.checked_sub(1));
            if let Some(end) = end.filter(|&end| end >= from) {
                self.0.set(from, end, value, ANY).map_err(errno)?;
            }
            next = window.and_then(|window| window.last.checked_add(1));
        }
        Ok(())
    }
}

/// The number of an error.
fn errno(error: IntervalError) -> Errno {
    match error {
        IntervalError::Empty | IntervalError::Absent => Errno::EINVAL,
        IntervalError::Overlap => Errno::EEXIST,
        IntervalError::Full | IntervalError::Memory => Errno::ENOMEM,
    }
}

// Half of the table is what ioreq servers claim.
#[cfg(all(test, feature = "ioreq"))]
mod tests;
