//! The distributor's registers, as both versions have them, and where shared interrupts go.

use super::interrupt::{BankId, bit, slot};
use super::register::{Field, GicAccess, low_word};
use super::{Fault, Vgic};
use xenolith_abi::domctl::GicVersion;
use xenolith_core::bug;
use xenolith_core::types::{Intid, VcpuId};

/// Register offsets.
mod offset {
    pub const CTLR: u32 = 0x0;
    pub const TYPER: u32 = 0x4;
    pub const IIDR: u32 = 0x8;
    /// Affinity of INTID 32. `IROUTER<n>` is at 0x6000 + 8n.
    pub const IROUTER_FIRST: u32 = 0x6100;
    pub const IROUTER_END: u32 = 0x7fe0;
    pub const PIDR2_V2: u32 = 0xfe8;
    pub const PIDR2_V3: u32 = 0xffe8;
}

/// The implementer: Arm. The other fields tell Linux of no erratum.
pub(super) const IIDR_V3: u32 = 0x34c;
const IIDR_V2: u32 = 0x43b;
/// Architecture version in bits 7:4.
pub(super) const PIDR2_V3: u32 = 0x30;
const PIDR2_V2: u32 = 0x2b;

/// `GICD_CTLR`: the enables of both groups.
const CTLR_GROUPS: u32 = 0b11;
/// `GICD_CTLR`, GICv3, of the secure world where there is one: the enable of Secure Group 1.
const CTLR_SECURE_GROUP_1: u32 = 1 << 2;
/// `GICD_CTLR`, GICv3: affinity routing enabled, one security state. Both are fixed.
const CTLR_ARE: u32 = 1 << 4;
const CTLR_DS: u32 = 1 << 6;
/// `GICD_TYPER`, GICv3: INTIDs of 10 bits, no 1-of-N routing.
const TYPER_ID_BITS: u32 = 9 << 19;
const TYPER_NO_1_OF_N: u32 = 1 << 25;

/// The interrupt of a `GICD_IROUTER<n>`.
const fn routed(offset: u32) -> Intid {
    Intid(offset / 8 % 1024)
}

impl Vgic {
    pub(super) fn read_distributor(&mut self, vcpu: VcpuId, access: GicAccess) -> Result<u64, Fault> {
        let word = match access.offset {
            offset::CTLR => self.control(),
            offset::TYPER => self.kind(),
            offset::IIDR => match self.version {
                GicVersion::V2 => IIDR_V2,
                GicVersion::V3 => IIDR_V3,
            },
            offset::PIDR2_V2 if self.version == GicVersion::V2 => PIDR2_V2,
            offset::PIDR2_V3 => PIDR2_V3,
            offset::IROUTER_FIRST..offset::IROUTER_END => {
                return Ok(access.half_or_whole()?.of(self.affinity(routed(access.offset))));
            }
            _ => {
                return match self.distributor_field(access.offset) {
                    Some(field) => self.read_field(vcpu, field, access),
                    None if self.version == GicVersion::V2 => self.read_sgi_register(vcpu, access),
                    None => Ok(0),
                };
            }
        };
        access.word().map(|()| word.into())
    }

    pub(super) fn write_distributor(
        &mut self,
        vcpu: VcpuId,
        access: GicAccess,
        value: u64,
    ) -> Result<(), Fault> {
        match access.offset {
            offset::CTLR => {
                access.word()?;
                self.set_control(low_word(value));
                Ok(())
            }
            offset::IROUTER_FIRST..offset::IROUTER_END => {
                let intid = routed(access.offset);
                let route = access.half_or_whole()?.replaced(self.affinity(intid), value);
                self.set_affinity(intid, route);
                Ok(())
            }
            _ => match self.distributor_field(access.offset) {
                Some(field) => self.write_field(vcpu, field, access, value),
                None if self.version == GicVersion::V2 => self.write_sgi_register(vcpu, access, value),
                None => Ok(()),
            },
        }
    }

    /// The distributor's register at an offset. With affinity routing, what is private is in the redistributors and
    /// there are no target masks.
    fn distributor_field(&self, offset: u32) -> Option<Field> {
        Field::decode(offset).filter(|field| {
            self.version == GicVersion::V2 || !(field.is_private() || matches!(field, Field::Targets(_)))
        })
    }

    fn control(&self) -> u32 {
        match self.version {
            GicVersion::V2 => self.groups,
            GicVersion::V3 => self.groups | CTLR_ARE | CTLR_DS,
        }
    }

    fn set_control(&mut self, word: u32) {
        const GROUP_1: u32 = 1 << 1;
        // Zephyr takes itself for the secure world's system, and enables that world's Group 1 only. Xen lets its interrupts
        // through, as it does whatever stands here; so do we, if something is enabled.
        let secure = self.version == GicVersion::V3 && word & CTLR_SECURE_GROUP_1 != 0;
        let groups = word & CTLR_GROUPS | if secure { GROUP_1 } else { 0 };
        if groups == self.groups {
            return;
        }
        self.groups = groups;
        // All that is queued or listed may be signalled now, or no longer.
        for n in 0..self.vcpus() {
            let concerned = self
                .cpus
                .get(usize::from(n))
                .is_some_and(|cpu| !cpu.queue.is_empty() || !cpu.listed.is_empty());
            if concerned {
                self.kick(VcpuId(n));
            }
        }
    }

    fn kind(&self) -> u32 {
        let blocks: u32 = self.spis.div_ceil(32).into();
        // Eight at most can be told here.
        let cpus: u32 = self.vcpus().clamp(1, 8).into();
        let common = blocks | (cpus - 1) << 5;
        match self.version {
            GicVersion::V2 => common,
            GicVersion::V3 => common | TYPER_ID_BITS | TYPER_NO_1_OF_N,
        }
    }

    /// `GICD_IROUTER<n>`. Zero for an interrupt that does not exist.
    fn affinity(&self, intid: Intid) -> u64 {
        let route = match self.confined(BankId::of_intid(VcpuId(0), intid)) {
            Some(BankId::Shared(n)) => {
                self.shared.get(n).and_then(|shared| shared.route.get(slot(intid)).copied())
            }
            _ => None,
        };
        let [aff0, aff1, aff2, aff3] = route.unwrap_or(0).to_le_bytes();
        u64::from_le_bytes([aff0, aff1, aff2, 0, aff3, 0, 0, 0])
    }

    fn set_affinity(&mut self, intid: Intid, value: u64) {
        // The byte that is left out has Interrupt_Routing_Mode, which stays 0: `GICD_TYPER.No1N` says that there is no
        // 1-of-N.
        let [aff0, aff1, aff2, _, aff3, ..] = value.to_le_bytes();
        let target = self.vcpu_with_affinity(aff0, aff1, aff2, aff3);
        self.set_route(intid, u32::from_le_bytes([aff0, aff1, aff2, aff3]), target);
    }

    /// The vCPU with this affinity: 16 to a cluster.
    pub(super) fn vcpu_with_affinity(&self, aff0: u8, aff1: u8, aff2: u8, aff3: u8) -> Option<VcpuId> {
        if aff0 > 0xf || aff2 != 0 || aff3 != 0 {
            return None;
        }
        let vcpu = u16::from(aff1) << 4 | u16::from(aff0);
        (vcpu < self.vcpus()).then_some(VcpuId(vcpu))
    }

    /// A byte of `GICD_ITARGETSR<n>`. For a private interrupt it tells the reader which vCPU it is.
    pub(super) fn target_byte(&self, vcpu: VcpuId, intid: Intid) -> Option<u8> {
        match self.confined(BankId::of_intid(vcpu, intid))? {
            BankId::Private(vcpu) => 1_u8.checked_shl(vcpu.0.into()),
            BankId::Shared(n) => {
                let route = self.shared.get(n)?.route.get(slot(intid)).copied()?;
                u8::try_from(route).ok()
            }
        }
    }

    /// Of the vCPUs in a mask, the lowest is the target: one delivery to one of them is all that is promised.
    pub(super) fn set_target_byte(&mut self, intid: Intid, byte: u8) {
        let exist = u8::try_from((1_u32 << self.vcpus().min(8)) - 1).unwrap_or(u8::MAX);
        let mask = byte & exist;
        let target = (mask != 0).then(|| VcpuId(mask.trailing_zeros() as u16));
        self.set_route(intid, mask.into(), target);
    }

    fn set_route(&mut self, intid: Intid, route: u32, target: Option<VcpuId>) {
        let Some(id @ BankId::Shared(n)) = self.confined(BankId::of_intid(VcpuId(0), intid)) else { return };
        let Some(shared) = self.shared.get_mut(n) else { return };
        let mask = bit(intid) & shared.bank.implemented;
        if mask == 0 {
            return;
        }
        let (Some(old_route), Some(old_target)) =
            (shared.route.get_mut(slot(intid)), shared.target.get_mut(slot(intid)))
        else {
            return bug!("no such interrupt");
        };
        *old_route = route;
        // The guest reads back what it wrote, but only another target moves the interrupt.
        if *old_target == target {
            return;
        }
        *old_target = target;
        shared.bank.changes.route |= mask & shared.bank.hardware;
        self.update(id, mask);
    }
}
