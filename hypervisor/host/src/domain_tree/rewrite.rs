//! The walk over the host's tree that copies what the hardware domain gets, and collects what belongs to it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property};
use machine_model::tree::node::Value::{Bytes, Long, Text};
use machine_model::tree::node::{node, put};
use machine_model::tree::psci;

use super::filter::{PASSED_THROUGH, is_left_out, is_property_left_out};
use super::memory_like;
use super::nodes::{self, Style};
use super::{HardwareDomainSpec, TreeError};
use crate::platform::tree::{Place, Tree, number};
use crate::platform::{Interrupt, Platform, Region, Trigger, subtract};
use xenolith_core::types::{DomId, Intid};

/// What the walk gives.
pub struct Rewritten {
    /// The new tree.
    pub root: DeviceTreeNode,
    /// Device memory, as in [`super::HardwareDomainTree::mmio`].
    pub mmio: Vec<Region>,
    /// As in [`super::HardwareDomainTree::memory_like`].
    pub memory_like: Vec<Region>,
    /// SPIs, as in [`super::HardwareDomainTree::interrupts`].
    pub spis: Vec<Interrupt>,
    /// SPIs, as in [`super::HardwareDomainTree::withheld`].
    pub withheld: Vec<Intid>,
}

/// Registers and interrupts of the nodes that went one way.
#[derive(Default)]
struct Resources {
    registers: Vec<Region>,
    /// What of the registers is memory.
    memory_like: Vec<Region>,
    spis: BTreeMap<Intid, Trigger>,
}

struct Rewriter<'t, 'a> {
    tree: &'t Tree<'a>,
    platform: &'t Platform,
    spec: &'t HardwareDomainSpec<'t>,
    style: Style,
    /// What the domain's nodes have.
    given: Resources,
    /// What nodes have that the hypervisor keeps for itself.
    kept: Resources,
    has_gic: bool,
}

/// Makes the domain's tree out of the host's.
pub fn rewrite(
    tree: &Tree<'_>,
    platform: &Platform,
    spec: &HardwareDomainSpec<'_>,
) -> Result<Rewritten, TreeError> {
    let root = tree.root();
    let gic = platform.gic.phandle.unwrap_or_else(|| tree.free_phandle());
    let interrupt_cells = tree.by_phandle(gic).and_then(|node| number(node, "#interrupt-cells"));
    let style = Style {
        root_cells: [root.address_cells(), root.size_cells()],
        interrupt_cells: if interrupt_cells == Some(4) { 4 } else { 3 },
        gic,
    };
    let (given, kept) = (Resources::default(), Resources::default());
    let mut rewriter = Rewriter { tree, platform, spec, style, given, kept, has_gic: false };
    let mut new_root = rewriter.copy(&root, true);
    rewriter.append(&mut new_root)?;
    if !rewriter.has_gic {
        return Err(TreeError::NoInterruptController);
    }
    let mmio = rewriter.mmio();
    let memory_like = rewriter.memory_like(&mmio);
    let (spis, withheld) = rewriter.spis();
    Ok(Rewritten { root: new_root, mmio, memory_like, spis, withheld })
}

impl<'a> Rewriter<'_, 'a> {
    /// Copies the node and what is kept of the nodes below. `is_given` says whether the domain may use the devices.
    fn copy(&mut self, place: &Place<'a, '_>, is_given: bool) -> DeviceTreeNode {
        let is_given = is_given && place.bytes(PASSED_THROUGH).is_none();
        let mut node = DeviceTreeNode::new_unchecked(place.node.name());
        for property in place.node.properties() {
            if !is_property_left_out(self.tree, self.platform, place, property.name()) {
                node.add_property(DeviceTreeProperty::from_property(&property));
            }
        }
        if place.bytes(PASSED_THROUGH).is_some() {
            put(&mut node, "status", Text("disabled"));
        }
        if is_given && place.is_enabled() {
            self.given.take(self.tree, self.platform, place);
        }
        for child in place.children() {
            let path = child.path();
            if path == self.platform.gic.path {
                node.add_child(nodes::interrupt_controller(&self.style, self.platform, &child));
                self.has_gic = true;
            } else if self.spec.hidden.contains(&path.as_str()) {
                self.keep(&child);
            } else if !is_left_out(self.tree, self.platform, &child) {
                node.add_child(self.copy(&child, is_given));
            }
        }
        node
    }

    /// Notes what belongs to a hidden node and to those below it.
    fn keep(&mut self, place: &Place<'a, '_>) {
        self.kept.take(self.tree, self.platform, place);
        place.children().for_each(|child| self.keep(&child));
    }

    /// Adds what the hypervisor provides. A node of the host's with the same name gives way.
    fn append(&self, root: &mut DeviceTreeNode) -> Result<(), TreeError> {
        let (style, spec) = (&self.style, self.spec);
        let mut chosen = root.remove_child("chosen").unwrap_or_else(|| node("chosen", &[]));
        put(&mut chosen, "bootargs", Text(spec.arguments));
        if let Some((start, size)) = spec.initrd {
            let end = start.0.checked_add(size).ok_or(TreeError::TooWide { what: "initrd", value: size })?;
            put(&mut chosen, "linux,initrd-start", Long(start.0));
            put(&mut chosen, "linux,initrd-end", Long(end));
        }
        if let Some(seed) = self.platform.seed.of(DomId::CONTROL) {
            put(&mut chosen, "rng-seed", Bytes(&seed));
        }
        if let Some(seed) = self.platform.seed.kaslr(DomId::CONTROL) {
            put(&mut chosen, "kaslr-seed", Long(seed));
        }
        root.add_child(chosen);
        for &bank in spec.memory {
            root.add_child(nodes::memory(style, bank)?);
        }
        if !spec.static_shm.is_empty() {
            let found = root.remove_child("reserved-memory");
            let mut reserved = found.unwrap_or_else(|| node("reserved-memory", &[]));
            nodes::add_static_shm(style, &mut reserved, spec.static_shm)?;
            root.add_child(reserved);
        }
        root.add_child(nodes::cpus(self.tree, spec.vcpus));
        root.add_child(psci());
        root.add_child(nodes::timer(style, self.platform));
        root.add_child(nodes::hypervisor(style, spec)?);
        Ok(())
    }

    fn mmio(&self) -> Vec<Region> {
        // By whole pages on both sides, since stage 2 maps no less: a page with a register of the hypervisor's in it is
        // not the domain's, whatever else is there.
        let ram = subtract(&self.platform.memory, &self.platform.reserved);
        let mut owned = pages(&ram);
        owned.extend(pages(&self.platform.gic.regions()));
        owned.extend(pages(&self.kept.registers));
        subtract(&pages(&self.given.registers), &owned)
    }

    /// What of `mmio` is memory. A page that has registers beside it is none.
    fn memory_like(&self, mmio: &[Region]) -> Vec<Region> {
        let registers = subtract(&self.given.registers, &self.given.memory_like);
        let strict = subtract(mmio, &subtract(&pages(&self.given.memory_like), &pages(&registers)));
        subtract(mmio, &strict)
    }

    fn spis(&self) -> (Vec<Interrupt>, Vec<Intid>) {
        let (mut free, mut withheld) = (Vec::new(), Vec::new());
        for (&intid, &trigger) in &self.given.spis {
            // A line that a hidden device shares stays the hypervisor's: it has one owner.
            if self.kept.spis.contains_key(&intid) {
                withheld.push(intid);
            } else {
                free.push(Interrupt { intid, trigger });
            }
        }
        (free, withheld)
    }
}

/// The whole pages that the regions touch.
fn pages(regions: &[Region]) -> Vec<Region> {
    regions.iter().map(|region| region.to_pages()).collect()
}

impl Resources {
    fn take<'a>(&mut self, tree: &Tree<'a>, platform: &Platform, place: &Place<'a, '_>) {
        self.registers.extend(place.regions().flatten());
        self.memory_like.extend(memory_like::of(place));
        // What is behind a host bridge is in its windows, and no node says so of each device.
        if place.text("device_type") == Some("pci") {
            self.registers.extend(place.windows().flatten());
        }
        if let Some(gic) = platform.gic.phandle {
            let own = tree.interrupts(place, gic).into_iter().flatten();
            for line in own.chain(tree.mapped_interrupts(place, gic)).filter(|line| !line.is_private()) {
                self.spis.entry(line.intid).or_insert(line.trigger);
            }
        }
    }
}
