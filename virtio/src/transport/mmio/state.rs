//! What a device behind virtio-mmio has to remember.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::line::SharedLine;
use crate::core::state::{ControlState, StateError, open, seal, take};

/// What the bytes begin with.
const KIND: [u8; 4] = *b"vmmi";
/// Of the layout. It changes with any structure below or in [`crate::core::state`].
const VERSION: u32 = 1;

/// A device's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MmioState {
    /// What every transport has.
    pub control: ControlState,
    /// DeviceFeaturesSel.
    pub device_features_sel: u32,
    /// DriverFeaturesSel.
    pub driver_features_sel: u32,
    /// QueueSel.
    pub queue_sel: u32,
    /// InterruptStatus.
    pub interrupt_status: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MmioBytes {
    device_features_sel: U32,
    driver_features_sel: U32,
    queue_sel: U32,
    interrupt_status: U32,
}

impl MmioState {
    /// The bytes of a saved state, in a frame ([`seal`]).
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = MmioBytes {
            device_features_sel: self.device_features_sel.into(),
            driver_features_sel: self.driver_features_sel.into(),
            queue_sel: self.queue_sel.into(),
            interrupt_status: self.interrupt_status.into(),
        };
        let mut body = head.as_bytes().to_vec();
        self.control.write(&mut body);
        seal(KIND, VERSION, &body)
    }

    /// Reads what [`MmioState::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn from_bytes(bytes: &[u8]) -> Result<MmioState, StateError> {
        MmioState::from_body(open(KIND, VERSION, bytes)?)
    }

    /// Reads what is in the frame.
    pub(crate) fn from_body(mut body: &[u8]) -> Result<MmioState, StateError> {
        let head: MmioBytes = take(&mut body)?;
        let control = ControlState::read(&mut body)?;
        if !body.is_empty() {
            return Err(StateError::Damaged);
        }
        let interrupt_status = head.interrupt_status.get();
        if interrupt_status & !SharedLine::ALL != 0 {
            return Err(StateError::Value("the interrupt status"));
        }
        Ok(MmioState {
            control,
            device_features_sel: head.device_features_sel.get(),
            driver_features_sel: head.driver_features_sel.get(),
            queue_sel: head.queue_sel.get(),
            interrupt_status,
        })
    }
}

#[cfg(test)]
mod tests;
