//! A split virtqueue from the device's side (virtio 1.2, 2.7).
//!
//! Principle: a queue that lies is broken for good. An index that runs ahead of what the queue can hold, or a chain
//! that does not end, is an error of the whole device and not of one request: nothing behind it can be trusted. So the
//! work that a driver can ask for is bounded by what it has honestly made available.

mod chain;

use std::num::Wrapping;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::memory::{self, Part};
use super::ram::Ram;
use chain::Broken;

/// The most descriptors of one chain that a device takes, indirect ones included.
pub const MAX_CHAIN: usize = 512;

/// What makes a queue unusable until the next reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Size, alignment or place of one of its three areas is not as 2.7 asks.
    #[error("its size or its areas are not valid")]
    Setup,
    /// The driver's index runs ahead of what the queue can hold.
    #[error("its available index is more than one round ahead")]
    Index,
    /// A chain goes through descriptors that are not in the guest's RAM.
    #[error("descriptors are not in RAM")]
    Table(Part),
    /// A chain does not end, leaves its table, is too long, has a readable part behind a writable one, or refers to a
    /// table where or as it must not.
    #[error("a descriptor chain is broken")]
    Chain,
    /// A request has no byte for its status.
    #[error("a request has no place for its status")]
    NoStatus,
    /// An area is no longer in the guest's RAM.
    #[error("an area is not in RAM")]
    Memory,
}

/// A chain of descriptors: what a driver makes available at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Names the chain when it is given back.
    pub head: u16,
    /// What the device may read.
    pub readable: Vec<Part>,
    /// What the device may write.
    pub writable: Vec<Part>,
}

impl Chain {
    /// The first of its parts that is not in the guest's RAM.
    pub fn missing(&self, ram: &Ram) -> Option<Part> {
        memory::missing(ram, self.readable.iter().chain(&self.writable).copied())
    }
}

/// What a driver says of a queue before it makes it ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Entries of the queue. `None`: the driver did not say, and the maximum counts.
    pub size: Option<u16>,
    /// Guest physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest physical address of the driver's area, the available ring.
    pub driver: u64,
    /// Guest physical address of the device's area, the used ring.
    pub device: u64,
}

impl Setup {
    /// Descriptors, the driver's area and the device's of a queue of at most `max` entries (2.7, with 2.7.6 and 2.7.8 for
    /// their sizes).
    pub fn areas(&self, max: u16) -> [Part; 3] {
        let size = u32::from(self.size.unwrap_or(max).min(max));
        let area = |address, fixed: u32, entry: u32| Part {
            address: GuestAddress(address),
            len: fixed.saturating_add(entry.saturating_mul(size)),
        };
        [area(self.descriptors, 0, 16), area(self.driver, 6, 2), area(self.device, 6, 8)]
    }
}

/// What a queue in which nothing is in flight has to remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// The index in the available ring of the next chain to take. All chains before it are given back, so that it is the
    /// next index of the used ring too.
    pub next: u16,
}

/// A queue that the driver has set up and may use.
#[derive(Debug)]
pub struct VirtQueue {
    inner: Queue,
    /// Chains that were taken and not yet given back.
    taken: u16,
    /// The driver was asked to notify of the next chain, and has made none available since.
    armed: bool,
}

impl VirtQueue {
    /// A queue of at most `max` entries as the driver says, nothing of which has been used.
    ///
    /// # Errors
    /// [`QueueError::Setup`]: what the driver says is not as 2.7 asks (powers of two, and the alignments of the three
    /// areas), or an area is not in RAM.
    pub fn new(max: u16, setup: &Setup, event_idx: bool, ram: &Ram) -> Result<VirtQueue, QueueError> {
        let refuse = |_| QueueError::Setup;
        // The crate takes address 0 for an area that was never set, and would refuse such a ring only with its first
        // chain.
        if setup.driver == 0 || setup.device == 0 {
            return Err(QueueError::Setup);
        }
        let mut inner = Queue::new(max).map_err(refuse)?;
        inner.try_set_size(setup.size.unwrap_or(max)).map_err(refuse)?;
        inner.try_set_desc_table_address(GuestAddress(setup.descriptors)).map_err(refuse)?;
        inner.try_set_avail_ring_address(GuestAddress(setup.driver)).map_err(refuse)?;
        inner.try_set_used_ring_address(GuestAddress(setup.device)).map_err(refuse)?;
        inner.set_event_idx(event_idx);
        inner.set_ready(true);
        // A driver notifies of the first chain without being asked.
        let queue = VirtQueue { inner, taken: 0, armed: true };
        if !queue.inner.is_valid(ram) || !memory::are_ram(ram, setup.areas(max)) {
            return Err(QueueError::Setup);
        }
        Ok(queue)
    }

    /// The number of its entries.
    pub fn size(&self) -> u16 {
        self.inner.size()
    }

    /// Chains that were taken and not yet given back.
    pub fn in_flight(&self) -> u16 {
        self.taken
    }

    /// What another queue needs to go on here, if nothing is in flight.
    pub fn state(&self) -> QueueState {
        QueueState { next: self.inner.next_avail() }
    }

    /// Goes on where a queue of the same place and size was stopped.
    pub fn resume(&mut self, state: QueueState) {
        // One index for both rings: with nothing in flight all chains that were taken are given back.
        self.inner.set_next_avail(state.next);
        self.inner.set_next_used(state.next);
        self.taken = 0;
        // Whether the driver was last asked to notify is not known, so it has to be asked again.
        self.armed = false;
    }

    /// Takes the next chain. `None`: the driver has made no more available. Once there was one, the driver need not
    /// notify of others.
    ///
    /// # Errors
    /// [`QueueError::Table`]: the chain is left where it is, and may be taken when that RAM has come back. Any other
    /// [`QueueError`]: the queue must not be used any more.
    pub fn pop(&mut self, ram: &Ram) -> Result<Option<Chain>, QueueError> {
        // Acquire, for the driver's barrier before it updates `idx` (2.7.13.3.1): ring and descriptors are read after
        // it.
        let available = self.inner.avail_idx(ram, Ordering::Acquire).map_err(|_| QueueError::Memory)?;
        let ahead = (available - Wrapping(self.inner.next_avail())).0;
        if ahead == 0 {
            return Ok(None);
        }
        // A chain has at least one descriptor of the table until it is used: so many chains are all that there can be.
        if ahead > self.inner.size().saturating_sub(self.taken) {
            return Err(QueueError::Index);
        }
        if self.armed {
            // With event indices, an index that has passed says it already.
            self.inner.disable_notification(ram).map_err(|_| QueueError::Memory)?;
            self.armed = false;
        }
        let mut chains = self.inner.iter(ram).map_err(|_| QueueError::Index)?;
        // Of the crate's chain only the head is taken: `chain::walk` copies each descriptor once and checks all of
        // 2.7.5.
        let head = chains.next().ok_or(QueueError::Memory)?.head_index();
        let descriptors = GuestAddress(self.inner.desc_table());
        let chain = chain::walk(ram, descriptors, self.inner.size(), head);
        self.taken = self.taken.saturating_add(1);
        match chain {
            Ok(chain) => Ok(Some(chain)),
            Err(Broken::Rule) => Err(QueueError::Chain),
            Err(Broken::NotRam(part)) => {
                self.put_back();
                Err(QueueError::Table(part))
            }
        }
    }

    /// Leaves the chain that was taken last for the next [`VirtQueue::pop`]. None may have been given back since.
    pub fn put_back(&mut self) {
        self.inner.set_next_avail(self.inner.next_avail().wrapping_sub(1));
        self.taken = self.taken.saturating_sub(1);
    }

    /// Gives a chain back, with the number of bytes that were written from its beginning (2.7.8).
    ///
    /// # Errors
    /// [`QueueError::Memory`]
    pub fn push(&mut self, ram: &Ram, head: u16, written: u32) -> Result<(), QueueError> {
        self.taken = self.taken.saturating_sub(1);
        // `add_used` stores the index with release semantics behind the element, which the driver may read at once
        // (2.7.8).
        self.inner.add_used(ram, head, written).map_err(|_| QueueError::Memory)
    }

    /// Whether the driver wants to be told of what was given back since the last call (2.7.7).
    ///
    /// # Errors
    /// [`QueueError::Memory`]
    pub fn wants_interrupt(&mut self, ram: &Ram) -> Result<bool, QueueError> {
        // The crate has the barrier for event indices only, and knows no VRING_AVAIL_F_NO_INTERRUPT.
        if self.inner.event_idx_enabled() {
            return self.inner.needs_notification(ram).map_err(|_| QueueError::Memory);
        }
        // The used index must be out before the flags are read: the driver clears the flag and then reads the index.
        // With a full barrier on both sides, one of them sees what the other wrote.
        fence(Ordering::SeqCst);
        let flags: u16 = ram
            .load(GuestAddress(self.inner.avail_ring()), Ordering::Relaxed)
            .map(u16::from_le)
            .map_err(|_| QueueError::Memory)?;
        Ok(u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// Asks the driver for a notification of the next chain, unless it was asked before. True: there is one already.
    ///
    /// # Errors
    /// [`QueueError::Memory`]
    pub fn arm_notifications(&mut self, ram: &Ram) -> Result<bool, QueueError> {
        if self.armed {
            return Ok(false);
        }
        self.armed = true;
        // `enable_notification` reads the available index once more, behind a full barrier (2.7.10): a driver that
        // added a chain before it saw the request does not notify of it.
        self.inner.enable_notification(ram).map_err(|_| QueueError::Memory)
    }
}
