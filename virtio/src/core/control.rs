//! A device between its driver and its transport: what follows from what the driver writes, whatever the registers.
//!
//! Principle: an access is answered at once. What asks for work only notes it; whoever forwards the accesses answers the
//! guest first and then calls [`Control::poll_once`] or [`Control::poll_until_idle`]. Two things wait, because the driver
//! relies on it: a reset, and taking a queue out of use, return when nothing of it touches the guest's memory any more.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use super::device::Device;
use super::doorbell::{Doorbell, QueueSet};
use super::features::DriverFeatures;
use super::interrupt::Interrupts;
use super::memory::{self, GuestMemory, Part};
use super::queue::{QueueError, QueueState, Setup, VirtQueue};
use super::queues::{QueueEntry, Queues};
use super::ram::StalePages;
use super::state::{ControlState, SavedQueue, StateError};
use super::status::{Change, Status};

/// The most polls of the queues in one [`Control::poll_until_idle`], so that the caller can answer forwarded accesses
/// again though the driver never leaves its queues empty.
const ROUNDS: usize = 8;

/// How often the areas of a queue that becomes ready are looked for again, while its vCPU waits: each look finds pages that
/// have come back side by side.
const LOOKS: usize = 8;

/// A device, and where its driver is with it.
pub struct Control<D> {
    device: D,
    memory: Arc<dyn GuestMemory>,
    interrupts: Interrupts,
    doorbell: Option<Arc<dyn Doorbell>>,
    queues: Queues,
    status: Status,
    features: DriverFeatures,
    generation: u32,
    /// Queues that the driver notified by a register.
    notified: QueueSet,
    /// Something may be in the queues of which no notification will tell.
    pending: bool,
    error: Option<QueueError>,
    /// The last choice of features that the device did not take, until a reset.
    refused: Option<u64>,
}

impl<D: Device> Control<D> {
    /// A device that no driver has seen. `interrupts` gives each of so many queues its own.
    ///
    /// # Errors
    /// [`QueueError::Setup`]: the device has more queues than a device can, or than there are interrupts, or their size is
    /// not a power of two from 1 to 32768.
    pub fn new(
        device: D,
        memory: Arc<dyn GuestMemory>,
        interrupts: Interrupts,
    ) -> Result<Control<D>, QueueError> {
        let queues = Queues::new(device.queues(), device.queue_size())?;
        if interrupts.queues.len() < queues.all().len() {
            return Err(QueueError::Setup);
        }
        Ok(Control {
            device,
            memory,
            interrupts,
            doorbell: None,
            queues,
            status: Status::default(),
            features: DriverFeatures::default(),
            generation: 0,
            notified: QueueSet::NONE,
            pending: false,
            error: None,
            refused: None,
        })
    }

    /// Notifications also come by a doorbell.
    pub fn set_doorbell(&mut self, doorbell: Arc<dyn Doorbell>) {
        self.doorbell = Some(doorbell);
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, to be changed from the outside.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// The guest's memory.
    pub fn memory(&self) -> &dyn GuestMemory {
        &*self.memory
    }

    /// Why the device needs a reset, if it does. To be told to people once.
    pub fn error(&self) -> Option<QueueError> {
        self.error
    }

    /// The driver's last choice of features that the device did not take, since the last reset. To be told to people once:
    /// many a driver says nothing of it.
    pub fn refused_features(&self) -> Option<u64> {
        self.refused
    }

    /// Where the driver is with the device.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The driver's choice of features so far.
    pub fn driver_features(&self) -> u64 {
        self.features.bits()
    }

    /// Changes with the configuration (2.5).
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The driver chooses the half of the features that `selector` names.
    pub fn choose_features(&mut self, selector: u32, value: u32) {
        if self.status.is_negotiating() {
            self.features.choose(selector, value, self.device.features());
        }
    }

    /// Entries that the queue of this number can have; zero: there is no such queue.
    pub fn max_queue_size(&mut self, number: u32) -> u16 {
        let max = self.queues.max_size();
        self.queues.find(number).map_or(0, |_| max)
    }

    /// Whether the driver has made the queue of this number ready.
    pub fn is_queue_ready(&mut self, number: u32) -> bool {
        self.queues.find(number).is_some_and(|(_, queue)| queue.ready)
    }

    /// What the driver says of the queue of this number, where it may say something: features are agreed on, and the
    /// queue is not ready (4.2.2.2).
    pub fn setup_mut(&mut self, number: u32) -> Option<&mut Setup> {
        if !self.status.is_negotiated() {
            return None;
        }
        self.queues.find(number).filter(|(_, queue)| !queue.ready).map(|(_, queue)| &mut queue.setup)
    }

    /// The driver makes the queue of this number ready. A device that needs a reset starts none.
    pub fn start_queue(&mut self, number: u32) {
        if !self.status.is_negotiated() || self.status.is_broken() {
            return;
        }
        let Some((index, &mut QueueEntry { setup, ready: false })) = self.queues.find(number) else { return };
        match self.give_queue(index, &setup, None) {
            Ok(()) => {
                self.mark_ready(index, true);
                // A notification that came before the queue was ready was ignored, and is not repeated.
                self.pending |= self.status.is_running();
            }
            Err(error) => self.fail(error),
        }
    }

    /// The driver takes the queue of this number out of use.
    pub fn stop_queue(&mut self, number: u32) {
        if !self.status.is_negotiated() {
            return;
        }
        let Some((index, _)) = self.queues.find(number) else { return };
        if let Err(error) = self.device.stop_queue(index, &*self.memory) {
            self.fail(error);
        }
        self.mark_ready(index, false);
    }

    /// Looks again for what is missing of these parts; returns whether any of it has come back.
    fn looks_again(&self, parts: &[Part]) -> bool {
        let missing = memory::missing(&self.memory.memory(), parts.iter().copied());
        missing.is_some_and(|part| self.memory.rescan(part))
    }

    fn mark_ready(&mut self, index: u16, ready: bool) {
        if let Some((_, queue)) = self.queues.find(index.into()) {
            queue.ready = ready;
        }
    }

    /// Makes a queue of what the driver said, and the device its owner.
    fn give_queue(&mut self, index: u16, setup: &Setup, state: Option<QueueState>) -> Result<(), QueueError> {
        let (max, event_idx) = (self.queues.max_size(), self.features.has(VIRTIO_RING_F_EVENT_IDX));
        let make = || VirtQueue::new(max, setup, event_idx, &self.memory.memory());
        let mut queue = make();
        // The areas may be on pages that the guest had given up and has got back since.
        for _ in 0..LOOKS {
            if queue.is_ok() || !self.looks_again(&setup.areas(max)) {
                break;
            }
            queue = make();
        }
        let interrupt = self.interrupts.queues.get(usize::from(index)).ok_or(QueueError::Setup)?;
        self.device.start_queue(index, queue?, Arc::clone(interrupt), state)
    }

    /// The driver notified the queue of this number. Others than those that it may use are nothing.
    pub fn notify(&mut self, number: u32) {
        let running = self.status.is_running();
        if let Some((index, QueueEntry { ready: true, .. })) = self.queues.find(number)
            && running
        {
            self.notified.insert(index);
        }
    }

    /// The driver writes the status. The transport forgets its own part at [`Change::Reset`].
    pub fn write_status(&mut self, value: u32) -> Change {
        let was_running = self.status.is_running();
        let (device, features) = (&self.device, self.features.bits());
        let acceptable = || features & !device.features() == 0 && device.accepts(features);
        let change = self.status.write(value, acceptable);
        match change {
            Change::None => {}
            Change::Reset => self.reset(),
            Change::Negotiated => self.device.negotiated(features),
            Change::Refused => self.refused = Some(features),
            // Before DRIVER_OK a driver may fill its queues but must not notify (3.1.1): what is there has to be looked
            // for.
            Change::Started => self.pending = true,
        }
        if was_running && value != 0 && !self.status.is_running() {
            // The driver gave up: what is in flight is of no use to it.
            self.device.reset();
        }
        change
    }

    /// Everything as it was when the device was made; what is in flight is waited for and forgotten (2.4). The generation
    /// goes on, so that no driver takes a new configuration for the old one.
    fn reset(&mut self) {
        self.device.reset();
        self.queues.reset();
        self.status.clear();
        self.features = DriverFeatures::default();
        self.notified = QueueSet::NONE;
        self.pending = false;
        self.error = None;
        self.refused = None;
    }

    /// The device cannot go on: the driver is told, and has to reset it (2.1.2).
    fn fail(&mut self, error: QueueError) {
        // First: a driver that is told may take the memory of its requests back.
        self.device.reset();
        self.error.get_or_insert(error);
        self.notified = QueueSet::NONE;
        self.pending = false;
        self.status.fail();
        // 2.1.2 asks for the notification if DRIVER_OK is set. Before that the driver reads the status as it sets the
        // device up.
        if self.status.is_started() {
            self.interrupts.config.trigger();
        }
    }

    /// Whether [`Control::poll_until_idle`] has something to do that no event will announce.
    pub fn is_pending(&self) -> bool {
        self.pending || !self.notified.is_empty()
    }

    /// Tells the device which queues were notified.
    fn pass_notifications_on(&mut self) {
        // Taken before the queues are looked at: what is notified from here on is left for the next time.
        let mut queues = std::mem::take(&mut self.notified);
        if let Some(doorbell) = &self.doorbell {
            queues.extend(doorbell.take());
        }
        if queues.is_empty() {
            return;
        }
        for (index, _) in (0..).zip(self.queues.all()).filter(|(_, queue)| queue.ready) {
            if queues.contains(index) {
                self.device.notify(index);
            }
        }
    }

    /// Serves the queues once: starts what is new, gives back what is done, and tells the driver. The driver need not
    /// notify until [`Control::poll_until_idle`]: this is for a loop that polls again soon. Returns whether there was
    /// anything to do.
    pub fn poll_once(&mut self) -> bool {
        if !self.status.is_running() {
            return false;
        }
        self.pass_notifications_on();
        self.device.poll(&*self.memory).unwrap_or_else(|error| {
            self.fail(error);
            true
        })
    }

    /// Serves the queues until they are empty, and asks the driver to notify of what comes next. To be called after
    /// accesses were answered, when [`Control::wake`] is readable, and before waiting. Returns whether it should be
    /// called again though nothing happens.
    pub fn poll_until_idle(&mut self) -> bool {
        for _ in 0..ROUNDS {
            self.poll_once();
            if !self.status.is_running() {
                return false;
            }
            match self.device.arm_notifications(&*self.memory) {
                Ok(more) => self.pending = more,
                Err(error) => self.fail(error),
            }
            if !self.pending {
                return false;
            }
        }
        true
    }

    /// Waits until nothing touches the guest's memory, and gives back what is done. Queues stay as they are. A device
    /// that does not run has nothing in flight.
    pub fn quiesce(&mut self) {
        if self.status.is_running()
            && let Err(error) = self.device.drain(&*self.memory)
        {
            self.fail(error);
        }
    }

    /// Nobody is there any more whom the device serves: what is under way is given up, and not waited for longer than the
    /// system has it in hand.
    pub fn abandon(&mut self) {
        self.device.reset();
    }

    /// Pages left the guest: what is held of them is given back before this returns.
    pub fn invalidate(&mut self, stale: &StalePages) {
        // A mapping that an operation in flight holds would keep its pages.
        self.quiesce();
        self.memory.refresh(stale);
    }

    /// The configuration space changed by itself: the driver is to read it again (2.5).
    pub fn config_changed(&mut self) {
        // First: a driver that takes the interrupt must find another number (2.5).
        self.generation = self.generation.wrapping_add(1);
        if self.status.is_started() {
            self.interrupts.config.trigger();
        }
    }

    /// Becomes readable when [`Control::poll_until_idle`] has something to give back.
    pub fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.device.wake()
    }

    /// The state to restore the device from. Queues are stopped for it one by one, and go on from there.
    pub fn save(&mut self) -> ControlState {
        self.quiesce();
        let entries = self.queues.all().to_vec();
        let mut queues = Vec::with_capacity(entries.len());
        for (index, QueueEntry { setup, ready }) in (0..).zip(entries) {
            let mut state = QueueState::default();
            if ready && !self.status.is_broken() {
                let stopped = self.device.stop_queue(index, &*self.memory);
                let started = stopped.and_then(|stopped| {
                    state = stopped;
                    self.give_queue(index, &setup, Some(state))
                });
                // The pending work is the driver's to notice: no notification of it comes again.
                self.pending |= self.status.is_running();
                if let Err(error) = started {
                    self.fail(error);
                }
            }
            queues.push(SavedQueue { setup, ready, state });
        }
        if self.status.is_broken() {
            // The device has forgotten its queues.
            queues.iter_mut().for_each(|queue| queue.state = QueueState::default());
        }
        ControlState {
            status: self.status.bits(),
            features: self.features.bits(),
            generation: self.generation,
            queues,
            device: self.device.save(),
        }
    }

    /// Takes up what another device of the same kind saved, before any driver has seen this one.
    ///
    /// # Errors
    /// [`StateError`]; the device is then as after a reset.
    pub fn restore(&mut self, state: &ControlState) -> Result<(), StateError> {
        let outcome = self.try_restore(state);
        if outcome.is_err() {
            self.reset();
        }
        outcome
    }

    fn try_restore(&mut self, state: &ControlState) -> Result<(), StateError> {
        // What can be checked without the device is, before anything changes; an error after that ends in a reset.
        let status = Status::from_bits(state.status).ok_or(StateError::Value("the status"))?;
        let features = state.features;
        let acceptable = features & !self.device.features() == 0 && self.device.accepts(features);
        if status.is_negotiated() && !acceptable {
            return Err(StateError::Value("the features"));
        }
        if state.queues.len() != self.queues.all().len() {
            return Err(StateError::Value("the number of queues"));
        }
        if !status.is_negotiated() && state.queues.iter().any(|queue| *queue != SavedQueue::default()) {
            return Err(StateError::Value("queues before features"));
        }
        let unused = |queue: &&SavedQueue| !queue.ready || status.is_broken();
        if state.queues.iter().filter(unused).any(|queue| queue.state != QueueState::default()) {
            return Err(StateError::Value("where a queue is that is not used"));
        }
        self.reset();
        (self.status, self.features) = (status, DriverFeatures::from_bits(features));
        self.generation = state.generation;
        self.queues
            .set_all(state.queues.iter().map(|queue| QueueEntry { setup: queue.setup, ready: queue.ready }));
        // A device that needs a reset has forgotten everything else.
        if status.is_negotiated() && !status.is_broken() {
            self.device.negotiated(features);
            for (index, queue) in (0..).zip(&state.queues).filter(|(_, queue)| queue.ready) {
                self.give_queue(index, &queue.setup, Some(queue.state))?;
            }
        }
        self.device.restore(&state.device)?;
        // What came meanwhile was notified to another.
        self.pending = status.is_running();
        Ok(())
    }
}
