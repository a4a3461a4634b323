//! Making the architecture's part of a domain.

use machine_model::gic::Gic;
use machine_model::layout;
use xenolith_abi::Errno;
use xenolith_abi::domctl::GicVersion;

use xenolith_arch::{self as machine, HardwareTlb};
use xenolith_core::bug;
use xenolith_core::sync::Mutex;
use xenolith_core::types::{Intid, Ipa, PAGE_SHIFT, Pa, VcpuId};
use xenolith_isa::stage2::{Stage2, Vttbr, vtcr};
use xenolith_isa::sysreg::{FilteredIds, Guest};
use xenolith_isa::vgic::{self, Config, ConfigError, Frame, MAX_SPIS, Vgic};
use xenolith_memory::p2m::{MapKind, P2m, P2mError, Tlb};
use xenolith_memory::table::TableList;
use xenolith_vdev::address_table::Handler;

use super::{DomainArch, Lines};

/// What the architecture's part of a domain is to be.
#[derive(Clone, Debug)]
pub struct ArchConfig {
    /// Its interrupt controller.
    pub gic: Gic,
    /// Shared interrupts.
    pub spis: u16,
    /// The private interrupt that announces events.
    pub event_ppi: Intid,
    /// The private interrupt of the virtual timer.
    pub guest_timer: Intid,
    /// The private interrupt of the EL1 physical timer.
    pub physical_timer: Intid,
    /// SVE with vectors of so many 128 bits, no more than [`machine::vector_granules`]; 0 for none.
    pub vector_granules: u8,
}

/// What a toolstack may ask of the architecture's part of a domain (`xen_arch_domainconfig`).
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchRequest {
    /// The version of its interrupt controller; `None` for the machine's.
    pub gic: Option<GicVersion>,
    /// Shared interrupts: 0 to 988.
    pub spis: u32,
    /// SVE with vectors of so many 128 bits; 0 for none.
    pub vector_granules: u8,
}

impl ArchConfig {
    /// That of a domain which finds its interrupt controller and its timers where `machine_model` says; the controller is
    /// of the machine's version if none is asked for. `ENODEV`: the machine has no such one. `EINVAL`: too many interrupts, or longer vectors than the
    /// machine has.
    pub fn standard(request: &ArchRequest) -> Result<Self, Errno> {
        let &ArchRequest { gic: version, spis, vector_granules } = request;
        let native = match machine::gic::virtual_cpu_interface() {
            Some(_) => GicVersion::V2,
            None => GicVersion::V3,
        };
        if version.is_some_and(|version| version != native) {
            return Err(Errno::ENODEV);
        }
        if vector_granules > machine::vector_granules() {
            return Err(Errno::EINVAL);
        }
        Ok(ArchConfig {
            gic: Gic::guest(native),
            vector_granules,
            spis: u16::try_from(spis).ok().filter(|&spis| spis <= MAX_SPIS).ok_or(Errno::EINVAL)?,
            event_ppi: layout::EVENTS,
            guest_timer: layout::TIMER_VIRTUAL,
            physical_timer: layout::TIMER_PHYSICAL,
        })
    }

    /// The most vCPUs that a domain with this interrupt controller can have.
    pub fn max_vcpus(&self) -> u16 {
        self.gic.max_vcpus()
    }

    /// The windows of addresses that the hypervisor emulates for it: first address, bytes, who answers. [`DomainArch::new`]
    /// makes sure that they do not overlap.
    pub fn windows(&self) -> impl Iterator<Item = (Ipa, u64, Handler)> + Clone {
        let frames = vgic::frames(&self.gic).filter(|&(_, _, size)| size > 0);
        frames.map(|(Frame(number), first, size)| (first, size, Handler::InterruptController(number)))
    }

    /// Maps what the guest may reach of the machine's interrupt controller itself: the virtual CPU interface of a GICv2,
    /// in the place of the physical one. After an error: where, and why.
    pub fn map_registers(&self, p2m: &mut P2m<TableList, HardwareTlb>) -> Result<(), (Pa, P2mError)> {
        let Gic::V2 { cpu, .. } = self.gic else { return Ok(()) };
        let Some((machine, size)) = machine::gic::virtual_cpu_interface() else {
            bug!("a GICv2 on a machine that has none");
            return Ok(());
        };
        let pages = size.min(cpu.size) >> PAGE_SHIFT;
        let mapped = p2m.map(cpu.first_frame(), machine.frame(), pages, MapKind::StrictDevice);
        mapped.map_err(|error| (machine, error))
    }
}

impl DomainArch {
    /// The architecture's part of a domain with so many vCPUs and this stage 2; the virtual timer's interrupt is backed by
    /// the machine's.
    pub fn new(
        config: &ArchConfig,
        vcpus: u16,
        p2m: &P2m<TableList, HardwareTlb>,
        lines: Lines,
    ) -> Result<Self, ConfigError> {
        let parts = Config {
            gic: config.gic,
            vcpus,
            spis: config.spis,
            event_ppi: config.event_ppi,
            priority_bits: machine::gic::priority_bits(),
        };
        let mut vgic = Vgic::new(parts)?;
        for id in (0..vcpus).map(VcpuId) {
            vgic.back_by_hardware(Some(id), config.guest_timer, Some(lines.guest_timer));
        }
        let gic_system_registers = config.gic.version() == GicVersion::V3;
        let geometry = p2m.geometry();
        let sve = config.vector_granules > 0;
        let guest = Guest { gic_system_registers, ipa_bits: geometry.bits() as u8, sve };
        Ok(DomainArch {
            ids: FilteredIds::new(&machine::id_registers(), &guest),
            gic_system_registers,
            vector_granules: config.vector_granules,
            guest_timer: config.guest_timer,
            physical_timer: config.physical_timer,
            event_ppi: config.event_ppi,
            stage2: Stage2 { vttbr: Vttbr::new(p2m.space()), vtcr: vtcr(geometry, false) },
            vgic: Mutex::new(vgic),
            #[cfg(any(feature = "check-tables", not(target_os = "none")))]
            next_look: 0.into(),
        })
    }
}

/// Has all CPUs forget what they know of tables that no vCPU uses any more.
pub fn flush_tables(p2m: &P2m<TableList, HardwareTlb>) {
    HardwareTlb.flush_all(p2m.space());
}
