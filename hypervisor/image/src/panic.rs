//! The end: registers, a back-trace with names, and a halt or a reset as the command line says.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use xenolith_core::symbols::Symbols;
use xenolith_domain::console::emergency;
use xenolith_isa::regs::Pstate;

/// What `vectors.rs` saves when EL2 itself takes an exception, and restores if it goes on.
#[repr(C)]
pub struct Frame {
    x: [u64; 31],
    /// ELR_EL2: the instruction that took it.
    pub elr: u64,
    spsr: u64,
    sp: u64,
}

impl Frame {
    /// Goes on there, with system errors masked, as they are wherever EL2 does not let one in.
    pub fn resume_at(&mut self, pc: u64) {
        self.elr = pc;
        self.spsr |= Pstate::A;
    }
}

/// Whether a panic resets the machine; otherwise it halts.
pub static REBOOT: AtomicBool = AtomicBool::new(false);
static DYING: AtomicBool = AtomicBool::new(false);

const KINDS: [&str; 4] = ["synchronous exception", "IRQ", "FIQ", "SError"];

/// A fault of the hypervisor: an exception at EL2, of a kind that is the number of its vector.
pub fn fatal(frame: &Frame, kind: u64) -> ! {
    die(|out| {
        let name = KINDS.get(kind as usize & 3).unwrap_or(&"?");
        let _ = writeln!(
            out,
            "hypervisor fault on cpu{}: {name} at EL2, esr {:#x} far {:#x}",
            xenolith_arch::this_cpu().0,
            read_sysreg!("esr_el2"),
            read_sysreg!("far_el2")
        );
        registers(out, frame);
        backtrace(out, frame.elr, frame.x[29]);
    })
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    die(|out| {
        let _ = writeln!(out, "hypervisor panic on cpu{}: {info}", xenolith_arch::this_cpu().0);
        let frame: u64;
        // SAFETY: reads a register.
        unsafe { core::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack)) };
        backtrace(out, panic as *const () as u64, frame);
    })
}

fn die(report: impl FnOnce(&mut dyn Write)) -> ! {
    if !DYING.swap(true, Ordering::AcqRel) {
        let mut out = emergency();
        report(&mut out);
        if REBOOT.load(Ordering::Relaxed) {
            let _ = writeln!(out, "resetting the machine");
            xenolith_arch::reset();
        }
        let _ =
            writeln!(out, "halted; reset the machine, or boot with reboot_on_panic to have it reset itself");
    }
    xenolith_arch::halt()
}

fn registers(out: &mut dyn Write, frame: &Frame) {
    for (index, pair) in frame.x.chunks(3).enumerate() {
        for (column, value) in pair.iter().enumerate() {
            let _ = write!(out, "  x{:<2} {value:016x}", index * 3 + column);
        }
        let _ = writeln!(out);
    }
    let _ = writeln!(out, "  sp  {:016x}  pc  {:016x}  pstate {:x}", frame.sp, frame.elr, frame.spsr);
}

fn backtrace(out: &mut dyn Write, pc: u64, mut frame: u64) {
    let image = xenolith_arch::aarch64::mmu::image();
    let symbols = Symbols::new(image.symbols());
    let mut print = |address: u64| {
        let offset = address.wrapping_sub(image.start);
        match symbols.find(offset) {
            Some((name, distance)) => writeln!(out, "  {address:#x} {name}+{distance:#x}"),
            None => writeln!(out, "  {address:#x}"),
        }
    };
    let _ = print(pc);
    // A frame record is {caller's frame, return address}; each lies above the last on the same stack.
    for _ in 0..32 {
        if frame == 0 || !frame.is_multiple_of(16) || !xenolith_arch::aarch64::mmu::is_stack(frame) {
            break;
        }
        // SAFETY: `is_stack` says that the 16 bytes lie in a mapped stack, and they are aligned.
        let (next, caller) = unsafe {
            let record = frame as *const u64;
            (record.read(), record.add(1).read())
        };
        if caller == 0 {
            break;
        }
        // The call, not what is behind it: behind a call that does not return is the next function.
        let _ = print(caller.wrapping_sub(4));
        if next <= frame {
            break;
        }
        frame = next;
    }
}
