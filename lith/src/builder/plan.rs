//! What goes where in a guest's memory, computed before any of it is touched.

use anyhow::{Context, Result};
use machine_model::gic::Gic;
use machine_model::placement::{Placement, Request, place};
use machine_model::tree::{Hypervisor, Spec, Timer, VirtioMmio};
use machine_model::{Region, extended_regions, layout, tree};
use xenolith_abi::domctl::{ArchDomainConfig, DomainInfo, GicVersion};

use super::kernel::Files;
use crate::config::GuestConfig;
use crate::xen::Xen;
use xenolith_abi::{DomId, Ipa};

/// Bytes that seed the guest's random number generator.
const SEED: usize = 128;

/// What the hypervisor has said of itself and of the domain.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    version: (u16, u16),
    arch: &'a ArchDomainConfig,
    address_bits: u32,
    banks: &'a [Region],
}

impl<'a> Facts<'a> {
    /// Puts them together.
    pub fn new(
        version: (u16, u16),
        arch: &'a ArchDomainConfig,
        info: &DomainInfo,
        banks: &'a [Region],
    ) -> Facts<'a> {
        Facts { version, arch, address_bits: info.gpaddr_bits.into(), banks }
    }
}

/// Random bytes that a guest's kernel gets, new ones each time it starts.
#[derive(Clone, Copy)]
struct Seeds<'a> {
    rng: &'a [u8],
    kaslr: Option<u64>,
}

/// Where things go, and the device tree that tells the guest.
#[derive(Clone, Debug)]
pub struct Plan {
    placement: Placement,
    tree: Vec<u8>,
}

impl Plan {
    /// Makes the plan.
    ///
    /// # Errors
    ///
    /// What does not fit into the guest's memory, or cannot be shown in its device tree.
    pub fn new(xen: &dyn Xen, config: &GuestConfig, files: &Files, facts: &Facts<'_>) -> Result<Plan> {
        let mut seed = [0; SEED];
        xen.random(&mut seed);
        let kaslr_seed = config.kaslr.then(|| {
            let mut bytes = [0; 8];
            xen.random(&mut bytes);
            u64::from_ne_bytes(bytes)
        });
        let seeds = Seeds { rng: &seed, kaslr: kaslr_seed };
        // The tree's size does not depend on where the ramdisk is, but on whether there is one.
        let ramdisk_size = files.ramdisk.as_ref().map_or(0, |ramdisk| ramdisk.len() as u64);
        let placeholder = (ramdisk_size != 0).then_some(Region::new(0, ramdisk_size));
        let size = device_tree(config, &files.cmdline, facts, seeds, placeholder)?.len() as u64;
        let request = Request {
            bank: *facts.banks.first().context("a guest without memory")?,
            text_offset: files.header.text_offset,
            kernel_size: files.header.memory_size(files.kernel.len() as u64),
            device_tree_size: size,
            initrd_size: ramdisk_size,
        };
        let placement = place(&request)?;
        let ramdisk = placement.initrd.map(|start| Region::new(start, ramdisk_size));
        let tree = device_tree(config, &files.cmdline, facts, seeds, ramdisk)?;
        Ok(Plan { placement, tree })
    }

    /// The kernel's entry.
    pub fn entry(&self) -> u64 {
        self.placement.kernel
    }

    /// Where the device tree is.
    pub fn device_tree(&self) -> u64 {
        self.placement.device_tree
    }

    /// The device tree.
    pub fn tree(&self) -> &[u8] {
        &self.tree
    }

    /// Copies all of it into the domain.
    ///
    /// # Errors
    ///
    /// The domain's memory cannot be mapped.
    pub fn load(&self, xen: &dyn Xen, domain: DomId, files: &Files) -> Result<()> {
        let load = |what: &'static str, address: u64, bytes: &[u8]| {
            // A kernel may begin inside of a page; the others never do.
            let (frame, inside) = (Ipa(address).frame(), Ipa(address).offset());
            let padded;
            let bytes = if inside == 0 {
                bytes
            } else {
                padded = [vec![0; inside].as_slice(), bytes].concat();
                &padded
            };
            xen.load(domain, frame, bytes).with_context(|| format!("cannot load the {what}"))
        };
        load("kernel", self.placement.kernel, &files.kernel)?;
        if let (Some(address), Some(ramdisk)) = (self.placement.initrd, &files.ramdisk) {
            load("ramdisk", address, ramdisk)?;
        }
        load("device tree", self.placement.device_tree, &self.tree)
    }
}

fn device_tree(
    config: &GuestConfig,
    arguments: &str,
    facts: &Facts<'_>,
    seeds: Seeds<'_>,
    initrd: Option<Region>,
) -> Result<Vec<u8>> {
    let gic = GicVersion::from_number(facts.arch.gic_version).map_or(Gic::GUEST_V3, Gic::guest);
    let frequency = Some(facts.arch.clock_frequency).filter(|&frequency| frequency != 0);
    let virtio: Vec<VirtioMmio> = (0u32..)
        .zip(config.devices.iter())
        .filter_map(|(index, _)| layout::virtio_mmio(index))
        .map(|(registers, interrupt)| VirtioMmio { registers, interrupt })
        .collect();
    let regions = extended_regions(facts.banks, facts.address_bits);
    let spec = Spec {
        version: facts.version,
        vcpus: config.vcpus,
        memory: facts.banks,
        arguments,
        initrd,
        seed: seeds.rng,
        kaslr_seed: seeds.kaslr,
        stdout: None,
        gic,
        timer: Timer::guest(frequency),
        hypervisor: Some(Hypervisor {
            grant_window: layout::GRANT_WINDOW,
            extended_regions: &regions,
            event_ppi: layout::EVENTS,
        }),
        virtio: &virtio,
        static_shm: &[],
        uart: None,
        partial: None,
    };
    Ok(tree::build(&spec)?)
}
