//! The outcome of a guest's access to an address where it has no memory.

/// What became of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoState {
    /// It is done. What a load read; of a store nothing.
    Done(u64),
    /// The device does not take such an access.
    Refused,
    /// Nobody has the address.
    Unhandled,
    /// An ioreq server has it, and does not answer: a load gives all ones, a store goes nowhere.
    Dropped,
    /// An ioreq server has been asked, and the vCPU is paused until it answers.
    Pending,
}
