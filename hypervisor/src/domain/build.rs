//! Putting a domain together from its parts.

use alloc::vec::Vec;

use xenolith_abi::Errno;

use crate::arch::{self, HardwareTlb, Stage2};
use crate::event::EventChannels;
use crate::grant::{GrantTable, Maptrack};
use crate::hypervisor::Hypervisor;
use crate::mm::frames::{Content, FrameRange, Kind};
use crate::mm::table::TableList;
use crate::p2m::{MapKind, P2m, P2mError, Vmid};
use crate::psci;
use crate::sched::CpuMask;
use crate::sync::Mutex;
use crate::sysreg::{FilteredIds, Guest};
use crate::types::{DomId, Gfn, Pa, VcpuId};
use crate::vcpu::Vcpu;
use crate::vgic::{Config, ConfigError, Model, Vgic};

use super::memory::Memory;
use super::{Domain, Ending, Parameters};

/// What a domain is to be.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Its number.
    pub id: DomId,
    /// It may control the machine and all other domains.
    pub is_control: bool,
    /// Guest frames and machine frames have the same numbers.
    pub direct_mapped: bool,
    /// vCPUs.
    pub vcpus: u16,
    /// Pages of RAM that it owns from the start.
    pub pages: u64,
    /// Pages of RAM that it may own.
    pub max_pages: u64,
    /// The highest event channel that it may have.
    pub max_port: u32,
    /// Frames of grant table that it may have.
    pub grant_frames: u32,
    /// Frames of handles for grants of others.
    pub maptrack_frames: u32,
    /// Its interrupt controller.
    pub controller: Model,
    /// Shared interrupts.
    pub spis: u16,
    /// The private interrupt that announces events.
    pub event_ppi: u32,
    /// The private interrupt of the virtual timer, here and in the machine.
    pub guest_timer: u32,
    /// The private interrupt of the EL1 physical timer.
    pub physical_timer: u32,
}

/// Why a domain cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The interrupt controller cannot be as the blueprint says.
    Controller(ConfigError),
    /// RAM cannot be mapped.
    Map(Pa, P2mError),
    /// No memory, or a number that is out of its range.
    Call(Errno),
}

impl From<Errno> for BuildError {
    fn from(errno: Errno) -> Self {
        BuildError::Call(errno)
    }
}

/// log2 of the pages that one table maps.
const TABLE_ORDER: u32 = 9;
/// Tables for what is mapped besides RAM: devices, and frames of others.
const MORE_TABLES: u64 = 64;

/// The stage 2 of a domain, with its RAM mapped in the largest blocks that fit. There are tables enough to split all of
/// it into pages.
pub fn stage2(
    hv: &Hypervisor,
    id: DomId,
    ram: &[(Gfn, FrameRange)],
) -> Result<P2m<TableList, HardwareTlb>, BuildError> {
    let pages: u64 = ram.iter().map(|(_, range)| range.pages).sum();
    let mut pool = TableList::default();
    for _ in 0..(pages >> TABLE_ORDER) + MORE_TABLES {
        pool.push(hv.frames.alloc_table(id).ok_or(Errno::ENOMEM)?);
    }
    let root = hv.frames.alloc_root(hv.geometry.root_order(), id).ok_or(Errno::ENOMEM)?;
    let vmid = Vmid(id.0.wrapping_add(1));
    let mut p2m = P2m::new(hv.geometry, vmid, root, pool, HardwareTlb).ok_or(Errno::ENOMEM)?;
    for &(gfn, range) in ram {
        let mapped = p2m.map(gfn, range.first, range.pages, MapKind::Ram);
        mapped.map_err(|error| BuildError::Map(range.first.base(), error))?;
    }
    Ok(p2m)
}

impl Domain {
    /// Puts a domain together around its stage 2. Its vCPUs are off, and nobody can find it yet.
    pub fn new(
        hv: &Hypervisor,
        blueprint: Blueprint,
        p2m: P2m<TableList, HardwareTlb>,
    ) -> Result<Domain, BuildError> {
        let id = blueprint.id;
        let gic_system_registers = matches!(blueprint.controller, Model::V3 { .. });
        let guest = Guest { gic_system_registers, ipa_bits: hv.geometry.bits() as u8 };
        let stage2 = Stage2 { vttbr: p2m.vttbr(), vtcr: hv.geometry.vtcr(false) };
        let vgic = controller(&blueprint)?;
        let shared = hv.frames.alloc(0, id, Kind::Shared, Content::Zeroed).ok_or(Errno::ENOMEM)?;
        let shared_info = hv.frames.pin(shared, id).map_err(|_| Errno::ENOMEM)?;
        let events = EventChannels::new(id, blueprint.vcpus, blueprint.max_port, shared_info.page())?;
        Ok(Domain {
            id,
            handle: [0; 16],
            is_control: blueprint.is_control,
            direct_mapped: blueprint.direct_mapped,
            vcpus: vcpus(hv, blueprint.vcpus)?,
            ids: FilteredIds::new(&arch::id_registers(), &guest),
            gic_system_registers,
            guest_timer: blueprint.guest_timer,
            physical_timer: blueprint.physical_timer,
            event_ppi: blueprint.event_ppi,
            stage2,
            memory: Mutex::new(Memory {
                p2m,
                pages: blueprint.pages,
                max_pages: blueprint.max_pages,
                shared_info_gfn: None,
            }),
            shared_info,
            grants: Mutex::new(GrantTable::new(blueprint.grant_frames)),
            maptrack: Mutex::new(Maptrack::new(blueprint.maptrack_frames)),
            events: Mutex::new(events),
            vgic: Mutex::new(vgic),
            parameters: Mutex::new(Parameters::default()),
            runstate_update_flag: false.into(),
            listener: Mutex::default(),
            watchdogs: Mutex::default(),
            vuart: None,
            ending: Mutex::new(Ending::default()),
        })
    }
}

fn vcpus(hv: &Hypervisor, count: u16) -> Result<Vec<Vcpu>, Errno> {
    /// Xen's default share of a vCPU.
    const WEIGHT: u16 = 256;
    let mut vcpus = Vec::new();
    vcpus.try_reserve_exact(count.into()).map_err(|_| Errno::ENOMEM)?;
    for id in (0..count).map(VcpuId) {
        let unit = hv.scheduler.add(WEIGHT, CpuMask::below(64), arch::now())?;
        vcpus.push(Vcpu::new(id, unit, psci::mpidr_of(id)));
    }
    Ok(vcpus)
}

/// The interrupt controller, the virtual timer's interrupt backed by the machine's.
fn controller(blueprint: &Blueprint) -> Result<Vgic, BuildError> {
    let config = Config {
        model: blueprint.controller.clone(),
        vcpus: blueprint.vcpus,
        spis: blueprint.spis,
        event_ppi: blueprint.event_ppi,
        priority_bits: arch::gic::priority_bits(),
    };
    let mut vgic = Vgic::new(config).map_err(BuildError::Controller)?;
    let timer = blueprint.guest_timer;
    for id in (0..blueprint.vcpus).map(VcpuId) {
        vgic.back_by_hardware(Some(id), timer, Some(timer));
    }
    Ok(vgic)
}
