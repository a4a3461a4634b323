//! The virtio block device (5.2): requests of its queues on an image.
//!
//! Principle: every chain that is taken gets exactly one status, unless the device is reset, and at no time are more
//! operations under way than the queues have entries.

#[cfg(test)]
mod flight;
pub mod kind;
mod layout;
mod request;
#[cfg(test)]
mod tests;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use vm_memory::GuestAddress;

use crate::config::{DiskConfig, SERIAL_LEN};
use crate::core::device::{Device, IsOver};
use crate::core::doorbell::QueueSet;
use crate::core::features::bit;
use crate::core::interrupt::Interrupt;
use crate::core::memory::{GuestMemory, write_byte};
use crate::core::queue::{Chain, QueueError, QueueState, VirtQueue};
use crate::core::ram::Ram;
use crate::core::running::RunningQueues;
use crate::core::state::StateError;
use crate::storage::{Done, Engine, Geometry, Job, Operation};
use request::{Action, Terms, byte};

/// The unit of a disk's size and of sector numbers, whatever its block size.
pub const SECTOR: u64 = 512;
/// Entries of each queue. No chain may be longer than that (2.7.5.3.1).
const QUEUE_SIZE: u16 = 512;
/// Chains that one poll takes from all queues: the engine may do each where it is submitted, and whoever polls has others to
/// look after, the sign to stop among them.
const CHAINS: usize = 64;

/// What one poll may still do.
struct Turn {
    chains: usize,
    /// It may look once for RAM that has come back: a guest can ask for that with each chain.
    may_look: bool,
}

/// A request that is under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    queue: u16,
    head: u16,
    status: GuestAddress,
    data: u32,
}

/// A block device.
pub struct Block {
    engine: Box<dyn Engine>,
    geometry: Geometry,
    serial: [u8; SERIAL_LEN],
    queues: u16,
    running: RunningQueues,
    discards: bool,
    features: u64,
    writeback: bool,
    /// Requests under way, by token; tokens that are free.
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
    done: Vec<Done>,
    /// The queue that the next poll begins with.
    first: u16,
    /// The last poll took all the chains that it may, or that the engine had room for, and has not looked at all queues.
    is_short: bool,
}

/// What a slot with a disk's configuration says of the device is what the device says of itself.
const _: () = assert!(DiskConfig::DEVICE_ID == VIRTIO_ID_BLOCK);

impl Block {
    /// A disk whose bytes `engine` keeps. Of `serial` the first 20 bytes count.
    pub fn new(engine: Box<dyn Engine>, queues: u16, serial: &str) -> Block {
        let mut id = [0; SERIAL_LEN];
        id.iter_mut().zip(serial.bytes()).for_each(|(to, from)| *to = from);
        let geometry = engine.geometry();
        Block {
            engine,
            geometry,
            serial: id,
            queues: queues.max(1),
            running: RunningQueues::default(),
            discards: true,
            features: 0,
            writeback: true,
            pending: Vec::new(),
            free: Vec::new(),
            done: Vec::new(),
            first: 0,
            is_short: false,
        }
    }

    /// The same, without a way to give bytes up: neither discards nor zeroes that need no room.
    #[must_use]
    pub fn without_discards(mut self) -> Block {
        self.discards = false;
        self
    }

    /// What it says of its image.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn has(&self, feature: u32) -> bool {
        self.features & bit(feature) != 0
    }

    /// Whether writes may stay in a cache (5.2.6.2): by the configuration where the driver can set it, else exactly if
    /// it knows how to flush.
    fn is_cached(&self) -> bool {
        if self.has(VIRTIO_BLK_F_CONFIG_WCE) { self.writeback } else { self.has(VIRTIO_BLK_F_FLUSH) }
    }

    fn terms(&self) -> Terms {
        Terms {
            capacity: self.geometry.size / SECTOR,
            read_only: self.geometry.read_only,
            durable: !self.is_cached(),
            discard: self.has(VIRTIO_BLK_F_DISCARD),
            write_zeroes: self.has(VIRTIO_BLK_F_WRITE_ZEROES),
        }
    }

    /// Requests that the engine has.
    fn under_way(&self) -> usize {
        self.pending.len().saturating_sub(self.free.len())
    }

    /// Keeps a request until the engine has done it; returns its token.
    fn note(&mut self, pending: Pending) -> usize {
        if let Some(token) = self.free.pop()
            && let Some(slot) = self.pending.get_mut(token)
        {
            *slot = Some(pending);
            return token;
        }
        self.pending.push(Some(pending));
        self.pending.len().saturating_sub(1)
    }

    /// Takes a request out that the engine has done; its token is free for another.
    fn take(&mut self, token: usize) -> Option<Pending> {
        let pending = self.pending.get_mut(token)?.take()?;
        self.free.push(token);
        Some(pending)
    }

    /// Starts the request in a chain of a queue. Returns the status of one that is answered at once.
    fn begin(
        &mut self,
        chain: Chain,
        queue: u16,
        ram: &Arc<Ram>,
        terms: &Terms,
    ) -> Result<Option<(Pending, u8)>, QueueError> {
        let head = chain.head;
        let request = request::parse(chain, ram, terms)?;
        let pending = Pending { queue, head, status: request.status, data: request.data };
        let status = match request.action {
            Action::Start(operation) => {
                let token = self.note(pending);
                self.engine.submit(Job { token, operation });
                return Ok(None);
            }
            Action::Identify(into) => match into.copy_in(&self.serial) {
                Ok(_) => byte(VIRTIO_BLK_S_OK),
                Err(_) => byte(VIRTIO_BLK_S_IOERR),
            },
            Action::Refuse(status) => status,
        };
        Ok(Some((pending, status)))
    }

    /// Takes what a queue has; returns whether there was anything. `touched` gets the queue if something was given back.
    fn take_from(
        &mut self,
        index: u16,
        memory: &dyn GuestMemory,
        ram: &mut Arc<Ram>,
        turn: &mut Turn,
        touched: &mut QueueSet,
    ) -> Result<bool, QueueError> {
        let terms = self.terms();
        let mut taken = false;
        while turn.chains > 0 && self.engine.has_room() {
            let Some(running) = self.running.get_mut(index) else { break };
            let popped = running.queue.pop(ram);
            let missing = match &popped {
                Ok(None) => break,
                Ok(Some(chain)) => chain.missing(ram),
                Err(QueueError::Table(part)) => Some(*part),
                Err(_) => None,
            };
            taken = true;
            // A page that the guest had given up may be back. Without a look it would fail this request for good.
            if let Some(part) = missing {
                let found = turn.may_look.then(|| memory.rescan(part));
                turn.may_look = false;
                if found != Some(false) {
                    // To be taken again: at once with what has come back, or by the next poll, which may look.
                    if popped.is_ok() {
                        running.queue.put_back();
                    }
                    if found.is_none() {
                        break;
                    }
                    *ram = memory.memory();
                    continue;
                }
            }
            let Some(chain) = popped? else { break };
            turn.chains = turn.chains.saturating_sub(1);
            if let Some((pending, status)) = self.begin(chain, index, ram, &terms)?
                && let Some(running) = self.running.get_mut(index)
            {
                answer(&pending, status, &mut running.queue, ram)?;
                touched.insert(index);
            }
        }
        Ok(taken)
    }

    /// Gives back what is done, and notes the queues that got something.
    fn give_back(&mut self, ram: &Ram, touched: &mut QueueSet) -> Result<(), QueueError> {
        let mut done = std::mem::take(&mut self.done);
        let mut outcome = Ok(());
        for Done { token, result } in done.drain(..) {
            let Some(pending) = self.take(token) else { continue };
            let Some(running) = self.running.get_mut(pending.queue) else { continue };
            let status = byte(if result.is_ok() { VIRTIO_BLK_S_OK } else { VIRTIO_BLK_S_IOERR });
            // One that fails breaks the device, but the others must leave `pending` all the same: a reset waits for it.
            let given = answer(&pending, status, &mut running.queue, ram);
            outcome = outcome.and(given);
            touched.insert(pending.queue);
        }
        self.done = done;
        outcome
    }

    /// Tells the driver of what the queues in `touched` got.
    fn signal(&mut self, ram: &Ram, touched: QueueSet) -> Result<(), QueueError> {
        for (index, running) in self.running.iter_mut() {
            if touched.contains(index) {
                running.signal_used(ram)?;
            }
        }
        Ok(())
    }

    /// Waits until `is_done`, and gives back what is done meanwhile.
    fn wait_until(
        &mut self,
        memory: &dyn GuestMemory,
        is_done: impl Fn(&mut Block) -> bool,
    ) -> Result<(), QueueError> {
        let ram = &memory.memory();
        let mut touched = QueueSet::NONE;
        self.engine.start();
        while !is_done(self) {
            self.engine.wait(&mut self.done);
            self.give_back(ram, &mut touched)?;
        }
        self.signal(ram, touched)
    }
}

/// Writes a request's status and gives its chain back.
fn answer(pending: &Pending, status: u8, queue: &mut VirtQueue, ram: &Ram) -> Result<(), QueueError> {
    write_byte(ram, pending.status, status).map_err(|_| QueueError::Memory)?;
    // What is said to be written must be (2.7.8.2): of a failed read no byte is promised, not even the status behind it.
    let ok = status == byte(VIRTIO_BLK_S_OK);
    let written = if ok || pending.data == 0 { pending.data.saturating_add(1) } else { 0 };
    queue.push(ram, pending.head, written)
}

impl Drop for Block {
    /// Nobody asks for a flush any more, and the machine may be about to end: what was written goes to the image's disk. A
    /// disk that is given up in the middle of requests is left as it is, since waiting for them may take for ever.
    fn drop(&mut self) {
        if self.geometry.read_only || self.under_way() > 0 {
            return;
        }
        self.engine.submit(Job { token: 0, operation: Operation::Flush });
        self.engine.start();
        self.engine.wait(&mut self.done);
    }
}

impl Device for Block {
    fn id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let always = [
            VIRTIO_F_VERSION_1,
            VIRTIO_RING_F_INDIRECT_DESC,
            VIRTIO_RING_F_EVENT_IDX,
            VIRTIO_BLK_F_SIZE_MAX,
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_BLK_SIZE,
            VIRTIO_BLK_F_FLUSH,
            VIRTIO_BLK_F_CONFIG_WCE,
            VIRTIO_BLK_F_TOPOLOGY,
        ];
        let mut features = always.into_iter().fold(0, |all, feature| all | bit(feature));
        if self.queues > 1 {
            features |= bit(VIRTIO_BLK_F_MQ);
        }
        if self.geometry.read_only {
            features |= bit(VIRTIO_BLK_F_RO);
        } else if self.discards {
            features |= bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);
        }
        features
    }

    fn accepts(&self, features: u64) -> bool {
        // A driver of the time before 1.0 would see other layouts; there is no transitional interface here.
        features & bit(VIRTIO_F_VERSION_1) != 0
    }

    fn queues(&self) -> u16 {
        self.queues
    }

    fn queue_size(&self) -> u16 {
        QUEUE_SIZE
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        let space = layout::space(&self.geometry, self.queues, self.writeback);
        data.iter_mut().zip(space.iter().skip(offset)).for_each(|(to, from)| *to = *from);
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        if offset == layout::WRITEBACK
            && let [value] = data
            && self.has(VIRTIO_BLK_F_CONFIG_WCE)
        {
            self.writeback = value & 1 != 0;
        }
    }

    fn negotiated(&mut self, features: u64) {
        self.features = features;
        // 5.2.5.2: a driver that cannot flush starts with no cache.
        self.writeback = features & bit(VIRTIO_BLK_F_FLUSH) != 0;
    }

    fn start_queue(
        &mut self,
        index: u16,
        queue: VirtQueue,
        interrupt: Arc<dyn Interrupt>,
        state: Option<QueueState>,
    ) -> Result<(), QueueError> {
        self.running.start(index, queue, interrupt, state);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16, memory: &dyn GuestMemory) -> Result<QueueState, QueueError> {
        // Without anything under way nothing more will be done; then what a broken queue is short of never comes.
        self.wait_until(memory, |block| {
            let running = block.running.get_mut(index);
            running.is_none_or(|running| running.queue.in_flight() == 0) || block.under_way() == 0
        })?;
        Ok(self.running.stop(index))
    }

    fn poll(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        let ram = &mut memory.memory();
        let mut touched = QueueSet::NONE;
        let mut taken = false;
        let mut turn = Turn { chains: CHAINS, may_look: true };
        // Another one first each time, so that none is left out for long.
        for index in (self.first..self.queues).chain(0..self.first) {
            taken |= self.take_from(index, memory, ram, &mut turn, &mut touched)?;
        }
        self.first = self.first.wrapping_add(1).checked_rem(self.queues).unwrap_or(0);
        let was_full = !self.engine.has_room();
        // Once for all queues: with a ring it is one system call.
        self.engine.start();
        self.engine.completed(&mut self.done);
        // An engine that is full wakes us when there is room again. One that has room by now has done so, and may never again.
        self.is_short = turn.chains == 0 || was_full && self.engine.has_room();
        self.give_back(ram, &mut touched)?;
        // Last, once for each queue however much it got.
        self.signal(ram, touched)?;
        Ok(taken || !touched.is_empty())
    }

    fn arm_notifications(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        // All are asked, whether or not there is more to do anyway.
        let more = self.running.arm_notifications(&memory.memory())?;
        Ok(more || self.is_short)
    }

    fn drain(&mut self, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        self.wait_until(memory, |block| block.under_way() == 0)
    }

    fn reset(&mut self) {
        // After a reset the driver may use the memory of its requests for other things (2.4): the engine must be done. What it
        // has not begun nobody waits for.
        self.engine.abandon();
        self.engine.start();
        while self.under_way() > 0 {
            self.engine.wait(&mut self.done);
            for Done { token, .. } in std::mem::take(&mut self.done) {
                self.take(token);
            }
        }
        self.running.clear();
        self.is_short = false;
        self.features = 0;
        self.writeback = true;
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.engine.wake()
    }

    fn set_end(&mut self, is_over: IsOver) {
        self.engine.set_end(is_over);
    }

    fn save(&self) -> Vec<u8> {
        vec![self.writeback.into()]
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        self.writeback = match state {
            [0] => false,
            [1] => true,
            _ => return Err(StateError::Value("whether writes are cached")),
        };
        Ok(())
    }

    fn summary(&self) -> Option<String> {
        match self.engine.past_cache() >> 20 {
            0 => None,
            mib => Some(format!("{mib} MiB went past the page cache")),
        }
    }
}
