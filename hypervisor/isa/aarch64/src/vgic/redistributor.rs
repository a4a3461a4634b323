//! GICv3's redistributors: two frames of 64 KiB for each vCPU, one that describes it and one with its SGIs and PPIs.

use arrayvec::ArrayVec;

use super::distributor::{IIDR_V3, PIDR2_V3};
use super::register::{Field, GicAccess};
use super::{Fault, Vgic};
use machine_model::Region;
use machine_model::gic::MAX_REDISTRIBUTOR_REGIONS;
use machine_model::layout::REDISTRIBUTOR_SIZE;
use xenolith_core::types::VcpuId;

/// log2 of the bytes for one vCPU.
const SHIFT: u32 = REDISTRIBUTOR_SIZE.trailing_zeros();
/// Offset of the frame with SGIs and PPIs.
const SGI_FRAME: u32 = 0x1_0000;

/// Offsets in the first frame.
mod offset {
    pub const CTLR: u32 = 0x0;
    pub const IIDR: u32 = 0x4;
    pub const TYPER: u32 = 0x8;
    pub const TYPER_HIGH: u32 = 0xc;
    pub const WAKER: u32 = 0x14;
    pub const PIDR2: u32 = 0xffe8;
}

/// `GICR_TYPER.Last`: no redistributor follows in this region.
const TYPER_LAST: u64 = 1 << 4;

/// A run of redistributors.
#[derive(Clone, Copy, Debug)]
pub(super) struct RedistributorRegion {
    /// The vCPUs that have theirs here.
    first: u16,
    end: u16,
}

impl RedistributorRegion {
    /// Gives the vCPUs their places, in order. The regions have room for them all.
    #[expect(clippy::disallowed_methods, reason = "the collection has room of its own")]
    pub(super) fn lay_out(
        regions: &[Region],
        vcpus: u16,
    ) -> ArrayVec<RedistributorRegion, MAX_REDISTRIBUTOR_REGIONS> {
        let mut first = 0;
        let place = |region: &Region| {
            let room = u16::try_from(region.size >> SHIFT).unwrap_or(u16::MAX);
            let end = vcpus.min(u16::saturating_add(first, room));
            let placed = RedistributorRegion { first, end };
            first = end;
            placed
        };
        regions.iter().map(place).collect()
    }
}

impl Vgic {
    /// The vCPU whose frames have an offset of a region, and the offset in them. There may be none: a region may have room
    /// for more than there are.
    pub(super) fn redistributor(&self, region: usize, offset: u64) -> (Option<VcpuId>, u64) {
        let owner = self.regions.get(region).and_then(|region| {
            let vcpu = region.first.checked_add(u16::try_from(offset >> SHIFT).ok()?)?;
            (vcpu < region.end).then_some(VcpuId(vcpu))
        });
        (owner, offset & ((1 << SHIFT) - 1))
    }

    /// A load from the redistributor of `owner`, by whichever vCPU. Where no vCPU is, there is nothing.
    pub(super) fn read_redistributor(
        &mut self,
        owner: Option<VcpuId>,
        access: GicAccess,
    ) -> Result<u64, Fault> {
        let Some(owner) = owner else { return Ok(0) };
        if let Some(field) = private_field(access.offset) {
            return self.read_field(owner, field, access);
        }
        let word = match access.offset {
            offset::IIDR => IIDR_V3,
            offset::PIDR2 => PIDR2_V3,
            // No LPIs to enable, nothing in progress; awake, and so are its children.
            offset::CTLR | offset::WAKER => 0,
            offset::TYPER | offset::TYPER_HIGH => {
                return Ok(access.half_or_whole()?.of(self.redistributor_type(owner)));
            }
            _ => return Ok(0),
        };
        access.word().map(|()| word.into())
    }

    /// A store to the redistributor of `owner`.
    pub(super) fn write_redistributor(
        &mut self,
        owner: Option<VcpuId>,
        access: GicAccess,
        value: u64,
    ) -> Result<(), Fault> {
        let Some(owner) = owner else { return Ok(()) };
        match private_field(access.offset) {
            Some(field) => self.write_field(owner, field, access, value),
            None => match access.offset {
                offset::CTLR | offset::WAKER => access.word(),
                _ => Ok(()),
            },
        }
    }

    /// `GICR_TYPER`: affinity, number, and whether it is its region's last.
    fn redistributor_type(&self, owner: VcpuId) -> u64 {
        // 16 vCPUs to a cluster, the most that one `ICC_SGI1R_EL1` list names without a range selector.
        let affinity = u64::from(owner.0 & 0xf) | u64::from(owner.0 >> 4) << 8;
        let last = self.regions.iter().any(|region| region.end.checked_sub(1) == Some(owner.0));
        affinity << 32 | u64::from(owner.0) << 8 | if last { TYPER_LAST } else { 0 }
    }
}

/// The register in the frame with SGIs and PPIs.
fn private_field(offset: u32) -> Option<Field> {
    let field = Field::decode(offset.checked_sub(SGI_FRAME)?)?;
    (field.is_private() && !matches!(field, Field::Targets(_))).then_some(field)
}
