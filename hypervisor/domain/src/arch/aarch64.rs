//! What a domain, a vCPU and the hypervisor keep for AArch64: a virtual GIC, stage-2 and ID registers, timers, PSCI.
//!
//! This file has the types, which name nothing that they are part of; those under `aarch64/` join them with the rest.

mod build;
mod guest_context;
mod interrupts;
mod list_registers;
#[cfg(any(feature = "check-tables", not(target_os = "none")))]
mod specification;

use core::sync::atomic::{AtomicBool, AtomicU64};

use arrayvec::ArrayVec;
use xenolith_abi::Errno;
use xenolith_abi::domctl::{ArchDomainInfo, GicVersion};

use xenolith_core::sync::Mutex;
use xenolith_core::types::{Intid, VcpuId};
use xenolith_isa::physical_timer::PhysicalTimer;
use xenolith_isa::psci;
use xenolith_isa::stage2::Stage2;
use xenolith_isa::sysreg::FilteredIds;
use xenolith_isa::vgic::Vgic;

pub use build::{ArchConfig, ArchRequest, flush_tables};
pub use guest_context::{WrittenContext, entry_registers, log_registers, read_context, unmask_interrupts};
pub use machine_model::layout::{PL011 as UART, PL011_SPI as UART_INTERRUPT};
#[cfg(any(feature = "check-tables", not(target_os = "none")))]
pub use specification::demand;
pub use xenolith_arch::HardwareTlb;
pub use xenolith_arch::context::Context;
pub use xenolith_arch::gic::kick as kick_cpu;
pub use xenolith_isa::device_access::DeviceAccess;
pub use xenolith_isa::hypercall::HypercallAbi;
pub use xenolith_isa::regs::GuestRegs;
pub use xenolith_isa::vgic::ConfigError as ArchError;

/// The kinds of guest that can run, as `xen_version` tells them.
pub const CAPABILITIES: &str = "xen-3.0-aarch64 ";

/// The lowest number of an interrupt that all CPUs share: an SPI (GIC, INTID 32 and above).
pub const FIRST_SHARED_INTERRUPT: Intid = Intid::FIRST_SHARED;

/// The interrupts that EL2 itself uses, by INTID.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// EL2's own timer.
    pub timer: Intid,
    /// The virtual timer of the vCPU that runs.
    pub guest_timer: Intid,
    /// A list register has become free.
    pub maintenance: Intid,
    /// The console's UART.
    pub console: Option<Intid>,
}

/// What the hypervisor knows of the machine's CPUs.
#[derive(Debug)]
pub struct HypervisorArch {
    /// ACTLR_EL1 of the machine, which guests may read.
    pub actlr: u64,
}

impl HypervisorArch {
    /// Reads it on the calling CPU.
    pub fn of_machine() -> Self {
        HypervisorArch { actlr: xenolith_arch::auxiliary_control() }
    }
}

/// The architecture's part of a domain.
pub struct DomainArch {
    /// What its CPUs can do.
    pub ids: FilteredIds,
    /// Its interrupt controller has system registers (GICv3).
    pub gic_system_registers: bool,
    /// Its CPUs have SVE with vectors of so many 128 bits; 0 for none.
    pub vector_granules: u8,
    /// The private interrupt of the virtual timer.
    pub guest_timer: Intid,
    /// The private interrupt of the EL1 physical timer.
    pub physical_timer: Intid,
    /// The private interrupt that announces events.
    pub event_ppi: Intid,
    /// The registers that select its stage 2.
    pub stage2: Stage2,
    /// Its interrupt controller.
    pub vgic: Mutex<Vgic>,
    /// Where the next look at its tables begins: a guest address.
    #[cfg(any(feature = "check-tables", not(target_os = "none")))]
    pub next_look: AtomicU64,
}

impl DomainArch {
    /// What the toolstack is told of it (`xen_arch_domainconfig`).
    pub fn info(&self) -> ArchDomainInfo {
        let version = if self.gic_system_registers { GicVersion::V3 } else { GicVersion::V2 };
        ArchDomainInfo {
            gic_version: version.number(),
            sve_vl: self.vector_granules,
            ..ArchDomainInfo::default()
        }
    }

    /// Whether it has a shared interrupt of this number.
    pub fn has_shared_interrupt(&self, intid: Intid) -> bool {
        intid.0 < self.vgic.lock().interrupts()
    }

    /// Whether it has a shared interrupt of this number that no physical one comes as.
    pub fn is_free_line(&self, intid: Intid) -> bool {
        self.vgic.lock().is_free_line(intid)
    }

    /// Whether a shared interrupt is anywhere between its cause and its end.
    pub fn is_in_flight(&self, intid: Intid) -> bool {
        self.vgic.lock().in_flight(None, intid)
    }

    /// The first interrupts of a vCPU that wait or are served, with their states, for a person to read.
    #[expect(clippy::disallowed_methods, reason = "the collection has room of its own")]
    pub fn interrupts_in_hand<const N: usize>(&self, vcpu: VcpuId) -> ArrayVec<(Intid, &'static str), N> {
        self.vgic.lock().in_hand(vcpu).take(N).collect()
    }
}

/// The architecture's part of a vCPU.
#[derive(Debug)]
pub struct VcpuArch {
    /// What it reads in MPIDR_EL1.
    pub mpidr: u64,
    /// The emulated EL1 physical timer.
    pub timer: Mutex<PhysicalTimer>,
    /// The physical interrupt of the virtual timer may be active on the CPU that it runs on.
    pub timer_raised: AtomicBool,
    /// How far cleaning the domain's memory for a set/way operation of this vCPU has come, as a guest frame.
    pub cleaned_to: AtomicU64,
}

impl VcpuArch {
    /// That of a vCPU which has not run.
    pub fn new(id: VcpuId) -> Self {
        VcpuArch {
            mpidr: psci::mpidr_of(id),
            timer: Mutex::new(PhysicalTimer::default()),
            timer_raised: AtomicBool::new(false),
            cleaned_to: AtomicU64::new(0),
        }
    }

    /// What a CPU holds for it, as it begins. `ENOMEM`: no memory.
    pub fn first_context(&self, config: &ArchConfig) -> Result<Context, Errno> {
        Context::new(self.mpidr, config.vector_granules).ok_or(Errno::ENOMEM)
    }

    /// Resets it, and what a CPU holds for it, to the state that it begins with.
    pub fn reset(&self, context: &mut Context) {
        *self.timer.lock() = PhysicalTimer::default();
        context.reset(self.mpidr);
    }
}

/// Switches a shared interrupt of the machine off, and makes it inactive.
pub fn silence_interrupt(intid: Intid) {
    xenolith_arch::gic::disable(intid);
    xenolith_arch::gic::set_active(intid, false);
}
