//! The outcome of asking for an emulated device.

/// What became of an access that was to go to a device model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoState {
    /// No device model has the address.
    Unhandled,
    /// One has it, and does not answer: a load gives all ones, a store goes nowhere.
    Dropped,
    /// It has been asked, and the vCPU is paused until it answers.
    Pending,
}
