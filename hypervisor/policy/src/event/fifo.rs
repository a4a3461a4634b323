//! The FIFO form: an event word for each port, linked into 16 queues for each vCPU.
//!
//! The guest owns the words, the heads and the ready bits as much as we do, and consumes while we append. We keep the
//! tails for ourselves and change a word only by a bounded number of compare-and-swaps, so that a guest that writes
//! nonsense into them loses its own events and nothing else. All callers hold the domain's lock: there is one
//! producer.

use alloc::vec::Vec;

use xenolith_abi::Errno;
use xenolith_abi::event::fifo::{
    BUSY, CONTROL_HEADS, CONTROL_READY, CONTROL_SIZE, LINK, LINKED, MASKED, PAGES, PENDING, QUEUES,
    WORDS_PER_PAGE,
};

use super::port::{FifoPort, Port, Queue};
use super::{Raised, Refused, SharedFrame, barrier};
use xenolith_core::bug;
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::{PAGE_SIZE, VcpuId};
use xenolith_hw::atomic::AtomicU32;
use xenolith_memory::page::{Contended, Page, Word};

/// "No port": the value of a tail or a link that ends a queue.
const NONE: u32 = 0;

/// A frame of the guest and where in it the control block stands; the offset was validated.
struct Control<F> {
    frame: F,
    offset: usize,
}

struct Vcpu<F> {
    control: Option<Control<F>>,
    /// The last port that was appended to each queue, or [`NONE`].
    tails: [u32; QUEUES as usize],
}

/// A domain's queues.
pub(super) struct Fifo<F> {
    vcpus: Vec<Vcpu<F>>,
    array: Vec<F>,
}

impl<F: SharedFrame> Fifo<F> {
    /// For a domain with this many vCPUs, without any page, and with room for all that there can be. `ENOMEM`: no memory.
    pub(super) fn new(vcpus: u16) -> Result<Self, Errno> {
        let mut states = Vec::new();
        states.try_reserve_exact(usize::from(vcpus)).map_err(|_| Errno::ENOMEM)?;
        states.resize_with(usize::from(vcpus), || Vcpu { control: None, tails: [NONE; QUEUES as usize] });
        let mut array = Vec::new();
        array.try_reserve_exact(PAGES as usize).map_err(|_| Errno::ENOMEM)?;
        Ok(Fifo { vcpus: states, array })
    }

    /// The same room, as new. What held frames must have given them back.
    pub(super) fn renewed(mut self) -> Self {
        self.vcpus.iter_mut().for_each(|vcpu| *vcpu = Vcpu { control: None, tails: [NONE; QUEUES as usize] });
        self.array.clear();
        self
    }

    /// How many frames are held: control blocks and pages of event words.
    pub(super) fn held_frames(&self) -> usize {
        self.array.len() + self.vcpus.iter().filter(|vcpu| vcpu.control.is_some()).count()
    }

    /// Whether a control block may stand at this offset of a frame. `EINVAL` otherwise.
    pub(super) fn check_offset(offset: u32) -> Result<(), Errno> {
        let fits = (offset as usize).checked_add(CONTROL_SIZE).is_some_and(|end| end <= PAGE_SIZE as usize);
        if fits && offset.is_multiple_of(8) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Gives a vCPU its control block. `ENOENT`: no such vCPU. `EINVAL`: bad offset, or it has one.
    pub(super) fn set_control(&mut self, vcpu: VcpuId, frame: F, offset: u32) -> Result<(), Refused<F>> {
        let errno = match (Self::check_offset(offset), self.vcpu_mut(vcpu)) {
            (_, None) => Errno::ENOENT,
            (Ok(()), Some(state)) if state.control.is_none() => {
                state.control = Some(Control { frame, offset: offset as usize });
                return Ok(());
            }
            _ => Errno::EINVAL,
        };
        Err(Refused { errno, frame })
    }

    /// Adds a page of event words; returns the ports whose words it holds. `ENOSPC`: there are 128 pages.
    pub(super) fn add_page(&mut self, frame: F) -> Result<core::ops::Range<u32>, Refused<F>> {
        let first = u32::try_from(self.array.len())
            .ok()
            .filter(|&pages| pages < PAGES)
            .and_then(|pages| pages.checked_mul(WORDS_PER_PAGE));
        let Some(first) = first else { return Err(Refused { errno: Errno::ENOSPC, frame }) };
        // There is room for all: it was made with the queues.
        self.array.push(frame);
        Ok(first..first + WORDS_PER_PAGE)
    }

    /// Marks a port as pending and appends it to a queue, unless it is masked or in a queue already.
    ///
    /// Without an event word the event is kept in `state`. Without a control block the event is dropped: a guest
    /// must not unmask before it gave the block.
    pub(super) fn set_pending(
        &mut self,
        port: Port,
        vcpu: VcpuId,
        state: &mut FifoPort,
    ) -> Result<Raised, Contended> {
        let Some(word) = self.word(port) else {
            state.pending = true;
            return Ok(Raised::NOTHING);
        };
        let queue = Queue { vcpu, priority: state.priority };
        let (Some(head), Some(ready)) = (self.head(queue), self.ready(vcpu)) else {
            return Ok(Raised::NOTHING);
        };
        // A word that is pending already is left as it is. Then nothing but this barrier puts what the sender wrote
        // before our look at the word (XSA-359).
        barrier();
        let before = word.update(|word| {
            // The mask is judged in the step that sets the pending bit: a guest that unmasks does so before, and the
            // port is linked here, or after, and then it finds the port pending and has it queued by its unmask call.
            // The last of a queue links to nobody.
            let next = if word & (MASKED | LINKED) == 0 { word & !LINK | LINKED } else { word };
            Some(next | PENDING).filter(|&next| next != word)
        })?;
        let mut raised = Raised { became_pending: before & PENDING == 0, announced: false };
        if before & (MASKED | LINKED) == 0 {
            let was_empty = self.append(port, queue, state, &head);
            raised.announced = was_empty && set_ready(&ready, queue.priority)?;
        }
        Ok(raised)
    }

    /// Appends a port that has just been marked as linked. True when the guest must look at the queue's head.
    fn append(&mut self, port: Port, queue: Queue, state: &mut FifoPort, head: &Word<AtomicU32>) -> bool {
        // The guest has consumed the port, and with it the whole queue that ended in it. As that queue's tail the port
        // would be linked behind itself below.
        if let Some(tail) = self.tail_mut(state.queue).filter(|tail| **tail == port.0) {
            *tail = NONE;
        }
        state.queue = queue;
        let Some(tail) = self.tail_mut(queue) else {
            bug!("no such queue");
            return false;
        };
        // A guest that follows the links finds the port behind the old tail by itself: only a queue that begins anew
        // needs its head, and a ready bit.
        let old_tail = core::mem::replace(tail, port.0);
        if old_tail != NONE && self.word(Port(old_tail)).is_some_and(|word| link(&word, port)) {
            return false;
        }
        // After the port's word, and before the ready bit: the guest reads them in the opposite order.
        head.store(port.0);
        true
    }

    /// Unmasks a port; an event that is pending is queued.
    pub(super) fn unmask(
        &mut self,
        port: Port,
        vcpu: VcpuId,
        state: &mut FifoPort,
    ) -> Result<Raised, Contended> {
        let Some(word) = self.word(port) else { return Ok(Raised::NOTHING) };
        // In one step with the look at the pending bit: an event that comes later finds the port unmasked and queues
        // itself.
        if word.clear(MASKED)? & PENDING == 0 {
            return Ok(Raised::NOTHING);
        }
        self.set_pending(port, vcpu, state)
    }

    /// Whether the port's event waits for the guest.
    pub(super) fn is_pending(&self, port: Port, state: &FifoPort) -> bool {
        self.word(port).map_or(state.pending, |word| word.load() & PENDING != 0)
    }

    /// Whether the port is still in a queue, so that its number must not be given out again.
    pub(super) fn is_queued(&self, port: Port) -> bool {
        self.word(port).is_some_and(|word| word.load() & LINKED != 0)
    }

    /// Forgets the event of a port that is being closed. A guest that fights over the word keeps a stale bit.
    pub(super) fn clear_pending(&self, port: Port) {
        if let Some(word) = self.word(port) {
            // The link stays: the queue of the guest leads over it to the ports behind.
            let _contended = word.clear(PENDING);
        }
    }

    /// Takes one frame back.
    pub(super) fn take_frame(&mut self) -> Option<F> {
        let control = self.vcpus.iter_mut().find_map(|vcpu| vcpu.control.take());
        control.map(|control| control.frame).or_else(|| self.array.pop())
    }

    #[inline]
    fn word(&self, port: Port) -> Option<Word<AtomicU32>> {
        let frame = GuestIndex::from(port.0 / WORDS_PER_PAGE).of(&self.array)?;
        word32(frame.page(), 0, port.0 % WORDS_PER_PAGE)
    }

    fn head(&self, queue: Queue) -> Option<Word<AtomicU32>> {
        let control = self.control(queue.vcpu)?;
        word32(control.frame.page(), control.offset + CONTROL_HEADS, u32::from(queue.priority))
    }

    fn ready(&self, vcpu: VcpuId) -> Option<Word<AtomicU32>> {
        let control = self.control(vcpu)?;
        control.frame.page().word32(control.offset + CONTROL_READY)
    }

    fn control(&self, vcpu: VcpuId) -> Option<&Control<F>> {
        GuestIndex::from(vcpu).of(&self.vcpus)?.control.as_ref()
    }

    fn tail_mut(&mut self, queue: Queue) -> Option<&mut u32> {
        GuestIndex::from(queue.priority).of_mut(&mut self.vcpu_mut(queue.vcpu)?.tails)
    }

    fn vcpu_mut(&mut self, vcpu: VcpuId) -> Option<&mut Vcpu<F>> {
        GuestIndex::from(vcpu).of_mut(&mut self.vcpus)
    }
}

/// The 32-bit word with this index, counted from an offset of a page.
#[inline]
fn word32(page: Page, offset: usize, index: u32) -> Option<Word<AtomicU32>> {
    page.word32(offset + index as usize * size_of::<u32>())
}

/// Links a port behind the tail, as long as the guest has not consumed the tail. False when it has: the queue then
/// starts anew with the port.
///
/// A guest that keeps changing the word is asked by the busy bit not to. One that goes on is answered as if the tail
/// were consumed, which costs it what it has not yet read of that queue's head.
fn link(tail: &Word<AtomicU32>, port: Port) -> bool {
    let try_link = || {
        tail.update(|word| (word & LINKED != 0).then_some(word & !(BUSY | LINK) | port.0 & LINK))
            .map(|word| word & LINKED != 0)
    };
    try_link().unwrap_or_else(|Contended| {
        let _contended = tail.set(BUSY);
        // The busy bit asks the guest to leave the word alone; linking clears it.
        let linked = try_link();
        if linked != Ok(true) {
            let _contended = tail.clear(BUSY);
        }
        linked.unwrap_or(false)
    })
}

/// Says that a queue is not empty; true when the guest had not been told.
#[inline]
fn set_ready(ready: &Word<AtomicU32>, priority: u8) -> Result<bool, Contended> {
    let bit = 1u32.checked_shl(u32::from(priority)).unwrap_or(0);
    // The head is to be seen before the bit. If the bit is set already, nothing is written that would order the two.
    barrier();
    Ok(ready.set(bit)? & bit == 0)
}
