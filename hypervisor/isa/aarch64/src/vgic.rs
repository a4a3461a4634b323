//! The virtual interrupt controller of one domain: GICv2 or GICv3 as its guest sees it.
//!
//! Pure policy. The guest's registers, the lines of its devices and the contents of the list registers are values;
//! what the hardware must do as a result is reported as [`VgicActions`] and [`LineChange`]s, which the caller carries
//! out. The principle: the state of an interrupt is in one place at a time. While a list register holds it, that
//! register's pending and active bits are the truth, and [`Vgic::fold`] brings them back here.
//!
//! Interrupts are kept in banks of 32, the unit of the registers: a guest's access is an operation
//! on words. Each vCPU has a queue of the interrupts that concern it now, so that the way into a
//! guest costs nothing when nothing is pending.
//!
//! Sources: Arm IHI 0048 (GICv2), IHI 0069 (GICv3). GICv3 is presented with one security state (`GICD_CTLR.DS` = 1),
//! affinity routing always on, and neither LPIs nor 1-of-N routing. GICv2 is presented without the Security
//! Extensions; its CPU interface is the hardware's GICV, which the caller maps, and is not emulated here.

mod delivery;
mod distributor;
mod effects;
mod inputs;
mod interrupt;
pub mod list_register;
mod queue;
mod redistributor;
mod register;
mod sgi;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use arrayvec::ArrayVec;

pub use delivery::Fill;
use delivery::Listed;
pub use effects::{LineChange, VgicActions};
use interrupt::{BANK_SIZE, Bank, BankId, Shared};
pub use list_register::{ListRegister, Origin};
use machine_model::gic::{Gic, MAX_REDISTRIBUTOR_REGIONS};
use machine_model::layout::{GICV2_DISTRIBUTOR, GICV3_DISTRIBUTOR};
use queue::Queue;
use redistributor::RedistributorRegion;
use register::GicAccess;
pub use sgi::SgiRegister;
use xenolith_abi::domctl::GicVersion;
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::{Intid, Ipa, VcpuId};

/// The most shared interrupts: INTIDs 32 to 1019.
pub const MAX_SPIS: u16 = 988;
/// The most list registers that an implementation has.
pub const MAX_LIST_REGISTERS: usize = 16;

/// A frame of the controller's registers. The domain's address table turns an address into a frame and an offset in it;
/// the controller itself knows no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame(
    /// 0 is GICD. GICv3: 1 and those that follow are the redistributor regions, in their order.
    pub u8,
);

impl Frame {
    /// GICD.
    pub const DISTRIBUTOR: Frame = Frame(0);

    /// The index of a redistributor region; `None` for GICD.
    fn region(self) -> Option<usize> {
        self.0.checked_sub(1).map(usize::from)
    }
}

/// The frames that are emulated of a GIC: which, the first byte, and the size in bytes. The distributor has the size that
/// its version gives it, however much room the machine leaves for its own.
pub fn frames(gic: &Gic) -> impl Iterator<Item = (Frame, Ipa, u64)> + Clone {
    let size = match gic {
        Gic::V2 { .. } => GICV2_DISTRIBUTOR.size,
        Gic::V3 { .. } => GICV3_DISTRIBUTOR.size,
    };
    let regions = (1..).zip(gic.redistributors());
    let regions = regions.map(|(number, region)| (Frame(number), Ipa(region.start), region.size));
    core::iter::once((Frame::DISTRIBUTOR, Ipa(gic.distributor().start), size)).chain(regions)
}

/// What a domain's controller is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Version and addresses. GICD and each region of redistributors are on a 4 KiB boundary: Xen's memory map does not
    /// align them further.
    pub gic: Gic,
    /// Number of vCPUs, at least one, at most [`Gic::max_vcpus`].
    pub vcpus: u16,
    /// Number of shared interrupts, at most [`MAX_SPIS`].
    pub spis: u16,
    /// The private interrupt (16 to 31) that carries event channels.
    pub event_ppi: Intid,
    /// Priority bits that the virtual CPU interface implements: 4 to 8. Lower bits read as zero.
    pub priority_bits: u8,
}

/// Why a [`Config`] was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// No vCPU, or more than the GIC serves.
    Vcpus,
    /// More shared interrupts than INTIDs.
    Spis,
    /// The event-channel interrupt is not private.
    EventPpi,
    /// Too few or too many priority bits.
    PriorityBits,
    /// A window that is not on its boundary, wraps, or overlaps another one.
    Window,
    /// There is no memory for it.
    Memory,
}

/// An access of a size or alignment that the register does not take: the guest gets an external data abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// What belongs to one vCPU.
struct Cpu {
    /// SGIs and PPIs.
    private: Bank,
    /// Interrupts to consider at the next [`Vgic::fill`].
    queue: Queue,
    /// What the list registers hold since the last fill, in their order.
    listed: ArrayVec<Listed, MAX_LIST_REGISTERS>,
    /// GICv2: for each SGI, the vCPUs which sent it and wait for its delivery.
    senders: [u8; 16],
    /// GICv2: for each SGI that is active or in a list register, the vCPU which sent it.
    current_sender: [u8; 16],
    /// Whether the vCPU takes interrupts at all.
    online: bool,
}

/// The interrupt controller of one domain.
pub struct Vgic {
    version: GicVersion,
    regions: ArrayVec<RedistributorRegion, MAX_REDISTRIBUTOR_REGIONS>,
    event_ppi: Intid,
    priority_mask: u8,
    spis: u16,
    /// `GICD_CTLR`'s enables: bit 0 for Group 0, bit 1 for Group 1.
    groups: u32,
    cpus: Vec<Cpu>,
    shared: Vec<Shared>,
    effects: VgicActions,
    /// Which banks have line changes to report.
    dirty: effects::Dirty,
}

impl Vgic {
    /// A controller in its reset state, all vCPUs off line.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        if config.vcpus == 0 || config.vcpus > config.gic.max_vcpus() {
            return Err(ConfigError::Vcpus);
        }
        if config.spis > MAX_SPIS {
            return Err(ConfigError::Spis);
        }
        if !(Intid::FIRST_PRIVATE..Intid::FIRST_SHARED).contains(&config.event_ppi) {
            return Err(ConfigError::EventPpi);
        }
        if !(4..=8).contains(&config.priority_bits) {
            return Err(ConfigError::PriorityBits);
        }
        check_frames(&config.gic)?;

        let version = config.gic.version();
        let cpus = collect((0..config.vcpus).map(|_| Cpu::new(version)))?;
        let banks = 0..config.spis.div_ceil(BANK_SIZE as u16);
        let shared = collect(banks.map(|n| Shared::new(version, config.spis, n)))?;
        Ok(Vgic {
            version,
            regions: RedistributorRegion::lay_out(config.gic.redistributors(), config.vcpus),
            event_ppi: config.event_ppi,
            priority_mask: !(0xff_u8.checked_shr(config.priority_bits.into()).unwrap_or(0)),
            spis: config.spis,
            groups: 0,
            cpus,
            shared,
            effects: VgicActions::default(),
            dirty: effects::Dirty::default(),
        })
    }

    /// Number of vCPUs.
    pub fn vcpus(&self) -> u16 {
        // `new` made at most 128 of them.
        u16::try_from(self.cpus.len()).unwrap_or(u16::MAX)
    }

    /// Says whether a vCPU takes interrupts: PSCI turned it on or off. The state of its interrupts is kept across
    /// both, as a redistributor keeps it; what the list registers hold must be folded first.
    pub fn set_online(&mut self, vcpu: VcpuId, online: bool) {
        if let Some(cpu) = GuestIndex::from(vcpu).of_mut(&mut self.cpus) {
            cpu.online = online;
        }
    }

    /// How many interrupts there are, private ones included.
    pub fn interrupts(&self) -> u32 {
        u32::from(self.spis).saturating_add(32)
    }

    /// Whether an access, a store with `write`, shows the guest what is pending or active, changes it, or lets something come
    /// that waited. Before that the list registers are to be folded, and [`Self::sample_at`] called.
    #[inline]
    pub fn concerns_state(offset: u64, write: bool) -> bool {
        // ISPENDR to ICACTIVER, and ISENABLER. A redistributor has its frame of them at a multiple of 64 KiB.
        let offset = offset & 0xffff;
        (0x200..0x400).contains(&offset) || write && (0x100..0x180).contains(&offset)
    }

    /// A guest's load from a register: `offset` is in the frame.
    pub fn read(&mut self, vcpu: VcpuId, frame: Frame, offset: u64, size: u8) -> Result<u64, Fault> {
        match frame.region() {
            None => self.read_distributor(vcpu, GicAccess::new(offset, size)?),
            Some(region) => {
                let (owner, offset) = self.redistributor(region, offset);
                self.read_redistributor(owner, GicAccess::new(offset, size)?)
            }
        }
    }

    /// A guest's store to a register: `offset` is in the frame.
    pub fn write(
        &mut self,
        vcpu: VcpuId,
        frame: Frame,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Result<(), Fault> {
        match frame.region() {
            None => self.write_distributor(vcpu, GicAccess::new(offset, size)?, value),
            Some(region) => {
                let (owner, offset) = self.redistributor(region, offset);
                self.write_redistributor(owner, GicAccess::new(offset, size)?, value)
            }
        }
    }

    /// A bank that a guest, or a call, has chosen by a number, if there is it. Whatever is looked up with what is returned is
    /// there, also where the check was guessed wrong.
    #[inline]
    fn confined(&self, id: BankId) -> Option<BankId> {
        match id {
            // Whoever acts for a vCPU has found it.
            BankId::Private(_) => Some(id),
            BankId::Shared(n) => GuestIndex::from(n).below(self.shared.len()).map(BankId::Shared),
        }
    }

    fn bank(&self, id: BankId) -> Option<&Bank> {
        match id {
            BankId::Private(vcpu) => self.cpus.get(usize::from(vcpu.0)).map(|cpu| &cpu.private),
            BankId::Shared(n) => self.shared.get(n).map(|shared| &shared.bank),
        }
    }

    fn bank_mut(&mut self, id: BankId) -> Option<&mut Bank> {
        match id {
            BankId::Private(vcpu) => self.cpus.get_mut(usize::from(vcpu.0)).map(|cpu| &mut cpu.private),
            BankId::Shared(n) => self.shared.get_mut(n).map(|shared| &mut shared.bank),
        }
    }

    /// The interrupts of a bank whose group the guest has enabled.
    fn in_enabled_group(&self, bank: &Bank) -> u32 {
        let group0 = if self.groups & 1 != 0 { !bank.group1 } else { 0 };
        let group1 = if self.groups & 2 != 0 { bank.group1 } else { 0 };
        group0 | group1
    }
}

impl Cpu {
    fn new(version: GicVersion) -> Self {
        Cpu {
            private: Bank::private(version),
            queue: Queue::default(),
            listed: ArrayVec::new(),
            senders: [0; 16],
            current_sender: [0; 16],
            online: false,
        }
    }
}

/// A list of exactly these. `Memory`: there is none.
fn collect<T>(parts: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>, ConfigError> {
    let mut all = Vec::new();
    all.try_reserve_exact(parts.len()).map_err(|_| ConfigError::Memory)?;
    all.extend(parts);
    Ok(all)
}

/// Each frame starts on its boundary, ends within the address space and touches no other.
fn check_frames(gic: &Gic) -> Result<(), ConfigError> {
    // They are few: each is compared with those behind it, which needs no code for sorting.
    for (index, (_, base, size)) in frames(gic).enumerate() {
        let end = base.0.checked_add(size).filter(|_| base.offset() == 0).ok_or(ConfigError::Window)?;
        let mut others = frames(gic).skip(index.saturating_add(1));
        if others.any(|(_, other, size)| other.0 < end && base.0 < other.0.saturating_add(size)) {
            return Err(ConfigError::Window);
        }
    }
    Ok(())
}
