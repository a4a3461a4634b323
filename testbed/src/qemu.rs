//! The machine that everything boots in: QEMU's `virt` board, as a command line made from a typed description.

mod boot;
mod disk;
mod domains;
mod last_words;
mod layout;
mod machine;
mod newer;
mod passthrough;
mod static_shm;
mod tree;

pub use boot::{Boot, BootDomain};
pub use disk::{Disk, DiskBus, DiskFormat};
pub use last_words::{HALTS, PANICS};
pub use layout::{Layout, RAM_BASE};
pub use machine::{Console, Gic, Machine, PROGRAM};
pub use newer::newer;
pub use static_shm::{SharedMemory, StaticPort, StaticShared};
pub use tree::read as read_tree;
