//! The device tree that a domain boots with.
//!
//! The hardware domain gets the host's tree, so that it drives the host's devices, less what the hypervisor drives
//! itself or emulates: [`hardware_domain`] copies node by node. Nothing is shown that does not work, and nothing is
//! mapped or routed that is not shown: the same walk that copies a node collects its registers and interrupts.

mod error;
mod extended;
mod filter;
mod memory_like;
mod nodes;
mod rewrite;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use dtoolkit::model::DeviceTree;
use machine_model::tree::StaticShm;

pub use error::TreeError;
pub use extended::extended_regions;
pub use filter::PASSED_THROUGH;

use crate::platform::tree::{Then, Tree};
use crate::platform::{Interrupt, Platform, Region};
use xenolith_core::types::{Intid, Ipa};

/// Bytes of a tree at most, as for a host's (Linux, Documentation/arch/arm64/booting.rst, section 2).
const MAX_TREE: usize = 2 << 20;

/// What the hardware domain is to have. Ranges are (first address, bytes).
#[derive(Clone, Copy, Debug)]
pub struct HardwareDomainSpec<'a> {
    /// The number of vCPUs, 1 to [`vcpu_limit`].
    pub vcpus: u16,
    /// RAM; at least one bank.
    pub memory: &'a [(Ipa, u64)],
    /// Its command line.
    pub arguments: &'a str,
    /// Its initial ramdisk.
    pub initrd: Option<(Ipa, u64)>,
    /// The Xen version (major, minor) that its `/hypervisor` node names.
    pub xen_version: (u16, u16),
    /// Where it may map grant-table frames.
    pub grant_window: (Ipa, u64),
    /// Free addresses where it may map other domains' memory, ascending.
    pub extended_regions: &'a [(Ipa, u64)],
    /// The PPI (as INTID) of event channels; [`free_private_interrupt`] finds one.
    pub event_interrupt: Intid,
    /// Memory that it has in common with other domains.
    pub static_shm: &'a [StaticShm<'a>],
    /// Full paths of nodes that the hypervisor keeps for itself, as the UART of its console.
    pub hidden: &'a [&'a str],
}

/// The hardware domain's tree and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardwareDomainTree {
    /// The flattened tree.
    pub dtb: Vec<u8>,
    /// Device memory to map at its own address: whole pages, ascending, apart from each other. None of it belongs to
    /// the interrupt controller, to a hidden device or to RAM that is not reserved.
    pub mmio: Vec<Region>,
    /// What of it is memory, whole pages too: the domain may choose its memory type itself.
    pub memory_like: Vec<Region>,
    /// The SPIs to route to it, ascending, each once.
    pub interrupts: Vec<Interrupt>,
    /// The SPIs that its devices share with a hidden one, so that they do not get them; ascending.
    pub withheld: Vec<Intid>,
}

/// Rewrites the host's device tree for the hardware domain. `platform` is what [`Platform::parse`] read in `host`.
///
/// # Errors
///
/// [`TreeError`] names what in `spec` cannot be shown in this host's tree.
pub fn hardware_domain(
    host: &[u8],
    platform: &Platform,
    spec: &HardwareDomainSpec<'_>,
) -> Result<HardwareDomainTree, TreeError> {
    let tree = Tree::open(host).map_err(TreeError::Host)?;
    check(&tree, platform, spec)?;
    let mut tree_out = DeviceTree::new();
    let rewritten = rewrite::rewrite(&tree, platform, spec)?;
    tree_out.root = rewritten.root;
    let dtb = tree_out.to_dtb();
    if dtb.len() > MAX_TREE {
        return Err(TreeError::TooLarge { size: dtb.len(), limit: MAX_TREE });
    }
    Ok(HardwareDomainTree {
        dtb,
        mmio: rewritten.mmio,
        memory_like: rewritten.memory_like,
        interrupts: rewritten.spis,
        withheld: rewritten.withheld,
    })
}

/// A PPI (as INTID) that no node of the host's tree uses: the highest one, which is 31 on most machines, the one that
/// Xen gives to guests.
pub fn free_private_interrupt(host: &[u8], platform: &Platform) -> Option<Intid> {
    let tree = Tree::open(host).ok()?;
    let used = used_ppis(&tree, platform);
    (Intid::FIRST_PRIVATE.0..Intid::FIRST_SHARED.0).rev().map(Intid).find(|&intid| used & ppi_bit(intid) == 0)
}

/// The PPIs in use, one bit each at their INTIDs.
fn used_ppis(tree: &Tree<'_>, platform: &Platform) -> u32 {
    let timer = platform.timer;
    let own =
        [timer.secure_physical, timer.physical, timer.r#virtual, timer.hypervisor, platform.gic.maintenance];
    let mut used = own.into_iter().fold(0, |used, intid| used | ppi_bit(intid));
    if let Some(gic) = platform.gic.phandle {
        tree.walk(&mut |place| {
            let lines = tree.interrupts(place, gic);
            used |= lines.into_iter().flatten().fold(0, |used, line| used | ppi_bit(line.intid));
            Then::Into
        });
    }
    used
}

fn ppi_bit(intid: Intid) -> u32 {
    1u32.checked_shl(intid.0).unwrap_or(0)
}

fn check(tree: &Tree<'_>, platform: &Platform, spec: &HardwareDomainSpec<'_>) -> Result<(), TreeError> {
    let limit = vcpu_limit(platform);
    if spec.vcpus == 0 {
        return Err(TreeError::NoVcpus);
    }
    if spec.vcpus > limit {
        return Err(TreeError::TooManyVcpus { vcpus: spec.vcpus, limit });
    }
    if spec.memory.is_empty() {
        return Err(TreeError::NoMemory);
    }
    let is_ppi = (Intid::FIRST_PRIVATE..Intid::FIRST_SHARED).contains(&spec.event_interrupt);
    if !is_ppi || used_ppis(tree, platform) & ppi_bit(spec.event_interrupt) != 0 {
        return Err(TreeError::EventPpiTaken(spec.event_interrupt));
    }
    Ok(())
}

/// vCPUs that a domain with the host's interrupt controller layout may have.
pub fn vcpu_limit(platform: &Platform) -> u16 {
    platform.gic.layout.max_vcpus()
}
