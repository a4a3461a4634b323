//! The GICv2 CPU interface (GICC) and virtual interface control (GICH), memory-mapped.

use super::InterfaceState;
use crate::aarch64::mmio::Mmio;
use xenolith_core::types::{CpuId, Intid};

const GICC_CTLR: u64 = 0x0;
const GICC_PMR: u64 = 0x4;
const GICC_IAR: u64 = 0xc;
const GICC_EOIR: u64 = 0x10;
const GICC_DIR: u64 = 0x1000;
const GICH_HCR: u64 = 0x0;
const GICH_VTR: u64 = 0x4;
const GICH_VMCR: u64 = 0x8;
const GICH_APR: u64 = 0xf0;
const GICH_LR: u64 = 0x100;

/// CPUs that a GICv2 can tell apart.
pub const MAX_CPUS: u16 = 8;

/// The two frames; each CPU sees its own registers at the same address.
pub struct Interface {
    cpu: Mmio,
    hypervisor: Mmio,
}

impl Interface {
    /// Wraps the frames.
    pub fn new(cpu: Mmio, hypervisor: Mmio) -> Self {
        Interface { cpu, hypervisor }
    }

    /// Opens the calling CPU's interface: all priorities, EOImode 1.
    pub fn init_cpu(&self, _cpu: CpuId) {
        self.hypervisor.write32(GICH_HCR, 0);
        for index in 0..self.list_registers() {
            self.write_list(index, 0);
        }
        self.cpu.write32(GICC_PMR, 0xff);
        // EOImode (bit 9) and Enable (bit 0), where the non-secure view of GICC_CTLR has them.
        self.cpu.write32(GICC_CTLR, 1 << 9 | 1);
    }

    /// GICC_IAR. A software interrupt carries its sender in bits 12:10, which EOIR and DIR need back: it is ended here,
    /// before that is lost.
    pub fn acknowledge(&self) -> Intid {
        let value = self.cpu.read32(GICC_IAR);
        let intid = Intid(value & 0x3ff);
        if intid < Intid::FIRST_PRIVATE {
            self.cpu.write32(GICC_EOIR, value);
            self.cpu.write32(GICC_DIR, value);
        }
        intid
    }

    /// GICC_EOIR; software interrupts were ended by `acknowledge`.
    pub fn drop_priority(&self, intid: Intid) {
        if intid >= Intid::FIRST_PRIVATE {
            self.cpu.write32(GICC_EOIR, intid.0);
        }
    }

    /// GICC_DIR; software interrupts were ended by `acknowledge`.
    pub fn deactivate(&self, intid: Intid) {
        if intid >= Intid::FIRST_PRIVATE {
            self.cpu.write32(GICC_DIR, intid.0);
        }
    }

    /// List registers implemented (GICH_VTR).
    pub fn list_registers(&self) -> usize {
        (self.hypervisor.read32(GICH_VTR) & 0x3f) as usize + 1
    }

    /// Priority bits implemented (GICH_VTR.PRIbits).
    pub fn priority_bits(&self) -> u8 {
        (self.hypervisor.read32(GICH_VTR) >> 29) as u8 + 1
    }

    /// GICH_HCR.
    pub fn read_control(&self) -> u32 {
        self.hypervisor.read32(GICH_HCR)
    }

    /// GICH_LR<index>.
    pub fn read_list(&self, index: usize) -> u32 {
        self.hypervisor.read32(GICH_LR + index as u64 * 4)
    }

    /// GICH_LR<index>.
    pub fn write_list(&self, index: usize, value: u32) {
        self.hypervisor.write32(GICH_LR + index as u64 * 4, value);
    }

    /// GICH_HCR.
    pub fn write_control(&self, value: u32) {
        self.hypervisor.write32(GICH_HCR, value);
    }

    /// Loads what belongs to a vCPU.
    pub fn load(&self, state: &InterfaceState) {
        self.hypervisor.write32(GICH_VMCR, state.vmcr as u32);
        self.hypervisor.write32(GICH_APR, state.active[0]);
        self.write_control(1);
    }

    /// Saves what belongs to a vCPU.
    pub fn save(&self, state: &mut InterfaceState) {
        state.vmcr = self.hypervisor.read32(GICH_VMCR).into();
        state.active[0] = self.hypervisor.read32(GICH_APR);
        self.write_control(0);
    }
}
