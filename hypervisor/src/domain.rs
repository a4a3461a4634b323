//! A domain: its memory, its vCPUs, and everything that they share with the hypervisor.
//!
//! The parts are policy of their own (`p2m`, `vgic`, `event`, `grant`), each behind its own lock in the order of
//! `crate::sync`; the files under `domain/` join them: what follows from a change in one for the others, for the vCPUs,
//! and for the machine.

pub mod boot;
pub mod build;
pub mod crash;
mod events;
mod first;
mod grants;
mod interrupts;
mod load;
pub mod memory;
mod power;
mod shared;
mod uart;

use alloc::vec::Vec;
use core::sync::atomic::AtomicBool;

use xenolith_abi::hvm::HvmParam;
use xenolith_abi::sched::ShutdownReason;

use crate::arch::Stage2;
use crate::event::EventChannels;
use crate::grant::{GrantTable, Maptrack};
use crate::mm::frames::Pin;
use crate::sync::Mutex;
use crate::sysreg::FilteredIds;
use crate::types::{DomId, VcpuId};
use crate::vcpu::Vcpu;
use crate::vgic::Vgic;
use crate::vuart::Vuart;

pub use boot::build_boot_domains;
pub use first::{FirstError, GRANT_FRAMES, Modules, build_first};
pub use grants::Grantees;
pub use load::{LoadError, Ready};
use memory::Memory;

/// The parameters that `hvm_op` keeps for a domain.
#[derive(Debug, Default)]
pub struct Parameters([u64; 6]);

impl Parameters {
    fn index(parameter: HvmParam) -> usize {
        match parameter {
            HvmParam::CallbackIrq => 0,
            HvmParam::StorePfn => 1,
            HvmParam::StoreEvtchn => 2,
            HvmParam::ConsolePfn => 3,
            HvmParam::ConsoleEvtchn => 4,
            HvmParam::MonitorRingPfn => 5,
        }
    }

    /// A parameter's value; zero until it is set.
    pub fn get(&self, parameter: HvmParam) -> u64 {
        self.0[Self::index(parameter)]
    }

    /// Sets a parameter.
    pub fn set(&mut self, parameter: HvmParam, value: u64) {
        self.0[Self::index(parameter)] = value;
    }
}

/// What a domain keeps of its own shutdown.
#[derive(Debug, Default)]
struct Ending {
    /// The reason that `sched_op` shutdown_code announced.
    announced: Option<ShutdownReason>,
    /// The reason for which it has shut down.
    reason: Option<ShutdownReason>,
}

/// A domain.
pub struct Domain {
    /// Its number.
    pub id: DomId,
    /// Its UUID.
    pub handle: [u8; 16],
    /// It may control the machine and all other domains.
    pub is_control: bool,
    /// Guest frames and machine frames have the same numbers.
    pub direct_mapped: bool,
    /// Its vCPUs, by number.
    pub vcpus: Vec<Vcpu>,
    /// What its CPUs can do.
    pub ids: FilteredIds,
    /// Its interrupt controller has system registers (GICv3).
    pub gic_system_registers: bool,
    /// The private interrupt of the virtual timer, here and in the machine.
    pub guest_timer: u32,
    /// The private interrupt of the EL1 physical timer.
    pub physical_timer: u32,
    /// The private interrupt that announces events.
    pub event_ppi: u32,
    /// The registers that select its stage 2.
    pub stage2: Stage2,
    /// Its guest physical memory.
    pub memory: Mutex<Memory>,
    /// The page of shared info.
    pub shared_info: Pin,
    /// Its grant table.
    pub grants: Mutex<GrantTable<Pin>>,
    /// The grants of others that it has mapped.
    pub maptrack: Mutex<Maptrack>,
    /// Its event channels.
    pub events: Mutex<EventChannels<Pin>>,
    /// Its interrupt controller.
    pub vgic: Mutex<Vgic>,
    /// `hvm_op` parameters.
    pub parameters: Mutex<Parameters>,
    /// `vm_assist`: run states carry the update flag.
    pub runstate_update_flag: AtomicBool,
    /// Who hears in the console's output that its kernel panics.
    pub listener: Mutex<crash::Listener>,
    /// Watchdogs that it feeds.
    pub watchdogs: Mutex<crash::Watchdogs>,
    /// The UART that it sees.
    pub vuart: Option<Mutex<Vuart>>,
    ending: Mutex<Ending>,
}

impl Domain {
    /// One of its vCPUs.
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu> {
        self.vcpus.get(usize::from(id.0))
    }
}
