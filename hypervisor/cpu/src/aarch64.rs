//! What a guest of this architecture traps for.

pub mod device_access;
pub mod exit;
mod firmware;
pub mod inject;
