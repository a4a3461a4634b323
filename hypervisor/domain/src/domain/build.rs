//! Putting a domain together from its parts.

use alloc::boxed::Box;
use alloc::vec::Vec;

use xenolith_abi::Errno;

use crate::heap::require_heap;
use crate::hypervisor::Hypervisor;
use crate::vcpu::Vcpu;
use xenolith_arch::{self as arch, HardwareTlb, Stage2};
use xenolith_core::sync::{Mutex, Once};
use xenolith_core::types::{DomId, Gfn, Mfn, Pa, VcpuId};
use xenolith_isa::psci;
use xenolith_isa::sysreg::{FilteredIds, Guest};
use xenolith_isa::vgic::{Config, ConfigError, Model, Vgic};
use xenolith_memory::frames::{Content, FrameRange, FrameRef, Kind};
use xenolith_memory::p2m::{MapKind, P2m, P2mError, Tlb};
use xenolith_memory::table::TableList;
use xenolith_policy::event::EventChannels;
use xenolith_policy::grant::{GrantTable, Maptrack};
use xenolith_policy::sched::CpuMask;

use super::destroy::{Life, Teardown};
use super::io::Io;
use super::memory::Memory;
use super::{Domain, Ending, Parameters};

/// What a domain is to be.
#[derive(Clone, Debug)]
pub struct DomainConfig {
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
    /// The private interrupt of the virtual timer.
    pub guest_timer: u32,
    /// The private interrupt of the EL1 physical timer.
    pub physical_timer: u32,
}

/// Why a domain cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The interrupt controller cannot be as the config says.
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
    let mut p2m = empty_stage2(hv, id, (pages >> TABLE_ORDER) + MORE_TABLES)?;
    for &(gfn, range) in ram {
        if let Err(error) = p2m.map(gfn, range.first, range.pages, MapKind::Ram) {
            discard_stage2(hv, id, &mut p2m);
            return Err(BuildError::Map(range.first.base(), error));
        }
    }
    Ok(p2m)
}

/// A stage 2 that maps nothing yet, with so many tables in its pool. `ENOMEM`: no memory. `EBUSY`: no VMID is free.
pub fn empty_stage2(hv: &Hypervisor, id: DomId, tables: u64) -> Result<P2m<TableList, HardwareTlb>, Errno> {
    let root = hv.frames.alloc_root(hv.geometry.root_order(), id).ok_or(Errno::ENOMEM)?;
    let Some(vmid) = hv.vmids.lock().take() else {
        let _ = hv.frames.free_root(root, id);
        return Err(Errno::EBUSY);
    };
    // The geometry that the root was made for is the one that it is used with.
    let p2m = P2m::new(hv.geometry, vmid, root, TableList::default(), HardwareTlb);
    let mut p2m = p2m.ok_or(Errno::ENOMEM)?;
    for _ in 0..tables {
        let Some(table) = hv.frames.alloc_table(id) else {
            discard_stage2(hv, id, &mut p2m);
            return Err(Errno::ENOMEM);
        };
        p2m.pool_mut().push(table);
    }
    Ok(p2m)
}

/// Gives all tables back of a stage 2 that no vCPU has used. What it maps stays with who has it.
fn discard_stage2(hv: &Hypervisor, id: DomId, p2m: &mut P2m<TableList, HardwareTlb>) {
    let end = hv.geometry.end().0;
    let mut from = 0;
    while let Ok((_, done)) = p2m.unmap(Gfn(from), end - from)
        && done > 0
    {
        from += done;
        if from >= end {
            break;
        }
    }
    while let Some(table) = p2m.pool_mut().pop() {
        let _ = hv.frames.free_table(table, id);
    }
    end_stage2(hv, id, p2m);
}

/// Gives the root and the VMID back of a stage 2 that maps nothing any more, and on which no CPU runs a vCPU. Nothing
/// happens when it maps something, or when this was done before.
pub(super) fn end_stage2(hv: &Hypervisor, id: DomId, p2m: &mut P2m<TableList, HardwareTlb>) {
    if let Some(root) = p2m.take_root() {
        HardwareTlb.flush_all(p2m.vttbr());
        let _ = hv.frames.free_root(root, id);
        hv.vmids.lock().give_back(p2m.vmid());
    }
}

/// How large the pool of tables may grow by itself. The control domain is trusted. One that has devices of its own may
/// be the device model of others, and map as much as the machine has. Any other has what the control domain gives it.
fn pool_limit(hv: &Hypervisor, config: &DomainConfig) -> u64 {
    match (config.is_control, config.direct_mapped) {
        (true, _) => u64::MAX,
        (false, true) => (hv.frames.total() >> TABLE_ORDER).saturating_add(2 * MORE_TABLES),
        (false, false) => 0,
    }
}

/// The parts of a domain that need more than the heap's memory, or can fail.
struct Parts {
    shared_info: FrameRef,
    events: EventChannels<FrameRef>,
    vcpus: Vec<Vcpu>,
    vgic: Vgic,
    io: Io,
    teardown: Teardown,
}

impl Parts {
    /// Makes them all, or none.
    fn new(hv: &Hypervisor, config: &DomainConfig) -> Result<Parts, BuildError> {
        let id = config.id;
        let vgic = controller(hv, config)?;
        let io = Io::new(config.vcpus)?;
        let teardown = Teardown::new()?;
        let shared = hv.frames.alloc(0, id, Kind::Shared, Content::Zeroed).ok_or(Errno::ENOMEM)?;
        let shared_info = hv.frames.get_frame(shared, id).map_err(|_| Errno::ENOMEM)?;
        let events = EventChannels::new(id, config.vcpus, config.max_port, shared_info.page());
        match events.and_then(|events| Ok((events, vcpus(hv, config.vcpus)?))) {
            Ok((events, vcpus)) => Ok(Parts { shared_info, events, vcpus, vgic, io, teardown }),
            Err(errno) => {
                end_shared_info(hv, id, shared);
                Err(errno.into())
            }
        }
    }
}

/// Gives back the page of shared info of a domain that nobody could find.
fn end_shared_info(hv: &Hypervisor, id: DomId, page: Mfn) {
    let _ = hv.frames.release(page);
    let _ = hv.frames.free(page, 0, id);
}

impl Domain {
    /// Puts a domain together around its stage 2. Its vCPUs are off, and nobody can find it yet. After an error its
    /// tables are given back; its RAM stays with who allocated it.
    #[inline(never)]
    pub fn new(
        hv: &Hypervisor,
        config: DomainConfig,
        mut p2m: P2m<TableList, HardwareTlb>,
    ) -> Result<Box<Domain>, BuildError> {
        let id = config.id;
        let gic_system_registers = matches!(config.controller, Model::V3 { .. });
        let guest = Guest { gic_system_registers, ipa_bits: hv.geometry.bits() as u8 };
        let Parts { shared_info, events, vcpus, vgic, io, teardown } = match Parts::new(hv, &config) {
            Ok(parts) => parts,
            Err(error) => {
                discard_stage2(hv, id, &mut p2m);
                return Err(error);
            }
        };
        if let Err(errno) = require_heap::<Domain>() {
            remove_units(hv, &vcpus);
            end_shared_info(hv, id, shared_info.mfn());
            discard_stage2(hv, id, &mut p2m);
            return Err(errno.into());
        }
        // The stacks are small: nothing but this function has a whole domain on its own.
        Ok(Box::new(Domain {
            id,
            handle: Mutex::new([0; 16]),
            is_control: config.is_control,
            direct_mapped: config.direct_mapped,
            vcpus,
            ids: FilteredIds::new(&arch::id_registers(), &guest),
            gic_system_registers,
            guest_timer: config.guest_timer,
            physical_timer: config.physical_timer,
            event_ppi: config.event_ppi,
            stage2: Stage2 { vttbr: p2m.vttbr(), vtcr: hv.geometry.vtcr(false) },
            memory: Mutex::new(Memory {
                p2m,
                pages: config.pages,
                max_pages: config.max_pages,
                shared_info_gfn: None,
                pool_limit: pool_limit(hv, &config),
                closed: false,
            }),
            counter_offset: Once::new(),
            shared_info,
            grants: Mutex::new(GrantTable::new(config.grant_frames)),
            maptrack: Mutex::new(Maptrack::new(config.maptrack_frames)),
            events: Mutex::new(events),
            vgic: Mutex::new(vgic),
            parameters: Mutex::new(Parameters::default()),
            runstate_update_flag: false.into(),
            may_log: hv.options.guest_console.into(),
            panic_detector: Mutex::default(),
            watchdogs: Mutex::default(),
            // The first domain has the machine's devices, and finds what hardware would say.
            trap_unmapped: config.is_control,
            controller_pauses: Mutex::default(),
            device_models: Mutex::default(),
            io,
            vuart: Once::new(),
            complaints: 0.into(),
            ending: Mutex::new(Ending::default()),
            stopping: false.into(),
            permits: Mutex::default(),
            life: Life::Alive.into(),
            teardown: Mutex::new(teardown),
            lingering: 0.into(),
        }))
    }

    /// Takes a domain apart that nobody could find yet. Its RAM stays with who allocated it.
    pub(crate) fn discard(mut self: Box<Self>, hv: &Hypervisor) {
        remove_units(hv, &self.vcpus);
        end_shared_info(hv, self.id, self.shared_info.mfn());
        discard_stage2(hv, self.id, &mut self.memory.get_mut().p2m);
    }
}

/// Takes vCPUs out of the scheduler that no CPU runs.
pub(super) fn remove_units(hv: &Hypervisor, vcpus: &[Vcpu]) {
    for vcpu in vcpus {
        if let Ok(kicks) = hv.scheduler.remove(vcpu.unit, arch::now()) {
            hv.kick(kicks);
        }
    }
}

fn vcpus(hv: &Hypervisor, count: u16) -> Result<Vec<Vcpu>, Errno> {
    /// Xen's default share of a vCPU.
    const WEIGHT: u16 = 256;
    let mut vcpus = Vec::new();
    vcpus.try_reserve_exact(count.into()).map_err(|_| Errno::ENOMEM)?;
    for id in (0..count).map(VcpuId) {
        match hv.scheduler.add(WEIGHT, CpuMask::below(64), arch::now()) {
            Ok(unit) => vcpus.push(Vcpu::new(id, unit, psci::mpidr_of(id))),
            Err(errno) => {
                remove_units(hv, &vcpus);
                return Err(errno);
            }
        }
    }
    let last = vcpus.iter().map(|vcpu| vcpu.unit).max();
    if let Some(Err(errno)) = last.map(|unit| hv.timers.reserve(unit)) {
        remove_units(hv, &vcpus);
        return Err(errno);
    }
    Ok(vcpus)
}

/// The interrupt controller, the virtual timer's interrupt backed by the machine's.
fn controller(hv: &Hypervisor, config: &DomainConfig) -> Result<Vgic, BuildError> {
    let parts = Config {
        model: config.controller.clone(),
        vcpus: config.vcpus,
        spis: config.spis,
        event_ppi: config.event_ppi,
        priority_bits: arch::gic::priority_bits(),
    };
    let mut vgic = Vgic::new(parts).map_err(BuildError::Controller)?;
    for id in (0..config.vcpus).map(VcpuId) {
        vgic.back_by_hardware(Some(id), config.guest_timer, Some(hv.lines().guest_timer));
    }
    Ok(vgic)
}
