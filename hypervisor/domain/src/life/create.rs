//! Domains that the control domain makes: empty, paused, with nothing but tables for their memory.
//!
//! Everything that a new domain needs is taken before anyone can find it, and given back when a part is missing.

use alloc::sync::Arc;

use xenolith_abi::Errno;

use crate::hypervisor::Hypervisor;
use xenolith_arch as arch;
use xenolith_core::types::{DomId, PAGE_SHIFT};
use xenolith_isa::vgic::{ConfigError, MAX_SPIS, MAX_VCPUS_V2, MAX_VCPUS_V3, Model};
use xenolith_memory::p2m::MapKind;

use super::build::{BuildError, DomainConfig, empty_stage2};
use super::layout;
use crate::domain::Domain;

/// Frames of grant table when a request does not say (Xen's default).
const GRANT_FRAMES: u32 = 64;
/// Frames of handles for grants of others when a request does not say (Xen's default).
const MAPTRACK_FRAMES: u32 = 1024;
/// The most frames of either: 2^21 grants.
const MAX_GRANT_FRAMES: u32 = 4096;
/// Pages for tables before the control domain gives more: enough for the interrupt controller of a GICv2.
const TABLES: u64 = 16;

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

/// A domain to be made (`XEN_DOMCTL_createdomain`).
#[derive(Clone, Debug, Default)]
pub struct NewDomain {
    /// Its number, 1 to 0x7fef; `None` for the next free one.
    pub id: Option<DomId>,
    /// Its UUID.
    pub handle: [u8; 16],
    /// vCPUs: 1 to 8 with GICv2, 1 to 128 with GICv3.
    pub vcpus: u32,
    /// The highest event channel that it may have.
    pub max_port: u32,
    /// Frames of grant table that it may have; `None` for the default.
    pub grant_frames: Option<u32>,
    /// Frames of handles for grants of others; `None` for the default.
    pub maptrack_frames: Option<u32>,
    /// Its interrupt controller.
    pub controller: Controller,
    /// Shared interrupts: 0 to 988.
    pub spis: u32,
    /// Accesses to addresses where nothing is become data aborts.
    pub trap_unmapped: bool,
}

impl Hypervisor {
    /// Makes a domain without RAM, whose vCPUs are off, paused once by the control domain
    /// ([`Domain::controller_pauses`]). It may own no page until its `max_pages` is set.
    ///
    /// `EEXIST`: the number is in use, also by a domain whose frames others still hold. `EINVAL`: a number is out of its
    /// range. `ENODEV`: the machine has no such interrupt controller. `ENOMEM`: no memory, or too many vCPUs. `EBUSY`:
    /// more domains than VMIDs. After an error nothing is left of it.
    pub fn create_domain(&self, request: &NewDomain) -> Result<Arc<Domain>, Errno> {
        let mut last = self.creating.lock();
        self.reap();
        let id = self.number_for(request.id, *last)?;
        let config = config(request, id)?;
        let p2m = empty_stage2(self, id, TABLES)?;
        let mut domain = Domain::new(self, config, p2m).map_err(|error| match error {
            BuildError::Call(errno) => errno,
            BuildError::Map(_, error) => error.into(),
            BuildError::Controller(ConfigError::Memory) => Errno::ENOMEM,
            BuildError::Controller(_) => Errno::EINVAL,
        })?;
        if let Err(errno) = map_cpu_interface(&domain) {
            domain.discard(self);
            return Err(errno);
        }
        *domain.handle.get_mut() = request.handle;
        domain.trap_unmapped = request.trap_unmapped;
        *domain.controller_pauses.get_mut() = 1;
        for vcpu in &domain.vcpus {
            // It runs nowhere, so nobody has to be kicked.
            let _ = self.scheduler.pause(vcpu.unit, arch::now());
        }
        let domain = self.add_domain(domain)?;
        if request.id.is_none() {
            *last = id;
        }
        Ok(domain)
    }

    /// The number for a new domain: the one that is asked for, or the first free one after `last`, so that numbers are
    /// not used again soon.
    fn number_for(&self, wanted: Option<DomId>, last: DomId) -> Result<DomId, Errno> {
        let end = DomId::FIRST_RESERVED.0;
        if let Some(id) = wanted {
            return match id.0 {
                0 => Err(Errno::EINVAL),
                number if number >= end => Err(Errno::EINVAL),
                _ if self.domain(id).is_some() => Err(Errno::EEXIST),
                _ => Ok(id),
            };
        }
        self.free_number((last.0.saturating_add(1)..end).chain(1..end)).ok_or(Errno::ENOMEM)
    }
}

fn config(request: &NewDomain, id: DomId) -> Result<DomainConfig, Errno> {
    let is_version_2 = arch::gic::virtual_cpu_interface().is_some();
    let (controller, most) = match (request.controller, is_version_2) {
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
    let limited = |number: Option<u32>, default| match number.unwrap_or(default) {
        number if number <= MAX_GRANT_FRAMES => Ok(number),
        _ => Err(Errno::EINVAL),
    };
    let in_range = |number: u32, least: u16, most: u16| {
        u16::try_from(number).ok().filter(|number| (least..=most).contains(number)).ok_or(Errno::EINVAL)
    };
    let grant_frames = limited(request.grant_frames, GRANT_FRAMES)?;
    if grant_frames == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(DomainConfig {
        id,
        is_control: false,
        direct_mapped: false,
        vcpus: in_range(request.vcpus, 1, most)?,
        pages: 0,
        max_pages: 0,
        max_port: request.max_port,
        grant_frames,
        maptrack_frames: limited(request.maptrack_frames, MAPTRACK_FRAMES)?,
        controller,
        spis: in_range(request.spis, 0, MAX_SPIS)?,
        event_ppi: layout::EVENT_PPI,
        guest_timer: layout::VIRTUAL_TIMER,
        physical_timer: layout::PHYSICAL_TIMER,
    })
}

/// Maps the virtual CPU interface of a GICv2 where the guest looks for the physical one.
fn map_cpu_interface(domain: &Domain) -> Result<(), Errno> {
    let Some((start, size)) = arch::gic::virtual_cpu_interface() else { return Ok(()) };
    let pages = size.min(layout::CPU_INTERFACE_SIZE) >> PAGE_SHIFT;
    let gfn = layout::CPU_INTERFACE.frame();
    Ok(domain.memory.lock().p2m.map(gfn, start.frame(), pages, MapKind::Device)?)
}
