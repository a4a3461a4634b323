//! The machine that everything boots in: QEMU's `virt` board, as a command line made from a typed description.

mod layout;
mod machine;

pub use layout::{Layout, RAM_BASE};
pub use machine::{Boot, Console, Disk, DiskBus, Gic, Machine, PROGRAM};
