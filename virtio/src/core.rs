//! What every device and every transport shares.

pub mod device;
pub mod memory;
pub mod queue;
pub mod status;
