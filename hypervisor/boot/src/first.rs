//! Building the first domain: the control and hardware domain, from the modules that the boot loader left.
//!
//! Its RAM has the machine's own addresses, because nothing stands between its devices and memory: a driver's DMA must
//! go where the guest says. Every device of the machine that the hypervisor does not use itself is its own.

mod error;
mod memory;

use alloc::vec::Vec;

use xenolith_core::types::{DomId, Gfn, Intid, Ipa, Mfn, PAGE_SHIFT};
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_host::command_line::Options;
use xenolith_host::domain_tree::{self, HardwareDomainSpec, HardwareDomainTree};
use xenolith_host::platform::{Platform, Region, StaticShmNode, merge, subtract};
use xenolith_memory::frames::FrameRange;
use xenolith_memory::p2m::MapKind;

use crate::guest;
use crate::load::{LoadError, Plan, Ready};
use crate::static_shm::StaticShm;
use xenolith_domain::domain::{Domain, DomainRef};
use xenolith_domain::life::build::{DomainBuilder, DomainConfig, MAPTRACK_FRAMES, MORE_TABLES};

pub use error::FirstError;

/// RAM of the first domain when the command line does not say: 512 MiB.
const DEFAULT_MEMORY: u64 = 512 << 20;
/// Frames of grant table that the first domain may have.
pub const GRANT_FRAMES: u32 = 64;
/// Event channels: as many as the FIFO form has.
const MAX_PORT: u32 = xenolith_abi::event::fifo::PORTS - 1;

/// What the boot loader left, in memory that nobody changes any more.
#[derive(Clone, Copy, Debug)]
pub struct Modules<'a> {
    /// The machine's device tree.
    pub device_tree: &'a [u8],
    /// The kernel.
    pub kernel: &'a [u8],
    /// The ramdisk.
    pub ramdisk: Option<&'a [u8]>,
    /// Guest physical room for grant-table frames: RAM that no domain ever gets, our own image.
    pub grant_window: Region,
}

/// Builds the first domain, without the static shared memory. Nothing of it runs yet.
#[inline(never)]
pub fn build_first(
    hv: &Hypervisor,
    platform: &Platform,
    modules: &Modules<'_>,
    static_shm: &StaticShm,
) -> Result<Ready, FirstError> {
    let vcpus = number_of_vcpus(&hv.options, hv.cpus(), platform)?;
    // What the command line says comes before the node of the domain.
    let memory = hv.options.dom0_memory.or_else(|| Some(platform.hardware()?.memory));
    let area = memory::allocate(&hv.frames, platform, memory.unwrap_or(DEFAULT_MEMORY))?;
    let event_interrupt = domain_tree::free_private_interrupt(modules.device_tree, platform)
        .ok_or(FirstError::NoEventInterrupt)?;
    let ram: Vec<_> = area.iter().map(|&range| (Gfn(range.first.0), range)).collect();
    let domain = DomainBuilder::new(hv, &config(&hv.options, platform, vcpus, event_interrupt, &ram))?;
    let banks: Vec<(Ipa, u64)> =
        area.iter().map(|range| (Gfn(range.first.0).base(), range.pages << PAGE_SHIFT)).collect();
    let module = || platform.kernel().map(|kernel| kernel.path.clone()).unwrap_or_default();
    let not_loaded = |error: LoadError| FirstError::Load { module: module(), error };
    let plan = Plan::for_banks(modules.kernel, modules.ramdisk, &banks).map_err(not_loaded)?;
    let shared: Vec<&StaticShmNode> = static_shm.available(&platform.first_shared.memory).collect();
    let in_tree: Vec<_> = shared.iter().map(|memory| crate::static_shm::for_tree(memory)).collect();
    let spec = HardwareDomainSpec {
        vcpus,
        memory: &banks,
        arguments: arguments(platform),
        initrd: plan.initrd(),
        xen_version: hv.options.xen_version.numbers(),
        grant_window: (Ipa(modules.grant_window.start().0), modules.grant_window.size()),
        extended_regions: &memory::extended_regions(platform, modules, &banks, &shared),
        event_interrupt,
        static_shm: &in_tree,
        hidden: &platform.uart.iter().map(|uart| uart.path.as_str()).collect::<Vec<_>>(),
    };
    let tree =
        domain_tree::hardware_domain(modules.device_tree, platform, &spec).map_err(FirstError::Tree)?;
    map_devices(&domain, &tree, &banks)?;
    route_interrupts(domain.on(hv), &tree)?;
    let placement = plan.load(domain.on(hv), &tree.dtb).map_err(not_loaded)?;
    let domain = domain.publish().map_err(FirstError::Call)?;
    log::info!(
        "first domain: {} MiB, {vcpus} vCPUs, kernel at {:#x}, device tree at {:#x}",
        area.iter().map(|range| range.pages).sum::<u64>() >> (20 - PAGE_SHIFT),
        placement.kernel,
        placement.device_tree
    );
    Ok(Ready { domain, placement })
}

/// The kernel's command line.
fn arguments(platform: &Platform) -> &str {
    match platform.kernel().and_then(|kernel| kernel.arguments.as_deref()) {
        Some(arguments) => arguments,
        None => &platform.domain_arguments,
    }
}

fn number_of_vcpus(options: &Options, cpus: u16, platform: &Platform) -> Result<u16, FirstError> {
    let limit = domain_tree::vcpu_limit(platform);
    options.validate(limit.into()).map_err(FirstError::Options)?;
    let wanted = options.dom0_vcpus.or_else(|| Some(platform.hardware()?.vcpus));
    let wanted = wanted.unwrap_or_else(|| u32::from(cpus.min(limit)));
    Ok(u16::try_from(wanted).unwrap_or(limit))
}

/// What the first domain is: in its interrupt controller and its timers it is like the machine, and where nothing is it
/// finds what hardware would say.
fn config<'a>(
    options: &Options,
    platform: &Platform,
    vcpus: u16,
    event_interrupt: Intid,
    ram: &'a [(Gfn, FrameRange)],
) -> DomainConfig<'a> {
    DomainConfig {
        id: DomId::CONTROL,
        handle: [0; 16],
        is_control: true,
        direct_mapped: true,
        vcpus,
        ram,
        tables: MORE_TABLES,
        max_port: MAX_PORT,
        grant_frames: GRANT_FRAMES,
        maptrack_frames: MAPTRACK_FRAMES,
        trap_unmapped: true,
        paused: false,
        arch: guest::machine_config(platform, event_interrupt, options),
    }
}

/// Maps the devices' registers where the machine has them.
fn map_devices(domain: &Domain, tree: &HardwareDomainTree, banks: &[(Ipa, u64)]) -> Result<(), FirstError> {
    let taken: Vec<Region> = banks
        .iter()
        .filter_map(|&(start, size)| Region::between(start.0, start.0.checked_add(size)?))
        .collect();
    let pages = merge(tree.mmio.iter().map(|region| region.to_pages()).collect());
    let free = subtract(&pages, &taken);
    let registers = subtract(&free, &tree.memory_like);
    map_identically(domain, &registers, MapKind::StrictDevice)?;
    map_identically(domain, &subtract(&free, &registers), MapKind::Device)
}

fn map_identically(domain: &Domain, regions: &[Region], kind: MapKind) -> Result<(), FirstError> {
    let mut memory = domain.memory.lock();
    let end = memory.p2m.geometry().end().base().0;
    for region in regions {
        let (first, last) = (region.start().0, region.end().0.min(end));
        if first >= last {
            continue;
        }
        let count = (last - first) >> PAGE_SHIFT;
        let (gfn, mfn) = (Gfn(first >> PAGE_SHIFT), Mfn(first >> PAGE_SHIFT));
        memory.p2m.map(gfn, mfn, count, kind).map_err(|error| FirstError::Map(region.start(), error))?;
    }
    Ok(())
}

/// Gives the devices' interrupts to the domain: each is backed by the physical one of its number.
fn route_interrupts(domain: DomainRef<'_>, tree: &HardwareDomainTree) -> Result<(), FirstError> {
    for interrupt in &tree.interrupts {
        domain.hv.give_interrupt(interrupt.intid, domain.id).map_err(FirstError::Call)?;
        domain.attach_interrupt(interrupt.intid);
    }
    for intid in &tree.withheld {
        log::warn!(
            "interrupt {} is the console's: devices of the first domain that share it get none",
            intid.0
        );
    }
    Ok(())
}
