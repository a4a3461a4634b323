//! Interrupts that vCPUs send one another: GICv3's system registers (IHI 0069 chapter 12) and GICv2's `GICD_SGIR`
//! and its companions (IHI 0048 chapter 4).
//!
//! What the guest names as targets is looked up among the vCPUs that there are; nothing else is done with it.

use super::interrupt::{BankId, bit, bits, slot};
use super::register::GicAccess;
use super::{Fault, Vgic};
use xenolith_abi::domctl::GicVersion;
use xenolith_core::bug;
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::{Intid, VcpuId};

/// The system register that the guest wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiRegister {
    /// `ICC_SGI0R_EL1`: Group 0.
    Sgi0R,
    /// `ICC_SGI1R_EL1`: Group 1.
    Sgi1R,
    /// `ICC_ASGI1R_EL1`: the other security state, which with only one reaches Group 0 alone.
    Asgi1R,
}

/// Offsets of GICv2's registers in the distributor.
const SGIR: u32 = 0xf00;
const CPENDSGIR: u32 = 0xf10;
const SPENDSGIR: u32 = 0xf20;
const SPENDSGIR_END: u32 = 0xf30;

impl Vgic {
    /// A vCPU writes one of GICv3's registers that send SGIs. A target that is no vCPU of the domain gets nothing.
    pub fn send_sgi(&mut self, sender: VcpuId, register: SgiRegister, value: u64) {
        if self.version == GicVersion::V2 {
            return;
        }
        let [list0, list1, aff1, intid, aff2, control, aff3, _] = value.to_le_bytes();
        let intid = Intid((intid & 0xf).into());
        let to_all_others = control & 1 != 0;
        let range = control >> 4;
        if to_all_others {
            for target in (0..self.vcpus()).map(VcpuId).filter(|target| *target != sender) {
                self.receive_sgi(target, register, intid);
            }
        } else if range == 0 {
            // A range selector other than 0 means Aff0 from 16 on, which no vCPU has.
            for aff0 in bits(u16::from_le_bytes([list0, list1]).into()) {
                let aff0 = u8::try_from(aff0).unwrap_or(u8::MAX);
                if let Some(target) = self.vcpu_with_affinity(aff0, aff1, aff2, aff3) {
                    self.receive_sgi(target, register, intid);
                }
            }
        }
    }

    fn receive_sgi(&mut self, target: VcpuId, register: SgiRegister, intid: Intid) {
        let id = BankId::Private(target);
        let Some(bank) = self.bank_mut(id) else { return bug!("no such vCPU") };
        let mask = bit(intid);
        // With one security state `ICC_SGI1R_EL1` sends SGIs of either group, the other two only those of Group 0.
        if register == SgiRegister::Sgi1R || bank.group1 & mask == 0 {
            let changed = bank.latch(mask);
            self.update(id, changed);
        }
    }

    /// GICv2's SGI registers; what is none of them reads as zero.
    #[inline(never)]
    pub(super) fn read_sgi_register(&mut self, vcpu: VcpuId, access: GicAccess) -> Result<u64, Fault> {
        match access.offset {
            SGIR => access.word().map(|()| 0),
            CPENDSGIR..SPENDSGIR_END => {
                let count = access.bytes()?;
                Ok((0..count).fold(0, |word, n| {
                    let byte = self.pending_senders(vcpu, Intid(access.offset % 16 + n));
                    word | u64::from(byte) << (8 * n)
                }))
            }
            _ => Ok(0),
        }
    }

    /// GICv2's SGI registers; what is none of them ignores writes.
    #[inline(never)]
    pub(super) fn write_sgi_register(
        &mut self,
        vcpu: VcpuId,
        access: GicAccess,
        value: u64,
    ) -> Result<(), Fault> {
        match access.offset {
            SGIR => {
                access.word()?;
                self.send_sgi_v2(vcpu, value);
            }
            CPENDSGIR..SPENDSGIR_END => {
                let count = access.bytes()?;
                let set = access.offset >= SPENDSGIR;
                let sgis = (access.offset % 16..).map(Intid);
                for (intid, senders) in sgis.zip(value.to_le_bytes()).take(count as usize) {
                    if set {
                        self.add_senders(vcpu, intid, senders);
                    } else {
                        self.remove_senders(vcpu, intid, senders);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn send_sgi_v2(&mut self, sender: VcpuId, value: u64) {
        let [intid, _, list, filter, ..] = value.to_le_bytes();
        let own = 1_u8.checked_shl(sender.0.into()).unwrap_or(0);
        let targets = match filter & 3 {
            0 => list,
            1 => !own,
            2 => own,
            _ => 0,
        };
        for target in bits(targets.into()) {
            let target = VcpuId(u16::try_from(target).unwrap_or(u16::MAX));
            self.add_senders(target, Intid((intid & 0xf).into()), own);
        }
    }

    /// Makes an SGI pending on `vcpu` from those senders that exist.
    fn add_senders(&mut self, vcpu: VcpuId, intid: Intid, senders: u8) {
        // `GICD_SPENDSGIR<n>` lets the guest name any of eight senders.
        let exist = (1_u32 << self.vcpus().min(8)) - 1;
        let senders = u8::try_from(u32::from(senders) & exist).unwrap_or(0);
        // The guest's mask may name more targets than there are vCPUs.
        let Some(cpu) = GuestIndex::from(vcpu).of_mut(&mut self.cpus) else { return };
        let Some(pending) = cpu.senders.get_mut(slot(intid)) else { return bug!("no such interrupt") };
        if senders & !*pending == 0 {
            return;
        }
        *pending |= senders;
        // Also if others wait already: a list register may hold the same sender's, which is then one and the same.
        cpu.private.latch(bit(intid));
        self.update(BankId::Private(vcpu), bit(intid));
    }

    /// Takes back an SGI that `vcpu` has not acknowledged, for some of its senders.
    fn remove_senders(&mut self, vcpu: VcpuId, intid: Intid, senders: u8) {
        let Some(cpu) = GuestIndex::from(vcpu).of_mut(&mut self.cpus) else { return bug!("no such vCPU") };
        let (Some(pending), Some(current)) =
            (cpu.senders.get_mut(slot(intid)), cpu.current_sender.get(slot(intid)))
        else {
            return bug!("no such interrupt");
        };
        *pending &= !senders;
        let mask = bit(intid);
        let bank = &mut cpu.private;
        let mut changed = 0;
        if *pending == 0 {
            changed |= bank.latched & mask;
            bank.latched &= !mask;
        }
        // What is in a list register came from one sender: it is taken back only with that one.
        if senders.checked_shr((*current).into()).unwrap_or(0) & 1 != 0 {
            changed |= bank.offered & mask;
            bank.offered &= !mask;
        }
        self.update(BankId::Private(vcpu), changed);
    }

    /// The senders of an SGI that is pending on `vcpu`, also in a list register.
    fn pending_senders(&self, vcpu: VcpuId, intid: Intid) -> u8 {
        let Some(cpu) = GuestIndex::from(vcpu).of(&self.cpus) else {
            bug!("no such vCPU");
            return 0;
        };
        let waiting = cpu.senders.get(slot(intid)).copied().unwrap_or(0);
        let offered = cpu.private.offered & bit(intid) != 0;
        let current = cpu.current_sender.get(slot(intid)).copied().unwrap_or(0);
        waiting | if offered { 1_u8.checked_shl(current.into()).unwrap_or(0) } else { 0 }
    }
}
