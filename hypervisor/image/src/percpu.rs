//! A CPU's record: what EL2 keeps of it, found through TPIDR_EL2.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::sync::atomic::AtomicU64;

use xenolith_arch::aarch64::cpu::{self, PerCpu};
use xenolith_cpu::Cpu;

/// One CPU's record. The vectors read the first two fields of its head.
#[repr(C)]
struct Record {
    head: PerCpu,
    run: UnsafeCell<Cpu>,
}

const EMERGENCY_STACK: usize = 8 << 10;

#[repr(C, align(16))]
struct Stack([u8; EMERGENCY_STACK]);

/// Makes the calling CPU's record and points TPIDR_EL2 at it. Called once on each CPU.
pub fn install(cpu: Cpu) {
    let stack = Box::leak(Box::new(Stack([0; EMERGENCY_STACK])));
    let emergency_stack = core::ptr::from_mut(stack).expose_provenance() as u64 + EMERGENCY_STACK as u64;
    let record = Box::leak(Box::new(Record {
        head: PerCpu { emergency_stack, at_exit: AtomicU64::new(0), id: cpu.id },
        run: UnsafeCell::new(cpu),
    }));
    core::ptr::from_mut(record).expose_provenance();
    cpu::install(&record.head);
}

/// The run state of the calling CPU.
///
/// # Safety
/// `install` has been called on this CPU, and no other reference to the state is alive. `traps::from_guest` is the
/// only caller: it is entered from a guest only, with interrupts masked until it returns, so it never nests.
pub unsafe fn run_state<'a>() -> &'a mut Cpu {
    let record = cpu::record().cast::<Record>();
    // SAFETY: `install` put the head of a record there, which is this CPU's own and lives for ever, and the caller holds the
    // only reference to its run state.
    unsafe { &mut *(*record).run.get() }
}
