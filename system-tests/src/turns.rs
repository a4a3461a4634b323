//! Turns for machines: together they have no more CPUs than a small host can play at once.
//!
//! A machine whose CPUs wait for one another runs many times slower when the host has to take their threads in turn
//! with those of another such machine.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::machine::Machine;

/// CPUs that all running machines may have together.
const CPUS: u32 = 4;

static IN_USE: Mutex<u32> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// The right to run a machine; dropping it gives the CPUs back.
pub struct Turn(u32);

impl Turn {
    /// Waits until there is room for a machine of so many CPUs.
    pub fn wait(cpus: u32) -> Self {
        let wanted = cpus.min(CPUS);
        let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |in_use: &mut u32| *in_use + wanted > CPUS;
        let mut in_use = GIVEN_BACK.wait_while(in_use, full).unwrap_or_else(PoisonError::into_inner);
        *in_use += wanted;
        Turn(wanted)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *IN_USE.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        GIVEN_BACK.notify_all();
    }
}

/// A machine and its turn, which lasts as long.
pub struct Running {
    machine: Machine,
    _turn: Turn,
}

impl Running {
    /// Joins the two.
    pub fn new(machine: Machine, turn: Turn) -> Self {
        Self { machine, _turn: turn }
    }
}

impl Deref for Running {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}
