//! The GICv3 CPU interface and virtual interface control, by system registers, and the redistributors.
//!
//! Registers that assemblers may not know are given by encoding, with their name beside them.

use alloc::vec::Vec;

use super::{InterfaceState, distributor};
use crate::aarch64::mmio::Mmio;
use xenolith_core::types::{CpuId, Intid};
use xenolith_hw::isb;
use xenolith_isa::controls;

const GICR_WAKER: u64 = 0x14;
const GICR_TYPER: u64 = 0x8;
const GICR_TYPER_LAST: u64 = 1 << 4;
const GICR_TYPER_VLPIS: u64 = 1 << 1;
const GICR_IGROUPR0: u64 = 0x80;
const GICR_IGRPMODR0: u64 = 0xd00;
const SGI_FRAME: u64 = 0x1_0000;

struct Redistributor {
    control: Mmio,
    private: Mmio,
    mpidr: u64,
}

/// The redistributors, by CPU number.
pub struct Interface {
    redistributors: Vec<Option<Redistributor>>,
}

fn affinity(mpidr: u64) -> u64 {
    (mpidr >> 32 & 0xff) << 24 | mpidr & 0xff_ffff
}

impl Interface {
    /// Finds each CPU's redistributor by walking the regions (IHI 0069 §12.10).
    #[expect(clippy::disallowed_methods, reason = "made at boot")]
    pub fn new(regions: &[Mmio], stride: Option<u64>, mpidrs: &[u64]) -> Self {
        let mut redistributors: Vec<Option<Redistributor>> = mpidrs.iter().map(|_| None).collect();
        for region in regions {
            let mut offset = 0;
            while let Some(control) = region.part(offset, SGI_FRAME) {
                let typer = control.read64(GICR_TYPER);
                let found = mpidrs.iter().position(|&mpidr| affinity(mpidr) == typer >> 32);
                if let (Some(cpu), Some(private)) = (found, region.part(offset + SGI_FRAME, SGI_FRAME)) {
                    redistributors[cpu] = Some(Redistributor { control, private, mpidr: mpidrs[cpu] });
                }
                if typer & GICR_TYPER_LAST != 0 {
                    break;
                }
                let own = if typer & GICR_TYPER_VLPIS != 0 { 0x4_0000 } else { 0x2_0000 };
                offset += stride.unwrap_or(own);
            }
        }
        Interface { redistributors }
    }

    fn redistributor(&self, cpu: CpuId) -> Option<&Redistributor> {
        self.redistributors.get(usize::from(cpu.0))?.as_ref()
    }

    /// Whether a CPU has a redistributor.
    pub fn serves(&self, cpu: CpuId) -> bool {
        self.redistributor(cpu).is_some()
    }

    /// The frame with the calling CPU's private interrupts.
    #[inline]
    pub fn private_registers(&self, cpu: CpuId) -> Mmio {
        match self.redistributor(cpu) {
            Some(redistributor) => redistributor.private,
            None => panic!("cpu{} has no GICv3 redistributor in the device tree's regions", cpu.0),
        }
    }

    /// Wakes the calling CPU's redistributor and opens its interface: all priorities, group 1, EOImode 1.
    pub fn init_cpu(&self, cpu: CpuId) {
        let private = self.private_registers(cpu);
        if let Some(redistributor) = self.redistributor(cpu) {
            // ProcessorSleep off; the CPU interface is only to be used once ChildrenAsleep has gone too (IHI 0069,
            // GICR_WAKER).
            let waker = redistributor.control.read32(GICR_WAKER);
            redistributor.control.write32(GICR_WAKER, waker & !2);
            while redistributor.control.read32(GICR_WAKER) & 4 != 0 {
                xenolith_hw::relax();
            }
        }
        private.write32(GICR_IGROUPR0, !0);
        private.write32(GICR_IGRPMODR0, 0);
        distributor::init_private(private);
        let enable = controls::interrupt_registers(read_sysreg!("icc_sre_el2"));
        // SAFETY: these registers steer interrupts only, and interrupts are masked.
        unsafe {
            write_sysreg!("icc_sre_el2", enable);
            // The registers below are there only with SRE set.
            isb();
            // For guests, who cannot reach it.
            write_sysreg!("icc_sre_el1", read_sysreg!("icc_sre_el1") | controls::ICC_SRE);
            write_sysreg!("icc_pmr_el1", 0xff);
            write_sysreg!("icc_ctlr_el1", 1 << 1); // EOImode
            write_sysreg!("icc_igrpen1_el1", 1);
            write_sysreg!("ich_hcr_el2", 0);
        }
        for index in 0..list_registers() {
            write_list(index, 0);
        }
        isb();
    }

    /// ICC_SGI1R_EL1: a software interrupt for one CPU.
    pub fn send_sgi(&self, cpu: CpuId, intid: Intid) {
        let Some(redistributor) = self.redistributor(cpu) else { return };
        let mpidr = redistributor.mpidr;
        let (aff0, aff1, aff2, aff3) =
            (mpidr & 0xff, mpidr >> 8 & 0xff, mpidr >> 16 & 0xff, mpidr >> 32 & 0xff);
        let value = aff3 << 48
            | (aff0 >> 4) << 44
            | aff2 << 32
            | u64::from(intid.0) << 24
            | aff1 << 16
            | 1 << (aff0 & 0xf);
        // SAFETY: raises an interrupt on another CPU; ours are masked.
        unsafe { write_sysreg!("icc_sgi1r_el1", value) };
        isb();
    }
}

/// ICC_IAR1_EL1.
pub fn acknowledge() -> Intid {
    let intid = Intid(read_sysreg!("icc_iar1_el1") as u32 & 0xff_ffff);
    // The read's effect on the interrupt is sure to be visible only behind a DSB (IHI 0069, ICC_IAR1_EL1).
    xenolith_hw::dsb();
    intid
}

/// ICC_EOIR1_EL1.
pub fn drop_priority(intid: Intid) {
    // SAFETY: ends the handling of an interrupt that `acknowledge` returned.
    unsafe { write_sysreg!("icc_eoir1_el1", intid.0.into()) };
    isb();
}

/// ICC_DIR_EL1.
pub fn deactivate(intid: Intid) {
    // SAFETY: as `drop_priority`.
    unsafe { write_sysreg!("icc_dir_el1", intid.0.into()) };
    isb();
}

/// List registers implemented (ICH_VTR_EL2).
pub fn list_registers() -> usize {
    (read_sysreg!("ich_vtr_el2") & 0x1f) as usize + 1
}

/// Priority bits implemented (ICH_VTR_EL2.PRIbits).
pub fn priority_bits() -> u8 {
    (read_sysreg!("ich_vtr_el2") >> 29 & 7) as u8 + 1
}

/// 32-bit words of active priorities in each group (ICH_VTR_EL2.PREbits).
fn priority_words() -> usize {
    1 << (read_sysreg!("ich_vtr_el2") >> 26 & 7).saturating_sub(4).min(2)
}

/// ICH_LR<index>_EL2.
pub fn read_list(index: usize) -> u64 {
    match index {
        0 => read_sysreg!("ich_lr0_el2"),
        1 => read_sysreg!("ich_lr1_el2"),
        2 => read_sysreg!("ich_lr2_el2"),
        3 => read_sysreg!("ich_lr3_el2"),
        4 => read_sysreg!("ich_lr4_el2"),
        5 => read_sysreg!("ich_lr5_el2"),
        6 => read_sysreg!("ich_lr6_el2"),
        7 => read_sysreg!("ich_lr7_el2"),
        8 => read_sysreg!("ich_lr8_el2"),
        9 => read_sysreg!("ich_lr9_el2"),
        10 => read_sysreg!("ich_lr10_el2"),
        11 => read_sysreg!("ich_lr11_el2"),
        12 => read_sysreg!("ich_lr12_el2"),
        13 => read_sysreg!("ich_lr13_el2"),
        14 => read_sysreg!("ich_lr14_el2"),
        15 => read_sysreg!("ich_lr15_el2"),
        _ => 0,
    }
}

/// ICH_LR<index>_EL2.
pub fn write_list(index: usize, value: u64) {
    // SAFETY: list registers change what the guest sees, nothing at EL2.
    unsafe {
        match index {
            0 => write_sysreg!("ich_lr0_el2", value),
            1 => write_sysreg!("ich_lr1_el2", value),
            2 => write_sysreg!("ich_lr2_el2", value),
            3 => write_sysreg!("ich_lr3_el2", value),
            4 => write_sysreg!("ich_lr4_el2", value),
            5 => write_sysreg!("ich_lr5_el2", value),
            6 => write_sysreg!("ich_lr6_el2", value),
            7 => write_sysreg!("ich_lr7_el2", value),
            8 => write_sysreg!("ich_lr8_el2", value),
            9 => write_sysreg!("ich_lr9_el2", value),
            10 => write_sysreg!("ich_lr10_el2", value),
            11 => write_sysreg!("ich_lr11_el2", value),
            12 => write_sysreg!("ich_lr12_el2", value),
            13 => write_sysreg!("ich_lr13_el2", value),
            14 => write_sysreg!("ich_lr14_el2", value),
            15 => write_sysreg!("ich_lr15_el2", value),
            _ => (),
        }
    }
}

/// ICH_HCR_EL2.
pub fn write_control(value: u32) {
    // SAFETY: steers the guest's virtual interrupts only.
    unsafe { write_sysreg!("ich_hcr_el2", value.into()) };
}

/// ICH_HCR_EL2.
pub fn read_control() -> u32 {
    read_sysreg!("ich_hcr_el2") as u32
}

macro_rules! active_priorities {
    ($each:ident) => {
        $each!(0, "ich_ap0r0_el2", "ich_ap1r0_el2");
        $each!(1, "ich_ap0r1_el2", "ich_ap1r1_el2");
        $each!(2, "ich_ap0r2_el2", "ich_ap1r2_el2");
        $each!(3, "ich_ap0r3_el2", "ich_ap1r3_el2");
    };
}

/// Loads what belongs to a vCPU: ICH_VMCR_EL2, ICH_AP0R<n>_EL2, ICH_AP1R<n>_EL2.
pub fn load(state: &InterfaceState) {
    let words = priority_words();
    macro_rules! load {
        ($n:literal, $group0:literal, $group1:literal) => {
            if $n < words {
                // SAFETY: the guest's virtual interface only.
                unsafe {
                    write_sysreg!($group0, state.active[$n].into());
                    write_sysreg!($group1, state.active[$n + 4].into());
                }
            }
        };
    }
    active_priorities!(load);
    // SAFETY: as above.
    unsafe { write_sysreg!("ich_vmcr_el2", state.vmcr) };
    write_control(1);
}

/// Saves what belongs to a vCPU.
pub fn save(state: &mut InterfaceState) {
    state.vmcr = read_sysreg!("ich_vmcr_el2");
    let words = priority_words();
    macro_rules! save {
        ($n:literal, $group0:literal, $group1:literal) => {
            if $n < words {
                state.active[$n] = read_sysreg!($group0) as u32;
                state.active[$n + 4] = read_sysreg!($group1) as u32;
            }
        };
    }
    active_priorities!(save);
    write_control(0);
}
