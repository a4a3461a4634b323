//! What a machine consists of, below the functions that drive it.

pub(super) mod interrupts;
pub(super) mod registers;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xenolith_core::types::CpuId;
use xenolith_hw::steps;

use interrupts::{Distributor, Interface};
use registers::{Registers, Stage2};
use xenolith_isa::system_error::SystemError;

/// One CPU.
#[derive(Default)]
pub(super) struct Cpu {
    /// What the vCPU on it has in its registers.
    pub registers: Registers,
    /// The stage 2 under which a guest would run.
    pub stage2: Option<Stage2>,
    /// EL2's own timer.
    pub timer: Option<u64>,
    /// Its part of the interrupt controller.
    pub gic: Interface,
    /// The memory system is about to report this, whoever runs then.
    pub system_error: Option<SystemError>,
}

/// When [`super::interrupt_waits`] says yes though nothing waits.
#[derive(Default)]
pub(super) struct Pause {
    /// Every how many calls; `None`: never.
    pub every: Option<u32>,
    /// At which call, once; `None`: at none.
    pub at: Option<u32>,
    /// Calls until now.
    pub asked: u32,
}

/// Both directions.
#[derive(Default)]
pub(super) struct Uart {
    /// What was written and not looked at.
    pub output: Vec<u8>,
    /// What was typed and not read.
    pub input: VecDeque<u8>,
    /// Bytes that the transmitter takes; `None`: all that come.
    pub room: Option<usize>,
}

impl Uart {
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }
}

/// Flushes of TLBs, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushes {
    /// By address.
    pub addresses: u64,
    /// Of all that a domain has.
    pub all: u64,
}

/// The machine of a thread.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) cpus: Vec<Cpu>,
    pub(super) this: usize,
    pub(super) counter: u64,
    pub(super) pause: Pause,
    pub(super) gic: Distributor,
    /// The pages that the guest's own tables do not map.
    pub(super) unmapped: BTreeSet<u64>,
    pub(super) flushes: Flushes,
    pub(super) console: Uart,
    pub(super) vector_granules: u8,
}

thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::default();
    static SHARED: RefCell<Option<(SharedMachine, CpuId)>> = const { RefCell::new(None) };
    static PLAYS_HARDWARE: Cell<bool> = const { Cell::new(false) };
}

/// A machine that several threads play together, each one of its CPUs. Each look at the hardware is one step of the whole
/// machine; what is done between two looks runs beside the other threads.
#[derive(Clone)]
pub struct SharedMachine(Arc<Mutex<Machine>>);

impl SharedMachine {
    /// Takes the calling thread's machine away from it.
    pub fn take() -> Self {
        SharedMachine(Arc::new(Mutex::new(MACHINE.take())))
    }

    /// Has the calling thread play this CPU until `work` ends.
    pub fn play<T>(&self, cpu: CpuId, work: impl FnOnce() -> T) -> T {
        /// Ends the play, also when the work unwinds.
        struct Play;
        impl Drop for Play {
            fn drop(&mut self) {
                SHARED.set(None);
            }
        }
        SHARED.set(Some((self.clone(), cpu)));
        let _play = Play;
        work()
    }

    /// Makes the machine the calling thread's own.
    pub fn give_back(self) {
        MACHINE.set(std::mem::take(&mut *self.lock()));
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        // A thread that finds a fault in the model has changed nothing by halves.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does something with the calling thread's machine. Calls do not nest.
pub(super) fn with<T>(action: impl FnOnce(&mut Machine) -> T) -> T {
    /// Ends the play, also when the model finds a fault and panics.
    struct Play;
    impl Drop for Play {
        fn drop(&mut self) {
            PLAYS_HARDWARE.set(false);
        }
    }
    steps::count(steps::DEVICE);
    assert!(!PLAYS_HARDWARE.replace(true), "calls of the model do not nest");
    let _play = Play;
    match SHARED.with_borrow(Clone::clone) {
        Some((shared, cpu)) => {
            let mut machine = shared.lock();
            machine.this = cpu.0.into();
            action(&mut machine)
        }
        None => MACHINE.with_borrow_mut(action),
    }
}

/// Whether the calling thread is in the model: what it allocates there stands for hardware, and is not the hypervisor's.
pub fn plays_hardware() -> bool {
    PLAYS_HARDWARE.try_with(Cell::get).unwrap_or(false)
}

impl Machine {
    /// The CPU that the thread plays. CPUs come into being when they are first played or sent an interrupt.
    pub(super) fn cpu(&mut self) -> &mut Cpu {
        self.cpu_at(self.this)
    }

    pub(super) fn cpu_at(&mut self, index: usize) -> &mut Cpu {
        if index >= self.cpus.len() {
            self.cpus.resize_with(index + 1, Default::default);
        }
        &mut self.cpus[index]
    }

    /// Whether ISR_EL1 of the CPU that the thread plays is not zero.
    pub(super) fn anything_pending(&mut self) -> bool {
        self.interrupt_pending() || self.cpu().system_error.is_some()
    }
}

/// Puts the calling thread's machine back to how it is switched on.
pub fn power_on() {
    with(|machine| *machine = Machine::default());
}
