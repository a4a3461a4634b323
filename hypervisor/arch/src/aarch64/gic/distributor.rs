//! The distributor: which interrupts come, and to which CPU. The registers for INTIDs below 32 have the same layout
//! in a GICv3 redistributor, so the functions on single interrupts take the frame to use.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, Ordering};

use super::PRIORITY;
use crate::aarch64::mmio::Mmio;
use crate::triggers::{TriggerWords, Triggers, is_edge};
use xenolith_core::types::{CpuId, Intid};

const CTLR: u64 = 0x0;
const TYPER: u64 = 0x4;
const IGROUPR: u64 = 0x80;
const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const ISPENDR: u64 = 0x200;
const ICPENDR: u64 = 0x280;
const ISACTIVER: u64 = 0x300;
const ICACTIVER: u64 = 0x380;
const IPRIORITYR: u64 = 0x400;
const ITARGETSR: u64 = 0x800;
const ICFGR: u64 = 0xc00;
const SGIR: u64 = 0xf00;
const IROUTER: u64 = 0x6000;
const RWP: u32 = 1 << 31;

/// The distributor, shared by all CPUs. Operations on different interrupts do not disturb each other, but for those on triggers.
pub struct Distributor {
    registers: Mmio,
    triggers: Triggers,
    affinity_routing: bool,
    mpidrs: Vec<u64>,
    /// GICv2: the bit by which the distributor knows each CPU.
    targets: [AtomicU8; 8],
}

impl Distributor {
    /// Takes over the distributor: everything disabled, inactive, of one priority. Where a shared interrupt goes is
    /// said by [`Distributor::route`], before it is enabled.
    pub fn new(registers: Mmio, affinity_routing: bool, mpidrs: &[u64]) -> Self {
        let distributor = Distributor {
            registers,
            triggers: Triggers::new(),
            affinity_routing,
            mpidrs: mpidrs.into(),
            targets: [const { AtomicU8::new(0) }; 8],
        };
        registers.write32(CTLR, 0);
        distributor.wait();
        for word in 1..=u64::from(distributor.shared_interrupts() / 32) {
            registers.write32(ICENABLER + word * 4, !0);
            registers.write32(ICPENDR + word * 4, !0);
            registers.write32(ICACTIVER + word * 4, !0);
            registers.write32(IGROUPR + word * 4, if affinity_routing { !0 } else { 0 });
            for quarter in 0..8 {
                registers.write32(IPRIORITYR + word * 32 + quarter * 4, u32::from(PRIORITY) * 0x0101_0101);
            }
        }
        // GICv3: affinity routing and group 1 of the non-secure state. GICv2: the only group there is.
        registers.write32(CTLR, if affinity_routing { 1 << 4 | 1 << 1 } else { 1 });
        distributor.wait();
        distributor
    }

    /// Waits until what was written to CTLR and ICENABLER counts everywhere (IHI 0069, GICD_CTLR.RWP). A GICv2 has no
    /// such bit.
    fn wait(&self) {
        while self.affinity_routing && self.registers.read32(CTLR) & RWP != 0 {
            xenolith_hw::relax();
        }
    }

    /// The register frame.
    pub fn registers(&self) -> Mmio {
        self.registers
    }

    /// Shared interrupts implemented: a multiple of 32, without the private ones.
    pub fn shared_interrupts(&self) -> u32 {
        (self.registers.read32(TYPER) & 0x1f).min(30) * 32
    }

    /// GICv2: sets up the calling CPU's banked registers.
    pub fn init_private(&self) {
        init_private(self.registers);
    }

    /// GICv2: learns by which bit the distributor knows the calling CPU (IHI 0048 §4.3.12).
    pub fn learn_target(&self, cpu: CpuId) {
        if let Some(target) = self.targets.get(usize::from(cpu.0)) {
            target.store(self.registers.read32(ITARGETSR) as u8, Ordering::Relaxed);
        }
    }

    /// Sends a shared interrupt to one CPU.
    pub fn route(&self, intid: Intid, cpu: CpuId) {
        if self.affinity_routing {
            if let Some(mpidr) = self.mpidrs.get(usize::from(cpu.0)) {
                // With Interrupt_Routing_Mode (bit 31) 0: to this CPU, and not to any that takes part.
                self.registers.write64(IROUTER + u64::from(intid.0) * 8, mpidr & 0xff_00ff_ffff);
            }
        } else if let Some(target) = self.targets.get(usize::from(cpu.0)) {
            self.registers.write8(ITARGETSR + u64::from(intid.0), target.load(Ordering::Relaxed));
            self.bring_along(intid);
        }
    }

    /// GICv2: an edge that waits goes to the new target (IHI 0048 §4.3.12), but QEMU leaves it with the old one, where it
    /// would wait for ever. It is made anew; should it be taken meanwhile, it comes twice, which an edge may.
    fn bring_along(&self, intid: Intid) {
        let (offset, bit) = bit(0, intid);
        if self.registers.read32(ISPENDR + offset) & bit != 0 && is_edge(&self.registers, intid.0) {
            self.registers.write32(ICPENDR + offset, bit);
            self.registers.write32(ISPENDR + offset, bit);
        }
    }

    /// Chooses edge or level for an interrupt that is disabled: a shared one, or with GICv2 a private one of the calling CPU.
    pub fn set_trigger(&self, intid: Intid, edge: bool) {
        // It is disabled when that counts everywhere.
        self.wait();
        self.triggers.set(&self.registers, intid.0, edge);
    }

    /// GICv2: sends a software interrupt to one CPU.
    pub fn send_sgi(&self, cpu: CpuId, intid: Intid) {
        if let Some(target) = self.targets.get(usize::from(cpu.0)) {
            self.registers.write32(SGIR, u32::from(target.load(Ordering::Relaxed)) << 16 | intid.0);
        }
    }
}

/// Sets up a CPU's private interrupts: disabled, inactive, of one priority; the software interrupts enabled.
pub fn init_private(registers: Mmio) {
    registers.write32(ICENABLER, 0xffff_0000);
    registers.write32(ICPENDR, 0xffff_0000);
    registers.write32(ICACTIVER, !0);
    for quarter in 0..8 {
        registers.write32(IPRIORITYR + quarter * 4, u32::from(PRIORITY) * 0x0101_0101);
    }
    registers.write32(ISENABLER, 0xffff);
}

fn bit(base: u64, intid: Intid) -> (u64, u32) {
    (base + u64::from(intid.0 / 32) * 4, 1 << (intid.0 % 32))
}

/// Enables an interrupt.
pub fn enable(registers: Mmio, intid: Intid) {
    let (offset, bit) = bit(ISENABLER, intid);
    registers.write32(offset, bit);
}

/// Disables an interrupt.
pub fn disable(registers: Mmio, intid: Intid) {
    let (offset, bit) = bit(ICENABLER, intid);
    registers.write32(offset, bit);
}

/// Sets or clears the active state.
pub fn set_active(registers: Mmio, intid: Intid, active: bool) {
    let (offset, bit) = bit(if active { ISACTIVER } else { ICACTIVER }, intid);
    registers.write32(offset, bit);
}

/// Whether an interrupt is pending. One that is active is too while its line, a level, is asserted (IHI 0048 §3.2.4).
pub fn is_pending(registers: Mmio, intid: Intid) -> bool {
    let (offset, bit) = bit(ISPENDR, intid);
    registers.read32(offset) & bit != 0
}

/// Makes an interrupt pending.
pub fn pend(registers: Mmio, intid: Intid) {
    let (offset, bit) = bit(ISPENDR, intid);
    registers.write32(offset, bit);
}

impl TriggerWords for Mmio {
    fn read(&self, n: u32) -> u32 {
        self.read32(ICFGR + u64::from(n) * 4)
    }

    fn write(&self, n: u32, word: u32) {
        self.write32(ICFGR + u64::from(n) * 4, word);
    }
}
