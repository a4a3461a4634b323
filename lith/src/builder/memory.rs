//! A guest's memory.

use anyhow::{Result, bail};
use machine_model::{Region, layout};

use crate::config::GuestConfig;
use crate::xen::Xen;
use xenolith_abi::{DomId, Gfn};

/// log2 of the pages in a block of 2 MiB.
const LARGE_ORDER: u32 = 9;
/// Pages of a large block.
const LARGE_PAGES: u64 = 1 << LARGE_ORDER;
/// What a domain may own besides its RAM, in KiB; as Xen's tools set it.
const SLACK_KIB: u64 = 1024;

/// KiB that the domain may own.
pub fn limit_kib(config: &GuestConfig) -> u64 {
    (config.memory >> 10).saturating_add(SLACK_KIB)
}

/// Bytes for translation tables, as Xen's tools reckon: 1 MiB for each vCPU, 4 KiB for each MiB of RAM, 512 KiB.
pub fn paging_pool(config: &GuestConfig) -> u64 {
    let vcpus = u64::from(config.vcpus) << 20;
    let memory = (config.memory >> 20) << 12;
    vcpus.saturating_add(memory).saturating_add(512 << 10)
}

/// Whether the machine has what the guest needs, as far as that can be told before anything is made.
///
/// # Errors
///
/// It has not; the error says how much there is.
pub fn check(xen: &dyn Xen, config: &GuestConfig) -> Result<()> {
    if xen.machine()?.free_pages < config.memory / layout::PAGE_SIZE {
        bail!("{}", too_little(xen, config, 0));
    }
    Ok(())
}

/// Gives the domain its RAM and the pages that it shares with us from its start. Returns the banks of RAM.
pub fn give(xen: &dyn Xen, config: &GuestConfig, domain: DomId) -> Result<Vec<Region>> {
    let Some(banks) = layout::banks(config.memory) else {
        bail!("{} MiB of memory are more than a guest has addresses for", config.memory >> 20);
    };
    let mut given = 0u64;
    for bank in &banks {
        given = given.saturating_add(fill(xen, domain, *bank)?);
    }
    if given < config.memory / layout::PAGE_SIZE {
        bail!("{}", too_little(xen, config, given));
    }
    let first = layout::MAGIC.first_frame().0;
    let magic: Vec<Gfn> = (first..first.saturating_add(layout::MAGIC_PAGES)).map(Gfn).collect();
    if xen.populate(domain, 0, &magic)? < magic.len() {
        bail!("{}", too_little(xen, config, given));
    }
    Ok(banks)
}

/// Gives the domain a bank, in large blocks where that goes. Returns the number of pages that it got.
fn fill(xen: &dyn Xen, domain: DomId, bank: Region) -> Result<u64> {
    let first = bank.first_frame().0;
    let pages = bank.size / layout::PAGE_SIZE;
    let blocks: Vec<Gfn> = (0..pages / LARGE_PAGES).map(|block| Gfn(first + block * LARGE_PAGES)).collect();
    let large = xen.populate(domain, LARGE_ORDER, &blocks)? as u64 * LARGE_PAGES;
    // Where no large blocks are left there may be single pages.
    let mut given = large;
    while given < pages {
        let end = pages.min(given + LARGE_PAGES);
        let frames: Vec<Gfn> = (given..end).map(|page| Gfn(first + page)).collect();
        let some = xen.populate(domain, 0, &frames)?;
        given += some as u64;
        if some < frames.len() {
            break;
        }
    }
    Ok(given)
}

fn too_little(xen: &dyn Xen, config: &GuestConfig, given: u64) -> String {
    let free = xen.machine().map_or(0, |machine| machine.free_pages).saturating_add(given);
    let mib = |pages: u64| pages >> 8;
    format!(
        "the machine has too little free memory: the guest needs {} MiB, and {} MiB are free; destroy a guest or \
         lower `memory`",
        config.memory >> 20,
        mib(free)
    )
}
