//! What belongs to one physical CPU, found through TPIDR_EL2.

use alloc::boxed::Box;
use core::cell::UnsafeCell;

use crate::run::Cpu;
use crate::types::CpuId;

/// One CPU's record. `vectors.rs` reads the first field.
#[repr(C)]
pub struct Local {
    emergency_stack: u64,
    id: CpuId,
    run: UnsafeCell<Cpu>,
}

const EMERGENCY_STACK: usize = 8 << 10;

#[repr(C, align(16))]
struct Stack([u8; EMERGENCY_STACK]);

/// Makes the calling CPU's record and points TPIDR_EL2 at it. Called once on each CPU.
pub fn install(cpu: Cpu) {
    let stack = Box::leak(Box::new(Stack([0; EMERGENCY_STACK])));
    let local = Box::leak(Box::new(Local {
        emergency_stack: core::ptr::from_mut(stack) as u64 + EMERGENCY_STACK as u64,
        id: cpu.id,
        run: UnsafeCell::new(cpu),
    }));
    // SAFETY: TPIDR_EL2 is ours to use; the record lives for ever.
    unsafe { write_sysreg!("tpidr_el2", core::ptr::from_mut(local) as u64) };
}

fn local() -> Option<*const Local> {
    let local = read_sysreg!("tpidr_el2") as *const Local;
    (!local.is_null()).then_some(local)
}

/// The number of the CPU that asks; the boot CPU's before it has a record.
pub fn this_cpu() -> CpuId {
    // SAFETY: TPIDR_EL2 is null or points at a record that lives for ever, and `id` never changes.
    local().map_or(CpuId(0), |local| unsafe { (*local).id })
}

/// The run state of the calling CPU.
///
/// # Safety
/// `install` has been called on this CPU, and no other reference to the state is alive. `traps::from_guest` is the
/// only caller: it is entered from a guest only, with interrupts masked until it returns, so it never nests.
pub unsafe fn run_state<'a>() -> &'a mut Cpu {
    let local = read_sysreg!("tpidr_el2") as *const Local;
    // SAFETY: the record is this CPU's own, and the caller holds the only reference.
    unsafe { &mut *(*local).run.get() }
}
