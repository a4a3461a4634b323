//! The interrupt controller: which GIC it is, and where its register blocks are.

use alloc::string::String;

use arrayvec::ArrayVec;

use super::error::PlatformError;
use super::interrupt::Interrupt;
use super::region::Region;
use super::tree::{Place, Then, Tree, cells};

/// Redistributor regions that are kept. A GICv3 needs one, and one per socket on large machines.
pub const MAX_REDISTRIBUTOR_REGIONS: usize = xenolith_isa::vgic::MAX_REGIONS;

const V2: [&str; 4] = ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic", "arm,gic-v2"];
const V3: [&str; 1] = ["arm,gic-v3"];

/// The machine's interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gic {
    /// The node's full path.
    pub path: String,
    /// The number by which other nodes name it.
    pub phandle: Option<u32>,
    /// The PPI (as INTID) by which it asks the hypervisor for maintenance.
    pub maintenance: u32,
    /// Version and register blocks.
    pub layout: GicLayout,
}

/// Where the register blocks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GicLayout {
    /// GICv2 with the virtualization extensions.
    V2 {
        /// GICD.
        distributor: Region,
        /// GICC.
        cpu_interface: Region,
        /// GICH.
        hypervisor_interface: Region,
        /// GICV.
        virtual_cpu_interface: Region,
    },
    /// GICv3, or a later one used as such.
    V3 {
        /// GICD.
        distributor: Region,
        /// GICR, one or several blocks of redistributors.
        redistributors: ArrayVec<Region, MAX_REDISTRIBUTOR_REGIONS>,
        /// Bytes from one redistributor to the next; `None` if its GICR_TYPER tells.
        stride: Option<u64>,
    },
}

impl GicLayout {
    /// All register blocks.
    pub fn regions(&self) -> ArrayVec<Region, { MAX_REDISTRIBUTOR_REGIONS + 1 }> {
        let mut all = ArrayVec::new();
        match self {
            GicLayout::V2 { distributor, cpu_interface, hypervisor_interface, virtual_cpu_interface } => {
                all.extend([*distributor, *cpu_interface, *hypervisor_interface, *virtual_cpu_interface]);
            }
            GicLayout::V3 { distributor, redistributors, .. } => {
                all.push(*distributor);
                all.extend(redistributors.iter().copied());
            }
        }
        all
    }
}

/// The first enabled GIC of the tree.
pub fn find(tree: &Tree<'_>) -> Result<Gic, PlatformError> {
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

fn read(place: &Place<'_, '_>) -> Result<Gic, PlatformError> {
    let bad = |property, problem| place.bad(property, problem);
    if !place.number("#interrupt-cells").is_some_and(|cells| (3..=4).contains(&cells)) {
        return Err(bad("#interrupt-cells", "is neither 3 nor 4"));
    }
    let mut regions = place.regions();
    let mut block = |problem| regions.next().flatten().ok_or_else(|| bad("reg", problem));
    let distributor = block("has no distributor (GICD)")?;
    let layout = if place.is_compatible(&V3) {
        let mut redistributors = ArrayVec::new();
        let count = place.number("#redistributor-regions").unwrap_or(1).max(1);
        for _ in 0..count {
            let region = block("has fewer redistributor (GICR) regions than `#redistributor-regions` says")?;
            redistributors.try_push(region).map_err(|_| bad("#redistributor-regions", "is more than 8"))?;
        }
        let stride = place.bytes("redistributor-stride").map(|bytes| match bytes.len() {
            4 | 8 => Ok(bytes.iter().fold(0u64, |value, &byte| (value << 8) | u64::from(byte))),
            _ => Err(bad("redistributor-stride", "is neither one nor two cells")),
        });
        GicLayout::V3 {
            distributor,
            redistributors,
            stride: stride.transpose()?.filter(|&stride| stride != 0),
        }
    } else {
        GicLayout::V2 {
            distributor,
            cpu_interface: block("has no CPU interface (GICC)")?,
            hypervisor_interface: block("has no hypervisor interface (GICH)")?,
            virtual_cpu_interface: block("has no virtual CPU interface (GICV)")?,
        }
    };
    let phandle = place.number("phandle").or_else(|| place.number("linux,phandle"));
    // The GIC's own interrupt comes to itself, whether or not the tree says so.
    let own: ArrayVec<u32, 3> = cells(place.bytes("interrupts").unwrap_or_default()).take(3).collect();
    let maintenance = Interrupt::from_specifier(&own).filter(|line| line.is_private());
    let maintenance =
        maintenance.ok_or_else(|| bad("interrupts", "does not name the maintenance PPI"))?.intid;
    Ok(Gic { path: place.path(), phandle, maintenance, layout })
}
