//! Machine memory: access to frames that other parties may write at the same time, and who owns each of them.

pub mod account;
#[cfg(not(target_os = "none"))]
pub mod arena;
mod bitmap;
pub mod frames;
pub mod page;
pub mod table;
