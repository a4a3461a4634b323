//! Machine memory: access to frames that other parties may write at the same time, and who owns each of them.

pub mod page;
