//! What booting says of a machine and of its guests in the words of one architecture: the GIC, and whose its interrupts are.
//!
//! The rest of the crate calls what is here by names that no architecture has for itself.

use machine_model::gic::Gic;
use xenolith_abi::domctl::GicVersion;

use xenolith_arch::gic;
use xenolith_core::types::{CpuId, Intid};
use xenolith_domain::arch::{ArchConfig, Lines};
use xenolith_host::command_line::Options;
use xenolith_host::platform::{Interrupt, Platform, Trigger};
use xenolith_host::vector_length::VectorLength;
use xenolith_isa::vgic::MAX_SPIS;

pub use machine_model::gic::Gic as InterruptController;
pub use machine_model::tree::Pl011 as Uart;

/// The interrupt controller of a domain that has the machine's addresses.
pub fn machine_controller(platform: &Platform) -> InterruptController {
    platform.gic.layout
}

/// The interrupt controller of a domain that has a guest's addresses: of the machine's version, where Xen has it.
pub fn guest_controller(platform: &Platform) -> InterruptController {
    Gic::guest(platform.gic.layout.version())
}

/// The machine's interrupt controller, for a person.
pub fn controller_name(platform: &Platform) -> &'static str {
    match platform.gic.layout.version() {
        GicVersion::V2 => "GICv2",
        GicVersion::V3 => "GICv3",
    }
}

/// The interrupts that the hypervisor itself uses.
pub fn lines(platform: &Platform, console: Option<Interrupt>) -> Lines {
    Lines {
        timer: platform.timer.hypervisor,
        guest_timer: platform.timer.r#virtual,
        maintenance: platform.gic.maintenance,
        console: console.map(|line| line.intid),
    }
}

/// Lets a shared interrupt of the hypervisor's own come to the CPU that boots.
pub fn enable_line(line: Interrupt) {
    gic::set_trigger(line.intid, line.trigger == Trigger::Edge);
    gic::route(line.intid, CpuId(0));
    gic::enable(line.intid);
}

/// How many shared interrupts (SPIs) a domain's interrupt controller can have, and has if nobody says: the machine's.
pub fn shared_interrupts() -> u16 {
    u16::try_from(gic::shared_interrupts()).unwrap_or(MAX_SPIS).min(MAX_SPIS)
}

/// A domain's number of shared interrupts, if its interrupt controller can have so many.
pub fn checked_shared_interrupts(wanted: u32) -> Option<u16> {
    u16::try_from(wanted).ok().filter(|&wanted| wanted <= MAX_SPIS)
}

/// The SVE of a domain that is to have vectors of this length, in units of 128 bits. `None`: the CPUs have none so long.
pub fn vectors(asked: Option<VectorLength>) -> Option<u8> {
    asked.map_or(Some(0), |length| length.granules(xenolith_arch::vector_granules()))
}

/// The architecture's part of the first domain, that is like the machine in its interrupt controller and its timers.
pub fn machine_config(platform: &Platform, event_interrupt: Intid, options: &Options) -> ArchConfig {
    let vector_granules = vectors(options.dom0_vectors).unwrap_or_else(|| {
        let bits = 128 * u32::from(xenolith_arch::vector_granules());
        log::warn!("dom0=sve: the CPUs have SVE of {bits} bits at most; the first domain has none");
        0
    });
    ArchConfig {
        gic: platform.gic.layout,
        spis: shared_interrupts(),
        event_ppi: event_interrupt,
        guest_timer: platform.timer.r#virtual,
        physical_timer: platform.timer.physical,
        vector_granules,
    }
}
