//! A domain: its memory, its vCPUs, and everything that they share with the hypervisor.
//!
//! The parts are policy of their own (`p2m`, `vgic`, `event`, `grant`), each behind its own lock in the order of
//! `xenolith_core::sync`; the files under `domain/` join them: what follows from a change in one for the others, for the vCPUs,
//! and for the machine.

pub mod build;
mod cache;
mod control;
pub mod crash;
pub mod create;
pub mod destroy;
pub mod device_model;
mod events;
mod foreign;
mod grants;
mod info;
mod interrupts;
#[cfg(feature = "ioreq")]
pub mod io;
pub mod layout;
pub mod memory;
#[cfg(not(feature = "ioreq"))]
mod no_io;
mod permits;
mod pool;
mod power;
mod release;
pub mod runstate;
mod shared;
mod time;
mod uart;
mod warn_ratelimited;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32};

use xenolith_abi::hvm::HvmParam;
use xenolith_abi::sched::ShutdownReason;

use crate::vcpu::Vcpu;
use xenolith_arch::Stage2;
use xenolith_core::sync::{Mutex, Once};
use xenolith_core::types::{DomId, VcpuId};
use xenolith_isa::sysreg::FilteredIds;
use xenolith_isa::vgic::Vgic;
use xenolith_memory::frames::FrameRef;
use xenolith_policy::event::EventChannels;
use xenolith_policy::grant::{GrantTable, Maptrack};
use xenolith_vdev::vuart::Vuart;

pub use grants::GrantContext;
use memory::Memory;
#[cfg(not(feature = "ioreq"))]
use no_io as io;

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
    /// The reason for which it has shut down, or is about to.
    reason: Option<ShutdownReason>,
    /// All its vCPUs have stopped, and the control domain has been told.
    complete: bool,
}

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
    /// What its CPUs can do.
    pub ids: FilteredIds,
    /// Its interrupt controller has system registers (GICv3).
    pub gic_system_registers: bool,
    /// The private interrupt of the virtual timer.
    pub guest_timer: u32,
    /// The private interrupt of the EL1 physical timer.
    pub physical_timer: u32,
    /// The private interrupt that announces events.
    pub event_ppi: u32,
    /// The registers that select its stage 2.
    pub stage2: Stage2,
    /// Its guest physical memory.
    pub memory: Mutex<Memory>,
    /// CNTVOFF_EL2 of its vCPUs, once it has started (`time`).
    counter_offset: Once<u64>,
    /// The page of shared info.
    pub shared_info: FrameRef,
    /// Its grant table.
    pub grants: Mutex<GrantTable<FrameRef>>,
    /// The grants of others that it has mapped.
    pub maptrack: Mutex<Maptrack>,
    /// Its event channels.
    pub events: Mutex<EventChannels<FrameRef>>,
    /// Its interrupt controller.
    pub vgic: Mutex<Vgic>,
    /// `hvm_op` parameters.
    pub parameters: Mutex<Parameters>,
    /// `vm_assist`: run states carry the update flag.
    pub runstate_update_flag: AtomicBool,
    /// It may write lines to the hypervisor's console though it is not the control domain.
    pub may_log: AtomicBool,
    /// Who hears in the console's output that its kernel panics.
    pub panic_detector: Mutex<crash::PanicDetector>,
    /// Watchdogs that it feeds.
    pub watchdogs: Mutex<crash::Watchdogs>,
    /// What its accesses to addresses where nothing is become: a data abort, or all ones and nothing.
    pub trap_unmapped: bool,
    /// How often the control domain has paused it and not let it go on. While this is not zero, each of its vCPUs has one
    /// pause of the scheduler for it, taken when this leaves zero and given back when it is zero again.
    pub controller_pauses: Mutex<u32>,
    /// The domains that may be its device model.
    pub device_models: Mutex<device_model::DeviceModels>,
    /// Its ioreq servers.
    pub io: io::Io,
    /// Messages about it.
    complaints: AtomicU32,
    /// The UART that it sees.
    pub vuart: Once<Mutex<Vuart<FrameRef>>>,
    ending: Mutex<Ending>,
    /// It shuts down, and a vCPU may still be in a CPU.
    stopping: AtomicBool,
    /// Which of the machine's devices it may be given.
    permits: Mutex<permits::Permits>,
    /// How much of it is left (`destroy::Life`).
    life: AtomicU8,
    /// How far its destruction has come.
    teardown: Mutex<destroy::Teardown>,
    /// Frames that it has given up and others still refer to. Below zero for a moment, when one goes while it is counted.
    lingering: AtomicI64,
}

/// What became of an access that was to go to a device model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoState {
    /// No device model has the address.
    Unhandled,
    /// One has it, and does not answer: a load gives all ones, a store goes nowhere.
    Dropped,
    /// It has been asked, and the vCPU is paused until it answers.
    Pending,
}

impl Domain {
    /// One of its vCPUs.
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu> {
        self.vcpus.get(usize::from(id.0))
    }
}
