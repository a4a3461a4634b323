//! What a boot module may be.

use core::fmt;

/// What a boot module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// A kernel image.
    Kernel,
    /// An initial ramdisk.
    Ramdisk,
    /// A device tree blob.
    DeviceTree,
    /// Something that the hypervisor has no use for.
    Other,
}

impl fmt::Display for ModuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ModuleKind::Kernel => "kernel",
            ModuleKind::Ramdisk => "ramdisk",
            ModuleKind::DeviceTree => "device tree",
            ModuleKind::Other => "other",
        })
    }
}
