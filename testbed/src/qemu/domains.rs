//! A boot of several domains: their modules in memory, and the device tree that describes them.
//!
//! QEMU's `guest-loader` knows the first domain only. So the modules are loaded as plain files, and QEMU gets its own
//! device tree back with the nodes of Xen's boot-time domains ("dom0less") in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use dtoolkit::model::{DeviceTree, DeviceTreeNode};

use super::boot::BootDomain;
use super::layout::Layout;
use super::machine::{escaped, size_of};
use super::passthrough;
use super::static_shm::StaticShared;
use super::tree::{mark, pair, set};
use crate::paths::write_whole;

/// A file that the hypervisor finds in memory.
struct Module {
    /// What it is, by the multiboot binding.
    kind: &'static str,
    file: PathBuf,
    bootargs: String,
}

impl Module {
    fn kernel(file: &Path, bootargs: &str) -> Self {
        Module { kind: "multiboot,kernel", file: file.into(), bootargs: bootargs.into() }
    }

    fn ramdisk(file: &Path) -> Self {
        Module { kind: "multiboot,ramdisk", file: file.into(), bootargs: String::new() }
    }

    fn node(&self, address: u64, size: u64) -> Result<DeviceTreeNode> {
        let mut node = DeviceTreeNode::new(format!("module@{address:x}"))?;
        set(&mut node, "compatible", [self.kind, "multiboot,module"].as_slice())?;
        set(&mut node, "reg", [pair(address), pair(size)].concat())?;
        if !self.bootargs.is_empty() {
            set(&mut node, "bootargs", self.bootargs.as_str())?;
        }
        Ok(node)
    }
}

/// The modules of the first domain and those of each further one.
struct Plan<'a> {
    first: Vec<Module>,
    others: Vec<(&'a BootDomain, Vec<Module>)>,
}

/// Adds tree and modules of a boot with `domains` to a command line.
///
/// `host` is the machine's own tree, `first` the first domain's kernel, ramdisk and command line, `static_shared` what that
/// shares with `domains`, and `scratch` the folder for the trees.
pub fn add_to(
    command: &mut Command,
    mut host: DeviceTree,
    memory_mib: u64,
    first: (Option<&Path>, Option<&Path>, &str),
    (domains, static_shared): (&[BootDomain], &StaticShared),
    scratch: &Path,
) -> Result<()> {
    let plan = plan(&mut host, first, domains, scratch)?;
    let files: Vec<&Path> = plan.modules().map(|module| module.file.as_path()).collect();
    let sizes = files.iter().map(|file| size_of(file)).collect::<Result<Vec<u64>>>()?;
    let layout = Layout::place(memory_mib, &sizes)?;
    let places: Vec<(u64, u64)> = layout.addresses.into_iter().zip(sizes).collect();
    for (file, (address, _)) in files.iter().zip(&places) {
        let loader = format!("loader,file={},addr={address:#x},force-raw=on", escaped(file)?);
        command.arg("-device").arg(loader);
    }
    plan.describe(&mut host, static_shared, &places)?;
    let tree = scratch.join("machine.dtb");
    write_whole(&tree, &host.to_dtb())?;
    command.arg("-dtb").arg(tree);
    Ok(())
}

/// Decides on the modules; writes the trees of what the domains own, and marks that in the host's.
fn plan<'a>(
    host: &mut DeviceTree,
    (kernel, initrd, bootargs): (Option<&Path>, Option<&Path>, &str),
    domains: &'a [BootDomain],
    scratch: &Path,
) -> Result<Plan<'a>> {
    let kernel = kernel.map(|file| Module::kernel(file, bootargs));
    let first = kernel.into_iter().chain(initrd.map(Module::ramdisk)).collect();
    let mut others = Vec::new();
    for domain in domains {
        let mut modules = vec![Module::kernel(&domain.kernel, &domain.bootargs)];
        modules.extend(domain.ramdisk.as_deref().map(Module::ramdisk));
        if !domain.passthrough.is_empty() {
            let tree = passthrough::give(host, &domain.name, &domain.passthrough)?;
            let file = scratch.join(format!("passthrough-{}.dtb", domain.name));
            write_whole(&file, &tree.to_dtb())?;
            modules.push(Module { kind: "multiboot,device-tree", file, bootargs: String::new() });
        }
        others.push((domain, modules));
    }
    Ok(Plan { first, others })
}

impl Plan<'_> {
    /// All modules, in the order in which they are placed.
    fn modules(&self) -> impl Iterator<Item = &Module> {
        self.first.iter().chain(self.others.iter().flat_map(|(_, modules)| modules))
    }

    /// Adds the nodes under /chosen, with the modules at these places (address, size).
    fn describe(
        &self,
        host: &mut DeviceTree,
        static_shared: &StaticShared,
        places: &[(u64, u64)],
    ) -> Result<()> {
        let chosen = host.root.child_mut("chosen").context("QEMU's device tree has no /chosen")?;
        set_cells(chosen)?;
        let mut places = places.iter();
        let mut next = |module: &Module| {
            let (address, size) = places.next().context("a module has no place")?;
            module.node(*address, *size)
        };
        for module in &self.first {
            chosen.add_child(next(module)?);
        }
        static_shared.add_to(chosen)?;
        for (domain, modules) in &self.others {
            let mut node = domain_node(domain)?;
            for module in modules {
                node.add_child(next(module)?);
            }
            chosen.add_child(node);
        }
        Ok(())
    }
}

/// The node of a domain, without its modules.
fn domain_node(domain: &BootDomain) -> Result<DeviceTreeNode> {
    let mut node = DeviceTreeNode::new(domain.name.as_str())
        .with_context(|| format!("{:?} is no name for a domain", domain.name))?;
    set(&mut node, "compatible", "xen,domain")?;
    set_cells(&mut node)?;
    let kib = domain.memory_mib.checked_mul(1024).context("too much memory")?;
    set(&mut node, "memory", pair(kib))?;
    set(&mut node, "cpus", domain.vcpus)?;
    // A guest that is told about xenstore waits for it.
    set(&mut node, "xen,enhanced", if domain.xenstore { "enabled" } else { "no-xenstore" })?;
    if domain.capabilities != 0 {
        set(&mut node, "capabilities", domain.capabilities)?;
    }
    if domain.vpl011 {
        mark(&mut node, "vpl011")?;
    }
    if domain.direct_map {
        mark(&mut node, "direct-map")?;
    }
    domain.static_shared.add_to(&mut node)?;
    Ok(node)
}

fn set_cells(node: &mut DeviceTreeNode) -> Result<()> {
    set(node, "#address-cells", 2_u32)?;
    set(node, "#size-cells", 2_u32)
}

#[cfg(test)]
mod tests;
