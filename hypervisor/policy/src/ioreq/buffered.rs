//! The ring of buffered requests: writes for whose end no vCPU waits.
//!
//! The write position is our own; the one in the page is a copy for the device model. Its read position is an
//! allegation: a wrong one makes the ring look full, and then the access is made the ordinary way.

use xenolith_abi::Errno;
use xenolith_abi::ioreq::{BUFFERED_ENTRIES, BUFFERED_READ, BUFFERED_SLOTS, BUFFERED_WRITE, BufferedSlot};

use super::server::zeroed;
use super::slot::mask;
use super::{Request, ServerId, Servers};
use crate::event::{Port, SharedFrame};
use xenolith_memory::page::Page;

/// How the positions of the ring count (`HVM_IOREQSRV_BUFIOREQ_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffering {
    /// They run freely, modulo 2^32.
    Legacy,
    /// Both are lowered by the ring's size when the reader has gone once round; the reader adds to its own in one
    /// atomic step.
    Atomic,
}

/// What became of a request for the ring.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffered {
    /// It is there. Notify this port of the guest, and let the vCPU run on.
    Notify(Port),
    /// It cannot be buffered, now or ever: post it instead.
    Refused,
}

/// The ring.
pub(super) struct Ring<F> {
    pub buffering: Buffering,
    /// The page, once made.
    pub frame: Option<F>,
    /// The owner was bound to the ring's port and is no longer.
    pub lost: bool,
    /// Where the next entry goes.
    write: u32,
}

impl<F: SharedFrame> Ring<F> {
    /// An empty ring without a page.
    pub(super) fn new(buffering: Buffering) -> Self {
        Ring { buffering, frame: None, lost: false, write: 0 }
    }

    /// The page, made if need be. `ENOMEM`: no memory.
    pub(super) fn page(&mut self, alloc: impl FnMut() -> Option<F>) -> Result<&F, Errno> {
        let frame = match self.frame.take() {
            Some(frame) => frame,
            None => zeroed(alloc)?,
        };
        Ok(self.frame.insert(frame))
    }

    /// Adds a write; false, and nothing done, if there is no room or it has no form here.
    fn push(&mut self, request: &Request) -> bool {
        let Some(page) = self.frame.as_ref().map(SharedFrame::page) else { return false };
        let Some(entries) = Entries::new(request) else { return false };
        let Some(read) = page.word32(BUFFERED_READ).map(|word| word.load()) else { return false };
        // A reader that is ahead of us gives a huge difference, and no room either.
        if self.write.wrapping_sub(read) > BUFFERED_SLOTS - entries.count() {
            return false;
        }
        entries.write(page, self.write);
        self.write = self.write.wrapping_add(entries.count());
        if let Some(word) = page.word32(BUFFERED_WRITE) {
            word.store(self.write);
        }
        if self.buffering == Buffering::Atomic {
            self.lower(page);
        }
        true
    }

    /// Lowers both positions if the reader has gone once round. A reader that fights over them keeps them high, until
    /// the next entry.
    fn lower(&mut self, page: Page) {
        let Some(positions) = page.word64(BUFFERED_READ) else { return };
        let Some(write) = self.write.checked_sub(BUFFERED_SLOTS) else { return };
        let lowered = positions.update(|found| {
            let read = (found & u64::from(u32::MAX)).checked_sub(u64::from(BUFFERED_SLOTS))?;
            Some(u64::from(write) << u32::BITS | read)
        });
        if lowered.is_ok_and(|found| found & u64::from(u32::MAX) >= u64::from(BUFFERED_SLOTS)) {
            self.write = write;
        }
    }
}

/// A write in the ring's form: one entry, or for 8 bytes two.
struct Entries {
    first: BufferedSlot,
    second: Option<BufferedSlot>,
}

impl Entries {
    fn new(request: &Request) -> Option<Self> {
        if !request.write || request.address >= BufferedSlot::ADDRESS_END {
            return None;
        }
        let address = u32::try_from(request.address).ok()?;
        let data = request.data & mask(request.size)?;
        let size = match request.size {
            1 => 0,
            2 => 1,
            4 => 2,
            _ => 3,
        };
        let kind = request.space.request_type();
        let entry = |half: u64| BufferedSlot::write(kind, size, address, (half & u64::from(u32::MAX)) as u32);
        let second = (request.size == 8).then(|| entry(data >> u32::BITS));
        Some(Entries { first: entry(data), second })
    }

    fn count(&self) -> u32 {
        if self.second.is_some() { 2 } else { 1 }
    }

    fn write(&self, page: Page, position: u32) {
        for (at, entry) in (0..).map(|n| position.wrapping_add(n)).zip([Some(self.first), self.second]) {
            let offset = BUFFERED_ENTRIES + (at % BUFFERED_SLOTS) as usize * size_of::<BufferedSlot>();
            if let (Some(entry), Some(word)) = (entry, page.word64(offset)) {
                word.store(u64::from(entry.data) << u32::BITS | u64::from(entry.head));
            }
        }
    }
}

impl<F: SharedFrame> Servers<F> {
    /// Adds a write to the server's ring. It is refused if the server has no ring or is not enabled, nobody reads the
    /// ring, it is full, the guest reads, the address has more than 20 bits, or the size is none of 1, 2, 4 and 8.
    pub fn post_buffered(&mut self, id: ServerId, request: &Request) -> Buffered {
        let vcpus = usize::from(self.vcpus);
        let Some(server) = self.server_mut(id).filter(|server| server.enabled) else {
            return Buffered::Refused;
        };
        let (Some(ring), Some(&port)) = (&mut server.ring, server.ports.get(vcpus)) else {
            return Buffered::Refused;
        };
        if !ring.lost && ring.push(request) { Buffered::Notify(port) } else { Buffered::Refused }
    }
}
