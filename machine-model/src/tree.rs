//! The device tree of a guest, as Xen's tools write it (`tools/libs/light/libxl_arm.c` describes the same machine).
//!
//! The caller says what the guest has; the tree shows that and nothing else. A boot-time domain may add the nodes of a
//! partial tree, which describe hardware that is passed through to it ([`Partial`]).

mod build;
mod error;
pub mod node;
mod nodes;
mod partial;
#[cfg(test)]
mod tests;

use xenolith_abi::Intid;

use crate::gic::Gic;
use crate::{Region, layout};

pub use build::build;
pub use error::TreeError;
pub use nodes::{PPI_FLAGS, psci};
pub use partial::Partial;

/// The phandle of the interrupt controller, unless a partial tree has chosen another.
pub const GIC_PHANDLE: u32 = 65000;

/// What a guest is to find.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    /// The version (major, minor) in the machine's name: Xen's, as the hypervisor reports it.
    pub version: (u16, u16),
    /// vCPUs; at least 1.
    pub vcpus: u16,
    /// Its RAM; at least one bank.
    pub memory: &'a [Region],
    /// Its command line.
    pub arguments: &'a str,
    /// Its initial ramdisk.
    pub initrd: Option<Region>,
    /// Random bytes that seed its random number generator; empty for none.
    pub seed: &'a [u8],
    /// Random bits by which its kernel places itself (`kaslr-seed`); `None` for a kernel at its linked address.
    pub kaslr_seed: Option<u64>,
    /// The path of the node that is its console, for instance `/sbsa-pl011@22000000`.
    pub stdout: Option<&'a str>,
    /// Its interrupt controller.
    pub gic: Gic,
    /// Its timers.
    pub timer: Timer,
    /// The node by which it knows that it runs on Xen; `None` for a guest that is not to know.
    pub hypervisor: Option<Hypervisor<'a>>,
    /// Its virtio-mmio devices.
    pub virtio: &'a [VirtioMmio],
    /// Static shared memory, which other guests have too.
    pub static_shm: &'a [StaticShm<'a>],
    /// The UART that the hypervisor emulates.
    pub uart: Option<Pl011>,
    /// Nodes for devices passed through.
    pub partial: Option<&'a Partial>,
}

/// The architected timers. Interrupts are PPIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The secure physical timer's.
    pub secure_physical: Intid,
    /// The physical timer's.
    pub physical: Intid,
    /// The virtual timer's.
    pub r#virtual: Intid,
    /// The counter's frequency in Hz, where the guest's CNTFRQ_EL0 does not tell it.
    pub frequency: Option<u32>,
}

impl Timer {
    /// The timers as Xen gives them to a guest.
    pub const fn guest(frequency: Option<u32>) -> Timer {
        Timer {
            secure_physical: layout::TIMER_SECURE,
            physical: layout::TIMER_PHYSICAL,
            r#virtual: layout::TIMER_VIRTUAL,
            frequency,
        }
    }
}

/// What `/hypervisor` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hypervisor<'a> {
    /// Where the guest may map frames of its grant table.
    pub grant_window: Region,
    /// Where it may map other domains' memory, ascending.
    pub extended_regions: &'a [Region],
    /// The PPI that signals events.
    pub event_ppi: Intid,
}

/// A virtio-mmio device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmio {
    /// Its registers.
    pub registers: Region,
    /// Its SPI, which it raises by edges.
    pub interrupt: Intid,
}

/// Static shared memory: what several guests have (Linux's `reserved-memory/xen,shared-memory.txt`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticShm<'a> {
    /// Its name, by which guests know what they share.
    pub id: &'a str,
    /// Where the guest has it.
    pub place: Region,
}

/// An SBSA UART.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pl011 {
    /// Its registers.
    pub registers: Region,
    /// Its SPI, which it holds high.
    pub interrupt: Intid,
}

impl Pl011 {
    /// The UART where Xen has it.
    pub const GUEST: Pl011 = Pl011 { registers: layout::PL011, interrupt: layout::PL011_SPI };
}
