//! The virtio-mmio transport, version 2 (4.2): registers in front of a device.
//!
//! Principle: an access is answered at once. A write that asks for work only notes it; whoever forwards the accesses
//! answers the guest first and then calls [`Transport::look`] or [`Transport::work`]. Two writes wait, because the driver
//! relies on it: a reset, and taking a queue out of use, return when nothing touches the guest's memory any more.

mod queues;
pub mod registers;
#[cfg(test)]
mod tests;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use backend::Guest;
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use crate::core::device::{Device, Progress};
use crate::core::queue::QueueError;
use crate::core::status::{Change, Status};
use queues::Queues;
use registers::{Access, CONFIG, Register};

const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// "XENO", as the registers' byte order shows it.
const VENDOR: u32 = 0x4f4e_4558;

const INTERRUPT_BUFFERS: u32 = 1;
const INTERRUPT_CONFIG: u32 = 2;

/// Looks at the queues before the forwarded accesses get their turn again.
const ROUNDS: usize = 8;

/// A device behind virtio-mmio registers.
pub struct Transport<D> {
    device: D,
    guest: Arc<dyn Guest>,
    base: u64,
    irq: u32,
    queues: Queues,
    status: Status,
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    interrupt_status: u32,
    generation: u32,
    /// Something may be in the queues that nobody has looked at.
    pending: bool,
    error: Option<QueueError>,
}

impl<D: Device> Transport<D> {
    /// Puts registers at guest physical address `base` in front of `device`, with `irq` as its interrupt: a line of the
    /// guest's interrupt controller that was described as edge-triggered.
    ///
    /// # Errors
    /// [`QueueError::Setup`]: the device's queue size is not a power of two from 1 to 32768.
    pub fn new(device: D, guest: Arc<dyn Guest>, base: u64, irq: u32) -> Result<Transport<D>, QueueError> {
        let queues = Queues::new(device.queues(), device.queue_size())?;
        Ok(Transport {
            device,
            guest,
            base,
            irq,
            queues,
            status: Status::default(),
            device_features_sel: 0,
            driver_features_sel: 0,
            driver_features: 0,
            interrupt_status: 0,
            generation: 0,
            pending: false,
            error: None,
        })
    }

    fn read_register(&mut self, register: Register) -> u32 {
        match register {
            Register::Magic => MAGIC,
            Register::Version => VERSION,
            Register::DeviceId => self.device.id(),
            Register::VendorId => VENDOR,
            Register::DeviceFeatures => half(self.device.features(), self.device_features_sel),
            Register::QueueSizeMax => self.queues.max_size(),
            Register::QueueReady => self.queues.is_ready().into(),
            Register::InterruptStatus => self.interrupt_status,
            Register::Status => self.status.bits(),
            Register::ShmLenLow | Register::ShmLenHigh | Register::ShmBaseLow | Register::ShmBaseHigh => {
                u32::MAX
            }
            Register::ConfigGeneration => self.generation,
            _ => 0,
        }
    }

    fn write_register(&mut self, register: Register, value: u32) {
        match register {
            Register::DeviceFeaturesSel => self.device_features_sel = value,
            Register::DriverFeaturesSel => self.driver_features_sel = value,
            Register::DriverFeatures => self.choose_features(value),
            Register::QueueSel => self.queues.select(value),
            Register::QueueReady => self.ready(value),
            Register::QueueNotify => self.pending |= self.status.is_running(),
            Register::InterruptAck => self.acknowledge(value),
            Register::Status => self.write_status(value),
            _ if self.status.is_negotiated() => self.queues.describe(register, value),
            _ => {}
        }
    }

    fn choose_features(&mut self, value: u32) {
        if !self.status.is_negotiating() {
            return;
        }
        match self.driver_features_sel {
            0 => self.driver_features = (self.driver_features & !0xffff_ffff) | u64::from(value),
            1 => self.driver_features = (self.driver_features & 0xffff_ffff) | (u64::from(value) << 32),
            // There are no features that high: choosing one must not go unnoticed when they are checked.
            _ if value != 0 => self.driver_features |= !self.device.features(),
            _ => {}
        }
    }

    fn ready(&mut self, value: u32) {
        if !self.status.is_negotiated() {
            return;
        }
        if value & 1 == 0 {
            self.quiesce();
            self.queues.stop();
            return;
        }
        let event_idx = self.driver_features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0;
        let mut started = self.queues.start(event_idx, &self.guest.memory());
        if started.is_err() && self.guest.look_again() {
            started = self.queues.start(event_idx, &self.guest.memory());
        }
        match started {
            Ok(()) => self.pending |= self.status.is_running(),
            Err(error) => self.fail(error),
        }
    }

    fn write_status(&mut self, value: u32) {
        let was_running = self.status.is_running();
        let (device, features) = (&self.device, self.driver_features);
        let acceptable = || features & !device.features() == 0 && device.accepts(features);
        match self.status.write(value, acceptable) {
            Change::None => {}
            Change::Reset => self.reset(),
            Change::Negotiated => self.device.negotiated(features),
            Change::Started => self.pending = true,
        }
        if was_running && value != 0 && !self.status.is_running() {
            // The driver gave up: what is in flight is of no use to it.
            self.device.reset();
        }
    }

    fn acknowledge(&mut self, value: u32) {
        self.interrupt_status &= !value;
        // The line has edges only, and stands for a level: what is left must come again.
        if self.interrupt_status != 0 {
            self.pulse();
        }
    }

    /// One edge. A guest that is gone has no use for it, and there is nobody to tell.
    fn pulse(&self) {
        let _ = self.guest.set_irq(self.irq, true);
    }

    fn notify(&mut self, reason: u32) {
        let new = reason & !self.interrupt_status;
        self.interrupt_status |= reason;
        if new != 0 {
            self.pulse();
        }
    }

    /// Everything as it was when the device was made; what is in flight is waited for and forgotten (2.4).
    fn reset(&mut self) {
        self.device.reset();
        self.queues.reset();
        self.status.clear();
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.driver_features = 0;
        self.interrupt_status = 0;
        self.pending = false;
        self.error = None;
    }

    /// The device cannot go on: the driver is told, and has to reset it (2.1.2).
    fn fail(&mut self, error: QueueError) {
        self.device.reset();
        self.error.get_or_insert(error);
        self.pending = false;
        self.status.fail();
        if self.status.is_started() {
            self.notify(INTERRUPT_CONFIG);
        }
    }

    /// Interrupts as the device wishes. Returns whether it had something to do.
    fn follow(&mut self, outcome: Result<Progress, QueueError>) -> bool {
        match outcome {
            Ok(Progress { interrupt, busy }) => {
                if interrupt {
                    self.notify(INTERRUPT_BUFFERS);
                }
                busy
            }
            Err(error) => {
                self.fail(error);
                true
            }
        }
    }

    /// Whether [`Transport::work`] has something to do that no event will announce.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// Serves the queues once: starts what is new, gives back what is done, and interrupts once for all of it. The driver
    /// need not notify until [`Transport::work`]: this is for a loop that looks again soon. Returns whether there was
    /// anything to do.
    pub fn look(&mut self) -> bool {
        if !self.status.is_running() {
            return false;
        }
        let outcome = self.device.serve(self.queues.all(), &*self.guest);
        self.follow(outcome)
    }

    /// Serves the queues until they are empty, and asks the driver to notify of what comes next. To be called after
    /// accesses were answered, when [`Transport::wake`] is readable, and before waiting. Returns whether it should be
    /// called again though nothing happens.
    pub fn work(&mut self) -> bool {
        for _ in 0..ROUNDS {
            self.look();
            if !self.status.is_running() {
                return false;
            }
            match self.device.listen(self.queues.all(), &*self.guest) {
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
        if self.status.is_running() {
            let outcome = self.device.finish(self.queues.all(), &*self.guest);
            self.follow(outcome);
        }
    }

    /// The configuration space changed by itself: the driver is to read it again (2.5).
    pub fn config_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.status.is_started() {
            self.notify(INTERRUPT_CONFIG);
        }
    }

    /// Becomes readable when [`Transport::work`] has something to give back.
    pub fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.device.wake()
    }

    /// Why the device needs a reset, if it does. To be told to people once.
    pub fn error(&self) -> Option<QueueError> {
        self.error
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, to be changed from the outside.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<D: Device> backend::Mmio for Transport<D> {
    fn read(&mut self, address: u64, size: u8) -> u64 {
        let (offset, size) = (address.wrapping_sub(self.base), size.into());
        if let Some((at, length)) = config_range(offset, size) {
            let mut bytes = [0; 8];
            self.device.read_config(at, bytes.get_mut(..length).unwrap_or_default());
            return u64::from_le_bytes(bytes);
        }
        match registers::find(offset, size) {
            Some((register, Access::Read | Access::Both)) => self.read_register(register).into(),
            _ => 0,
        }
    }

    fn write(&mut self, address: u64, size: u8, value: u64) {
        let (offset, size) = (address.wrapping_sub(self.base), size.into());
        if let Some((at, length)) = config_range(offset, size) {
            self.device.write_config(at, value.to_le_bytes().get(..length).unwrap_or_default());
            return;
        }
        if let Some((register, Access::Write | Access::Both)) = registers::find(offset, size) {
            let [a, b, c, d, ..] = value.to_le_bytes();
            self.write_register(register, u32::from_le_bytes([a, b, c, d]));
        }
    }

    fn invalidate(&mut self) {
        self.quiesce();
        self.guest.refresh();
    }
}

/// Offset and length of an access to the configuration space.
fn config_range(offset: u64, size: u64) -> Option<(usize, usize)> {
    let at = usize::try_from(offset.checked_sub(CONFIG)?).ok()?;
    matches!(size, 1 | 2 | 4 | 8).then_some((at, usize::try_from(size).ok()?))
}

/// The 32 features that a selector names.
fn half(features: u64, selector: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = features.to_le_bytes();
    match selector {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}
