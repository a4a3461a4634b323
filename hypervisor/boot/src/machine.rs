//! What booting asks of the architecture: the calls whose inside is hardware, or memory by its bare address.

use xenolith_core::types::CpuId;
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_host::command_line::Options;
use xenolith_host::platform::Region;
use xenolith_memory::frames::{FrameRange, Frames};
use xenolith_memory::p2m::Geometry;

use crate::memory_layout::MemoryLayout;

/// The machine that is being booted, as its architecture drives it. [`crate::boot`] calls the functions in the order in which
/// they stand here.
///
/// The boot loader's files lie in RAM that is given back at the end: what is read of them is borrowed from the machine, and
/// [`Machine::reclaim`] consumes it, so that nobody can read them afterwards.
pub trait Machine {
    /// CPUs that may take part, the one that boots included, which is number 0.
    fn cpus(&self) -> u16;

    /// The hypervisor's own image, with all that belongs to it while it runs.
    fn image(&self) -> Image;

    /// Makes RAM and, if the options want one, the console usable.
    fn prepare(&self, options: &Options);

    /// The shape of every domain's p2m; `None` when the CPUs name a size of physical addresses that nobody knows.
    fn p2m_geometry(&self) -> Option<Geometry>;

    /// Takes charge of RAM as the layout says. Called once.
    fn take_memory(&self, layout: MemoryLayout) -> Frames;

    /// Makes the hypervisor that of this machine: its heap may grow, the interrupt controller works, traps and interrupts of
    /// the calling CPU come to it.
    fn install(&self, hypervisor: &'static Hypervisor);

    /// Starts a further CPU. False, and a message, if it does not come.
    fn start_cpu(&self, id: CpuId) -> bool;

    /// Runs a test of the machine that the command line names.
    fn self_test(&self, name: &str);

    /// The machine's device tree.
    fn device_tree(&self) -> &[u8];

    /// The bytes of a boot module or of the ramdisk.
    fn module(&self, region: Region) -> &[u8];

    /// Frees what held the device tree and the modules, a range of frames after the other.
    fn reclaim(self, frames: &Frames, ranges: &mut dyn Iterator<Item = FrameRange>);
}

/// The hypervisor's image in memory.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// All of it: text, data, and the stacks of the CPUs that there are.
    pub region: Region,
    /// Pages of text and data that came from the file.
    pub file_pages: u64,
}
