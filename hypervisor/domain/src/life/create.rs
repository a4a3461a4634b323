//! Domains that the control domain makes: empty, paused, with nothing but tables for their memory.

use xenolith_memory::arc::Arc;

use xenolith_abi::Errno;

use crate::arch::{ArchConfig, ArchRequest};
use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use xenolith_core::types::DomId;

use super::build::{DomainBuilder, DomainConfig, GRANT_FRAMES, MAPTRACK_FRAMES, MAX_GRANT_FRAMES};

/// Pages for tables before the control domain gives more: enough for the registers of the interrupt controller.
const TABLES: u64 = 16;

/// A domain to be made (`XEN_DOMCTL_createdomain`).
#[derive(Clone, Debug, Default)]
pub struct NewDomain {
    /// Its number, 1 to 0x7fef; `None` for the next free one.
    pub id: Option<DomId>,
    /// Its UUID.
    pub handle: [u8; 16],
    /// vCPUs: 1 to as many as its interrupt controller can have.
    pub vcpus: u32,
    /// The highest event channel that it may have.
    pub max_port: u32,
    /// Frames of grant table that it may have; `None` for the default.
    pub grant_frames: Option<u32>,
    /// Frames of handles for grants of others; `None` for the default.
    pub maptrack_frames: Option<u32>,
    /// What only the architecture knows of it.
    pub arch: ArchRequest,
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
        // The scheduler's units of domains that nobody refers to any more are free for this one.
        self.reap();
        let id = self.number_for(request.id, *last)?;
        // The number is this domain's from here on: whoever makes another one waits for `creating`.
        let domain = DomainBuilder::new(self, &config(request, id)?)?.publish()?;
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

fn config(request: &NewDomain, id: DomId) -> Result<DomainConfig<'static>, Errno> {
    let arch = ArchConfig::standard(&request.arch)?;
    let limited = |number: Option<u32>, default| match number.unwrap_or(default) {
        number if number <= MAX_GRANT_FRAMES => Ok(number),
        _ => Err(Errno::EINVAL),
    };
    let grant_frames = limited(request.grant_frames, GRANT_FRAMES)?;
    if grant_frames == 0 {
        return Err(Errno::EINVAL);
    }
    let vcpus = u16::try_from(request.vcpus).ok().filter(|vcpus| (1..=arch.max_vcpus()).contains(vcpus));
    Ok(DomainConfig {
        id,
        handle: request.handle,
        is_control: false,
        direct_mapped: false,
        vcpus: vcpus.ok_or(Errno::EINVAL)?,
        ram: &[],
        tables: TABLES,
        max_port: request.max_port,
        grant_frames,
        maptrack_frames: limited(request.maptrack_frames, MAPTRACK_FRAMES)?,
        trap_unmapped: request.trap_unmapped,
        paused: true,
        arch,
    })
}
