//! Making the architecture's part of a domain.

use xenolith_abi::Errno;

use xenolith_arch::{self as machine, HardwareTlb, Stage2};
use xenolith_core::sync::Mutex;
use xenolith_core::types::{Ipa, PAGE_SHIFT, Pa, VcpuId};
use xenolith_isa::stage2::{Vttbr, vtcr};
use xenolith_isa::sysreg::{FilteredIds, Guest};
use xenolith_isa::vgic::{Config, ConfigError, Frame, MAX_SPIS, MAX_VCPUS_V2, MAX_VCPUS_V3, Model, Vgic};
use xenolith_memory::p2m::{MapKind, P2m, P2mError, Tlb};
use xenolith_memory::table::TableList;
use xenolith_vdev::address_table::Handler;

use super::{DomainArch, Lines, layout};

/// What the architecture's part of a domain is to be.
#[derive(Clone, Debug)]
pub struct ArchConfig {
    /// Its interrupt controller.
    pub controller: Model,
    /// Where a GICv2 shows its CPU interface.
    pub cpu_interface: Option<CpuInterface>,
    /// Shared interrupts.
    pub spis: u16,
    /// The private interrupt that announces events.
    pub event_ppi: u32,
    /// The private interrupt of the virtual timer.
    pub guest_timer: u32,
    /// The private interrupt of the EL1 physical timer.
    pub physical_timer: u32,
}

/// The virtual CPU interface of a GICv2, which a guest finds in place of the physical one.
#[derive(Clone, Copy, Debug)]
pub struct CpuInterface {
    /// Where the guest finds it.
    pub guest: Ipa,
    /// Where the machine has it.
    pub machine: Pa,
    /// Bytes of it.
    pub size: u64,
}

/// Which interrupt controller a domain gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controller {
    /// The machine's version.
    #[default]
    Native,
    /// GICv2.
    V2,
    /// GICv3.
    V3,
}

impl ArchConfig {
    /// That of a domain which finds its interrupt controller and its timers where `machine_model` says, and the most
    /// vCPUs that it may have. `ENODEV`: the machine has no such interrupt controller. `EINVAL`: too many interrupts.
    pub fn standard(controller: Controller, spis: u32) -> Result<(Self, u16), Errno> {
        let cpu_interface = machine::gic::virtual_cpu_interface();
        let (model, most) = match (controller, cpu_interface.is_some()) {
            (Controller::Native | Controller::V2, true) => {
                (Model::V2 { distributor: layout::DISTRIBUTOR }, MAX_VCPUS_V2)
            }
            (Controller::Native | Controller::V3, false) => {
                let redistributors =
                    [(layout::REDISTRIBUTORS, layout::REDISTRIBUTORS_SIZE)].into_iter().collect();
                (Model::V3 { distributor: layout::DISTRIBUTOR, redistributors }, MAX_VCPUS_V3)
            }
            _ => return Err(Errno::ENODEV),
        };
        let spis = u16::try_from(spis).ok().filter(|&spis| spis <= MAX_SPIS).ok_or(Errno::EINVAL)?;
        let cpu_interface = cpu_interface.map(|(machine, size)| CpuInterface {
            guest: layout::CPU_INTERFACE,
            machine,
            size: size.min(layout::CPU_INTERFACE_SIZE),
        });
        let config = ArchConfig {
            controller: model,
            cpu_interface,
            spis,
            event_ppi: layout::EVENT_PPI,
            guest_timer: layout::VIRTUAL_TIMER,
            physical_timer: layout::PHYSICAL_TIMER,
        };
        Ok((config, most))
    }

    /// The windows of addresses that the hypervisor emulates for it: first address, bytes, who answers. [`DomainArch::new`]
    /// makes sure that they do not overlap.
    pub fn windows(&self) -> impl Iterator<Item = (Ipa, u64, Handler)> {
        let frames = self.controller.frames().filter(|&(_, _, size)| size > 0);
        frames.map(|(Frame(number), first, size)| (first, size, Handler::Vgic(number)))
    }

    /// Maps what the guest may reach of the machine's interrupt controller itself. After an error: where, and why.
    pub fn map_registers(&self, p2m: &mut P2m<TableList, HardwareTlb>) -> Result<(), (Pa, P2mError)> {
        let Some(CpuInterface { guest, machine, size }) = self.cpu_interface else { return Ok(()) };
        let mapped = p2m.map(guest.frame(), machine.frame(), size >> PAGE_SHIFT, MapKind::Device);
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
            model: config.controller.clone(),
            vcpus,
            spis: config.spis,
            event_ppi: config.event_ppi,
            priority_bits: machine::gic::priority_bits(),
        };
        let mut vgic = Vgic::new(parts)?;
        for id in (0..vcpus).map(VcpuId) {
            vgic.back_by_hardware(Some(id), config.guest_timer, Some(lines.guest_timer));
        }
        let gic_system_registers = matches!(config.controller, Model::V3 { .. });
        let geometry = p2m.geometry();
        let guest = Guest { gic_system_registers, ipa_bits: geometry.bits() as u8 };
        Ok(DomainArch {
            ids: FilteredIds::new(&machine::id_registers(), &guest),
            gic_system_registers,
            guest_timer: config.guest_timer,
            physical_timer: config.physical_timer,
            event_ppi: config.event_ppi,
            stage2: Stage2 { vttbr: Vttbr::new(p2m.space()), vtcr: vtcr(geometry, false) },
            vgic: Mutex::new(vgic),
        })
    }
}

/// Has all CPUs forget what they know of tables that no vCPU uses any more.
pub fn flush_tables(p2m: &P2m<TableList, HardwareTlb>) {
    HardwareTlb.flush_all(p2m.space());
}
