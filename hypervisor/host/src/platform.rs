//! What the host's device tree says about the machine and about what to boot on it.
//!
//! The tree comes from firmware and boot scripts: it may be wrong, and then the machine's owner must read what is
//! wrong with it. So all of it is read and checked once, here; the rest of the hypervisor uses a [`Platform`] and
//! never looks at the tree again, except to rewrite it for the hardware domain ([`crate::domain_tree`]). Reading
//! takes bounded time, stack and memory whatever the bytes are, and does not panic.

mod boot;
mod cpus;
mod dma;
mod domains;
mod error;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod gic;
mod interrupt;
mod left_out;
mod memory;
mod module;
mod region;
mod seed;
mod static_shared;
#[cfg(test)]
mod tests;
pub mod tree;
mod uart;

use alloc::string::String;
use alloc::vec::Vec;

use arrayvec::ArrayVec;

pub use boot::{MAX_MODULES, Module};
pub use cpus::{Conduit, HostCpu, MAX_CPUS, Mpidr, Psci, StartMethod, Timer};
pub use dma::DmaLimit;
pub use domains::{BootDomain, Enhanced, MAX_BOOT_DOMAINS, Role};
pub use error::PlatformError;
pub use gic::{GicExtensions, HostGic, cpu_interface};
pub use interrupt::{Interrupt, Trigger};
pub use left_out::{LeftOut, LeftOuts};
pub use module::ModuleKind;
pub use region::{Region, merge, subtract};
pub use seed::Seed;
pub use static_shared::{EventEnd, StaticShared, StaticShmNode};
pub use uart::{EARLY_LENGTH, Uart, UartDevice, UartKind, early_console, parse_early};

use crate::command_line::Options;
use tree::Tree;

/// The machine, and what the boot loader left in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// RAM, ascending, neighbours joined; at least one bank.
    pub memory: Vec<Region>,
    /// What is not to be used as RAM: firmware's and devices' ranges, ascending, joined. They need not lie in RAM.
    pub reserved: Vec<Region>,
    /// How far devices reach with their DMA, if that is not all of RAM.
    pub dma_limit: Option<DmaLimit>,
    /// CPUs in the tree's order, each once; at least one, and at most [`MAX_CPUS`]. Which of them boots, its own MPIDR_EL1
    /// tells.
    pub cpus: Vec<HostCpu>,
    /// CPUs left out because they are more than [`MAX_CPUS`].
    pub cpus_left_out: usize,
    /// The interrupt controller.
    pub gic: HostGic,
    /// The generic timer.
    pub timer: Timer,
    /// The firmware that starts and stops CPUs and the machine.
    pub psci: Option<Psci>,
    /// The console, if the tree or the `dtuart=` option names one that has a driver.
    pub uart: Option<Uart>,
    /// The boot modules of the first domain, in order. They lie in RAM and do not overlap. Without a kernel among them there
    /// is no such domain, but for one that [`Platform::control`] may be.
    pub modules: ArrayVec<Module, MAX_MODULES>,
    /// The hypervisor's own command line.
    pub command_line: String,
    /// The first domain's command line.
    pub domain_arguments: String,
    /// The control domain, domain 0, if it is one that the tree describes as those to be started at boot.
    pub control: Option<BootDomain>,
    /// Domains to be started at boot, in the tree's order, the first one being domain 1. One whose node is wrong keeps
    /// its place, with what is wrong.
    pub boot_domains: Vec<Result<BootDomain, PlatformError>>,
    /// What the first domain has in common with those.
    pub first_shared: StaticShared,
    /// What is wrong with the nodes that say so; they are left out.
    pub first_errors: Vec<PlatformError>,
    /// What else of the tree is not used because it makes no sense.
    pub left_out: LeftOuts,
    /// What the random numbers of domains start from.
    pub seed: Seed,
}

impl Platform {
    /// Reads the flattened device tree that starts at the first byte; bytes after its end are ignored.
    ///
    /// # Errors
    ///
    /// [`PlatformError`] says what the tree lacks, or which node is wrong.
    pub fn parse(device_tree: &[u8]) -> Result<Platform, PlatformError> {
        let tree = Tree::open(device_tree)?;
        let mut left_out = LeftOuts::default();
        tree.note_unused(&mut left_out);
        let memory = memory::memory(&tree, &mut left_out)?;
        let reserved = memory::reserved(&tree, &mut left_out)?;
        let psci = cpus::psci(&tree)?;
        let (cpus, cpus_left_out) = cpus::cpus(&tree, psci, &mut left_out)?;
        let reserved = cpus::keep_release_addresses(&cpus, reserved);
        let gic = gic::find(&tree)?;
        let timer = cpus::timer(&tree, gic.phandle)?;
        let chosen = boot::chosen(&tree)?;
        check_modules(&chosen.modules, &memory)?;
        let domains = domains::read(&tree, &chosen.modules, &memory);
        let has_kernel = chosen.modules.iter().any(|module| module.kind == ModuleKind::Kernel);
        if !has_kernel && domains.control.is_none() && domains.domains.is_empty() {
            return Err(PlatformError::NoKernel);
        }
        let (options, _) = Options::parse(&chosen.command_line);
        let uart = uart::find(&tree, options.uart_path.as_deref(), gic.phandle);
        Ok(Platform {
            dma_limit: dma::limit(&tree, &memory),
            memory,
            reserved,
            cpus,
            cpus_left_out,
            gic,
            timer,
            psci,
            uart,
            modules: chosen.modules,
            command_line: chosen.command_line,
            domain_arguments: chosen.domain_arguments,
            control: domains.control,
            boot_domains: domains.domains,
            first_shared: domains.first,
            first_errors: domains.errors,
            left_out,
            seed: chosen.seed,
        })
    }

    /// The first domain's kernel.
    pub fn kernel(&self) -> Option<&Module> {
        match self.hardware() {
            Some(hardware) => Some(&hardware.kernel),
            None => self.modules.iter().find(|module| module.kind == ModuleKind::Kernel),
        }
    }

    /// The node that describes the first domain, if it is one of those to be started at boot.
    pub fn hardware(&self) -> Option<&BootDomain> {
        self.control.as_ref().filter(|control| control.role == Role::Hardware)
    }

    /// The first domain's ramdisk: a module, or what was given as for a bare Linux.
    pub fn ramdisk(&self) -> Option<&Module> {
        if let Some(hardware) = self.hardware() {
            return hardware.ramdisk.as_ref();
        }
        self.modules.iter().find(|module| module.kind == ModuleKind::Ramdisk)
    }

    /// The CPUs that take part when `own` boots: that one first, then those that it can start, in the tree's order.
    pub fn cpus_booted_by(&self, own: Mpidr) -> Vec<Mpidr> {
        let others = self.cpus.iter().filter(|cpu| cpu.mpidr != own && cpu.start.is_ok());
        core::iter::once(own).chain(others.map(|cpu| cpu.mpidr)).take(MAX_CPUS).collect()
    }

    /// The CPUs that `own`, which boots, has no way to start, and why.
    pub fn unstartable_cpus(&self, own: Mpidr) -> impl Iterator<Item = (&HostCpu, &'static str)> {
        let others = self.cpus.iter().filter(move |cpu| cpu.mpidr != own);
        others.filter_map(|cpu| Some((cpu, cpu.start.err()?)))
    }

    /// The nodes for memory that domains have in common, those of the first domain first.
    pub fn common_memory(&self) -> impl Iterator<Item = &StaticShmNode> {
        let others = self.boot_domains.iter().flatten().flat_map(|domain| &domain.shared.memory);
        self.first_shared.memory.iter().chain(others)
    }

    /// The domains to be started at boot whose nodes make sense.
    pub fn sound_boot_domains(&self) -> impl Iterator<Item = &BootDomain> {
        self.boot_domains.iter().flatten().chain(&self.control)
    }
}

/// The console of a tree that may lack all else: what a machine needs to say that its tree is wrong.
pub fn console(device_tree: &[u8]) -> Option<Uart> {
    let tree = Tree::open(device_tree).ok()?;
    let command_line = boot::chosen(&tree).map(|chosen| chosen.command_line).unwrap_or_default();
    let (options, _) = Options::parse(&command_line);
    let gic = gic::find(&tree).ok().and_then(|gic| gic.phandle);
    uart::find(&tree, options.uart_path.as_deref(), gic)
}

/// Whether a module lies in one bank of memory.
fn check_place(module: &Module, memory: &[Region]) -> Result<(), PlatformError> {
    if memory.iter().any(|bank| bank.contains(module.region)) {
        return Ok(());
    }
    let Module { path, kind, region, .. } = module.clone();
    Err(PlatformError::ModuleOutsideMemory { node: path, kind, region })
}

/// Whether two modules have no byte in common.
#[inline(never)]
fn check_apart(module: &Module, other: &Module) -> Result<(), PlatformError> {
    if !other.region.overlaps(module.region) {
        return Ok(());
    }
    Err(PlatformError::ModulesOverlap {
        nodes: [other.path.clone(), module.path.clone()],
        regions: [other.region, module.region],
    })
}

fn check_modules(modules: &[Module], memory: &[Region]) -> Result<(), PlatformError> {
    for (index, module) in modules.iter().enumerate() {
        check_place(module, memory)?;
        modules.iter().take(index).try_for_each(|other| check_apart(module, other))?;
    }
    Ok(())
}
