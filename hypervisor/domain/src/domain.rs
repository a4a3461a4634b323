//! A domain: its memory, its vCPUs, and everything that they share with the hypervisor.
//!
//! The parts (`parts`, `arch`, and those of `xenolith_policy`) are plain data, each behind its own lock in the order of
//! `xenolith_core::sync`. The files under `domain/` join them: what follows from a change in one for the others, for the
//! vCPUs, and for the machine, as methods of [`DomainRef`]. Those under `life/` build a domain and take it apart.

mod cache;
pub mod device_model;
mod domain_ref;
mod events;
mod foreign;
mod grants;
mod info;
#[cfg(feature = "ioreq")]
mod io;
mod memory;
mod mmio;
#[cfg(not(feature = "ioreq"))]
mod no_io;
mod passthrough;
mod pool;
mod runstate;
mod shared;
mod time;
mod uart;
mod warn_ratelimited;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64};

use crate::arch::DomainArch;
use crate::console::Share;
use crate::parts::addresses::Addresses;
use crate::parts::device_models::DeviceModels;
use crate::parts::ending::Ending;
use crate::parts::io::Io;
use crate::parts::memory::Memory;
use crate::parts::panic_detector::PanicDetector;
use crate::parts::parameters::Parameters;
use crate::parts::permits::Permits;
use crate::parts::teardown::Teardown;
use crate::parts::watchdogs::Watchdogs;
use crate::vcpu::Vcpu;
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::sync::{Mutex, Once};
use xenolith_core::types::{DomId, VcpuId};
use xenolith_memory::frames::FrameRef;
use xenolith_memory::page::Page;
use xenolith_policy::event::EventChannels;
use xenolith_policy::grant::{GrantTable, Maptrack};
use xenolith_vdev::vuart::Vuart;

pub use domain_ref::DomainRef;

/// A domain.
pub struct Domain {
    /// Its number.
    pub id: DomId,
    /// Its UUID.
    pub handle: Mutex<[u8; 16]>,
    /// It may control the machine and all other domains.
    pub is_control: bool,
    /// Guest frames and machine frames have the same numbers.
    pub direct_mapped: bool,
    /// Its vCPUs, by number.
    pub vcpus: Vec<Vcpu>,
    /// What only the architecture knows of it.
    pub arch: DomainArch,
    /// Its guest physical memory.
    pub memory: Mutex<Memory>,
    /// What its virtual counter is behind the machine's, once it has started (`time`).
    pub(crate) counter_offset: Once<u64>,
    /// The page of shared info. The domain's end gives its reference back; nobody uses the page after that.
    pub shared_info: Page,
    /// Its grant table.
    pub grants: Mutex<GrantTable<FrameRef>>,
    /// The grants of others that it has mapped.
    pub maptrack: Mutex<Maptrack>,
    /// Its event channels.
    pub events: Mutex<EventChannels<FrameRef>>,
    /// `hvm_op` parameters.
    pub parameters: Mutex<Parameters>,
    /// `vm_assist`: run states carry the update flag.
    pub runstate_update_flag: AtomicBool,
    /// It may write lines to the hypervisor's console though it is not the control domain.
    pub may_log: AtomicBool,
    /// Finds in its console output that its kernel panics.
    pub panic_detector: Mutex<PanicDetector>,
    /// Watchdogs that it feeds.
    pub watchdogs: Mutex<Watchdogs>,
    /// What its accesses to addresses where nothing is become: a data abort, or all ones and nothing.
    pub trap_unmapped: bool,
    /// The pause count of the control domain (`pausedomain`). While it is not zero, each vCPU holds one pause of the
    /// scheduler, taken when the count leaves zero and given back when it returns there.
    pub controller_pauses: Mutex<u32>,
    /// The domains that may be its device model.
    pub device_models: Mutex<DeviceModels>,
    /// Who answers at which of its addresses.
    pub addresses: Addresses,
    /// Its ioreq servers.
    pub io: Io,
    /// How many messages have been logged about it, to keep to a rate limit.
    pub(crate) complaints: AtomicU32,
    /// What it has written of all that waits for the console's UART.
    pub console_share: Share,
    /// The UART that it sees.
    pub vuart: Once<Mutex<Vuart<FrameRef>>>,
    pub(crate) ending: Mutex<Ending>,
    /// It is shutting down, and one of its vCPUs may still run on a CPU.
    pub(crate) stopping: AtomicBool,
    /// It has suspended itself through its firmware, or is about to: an interrupt wakes it.
    pub(crate) is_wakeable: AtomicBool,
    /// Which of the machine's devices it may be given.
    pub(crate) permits: Mutex<Permits>,
    /// How much of it is left ([`Life`](crate::parts::teardown::Life)).
    pub(crate) life: AtomicU8,
    /// How far its destruction has come.
    pub(crate) teardown: Mutex<Teardown>,
    /// Frames that it has freed and others still hold references to. It is below zero for a moment when the last reference
    /// to a frame is dropped before the frame has been counted.
    pub(crate) lingering: AtomicI64,
    /// Pages that it was promised for what it makes the hypervisor keep, without the frames that its grant table has by now.
    pub(crate) promised: AtomicU64,
}

impl Domain {
    /// One of its vCPUs.
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu> {
        GuestIndex::from(id).of(&self.vcpus)
    }
}
