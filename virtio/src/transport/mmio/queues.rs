//! The queues of a device, and the registers that set the selected one up.

use super::registers::Register;
use crate::core::memory::Ram;
use crate::core::queue::{QueueError, Setup, VirtQueue};

/// All queues of a device.
#[derive(Debug)]
pub struct Queues {
    selected: u32,
    setups: Vec<Setup>,
    queues: Vec<VirtQueue>,
}

impl Queues {
    /// `count` queues of at most `max` entries.
    ///
    /// # Errors
    /// [`QueueError::Setup`]: `max` is not a power of two from 1 to 32768.
    pub fn new(count: u16, max: u16) -> Result<Queues, QueueError> {
        let queues = (0..count).map(|_| VirtQueue::new(max)).collect::<Result<Vec<_>, _>>()?;
        Ok(Queues { selected: 0, setups: vec![Setup::default(); count.into()], queues })
    }

    /// The queues, for the device.
    pub fn all(&mut self) -> &mut [VirtQueue] {
        &mut self.queues
    }

    /// Selects a queue. Any number is taken; registers of a queue that there is not read as zero.
    pub fn select(&mut self, number: u32) {
        self.selected = number;
    }

    /// The selected queue. The only place that looks at the selection.
    fn selected(&mut self) -> Option<(&mut Setup, &mut VirtQueue)> {
        let index = usize::try_from(self.selected).ok()?;
        Some((self.setups.get_mut(index)?, self.queues.get_mut(index)?))
    }

    /// The most entries of the selected queue, zero if there is none.
    pub fn max_size(&mut self) -> u32 {
        self.selected().map_or(0, |(_, queue)| queue.max_size().into())
    }

    /// Whether the selected queue is ready.
    pub fn is_ready(&mut self) -> bool {
        self.selected().is_some_and(|(_, queue)| queue.is_ready())
    }

    /// Notes size or an address. A ready queue takes none (4.2.2.2).
    pub fn describe(&mut self, register: Register, value: u32) {
        let Some((setup, queue)) = self.selected() else { return };
        if queue.is_ready() {
            return;
        }
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

    /// Makes the selected queue ready.
    ///
    /// # Errors
    /// [`QueueError::Setup`]: what was said of it is not valid.
    pub fn start(&mut self, event_idx: bool, ram: &Ram) -> Result<(), QueueError> {
        match self.selected() {
            Some((setup, queue)) if !queue.is_ready() => queue.start(&setup.clone(), event_idx, ram),
            _ => Ok(()),
        }
    }

    /// Takes the selected queue out of use.
    pub fn stop(&mut self) {
        if let Some((_, queue)) = self.selected() {
            queue.stop();
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.selected = 0;
        self.setups.fill(Setup::default());
        self.queues.iter_mut().for_each(VirtQueue::stop);
    }
}

fn set_low(address: &mut u64, value: u32) {
    *address = (*address & !0xffff_ffff) | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = (*address & 0xffff_ffff) | (u64::from(value) << 32);
}
