//! Operations on a vCPU (`public/vcpu.h`). Arm has those that register memory; the others are refused.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::shared::RunStateInfo;
use crate::{Gfn, GuestPtr};

numbers! {
    /// A sub-operation of `vcpu_op` that exists on Arm.
    VcpuOp: u32 {
        /// Gives the address at which to keep a [`RunStateInfo`].
        RegisterRunstateMemoryArea = 5,
        /// Gives the place of a vCPU's [`VcpuInfo`](crate::shared::VcpuInfo).
        RegisterVcpuInfo = 10,
    }
}

/// Argument of [`VcpuOp::RegisterRunstateMemoryArea`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegisterRunstateMemoryArea {
    /// The area.
    pub addr: GuestPtr<RunStateInfo>,
}

/// Argument of [`VcpuOp::RegisterVcpuInfo`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegisterVcpuInfo {
    /// The guest frame.
    pub gfn: Gfn,
    /// The structure's offset in it.
    pub offset: u32,
    /// Ignored.
    pub rsvd: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_layout!(RegisterRunstateMemoryArea, 8, 8, { addr: 0 });
        assert_layout!(RegisterVcpuInfo, 16, 8, { gfn: 0, offset: 8, rsvd: 12 });
    }
}
