//! The interrupt controller: which GIC it is, and where its register blocks are.

use alloc::string::String;

use arrayvec::ArrayVec;
use machine_model::gic::{Gic, MAX_REDISTRIBUTOR_REGIONS, Redistributors};

use super::error::PlatformError;
use super::interrupt::Interrupt;
use super::region::Region;
use super::tree::{Place, Then, Tree, cells, number_of_cells};
use xenolith_core::types::{Intid, PAGE_SIZE};

const V2: [&str; 4] = ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic", "arm,gic-v2"];
const V3: [&str; 1] = ["arm,gic-v3"];

/// The machine's interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGic {
    /// The node's full path.
    pub path: String,
    /// The number by which other nodes name it.
    pub phandle: Option<u32>,
    /// The PPI (as INTID) by which it asks the hypervisor for maintenance.
    pub maintenance: Intid,
    /// What a guest finds of it that is shown the machine's own layout.
    pub layout: Gic,
    /// GICv2: its virtualization extensions. A GICv3 has them in system registers.
    pub extensions: Option<GicExtensions>,
    /// GICv3: bytes from one redistributor to the next; `None` if its GICR_TYPER tells.
    pub stride: Option<u64>,
}

/// The frames of a GICv2 with the virtualization extensions that a guest of its layout does not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GicExtensions {
    /// GICH, the virtual interface's control.
    pub control: Region,
    /// GICV, the virtual CPU interface, which guests get in the place of GICC.
    pub cpu: Region,
}

impl HostGic {
    /// All register blocks.
    pub fn regions(&self) -> ArrayVec<Region, { MAX_REDISTRIBUTOR_REGIONS + 3 }> {
        let shown = self.layout.regions().filter_map(Region::from_guest);
        let own = self.extensions.map(|GicExtensions { control, cpu }| [control, cpu]);
        shown.chain(own.into_iter().flatten()).collect()
    }
}

/// Where GICC_IIDR, or GICV_IIDR, is in a CPU interface: it reads as 0x..43b where Arm made it, and never as zero.
const IIDR: u64 = 0xfc;
/// Bytes of a CPU interface's registers: GICC_DIR has the second page to itself.
const CPU_INTERFACE: u64 = 0x2000;
/// Bytes between the pages of a CPU interface on a machine with pages of 64 KiB.
const ALIAS_STEP: u64 = 0x1_0000;

/// The part of a CPU interface's frame (GICC or GICV) that has the registers in a row. `read` reads the 32-bit register at
/// an offset in the frame.
///
/// Boards for pages of 64 KiB lead address bit 16 to the GIC-400's bit 12, and the bits between nowhere: its first page is
/// there 16 times, then its second. The frame is 128 KiB then, and the pages follow each other in the middle of it alone.
pub fn cpu_interface(frame: Region, read: impl Fn(u64) -> u32) -> Region {
    let last = ALIAS_STEP - PAGE_SIZE;
    let aliased = |identity: u32| identity != 0 && read(last + IIDR) == identity;
    if frame.size() < 2 * ALIAS_STEP || !aliased(read(IIDR)) {
        return frame;
    }
    let start = frame.start().0.saturating_add(last);
    Region::between(start, start.saturating_add(CPU_INTERFACE)).unwrap_or(frame)
}

/// The first enabled GIC of the tree.
pub fn find(tree: &Tree<'_>) -> Result<HostGic, PlatformError> {
    let mut found = None;
    tree.walk(&mut |place| {
        let known = place.is_compatible(&V2) || place.is_compatible(&V3);
        if known && place.is_enabled() && place.bytes("interrupt-controller").is_some() {
            found = Some(read(place));
            return Then::Stop;
        }
        Then::Into
    });
    found.unwrap_or(Err(PlatformError::NoInterruptController))
}

fn read(place: &Place<'_, '_>) -> Result<HostGic, PlatformError> {
    let bad = |property, problem| place.bad(property, problem);
    if !place.number("#interrupt-cells").is_some_and(|cells| (3..=4).contains(&cells)) {
        return Err(bad("#interrupt-cells", "is neither 3 nor 4"));
    }
    let mut regions = place.regions();
    let mut block = |problem| regions.next().flatten().ok_or_else(|| bad("reg", problem));
    let distributor = block("has no distributor (GICD)")?.as_guest();
    let (mut extensions, mut stride) = (None, None);
    let layout = if place.is_compatible(&V3) {
        let too_many = || bad("#redistributor-regions", "is more than 8");
        let mut regions: ArrayVec<_, MAX_REDISTRIBUTOR_REGIONS> = ArrayVec::new();
        let count = place.number("#redistributor-regions").unwrap_or(1).max(1);
        for _ in 0..count {
            let region = block("has fewer redistributor (GICR) regions than `#redistributor-regions` says")?;
            regions.try_push(region.as_guest()).map_err(|_| too_many())?;
        }
        let value = place.bytes("redistributor-stride").map(|bytes| {
            number_of_cells(bytes).ok_or_else(|| bad("redistributor-stride", "is neither one nor two cells"))
        });
        stride = value.transpose()?.filter(|&stride| stride != 0);
        let redistributors = Redistributors::new(&regions).ok_or_else(too_many)?;
        Gic::V3 { distributor, redistributors }
    } else {
        let cpu = block("has no CPU interface (GICC)")?.as_guest();
        extensions = Some(GicExtensions {
            control: block("has no hypervisor interface (GICH)")?,
            cpu: block("has no virtual CPU interface (GICV)")?,
        });
        Gic::V2 { distributor, cpu }
    };
    let phandle = place.number("phandle").or_else(|| place.number("linux,phandle"));
    // The GIC's own interrupt comes to itself, whether or not the tree says so.
    let own: ArrayVec<u32, 3> = cells(place.bytes("interrupts").unwrap_or_default()).take(3).collect();
    let maintenance = Interrupt::from_specifier(&own).filter(|line| line.is_private());
    let maintenance =
        maintenance.ok_or_else(|| bad("interrupts", "does not name the maintenance PPI"))?.intid;
    Ok(HostGic { path: place.path(), phandle, maintenance, layout, extensions, stride })
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_core::types::Pa;

    /// What a frame holds at an offset if its first page of registers is seen wherever `seen` says.
    fn found(size: u64, seen: impl Fn(u64) -> bool) -> (u64, u64) {
        let frame = Region::new(Pa(0xf902_0000), size).unwrap();
        let read = |offset: u64| {
            assert!(offset + 4 <= size, "outside of the frame");
            if offset % PAGE_SIZE == IIDR && seen(offset / PAGE_SIZE) { 0x0202_143b } else { 0 }
        };
        let registers = cpu_interface(frame, read);
        (registers.start().0 - frame.start().0, registers.size())
    }

    #[test]
    fn pages_that_repeat_are_found_where_they_follow_each_other() {
        assert_eq!(found(0x2_0000, |page| page < 16), (0xf000, 0x2000));
        assert_eq!(found(0x2_0000, |page| page == 0), (0, 0x2_0000), "a large frame without a copy");
        assert_eq!(found(0x2_0000, |_| false), (0, 0x2_0000), "no identity to be told by");
        assert_eq!(found(0x1_0000, |_| true), (0, 0x1_0000), "the second page is not in it");
        assert_eq!(found(0x2000, |page| page == 0), (0, 0x2000));
    }
}
