//! The virtio-mmio transport, version 2 (4.2): registers in front of a device.
//!
//! Principle: registers are one table ([`registers`]), and what follows from a write is the core's
//! ([`Control`]). What is mmio's own is the selectors and the interrupt status, by which all queues and the configuration
//! share one line.

pub mod line;
pub mod registers;
pub mod state;

#[cfg(test)]
mod tests;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::core::control::Control;
use crate::core::device::Device;
use crate::core::doorbell::Doorbell;
use crate::core::features::half;
use crate::core::interrupt::Interrupt;
use crate::core::memory::GuestMemory;
use crate::core::queue::{QueueError, Setup};
use crate::core::ram::StalePages;
use crate::core::state::StateError;
use crate::core::status::Change;
use line::SharedLine;
use registers::{CONFIG, Direction, Register};
use state::MmioState;

const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// "XENO", as the registers' byte order shows it.
const VENDOR: u32 = 0x4f4e_4558;

/// A device behind virtio-mmio registers. Offsets count from the first of them.
pub struct Transport<D> {
    control: Control<D>,
    line: Arc<SharedLine>,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
}

impl<D: Device> Transport<D> {
    /// Puts registers in front of `device`, with `line` as its interrupt: each trigger is an edge of a line of the guest's
    /// interrupt controller that was described as edge-triggered.
    ///
    /// # Errors
    /// [`QueueError::Setup`]: the device has too many queues, or of a size that is no power of two from 1 to 32768.
    pub fn new(
        device: D,
        memory: Arc<dyn GuestMemory>,
        line: Arc<dyn Interrupt>,
    ) -> Result<Transport<D>, QueueError> {
        let line = Arc::new(SharedLine::new(line));
        let interrupts = line.interrupts(device.queues());
        let control = Control::new(device, memory, interrupts)?;
        Ok(Transport { control, line, device_features_sel: 0, driver_features_sel: 0, queue_sel: 0 })
    }

    /// The guest reads `size` bytes at `offset`. What is no register reads as zero.
    pub fn read(&mut self, offset: u64, size: u8) -> u64 {
        let size = size.into();
        if let Some((at, length)) = config_range(offset, size) {
            let mut bytes = [0; 8];
            self.control.device().read_config(at, bytes.get_mut(..length).unwrap_or_default());
            return u64::from_le_bytes(bytes);
        }
        match registers::find(offset, size) {
            Some((register, Direction::Read | Direction::Both)) => self.read_register(register).into(),
            _ => 0,
        }
    }

    /// The guest writes `size` bytes at `offset`. What is no register takes nothing.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) {
        let size = size.into();
        if let Some((at, length)) = config_range(offset, size) {
            let bytes = value.to_le_bytes();
            self.control.device_mut().write_config(at, bytes.get(..length).unwrap_or_default());
            return;
        }
        if let Some((register, Direction::Write | Direction::Both)) = registers::find(offset, size) {
            let [a, b, c, d, ..] = value.to_le_bytes();
            self.write_register(register, u32::from_le_bytes([a, b, c, d]));
        }
    }

    fn read_register(&mut self, register: Register) -> u32 {
        let control = &mut self.control;
        match register {
            Register::Magic => MAGIC,
            Register::Version => VERSION,
            Register::DeviceId => control.device().id(),
            Register::VendorId => VENDOR,
            Register::DeviceFeatures => half(control.device().features(), self.device_features_sel),
            Register::QueueSizeMax => control.max_queue_size(self.queue_sel).into(),
            Register::QueueReady => control.is_queue_ready(self.queue_sel).into(),
            Register::InterruptStatus => self.line.status(),
            Register::Status => control.status().bits(),
            // A length of all ones says that there is no such region (4.2.2).
            Register::ShmLenLow | Register::ShmLenHigh | Register::ShmBaseLow | Register::ShmBaseHigh => {
                u32::MAX
            }
            Register::ConfigGeneration => control.generation(),
            _ => 0,
        }
    }

    fn write_register(&mut self, register: Register, value: u32) {
        let control = &mut self.control;
        match register {
            Register::DeviceFeaturesSel => self.device_features_sel = value,
            Register::DriverFeaturesSel => self.driver_features_sel = value,
            Register::DriverFeatures => control.choose_features(self.driver_features_sel, value),
            Register::QueueSel => self.queue_sel = value,
            Register::QueueReady if value & 1 != 0 => control.start_queue(self.queue_sel),
            Register::QueueReady => control.stop_queue(self.queue_sel),
            Register::QueueNotify => control.notify(value),
            Register::InterruptAck => self.line.acknowledge(value),
            Register::Status => {
                // The device has stopped when this returns, so that no trigger of its sets a bit that is cleared here.
                if control.write_status(value) == Change::Reset {
                    self.reset();
                }
            }
            _ => {
                if let Some(setup) = control.setup_mut(self.queue_sel) {
                    describe(setup, register, value);
                }
            }
        }
    }

    fn reset(&mut self) {
        self.line.clear();
        (self.device_features_sel, self.driver_features_sel, self.queue_sel) = (0, 0, 0);
    }

    /// What there is to remember. The device goes on after that.
    pub fn save(&mut self) -> MmioState {
        MmioState {
            control: self.control.save(),
            device_features_sel: self.device_features_sel,
            driver_features_sel: self.driver_features_sel,
            queue_sel: self.queue_sel,
            interrupt_status: self.line.status(),
        }
    }

    /// Takes up what another device of the same kind saved, before any driver has seen this one.
    ///
    /// # Errors
    /// [`StateError`]; the device is then as after a reset.
    pub fn restore(&mut self, state: &MmioState) -> Result<(), StateError> {
        self.control.restore(&state.control)?;
        self.device_features_sel = state.device_features_sel;
        self.driver_features_sel = state.driver_features_sel;
        self.queue_sel = state.queue_sel;
        self.line.restore(state.interrupt_status);
        Ok(())
    }

    /// See [`Control::set_doorbell`].
    pub fn set_doorbell(&mut self, doorbell: Arc<dyn Doorbell>) {
        self.control.set_doorbell(doorbell);
    }

    /// See [`Control::is_pending`].
    pub fn is_pending(&self) -> bool {
        self.control.is_pending()
    }

    /// See [`Control::poll_once`].
    pub fn poll_once(&mut self) -> bool {
        self.control.poll_once()
    }

    /// See [`Control::poll_until_idle`].
    pub fn poll_until_idle(&mut self) -> bool {
        self.control.poll_until_idle()
    }

    /// See [`Control::quiesce`].
    pub fn quiesce(&mut self) {
        self.control.quiesce();
    }

    /// See [`Control::abandon`].
    pub fn abandon(&mut self) {
        self.control.abandon();
    }

    /// See [`Control::invalidate`].
    pub fn invalidate(&mut self, stale: &StalePages) {
        self.control.invalidate(stale);
    }

    /// See [`Control::config_changed`].
    pub fn config_changed(&mut self) {
        self.control.config_changed();
    }

    /// See [`Control::wake`].
    pub fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.control.wake()
    }

    /// See [`Control::error`].
    pub fn error(&self) -> Option<QueueError> {
        self.control.error()
    }

    /// See [`Control::refused_features`].
    pub fn refused_features(&self) -> Option<u64> {
        self.control.refused_features()
    }

    /// The device.
    pub fn device(&self) -> &D {
        self.control.device()
    }

    /// The device, to be changed from the outside.
    pub fn device_mut(&mut self) -> &mut D {
        self.control.device_mut()
    }

    /// The driver's choice of features so far.
    pub fn driver_features(&self) -> u64 {
        self.control.driver_features()
    }
}

/// Notes size or an address of a queue.
fn describe(setup: &mut Setup, register: Register, value: u32) {
    match register {
        // A size that does not fit in 16 bits is as wrong as zero, and refused with it.
        Register::QueueSize => setup.size = Some(u16::try_from(value).unwrap_or(0)),
        Register::QueueDescLow => set_low(&mut setup.descriptors, value),
        Register::QueueDescHigh => set_high(&mut setup.descriptors, value),
        Register::QueueDriverLow => set_low(&mut setup.driver, value),
        Register::QueueDriverHigh => set_high(&mut setup.driver, value),
        Register::QueueDeviceLow => set_low(&mut setup.device, value),
        Register::QueueDeviceHigh => set_high(&mut setup.device, value),
        _ => {}
    }
}

fn set_low(address: &mut u64, value: u32) {
    *address = (*address & !0xffff_ffff) | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = (*address & 0xffff_ffff) | (u64::from(value) << 32);
}

/// Offset and length of an access to the configuration space.
fn config_range(offset: u64, size: u64) -> Option<(usize, usize)> {
    let at = usize::try_from(offset.checked_sub(CONFIG)?).ok()?;
    matches!(size, 1 | 2 | 4 | 8).then_some((at, usize::try_from(size).ok()?))
}
