//! A partial device tree: the nodes that a guest gets for devices that are passed through to it.
//!
//! The binding is Xen's. Below `/passthrough` is what goes into the guest's tree; `xen,reg` (machine address, size,
//! guest address), `xen,path` and `xen,force-assign-without-iommu` are for the hypervisor and do not. A node `/gic` is
//! there only for its phandle, which the guest's interrupt controller gets.

use alloc::string::String;
use alloc::vec::Vec;

use machine_model::tree::GIC_PHANDLE;

use super::{Device, PassthroughError, Window};
use crate::platform::tree::{Place, Then, Tree, cells, entries};
use crate::platform::{Interrupt, Region};
use xenolith_core::types::Intid;
use xenolith_core::types::{Ipa, PAGE_SIZE, Pa};

/// Devices in one tree at most.
const MAX_DEVICES: usize = 64;
/// Cells of an interrupt at the guest's controller.
const INTERRUPT_CELLS: usize = 3;

/// A partial device tree that has been read.
pub struct Fragment<'a> {
    tree: Tree<'a>,
    devices: Vec<Device>,
}

impl<'a> Fragment<'a> {
    /// Reads the flattened tree that starts at the first byte; bytes after its end are ignored.
    ///
    /// # Errors
    ///
    /// [`PassthroughError`] says what is wrong in which node. That the host has such devices is not checked here.
    pub fn read(bytes: &'a [u8]) -> Result<Fragment<'a>, PassthroughError> {
        let tree = Tree::open(bytes).map_err(PassthroughError::Tree)?;
        let gic = tree.find(|place| {
            let phandle = place.number("phandle").or_else(|| place.number("linux,phandle"));
            phandle.filter(|_| place.path() == "/gic")
        });
        let gic = gic.unwrap_or(GIC_PHANDLE);
        let (mut devices, mut result, mut found) = (Vec::new(), Ok(()), false);
        tree.walk(&mut |place| {
            let in_passthrough = place.path() == "/passthrough" || found_below(place);
            found |= in_passthrough;
            if place.parent().is_some() && !in_passthrough {
                return Then::Over;
            }
            match device(&tree, gic, place) {
                Ok(device) => devices.extend(device.filter(|_| in_passthrough)),
                Err(error) => result = Err(error),
            }
            if devices.len() > MAX_DEVICES {
                result = Err(bad(place, "xen,reg", "is that of more devices than one domain may have"));
            }
            if result.is_ok() { Then::Into } else { Then::Stop }
        });
        result?;
        if !found {
            return Err(PassthroughError::NoPassthrough);
        }
        Ok(Fragment { tree, devices })
    }

    /// The devices that it asks for, in its order.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The tree itself.
    pub fn tree(&self) -> &Tree<'a> {
        &self.tree
    }
}

fn found_below(place: &Place<'_, '_>) -> bool {
    place.path().starts_with("/passthrough/")
}

fn bad(place: &Place<'_, '_>, property: &'static str, problem: &'static str) -> PassthroughError {
    PassthroughError::BadProperty { node: place.path(), property, problem }
}

/// What a node asks for, if it asks for anything.
fn device(tree: &Tree<'_>, gic: u32, place: &Place<'_, '_>) -> Result<Option<Device>, PassthroughError> {
    let (reg, path) = (place.bytes("xen,reg"), place.bytes("xen,path"));
    let forced = place.bytes("xen,force-assign-without-iommu").is_some();
    if reg.is_none() && path.is_none() {
        return Ok(None);
    }
    let Some(reg) = reg else {
        return Err(bad(place, "xen,reg", "is missing, and `xen,path` is there: they go together"));
    };
    let host = match place.text("xen,path") {
        Some(path) if path.starts_with('/') => Some(String::from(path)),
        None if path.is_none() => None,
        _ => return Err(bad(place, "xen,path", "is not the full path of a node")),
    };
    if host.is_none() && !forced {
        return Err(bad(place, "xen,path", "is missing, and `xen,reg` is there: they go together"));
    }
    if !forced {
        return Err(PassthroughError::NoIommu { node: place.path() });
    }
    Ok(Some(Device {
        node: place.path(),
        host,
        windows: windows(place, reg)?,
        interrupts: interrupts(tree, gic, place)?,
    }))
}

fn windows(place: &Place<'_, '_>, reg: &[u8]) -> Result<Vec<Window>, PassthroughError> {
    let bad = |problem| bad(place, "xen,reg", problem);
    let no_entry = "is no list of (machine address, size, guest address) with the cells of the node above";
    let parent = place.parent().ok_or_else(|| bad(no_entry))?;
    let (address, size) = (parent.address_cells(), parent.size_cells());
    let entry = address.saturating_mul(2).saturating_add(size).saturating_mul(4);
    if entry == 0 || reg.is_empty() || !reg.len().is_multiple_of(entry) {
        return Err(bad(no_entry));
    }
    let mut windows: Vec<Window> = Vec::new();
    for [machine, size, guest] in entries(reg, [address, size, address]) {
        let (Some(machine), Some(size), Some(guest)) = (machine, size, guest) else {
            return Err(bad(no_entry));
        };
        if [machine, size, guest].iter().any(|value| !value.is_multiple_of(PAGE_SIZE)) {
            return Err(bad("has an address or a size that is not a multiple of 4 KiB"));
        }
        let region = Region::new(Pa(machine), size).filter(|_| guest.checked_add(size).is_some());
        let machine = region.ok_or_else(|| bad("has an empty range, or one that wraps"))?;
        windows.push(Window { machine, guest: Ipa(guest) });
    }
    Ok(windows)
}

/// The node's interrupts at the guest's interrupt controller.
fn interrupts(tree: &Tree<'_>, gic: u32, place: &Place<'_, '_>) -> Result<Vec<Interrupt>, PassthroughError> {
    let lines: Vec<Option<Interrupt>> = if place.bytes("interrupts-extended").is_some() {
        tree.interrupts(place, gic).into_iter().filter(Option::is_some).collect()
    } else if place.interrupt_parent().is_none_or(|parent| parent == gic || parent == GIC_PHANDLE) {
        let list: Vec<u32> = cells(place.bytes("interrupts").unwrap_or_default()).collect();
        if !list.len().is_multiple_of(INTERRUPT_CELLS) {
            return Err(bad(place, "interrupts", "has not three cells for each interrupt"));
        }
        list.chunks_exact(INTERRUPT_CELLS).map(Interrupt::from_specifier).collect()
    } else {
        Vec::new()
    };
    let shared = |line: &Option<Interrupt>| line.filter(|line| line.intid >= Intid::FIRST_SHARED);
    let shared: Option<Vec<Interrupt>> = lines.iter().map(shared).collect();
    shared.ok_or_else(|| bad(place, "interrupts", "names something else than a shared interrupt (SPI)"))
}
