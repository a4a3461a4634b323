//! Tests on request (`test=` on the command line): faults, so that whole-machine tests see what a user would see of them, and
//! what the hypervisor relies on of the hardware.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use xenolith_arch::aarch64::{gic, mmu};
use xenolith_core::types::{CpuId, DomId, Intid, VcpuId};
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_isa::system_error::SystemError;

/// A test's name on the command line, and what it does. Faults do not return.
const TESTS: [(&str, fn()); 6] = [
    ("panic", || panic!("asked for by test=panic")),
    ("stack-overflow", || overflow_stack(0)),
    ("write-code", write_code),
    ("read-nothing", read_nothing),
    ("reroute", reroute),
    ("system-error", || SYSTEM_ERROR.store(true, Ordering::Relaxed)),
];

/// Runs a test by name; names that mean nothing are told, with those that do.
pub fn run(name: &str) {
    match TESTS.iter().find(|(known, _)| *known == name) {
        Some((_, test)) => {
            log::warn!("test={name}: asked for on the command line");
            test();
        }
        None => {
            log::warn!("test={name}: no such test; there are: {}", TESTS.map(|(known, _)| known).join(", "));
        }
    }
}

/// Runs into the guard page below the stack.
#[inline(never)]
fn overflow_stack(depth: u64) {
    let room = black_box([depth; 64]);
    if room[0] < u64::MAX {
        overflow_stack(depth + 1);
    }
    black_box(room);
}

/// Writes to the hypervisor's own code, which is mapped read-only.
#[inline(never)]
fn write_code() {
    let code = mmu::image().start as *mut u32;
    // SAFETY: the write must fault. Should it not, it changes the image's header, which has done its duty.
    unsafe { code.write_volatile(0) };
    panic!("the hypervisor's code can be written");
}

/// Reads where nothing is mapped at EL2.
#[inline(never)]
fn read_nothing() {
    let nothing = (1_u64 << 47) as *const u32;
    // SAFETY: the read must fault; nothing is done with its value.
    let _ = unsafe { nothing.read_volatile() };
    panic!("an address that nothing is mapped at can be read");
}

/// An edge that has come for one CPU and is not taken yet comes to the CPU that its interrupt is sent to next. The machine
/// has two CPUs at least.
fn reroute() {
    // The last one: no device that a board has uses it.
    let line = Intid(31 + gic::shared_interrupts());
    gic::disable(line);
    gic::set_trigger(line, true);
    gic::route(line, CpuId(1));
    gic::pend(line);
    gic::route(line, CpuId(0));
    gic::enable(line);
    let taken = core::iter::repeat_with(gic::acknowledge).take(1000).flatten().inspect(|&intid| {
        gic::drop_priority(intid);
        gic::deactivate(intid);
    });
    let came = taken.filter(|&intid| intid == line).count();
    gic::disable(line);
    assert!(
        came == 1,
        "test=reroute: of two CPUs, interrupt {} came to the first {came} times, not once",
        line.0
    );
    log::warn!("test=reroute: interrupt {} followed its route", line.0);
}

/// The first domain is to begin with a system error.
static SYSTEM_ERROR: AtomicBool = AtomicBool::new(false);

/// Does what a test is about that needs a domain; no guest has run on this CPU yet.
pub fn before_guests(hv: &Hypervisor) {
    if SYSTEM_ERROR.swap(false, Ordering::Relaxed)
        && let Some(domain) = hv.domain(DomId::CONTROL)
        && let Some(vcpu) = domain.vcpu(VcpuId(0))
    {
        let mut saved = vcpu.saved.lock();
        assert!(!saved.loaded, "test=system-error: another CPU was faster; give the machine one CPU");
        saved.context.load(domain.arch.stage2);
        // A store that a device has refused, as a CPU with RAS reports it.
        xenolith_arch::pend_system_error(SystemError::of_syndrome(0xbe00_0011));
        saved.context.save();
        log::warn!("test=system-error: one waits for {}", vcpu.id);
    }
}
