//! The one builder of domains: what a new domain needs is taken here, in one order, and given back in the other when a
//! part is missing.
//!
//! Three front ends say what a domain is to be: the boot for the first domain, the boot for those of the device tree, and
//! the control domain's `createdomain`. Each describes it by a [`DomainConfig`], adds to the [`DomainBuilder`] what only
//! it knows, and publishes it. Nobody finds a domain before that.

use alloc::vec::Vec;
use core::ops::Deref;
use core::sync::atomic::Ordering;

use xenolith_abi::Errno;

use crate::arch::{ArchConfig, ArchError, DomainArch, HardwareTlb, flush_tables};
use crate::console::Share;
use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::parts::addresses::Addresses;
use crate::parts::ending::Ending;
use crate::parts::io::Io;
use crate::parts::memory::Memory;
use crate::parts::parameters::Parameters;
use crate::parts::permits::Permits;
use crate::parts::teardown::{Life, Teardown};
use crate::vcpu::Vcpu;
use xenolith_arch as arch;
use xenolith_core::bug;
use xenolith_core::sync::{Mutex, Once};
use xenolith_core::types::{DomId, Gfn, Mfn, PAGE_SHIFT, Pa, VcpuId};
use xenolith_memory::arc::{Arc, Room};
use xenolith_memory::frames::{Content, FrameRange, FrameRef, Kind, Short};
use xenolith_memory::p2m::{MapKind, P2m, P2mError};
use xenolith_memory::page::Page;
use xenolith_memory::table::TableList;
use xenolith_policy::event::EventChannels;
use xenolith_policy::grant::{GrantTable, Maptrack};
use xenolith_policy::sched::{CpuMask, CpuShare, UnitId};

/// Frames of grant table of a domain whose description does not say (Xen's default).
pub const GRANT_FRAMES: u32 = 64;
/// Frames of handles for grants of others, likewise.
pub const MAPTRACK_FRAMES: u32 = 1024;
/// The most frames of either: 2^21 grants.
pub const MAX_GRANT_FRAMES: u32 = 4096;
/// Pages for tables of what is mapped besides RAM: devices, and frames of others.
pub const MORE_TABLES: u64 = 64;

/// log2 of the pages that one table maps.
const TABLE_ORDER: u32 = 9;
/// Xen's default share of a vCPU.
const WEIGHT: u16 = 256;

/// What a domain is to be.
#[derive(Clone, Debug)]
pub struct DomainConfig<'a> {
    /// Its number.
    pub id: DomId,
    /// Its UUID.
    pub handle: [u8; 16],
    /// It may control the machine and all other domains.
    pub is_control: bool,
    /// Guest frames and machine frames have the same numbers.
    pub direct_mapped: bool,
    /// vCPUs.
    pub vcpus: u16,
    /// RAM that it owns from the start, and where it finds it. It stays with who allocated it until the domain is published.
    pub ram: &'a [(Gfn, FrameRange)],
    /// Pages for tables, besides those that split all its RAM into pages.
    pub tables: u64,
    /// The highest event channel that it may have.
    pub max_port: u32,
    /// Frames of grant table that it may have.
    pub grant_frames: u32,
    /// Frames of handles for grants of others.
    pub maptrack_frames: u32,
    /// What its accesses to addresses where nothing is become: a data abort, or all ones and nothing.
    pub trap_unmapped: bool,
    /// It starts paused, once, by the control domain.
    pub paused: bool,
    /// What only the architecture knows of it.
    pub arch: ArchConfig,
}

/// Why a domain cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The architecture's part cannot be as the config says.
    Arch(ArchError),
    /// RAM, or a register of a device, cannot be mapped.
    Map(Pa, P2mError),
    /// No memory, or a number that is out of its range.
    Call(Errno),
}

impl From<Errno> for BuildError {
    fn from(errno: Errno) -> Self {
        BuildError::Call(errno)
    }
}

impl From<BuildError> for Errno {
    fn from(error: BuildError) -> Errno {
        match error {
            BuildError::Call(errno) => errno,
            BuildError::Map(_, error) => error.into(),
            BuildError::Arch(ArchError::Memory) => Errno::ENOMEM,
            BuildError::Arch(_) => Errno::EINVAL,
        }
    }
}

/// A domain that nobody can find yet, and whose vCPUs are off. Dropped, it is taken apart, and its RAM stays with who
/// allocated it.
pub struct DomainBuilder<'h> {
    hv: &'h Hypervisor,
    domain: Arc<Domain>,
    /// After the domain: what was taken for the promise has to be back when it ends.
    promise: Promise<'h>,
    published: bool,
}

/// The pages that a domain, and its device models, can come to take from the hypervisor, promised to it: the most that its
/// limits allow.
/// So its creation fails where they are not there, and nobody's call later.
struct Promise<'h> {
    hv: &'h Hypervisor,
    pages: u64,
}

impl<'h> Promise<'h> {
    /// Makes it. `ENOMEM`: there are not so many pages, which the log says.
    fn new(hv: &'h Hypervisor, config: &DomainConfig<'_>) -> Result<Self, Errno> {
        let &DomainConfig { id, vcpus, max_port, grant_frames, maptrack_frames, .. } = config;
        let records = [
            EventChannels::<FrameRef>::pages(max_port),
            GrantTable::<FrameRef>::pages(grant_frames),
            Maptrack::pages(maptrack_frames),
            // What others make for it.
            Addresses::pages(config.arch.windows().count()),
            Io::pages(vcpus),
            Permits::PAGES,
        ];
        let pages = records.iter().sum::<u64>().saturating_add(grant_frames.into());
        match hv.frames.promise(pages) {
            Ok(()) => Ok(Promise { hv, pages }),
            Err(Short { left }) => {
                let kib = |pages: u64| pages.saturating_mul(1 << (PAGE_SHIFT - 10));
                log::warn!(
                    "{id}: not made: event channels up to {max_port}, {grant_frames} grant frames, {maptrack_frames} \
                     maptrack frames and what device models add take up to {} KiB, and {} KiB are left",
                    kib(pages),
                    kib(left)
                );
                Err(Errno::ENOMEM)
            }
        }
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.hv.frames.end_promise(self.pages);
    }
}

impl<'h> DomainBuilder<'h> {
    /// Takes all that the domain needs. After an error nothing is taken.
    ///
    /// `ENOMEM`: no memory, or not as much as the domain's limits allow it to take later. `EBUSY`: no VMID is free.
    /// `EINVAL`: a number is out of its range.
    #[inline(never)]
    pub fn new(hv: &'h Hypervisor, config: &DomainConfig<'_>) -> Result<Self, BuildError> {
        let promise = Promise::new(hv, config)?;
        // Then the tables: the architecture's part keeps what selects them.
        let mut p2m = hv.new_p2m(config)?;
        let parts = match map_all(config, &mut p2m).and_then(|()| hv.new_parts(config, &p2m)) {
            Ok(parts) => parts,
            Err(error) => {
                hv.discard_p2m(config.id, &mut p2m);
                return Err(error);
            }
        };
        let domain = hv.assemble(config, parts, p2m, promise.pages);
        let builder = DomainBuilder { hv, domain, promise, published: false };
        if config.paused {
            for vcpu in &builder.vcpus {
                // It runs nowhere, so nobody has to be kicked.
                let _ = hv.scheduler.pause(vcpu.unit, arch::now());
            }
        }
        Ok(builder)
    }

    /// Lets everybody find the domain, complete as it is, and the scheduler run its vCPUs. `ENOMEM`: no memory. `EEXIST`:
    /// another has its number.
    pub fn publish(mut self) -> Result<Arc<Domain>, Errno> {
        self.hv.add_domain(&self.domain)?;
        self.published = true;
        // It is the domain's from now on, and ends with it.
        self.promise.pages = 0;
        Ok(self.domain.clone())
    }
}

impl Deref for DomainBuilder<'_> {
    type Target = Domain;

    fn deref(&self) -> &Domain {
        &self.domain
    }
}

impl Drop for DomainBuilder<'_> {
    fn drop(&mut self) {
        // A domain that was published ends by its teardown; `publish` has kept a reference for the list.
        if !self.published {
            let Domain { id, vcpus, shared_info, memory, .. } = &*self.domain;
            self.promise.pages = self.domain.promised.load(Ordering::Relaxed);
            // None of them has run: the scheduler lets them go at once.
            self.hv.remove_units(vcpus);
            self.hv.end_shared_info(*id, shared_info.mfn());
            self.hv.discard_p2m(*id, &mut memory.lock().p2m);
        }
    }
}

/// Pages of RAM that a domain has from the start.
fn pages_of(config: &DomainConfig<'_>) -> u64 {
    config.ram.iter().map(|(_, range)| range.pages).sum()
}

/// Maps the domain's RAM in the largest blocks that fit, and what it may reach of the interrupt controller.
fn map_all(config: &DomainConfig<'_>, p2m: &mut P2m<TableList, HardwareTlb>) -> Result<(), BuildError> {
    for &(gfn, range) in config.ram {
        p2m.map(gfn, range.first, range.pages, MapKind::Ram)
            .map_err(|error| BuildError::Map(range.first.base(), error))?;
    }
    config.arch.map_registers(p2m).map_err(|(at, error)| BuildError::Map(at, error))
}

/// The parts of a domain that need more than the heap's memory, or can fail.
struct Parts {
    room: Room<Domain>,
    shared_info: Page,
    events: EventChannels<FrameRef>,
    vcpus: Vec<Vcpu>,
    arch: DomainArch,
    addresses: Addresses,
    grants: GrantTable<FrameRef>,
    maptrack: Maptrack,
    io: Io,
    permits: Permits,
    teardown: Teardown,
}

impl Hypervisor {
    /// Tables that map nothing yet, with enough in their pool to split all RAM into pages. `ENOMEM`: no memory. `EBUSY`: no
    /// VMID is free.
    fn new_p2m(&self, config: &DomainConfig<'_>) -> Result<P2m<TableList, HardwareTlb>, Errno> {
        let id = config.id;
        let root = self.frames.alloc_root(self.geometry.root_order(), id).ok_or(Errno::ENOMEM)?;
        // Domains that are dying have theirs until their tables are gone.
        let Some(vmid) = self.vmids.lock().take() else {
            self.free_root(root, id);
            return Err(Errno::EBUSY);
        };
        let Some(mut p2m) = P2m::new(self.geometry, vmid, root, TableList::default(), HardwareTlb) else {
            bug!("the root of {id} was not made for the geometry");
            return Err(Errno::ENOMEM);
        };
        for _ in 0..(pages_of(config) >> TABLE_ORDER).saturating_add(config.tables) {
            let Some(table) = self.frames.alloc_table(id) else {
                self.discard_p2m(id, &mut p2m);
                return Err(Errno::ENOMEM);
            };
            p2m.pool_mut().push(table);
        }
        Ok(p2m)
    }

    /// Gives all tables back that no vCPU has used. What they map stays with who has it.
    fn discard_p2m(&self, id: DomId, p2m: &mut P2m<TableList, HardwareTlb>) {
        let end = self.geometry.end().0;
        let mut from = 0;
        // Each call stops after so many steps.
        while let Ok((_, done)) = p2m.unmap(Gfn(from), end - from)
            && done > 0
        {
            from += done;
            if from >= end {
                break;
            }
        }
        while let Some(table) = p2m.pool_mut().pop() {
            self.free_table(table, id);
        }
        self.end_p2m(id, p2m);
    }

    /// Gives the root and the VMID back of tables that map nothing any more, and on which no CPU runs a vCPU. Nothing
    /// happens when they map something, or when this was done before.
    pub(crate) fn end_p2m(&self, id: DomId, p2m: &mut P2m<TableList, HardwareTlb>) {
        if let Some(root) = p2m.take_root() {
            // Before the VMID goes to another domain, no TLB may know anything under it.
            flush_tables(p2m);
            self.free_root(root, id);
            self.vmids.lock().give_back(p2m.vmid());
        }
    }

    /// How large the pool of tables may grow by itself. The control domain is trusted. One that has devices of its own may
    /// be the device model of others, and map as much as the machine has. Any other has what the control domain gives it.
    fn pool_limit(&self, config: &DomainConfig<'_>) -> u64 {
        match (config.is_control, config.direct_mapped) {
            (true, _) => u64::MAX,
            (false, true) => (self.frames.total() >> TABLE_ORDER).saturating_add(2 * MORE_TABLES),
            (false, false) => 0,
        }
    }

    /// Makes the parts of a domain: all, or none.
    fn new_parts(
        &self,
        config: &DomainConfig<'_>,
        p2m: &P2m<TableList, HardwareTlb>,
    ) -> Result<Parts, BuildError> {
        let id = config.id;
        // What allocates nothing of the frames comes first, so that an error has nothing to give back.
        let arch =
            DomainArch::new(&config.arch, config.vcpus, p2m, self.lines()).map_err(BuildError::Arch)?;
        let addresses = Addresses::new(config.arch.windows())?;
        let io = Io::new(config.vcpus)?;
        let permits = Permits::try_new()?;
        let grants = GrantTable::new(config.grant_frames)?;
        let maptrack = Maptrack::new(config.maptrack_frames)?;
        let teardown = Teardown::new()?;
        let room = Room::try_new().ok_or(Errno::ENOMEM)?;
        let shared = self.frames.alloc(0, id, Kind::Shared, Content::Zeroed).ok_or(Errno::ENOMEM)?;
        // A reference besides that of the allocation: it is what the hypervisor itself has, and goes last
        // (`life::destroy`).
        let shared_info = self.frames.get_frame(shared, id).map_err(|_| Errno::ENOMEM)?.into_page();
        let events = EventChannels::new(id, config.vcpus, config.max_port, shared_info);
        match events.and_then(|events| Ok((events, self.new_vcpus(config.vcpus, &config.arch)?))) {
            Ok((events, vcpus)) => Ok(Parts {
                room,
                shared_info,
                events,
                vcpus,
                arch,
                addresses,
                grants,
                maptrack,
                io,
                permits,
                teardown,
            }),
            Err(errno) => {
                self.end_shared_info(id, shared);
                Err(errno.into())
            }
        }
    }

    /// Gives back the page of shared info of a domain that nobody could find.
    fn end_shared_info(&self, id: DomId, page: Mfn) {
        if self.frames.release(page).is_err() || self.frames.free(page, 0, id).is_err() {
            bug!("{id}: its shared page is not its own");
        }
    }

    /// Puts the parts together, in the room for a domain. The stacks are small: nothing but this function has a whole
    /// domain on its own.
    #[inline(never)]
    fn assemble(
        &self,
        config: &DomainConfig<'_>,
        parts: Parts,
        p2m: P2m<TableList, HardwareTlb>,
        promised: u64,
    ) -> Arc<Domain> {
        let Parts {
            room,
            shared_info,
            events,
            vcpus,
            arch,
            addresses,
            grants,
            maptrack,
            io,
            permits,
            teardown,
        } = parts;
        let pages = pages_of(config);
        room.fill(Domain {
            id: config.id,
            handle: Mutex::new(config.handle),
            is_control: config.is_control,
            direct_mapped: config.direct_mapped,
            vcpus,
            arch,
            memory: Mutex::new(Memory {
                p2m,
                pages,
                max_pages: pages,
                shared_info_gfn: None,
                pool_limit: self.pool_limit(config),
                closed: false,
            }),
            counter_offset: Once::new(),
            shared_info,
            grants: Mutex::new(grants),
            maptrack: Mutex::new(maptrack),
            events: Mutex::new(events),
            parameters: Mutex::new(Parameters::default()),
            runstate_update_flag: false.into(),
            may_log: self.options.guest_console.into(),
            panic_detector: Mutex::default(),
            watchdogs: Mutex::default(),
            trap_unmapped: config.trap_unmapped,
            controller_pauses: Mutex::new(config.paused.into()),
            device_models: Mutex::default(),
            addresses,
            io,
            vuart: Once::new(),
            complaints: 0.into(),
            console_share: Share::default(),
            ending: Mutex::new(Ending::default()),
            is_wakeable: false.into(),
            stopping: false.into(),
            permits: Mutex::new(permits),
            life: Life::Alive.into(),
            teardown: Mutex::new(teardown),
            lingering: 0.into(),
            promised: promised.into(),
        })
    }

    /// Takes vCPUs out of the scheduler that no CPU runs.
    pub(crate) fn remove_units(&self, vcpus: &[Vcpu]) {
        // The first goes last: by its number the scheduler knows the domain.
        vcpus.iter().rev().for_each(|vcpu| self.remove_unit(vcpu.unit));
    }

    fn remove_unit(&self, unit: UnitId) {
        match self.scheduler.remove(unit, arch::now()) {
            Ok(kicks) => self.kick(kicks),
            Err(_) => bug!("a vCPU that goes runs, or is not in the scheduler"),
        }
    }

    fn new_vcpus(&self, count: u16, config: &ArchConfig) -> Result<Vec<Vcpu>, Errno> {
        let mut vcpus = Vec::new();
        vcpus.try_reserve_exact(count.into()).map_err(|_| Errno::ENOMEM)?;
        for id in (0..count).map(VcpuId) {
            // Offline until it is started, so that no CPU looks for the vCPU before the domain is on the list.
            let first = vcpus.first().map(|first: &Vcpu| first.unit);
            let share = CpuShare { weight: WEIGHT, units: count, first };
            let added = self.scheduler.add(share, CpuMask::below(64), arch::now());
            let made =
                added.and_then(|unit| Vcpu::new(id, unit, config).inspect_err(|_| self.remove_unit(unit)));
            match made {
                Ok(vcpu) => vcpus.push(vcpu),
                Err(errno) => {
                    self.remove_units(&vcpus);
                    return Err(errno);
                }
            }
        }
        let last = vcpus.iter().map(|vcpu| vcpu.unit).max();
        if let Err(errno) = last.map_or(Ok(()), |unit| self.timers.reserve(unit)) {
            self.remove_units(&vcpus);
            return Err(errno);
        }
        Ok(vcpus)
    }
}
