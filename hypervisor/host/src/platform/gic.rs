//! The interrupt controller: which GIC it is, and where its register blocks are.

use alloc::string::String;

use arrayvec::ArrayVec;
use machine_model::gic::{Gic, MAX_REDISTRIBUTOR_REGIONS, Redistributors};

use super::error::PlatformError;
use super::interrupt::Interrupt;
use super::region::Region;
use super::tree::{Place, Then, Tree, cells};
use xenolith_core::types::Intid;

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
        let value = place.bytes("redistributor-stride").map(|bytes| match bytes.len() {
            4 | 8 => Ok(bytes.iter().fold(0u64, |value, &byte| (value << 8) | u64::from(byte))),
            _ => Err(bad("redistributor-stride", "is neither one nor two cells")),
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
