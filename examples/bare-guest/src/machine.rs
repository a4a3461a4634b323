//! The machine, as its device tree describes it. Nothing is taken for granted: a guest that believes its tree runs where its
//! author has never been.

use core::fmt;
use core::ops::Range;

use arrayvec::ArrayVec;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use xenolith_abi::Intid;

/// Banks of RAM that are looked at; a guest of Xen has one, or two if it is large.
pub const MAX_BANKS: usize = 8;

/// Addresses of memory or of registers.
pub type Region = Range<u64>;

/// What the tree says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine<'a> {
    /// The machine's name.
    pub model: &'a str,
    /// The command line that the guest was given.
    pub arguments: &'a str,
    /// RAM.
    pub memory: ArrayVec<Region, MAX_BANKS>,
    /// The interrupt controller.
    pub gic: Gic,
    /// The virtual timer's interrupt.
    pub timer: Intid,
    /// The registers of a UART, if there is one.
    pub uart: Option<Region>,
    /// How PSCI is called.
    pub conduit: Conduit,
    /// The hypervisor's name and version, if it is Xen, or speaks its hypercalls.
    pub xen: Option<&'a str>,
}

/// An interrupt controller's registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv2: both parts are in memory.
    V2 {
        /// The part that all CPUs have in common.
        distributor: Region,
        /// The part of which each CPU sees its own.
        cpu: Region,
    },
    /// GICv3: a CPU's own part is partly in memory, and the other part consists of system registers.
    V3 {
        /// The part that all CPUs have in common.
        distributor: Region,
        /// One after the other, for the CPUs. There may be more regions than this first one, for more CPUs.
        redistributors: Region,
    },
}

/// The instruction by which firmware, or a hypervisor in its place, is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `hvc`.
    Hvc,
    /// `smc`.
    Smc,
}

/// What a guest cannot do without, and its tree does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The bytes are no device tree.
    Tree,
    /// RAM.
    Memory,
    /// An interrupt controller that is known here.
    Gic,
    /// The virtual timer's interrupt.
    Timer,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Missing::Tree => "no device tree is where x0 points",
            Missing::Memory => "the device tree names no memory",
            Missing::Gic => "the device tree names no GICv2 and no GICv3 with its registers",
            Missing::Timer => "the device tree does not say which interrupt the virtual timer has",
        })
    }
}

impl<'a> Machine<'a> {
    /// Reads a device tree.
    ///
    /// # Errors
    ///
    /// [`Missing`]: what it does not say.
    pub fn read(tree: &'a [u8]) -> Result<Machine<'a>, Missing> {
        let tree = Fdt::new(tree).map_err(|_| Missing::Tree)?;
        let root = tree.root();
        let memory: ArrayVec<Region, MAX_BANKS> = root
            .children()
            .filter(|node| text(node, "device_type") == Some("memory"))
            .flat_map(regions)
            .filter(|bank| !bank.is_empty())
            .take(MAX_BANKS)
            .collect();
        if memory.is_empty() {
            return Err(Missing::Memory);
        }
        let timer = compatible(root, &["arm,armv8-timer"]).and_then(|node| virtual_timer(&node));
        let hypervisor = tree.find_node("/hypervisor").filter(|node| is(node, &["xen,xen"]));
        Ok(Machine {
            model: text(&root, "model").unwrap_or("a machine without a name"),
            arguments: tree.find_node("/chosen").and_then(|node| text(&node, "bootargs")).unwrap_or_default(),
            memory,
            gic: gic(root).ok_or(Missing::Gic)?,
            timer: timer.ok_or(Missing::Timer)?,
            uart: compatible(root, &["arm,sbsa-uart", "arm,pl011"]).and_then(|node| regions(node).next()),
            conduit: conduit(tree),
            xen: hypervisor.and_then(|node| node.compatible()?.next()),
        })
    }

    /// The value of an argument `name=value` on the command line, if it is a number.
    pub fn number(&self, name: &str) -> Option<u32> {
        let mut arguments = self.arguments.split_ascii_whitespace();
        arguments.find_map(|argument| argument.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
}

fn gic(root: FdtNode<'_>) -> Option<Gic> {
    let parts = |node: FdtNode<'_>| {
        let mut parts = regions(node);
        Some((parts.next()?, parts.next()?))
    };
    if let Some(node) = compatible(root, &["arm,gic-v3"]) {
        let (distributor, redistributors) = parts(node)?;
        return Some(Gic::V3 { distributor, redistributors });
    }
    let (distributor, cpu) = parts(compatible(root, &["arm,cortex-a15-gic", "arm,gic-400"])?)?;
    Some(Gic::V2 { distributor, cpu })
}

/// The third of a timer's interrupts is the virtual timer's (Linux, `timer/arm,arch_timer.yaml`), and a private one.
fn virtual_timer(node: &FdtNode<'_>) -> Option<Intid> {
    const PRIVATE: u32 = 1;
    const CELLS: usize = 3;
    const INDEX: usize = 2;
    let property = node.property("interrupts")?;
    let mut cells = property.value().chunks_exact(size_of::<u32>()).skip(INDEX * CELLS);
    let mut cell = || cells.next()?.try_into().ok().map(u32::from_be_bytes);
    let (kind, number) = (cell()?, cell()?);
    let intid = Intid::FIRST_PRIVATE.0.checked_add(number)?;
    (kind == PRIVATE && intid < Intid::FIRST_SHARED.0).then_some(Intid(intid))
}

fn conduit(tree: Fdt<'_>) -> Conduit {
    match tree.find_node("/psci").and_then(|node| text(&node, "method")) {
        Some("smc") => Conduit::Smc,
        _ => Conduit::Hvc,
    }
}

/// The first child that is compatible with one of these.
fn compatible<'a>(root: FdtNode<'a>, names: &[&str]) -> Option<FdtNode<'a>> {
    root.children().find(|node| is(node, names))
}

fn is(node: &FdtNode<'_>, names: &[&str]) -> bool {
    node.compatible().is_some_and(|mut all| all.any(|name| names.contains(&name)))
}

fn text<'a>(node: &FdtNode<'a>, name: &str) -> Option<&'a str> {
    node.property(name)?.value_as().ok()
}

/// What `reg` says; without those that end behind the address space.
fn regions(node: FdtNode<'_>) -> impl Iterator<Item = Region> {
    node.reg().ok().flatten().into_iter().flatten().filter_map(|reg| {
        let start = reg.address::<u64>().ok()?;
        Some(start..start.checked_add(reg.size::<u64>().ok()?)?)
    })
}

#[cfg(test)]
mod tests;
