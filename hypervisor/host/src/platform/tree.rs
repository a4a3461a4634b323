//! Walking a flattened device tree with what a node inherits from the nodes above it: its address, its interrupt
//! parent, whether it is enabled.
//!
//! [`Tree::open`] refuses what is damaged or too large; after that no reading of the tree fails for the tree's shape, and
//! each walk ends within a bound. Nodes that are nested too deeply are in none of them, since each level costs stack.
//! Values inside properties stay allegations: readers give `None`.

mod shape;

use alloc::collections::BTreeMap;
use alloc::string::String;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use super::error::PlatformError;
use super::left_out::LeftOuts;
use super::region::Region;
use xenolith_core::types::Pa;

/// Levels of nodes that are read, the root's being the first. Trees of real boards stay below 10.
const MAX_DEPTH: usize = 16;
/// Entries of one property that are looked at.
const MAX_ENTRIES: usize = 256;
/// Characters of a node's path that an error message keeps.
const MAX_PATH: usize = 160;

/// A device tree of sound shape and bounded size.
pub struct Tree<'a> {
    fdt: Fdt<'a>,
    phandles: BTreeMap<u32, FdtNode<'a>>,
}

/// What a walk does after a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Go on with its children.
    Into,
    /// Leave its children out.
    Over,
    /// End the walk.
    Stop,
}

/// What an entry of a `reg` comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegEntry {
    /// So many bytes of the machine's.
    Region(Region),
    /// Its size is 0.
    Empty,
    /// No chain of `ranges` brings it to the CPU's address space, or it ends behind that.
    Unreachable,
}

/// A node and where it stands.
#[derive(Clone, Copy)]
pub struct Place<'a, 'p> {
    /// The node.
    pub node: FdtNode<'a>,
    parent: Option<&'p Place<'a, 'p>>,
    depth: usize,
    // Read once, because each node below asks for them.
    address_cells: usize,
    size_cells: usize,
    ranges: Option<&'a [u8]>,
    interrupt_parent: Option<u32>,
    enabled: bool,
}

impl<'a> Tree<'a> {
    /// Checks the tree that starts at the first byte. Bytes after its end (by its own header) are ignored.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Truncated`], [`BadMagic`](PlatformError::BadMagic), [`TooLarge`](PlatformError::TooLarge),
    /// [`Damaged`](PlatformError::Damaged), [`TooManyNodes`](PlatformError::TooManyNodes).
    pub fn open(bytes: &'a [u8]) -> Result<Tree<'a>, PlatformError> {
        let mut tree = Tree::open_without_phandles(bytes)?;
        let mut phandles = BTreeMap::new();
        tree.walk(&mut |place| {
            if let Some(phandle) = place.number("phandle").or_else(|| place.number("linux,phandle")) {
                phandles.entry(phandle).or_insert(place.node);
            }
            Then::Into
        });
        tree.phandles = phandles;
        Ok(tree)
    }

    /// As [`Self::open`], but the tree finds no node by its phandle. Allocates nothing.
    pub fn open_without_phandles(bytes: &'a [u8]) -> Result<Tree<'a>, PlatformError> {
        Ok(Tree { fdt: Fdt::new_unchecked(shape::checked(bytes)?), phandles: BTreeMap::new() })
    }

    /// Notes what nobody is going to use: IOMMUs, and nodes that no walk reaches because they are nested too deeply, by the
    /// first one on each way down.
    pub fn note_unused(&self, left_out: &mut LeftOuts) {
        self.walk(&mut |place| {
            if place.is_iommu() && place.is_enabled() {
                left_out.note(
                    place.path(),
                    "it is an IOMMU, for which there is no driver; no domain sees it, and DMA is not confined",
                );
            }
            if place.is_deepest() {
                for node in place.node.children() {
                    let path = Place::new(node, Some(place)).path();
                    left_out
                        .note(path, "it is nested more than 16 levels deep; it is left out with all below it");
                }
            }
            Then::Into
        });
    }

    /// The flattened tree, whose shape is sound.
    pub fn fdt(&self) -> Fdt<'a> {
        self.fdt
    }

    /// The root node.
    pub fn root(&self) -> Place<'a, 'a> {
        Place::new(self.fdt.root(), None)
    }

    /// The header's memory reservation block: addresses and sizes.
    pub fn memory_reservations(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        self.fdt.memory_reservations().map(|entry| (entry.address(), entry.size()))
    }

    /// The node that a phandle names.
    pub fn by_phandle(&self, phandle: u32) -> Option<&FdtNode<'a>> {
        self.phandles.get(&phandle)
    }

    /// A phandle that no node has.
    pub fn free_phandle(&self) -> u32 {
        // Any of more consecutive numbers than there are nodes has a free one among them.
        (FIRST_OWN_PHANDLE..u32::MAX).find(|phandle| !self.phandles.contains_key(phandle)).unwrap_or(0)
    }

    /// Visits each node, parents before children, in the tree's order.
    pub fn walk(&self, visit: &mut dyn FnMut(&Place<'a, '_>) -> Then) {
        self.root().walk(visit);
    }

    /// What the first node for which `found` gives something gives.
    pub fn find<T>(&self, mut found: impl FnMut(&Place<'a, '_>) -> Option<T>) -> Option<T> {
        let mut result = None;
        self.walk(&mut |place| {
            result = found(place);
            if result.is_some() { Then::Stop } else { Then::Into }
        });
        result
    }

    /// What `found` gives for the node that `name` means: a path (unit addresses may be left out), or an alias of
    /// `/aliases`, either with options behind a colon. Allocates nothing.
    pub fn at<T>(&self, name: &str, found: impl FnOnce(&Place<'a, '_>) -> Option<T>) -> Option<T> {
        let name = name.split(':').next()?;
        let path = if name.starts_with('/') { name } else { text(&self.fdt.root().child("aliases")?, name)? };
        let (mut found, mut result) = (Some(found), None);
        self.root().descend(path.strip_prefix('/')?, &mut |place| {
            result = found.take().and_then(|found| found(place));
        });
        result
    }
}

/// Where phandles of nodes that the hypervisor adds start; libxl uses the same number.
const FIRST_OWN_PHANDLE: u32 = 0xfde8;

impl<'a, 'p> Place<'a, 'p> {
    fn new(node: FdtNode<'a>, parent: Option<&'p Place<'a, 'p>>) -> Self {
        let cells = |property, default| {
            number(&node, property).and_then(|cells| usize::try_from(cells).ok()).unwrap_or(default)
        };
        let status = bytes(&node, "status");
        Place {
            node,
            parent,
            depth: parent.map_or(1, |parent| parent.depth.saturating_add(1)),
            address_cells: cells("#address-cells", 2),
            size_cells: cells("#size-cells", 1),
            ranges: bytes(&node, "ranges"),
            interrupt_parent: number(&node, "interrupt-parent")
                .or_else(|| parent.and_then(|parent| parent.interrupt_parent)),
            enabled: matches!(status, None | Some(b"okay\0" | b"ok\0"))
                && parent.is_none_or(|parent| parent.enabled),
        }
    }

    fn walk(&self, visit: &mut dyn FnMut(&Place<'a, '_>) -> Then) -> Then {
        match visit(self) {
            Then::Into => {}
            Then::Over => return Then::Into,
            Then::Stop => return Then::Stop,
        }
        for child in self.children() {
            if child.walk(visit) == Then::Stop {
                return Then::Stop;
            }
        }
        Then::Into
    }

    /// Visits the node at a path from here, if there is one that a walk reaches.
    fn descend(&self, path: &str, visit: &mut dyn FnMut(&Place<'a, '_>)) {
        let path = path.trim_start_matches('/');
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        if name.is_empty() {
            visit(self);
        } else if !self.is_deepest()
            && let Some(child) = self.node.child(name)
        {
            Place::new(child, Some(self)).descend(rest, visit);
        }
    }

    /// The nodes right below, with this one above them. Whoever goes down by them goes down [`MAX_DEPTH`] levels at most.
    pub fn children<'s>(&'s self) -> impl Iterator<Item = Place<'a, 's>> {
        let readable = if self.is_deepest() { 0 } else { usize::MAX };
        self.node.children().take(readable).map(move |node| Place::new(node, Some(self)))
    }

    /// Whether the nodes below are nested too deeply to be read.
    fn is_deepest(&self) -> bool {
        self.depth >= MAX_DEPTH
    }

    /// The node above; `None` for the root.
    pub fn parent(&self) -> Option<&'p Place<'a, 'p>> {
        self.parent
    }

    /// The node's full path, cut at a length fit for a message if it is very long.
    pub fn path(&self) -> String {
        let Some(parent) = self.parent else { return String::from("/") };
        let mut path = parent.path();
        if path != "/" {
            path.push('/');
        }
        if path.len() < MAX_PATH {
            path.extend(self.node.name().chars().take(MAX_PATH));
        }
        path
    }

    /// What is wrong with a property of this node.
    #[cold]
    #[inline(never)]
    pub fn bad(&self, property: &'static str, problem: &'static str) -> PlatformError {
        PlatformError::BadProperty { node: self.path(), property, problem }
    }

    /// A property's bytes.
    pub fn bytes(&self, property: &str) -> Option<&'a [u8]> {
        bytes(&self.node, property)
    }

    /// A property that is one cell.
    pub fn number(&self, property: &str) -> Option<u32> {
        number(&self.node, property)
    }

    /// A property that is one string.
    pub fn text(&self, property: &str) -> Option<&'a str> {
        text(&self.node, property)
    }

    /// Whether one of the node's `compatible` strings is one of `names`.
    #[inline(never)]
    pub fn is_compatible(&self, names: &[&str]) -> bool {
        is_compatible(&self.node, names)
    }

    /// Whether the node is an IOMMU, of whatever kind (Linux, bindings/iommu/iommu.txt).
    pub fn is_iommu(&self) -> bool {
        self.bytes("#iommu-cells").is_some()
    }

    /// Whether the node and all above it have no `status`, or one that says "okay".
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Cells of an address in this node's children's `reg` (Devicetree Specification 2.3.5: 2 if not said).
    pub fn address_cells(&self) -> usize {
        self.address_cells
    }

    /// Cells of a size in this node's children's `reg` (1 if not said).
    pub fn size_cells(&self) -> usize {
        self.size_cells
    }

    /// The node's `reg` as machine addresses. An entry that is no range of them is `None`.
    pub fn regions(&self) -> impl Iterator<Item = Option<Region>> + use<'a, '_, 'p> {
        self.reg_entries().map(|entry| match entry {
            RegEntry::Region(region) => Some(region),
            RegEntry::Empty | RegEntry::Unreachable => None,
        })
    }

    /// The node's `reg`, entry by entry.
    pub fn reg_entries(&self) -> impl Iterator<Item = RegEntry> + use<'a, '_, 'p> {
        let cells = self.reg_cells();
        let reg = if cells.contains(&0) { &[] } else { self.bytes("reg").unwrap_or_default() };
        entries(reg, cells).map(move |[address, size]| {
            if size == Some(0) {
                return RegEntry::Empty;
            }
            let region = || self.parent?.machine_region(address?, size?);
            region().map_or(RegEntry::Unreachable, RegEntry::Region)
        })
    }

    /// Cells of an address and of a size in the node's own `reg`.
    fn reg_cells(&self) -> [usize; 2] {
        self.parent.map_or([0, 0], |parent| [parent.address_cells, parent.size_cells])
    }

    /// Whether the node's `reg` does not consist of whole entries, each an address and a size.
    pub fn has_ragged_reg(&self) -> bool {
        let cells = self.reg_cells();
        let entry = cells[0].saturating_add(cells[1]).saturating_mul(4);
        let reg = self.bytes("reg").unwrap_or_default();
        !reg.is_empty() && (cells.contains(&0) || !reg.len().is_multiple_of(entry))
    }

    /// Whether the node's `reg` has more entries than [`Place::regions`] looks at.
    pub fn has_more_regions(&self) -> bool {
        let [address, size] = self.reg_cells();
        let looked_at = address.saturating_add(size).saturating_mul(4).saturating_mul(MAX_ENTRIES);
        looked_at != 0 && self.bytes("reg").is_some_and(|reg| reg.len() > looked_at)
    }

    /// The windows of this node's `ranges` as machine addresses: for a PCI host bridge, where its bus appears.
    pub fn windows(&self) -> impl Iterator<Item = Option<Region>> + use<'a, '_, 'p> {
        let cells = [self.address_cells, self.parent.map_or(0, Place::address_cells), self.size_cells];
        entries(self.ranges.unwrap_or_default(), cells)
            .map(move |[_, parent, size]| self.parent?.machine_region(parent?, size?))
    }

    /// The windows of a PCI host bridge's [`Place::windows`] whose space code (the two bits at 24 of an address's first cell,
    /// IEEE 1275 PCI binding 2.2.1.1) says memory: neither configuration nor I/O.
    pub fn memory_windows(&self) -> impl Iterator<Item = Option<Region>> + use<'a, '_, 'p> {
        const MEMORY: u32 = 1 << 25;
        let above = self.parent.map_or(0, Place::address_cells);
        let entry =
            self.address_cells.saturating_add(above).saturating_add(self.size_cells).saturating_mul(4);
        let first_cells =
            self.ranges.unwrap_or_default().chunks(entry.max(1)).map(|entry| cells(entry).next());
        let is_memory = |first: Option<u32>| first.is_some_and(|first| first & MEMORY != 0);
        self.windows().zip(first_cells).filter(move |&(_, first)| is_memory(first)).map(|(window, _)| window)
    }

    /// Where `size` bytes at `address`, an address in this node's children's space, are for the CPU.
    fn machine_region(&self, address: u64, size: u64) -> Option<Region> {
        let mut bus = self;
        let mut address = address;
        while let Some(above) = bus.parent {
            // Without `ranges` the bus's addresses are none of the CPU's; an empty one says that they are the same
            // (Devicetree Specification 2.3.8).
            let ranges = bus.ranges?;
            if !ranges.is_empty() {
                let cells = [bus.address_cells, above.address_cells, bus.size_cells];
                address = entries(ranges, cells).find_map(|[child, parent, length]| {
                    let offset = address.checked_sub(child?)?;
                    (size <= length?.checked_sub(offset)?).then_some(parent?.checked_add(offset)?)
                })?;
            }
            bus = above;
        }
        Region::new(Pa(address), size)
    }

    /// Of a bus with `dma-ranges` that are not empty: the end of the machine addresses that they name, behind those of the buses
    /// above. Without the property, and with an empty one, a bus changes nothing.
    pub fn dma_end(&self) -> Option<u64> {
        let above = self.parent?;
        let cells = [self.address_cells, above.address_cells, self.size_cells];
        let ranges = entries(self.bytes("dma-ranges")?, cells);
        ranges.filter_map(|[_, address, size]| above.dma_end_of(address?, size?)).max()
    }

    /// The end of the machine addresses that devices below this bus reach with the addresses from `address` on.
    fn dma_end_of(&self, address: u64, size: u64) -> Option<u64> {
        let (mut bus, mut address, mut size) = (self, address, size);
        while let Some(above) = bus.parent {
            let ranges = bus.bytes("dma-ranges").unwrap_or_default();
            if !ranges.is_empty() {
                let cells = [bus.address_cells, above.address_cells, bus.size_cells];
                (address, size) = entries(ranges, cells).find_map(|[child, parent, length]| {
                    let offset = address.checked_sub(child?)?;
                    let there = length?.checked_sub(offset).filter(|&there| there > 0)?;
                    Some((parent?.checked_add(offset)?, size.min(there)))
                })?;
            }
            bus = above;
        }
        (size > 0).then(|| address.saturating_add(size))
    }

    /// The phandle of the node's interrupt parent: its own `interrupt-parent`, or the nearest one above.
    pub fn interrupt_parent(&self) -> Option<u32> {
        self.interrupt_parent
    }
}

/// A property's bytes.
#[inline(never)]
pub fn bytes<'a>(node: &FdtNode<'a>, name: &str) -> Option<&'a [u8]> {
    node.properties().find(|property| property.name() == name).and_then(|property| property.value_as().ok())
}

/// A property that is one cell.
#[inline(never)]
pub fn number(node: &FdtNode<'_>, name: &str) -> Option<u32> {
    bytes(node, name)?.try_into().ok().map(u32::from_be_bytes)
}

/// A property that is one string.
#[inline(never)]
pub fn text<'a>(node: &FdtNode<'a>, name: &str) -> Option<&'a str> {
    core::str::from_utf8(bytes(node, name)?.strip_suffix(&[0])?).ok()
}

/// Whether one of the node's `compatible` strings is one of `names`.
pub fn is_compatible(node: &FdtNode<'_>, names: &[&str]) -> bool {
    bytes(node, "compatible").is_some_and(|list| {
        list.split(|&byte| byte == 0).any(|have| names.iter().any(|name| have == name.as_bytes()))
    })
}

/// The entries of a property that is an array of records of `N` numbers, each of so many cells. A number of three
/// cells is a PCI address, whose first cell holds flags, not address bits. A number that has more cells than that
/// is `None`; an incomplete entry at the end is left out.
pub fn entries<const N: usize>(
    bytes: &[u8],
    cells: [usize; N],
) -> impl Iterator<Item = [Option<u64>; N]> + use<'_, N> {
    let total = cells.iter().try_fold(0usize, |sum, &cells| sum.checked_add(cells));
    let step = total.and_then(|total| total.checked_mul(4)).filter(|&step| step != 0);
    // With no sensible size of an entry there is none.
    let chunks = bytes.chunks_exact(step.unwrap_or(usize::MAX));
    chunks.take(MAX_ENTRIES).map(move |entry| {
        let mut rest = entry;
        cells.map(|cells| {
            let (here, behind) = rest.split_at_checked(cells.checked_mul(4)?)?;
            rest = behind;
            cell_value(here)
        })
    })
}

/// A number of one or two cells.
pub fn number_of_cells(bytes: &[u8]) -> Option<u64> {
    (matches!(bytes.len(), 4 | 8)).then(|| cell_value(bytes)).flatten()
}

fn cell_value(bytes: &[u8]) -> Option<u64> {
    let bytes = if bytes.len() == 12 { bytes.get(4..)? } else { bytes };
    (bytes.len() <= 8).then(|| bytes.iter().fold(0u64, |value, &byte| (value << 8) | u64::from(byte)))
}

/// The cells of a property; what is left over at its end is ignored.
pub fn cells(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|&cell| u32::from_be_bytes(cell))
}
