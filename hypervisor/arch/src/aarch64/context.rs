//! What a CPU holds for the vCPU that it runs besides the general registers: EL1's system registers, the floating
//! point registers, the virtual timer, and the virtual interrupt interface.

use xenolith_isa::exception::{El1State, Taken};
use xenolith_isa::regime::Stage1;
use xenolith_isa::regs::{El1Registers, Pstate};
use xenolith_isa::stage2::Stage2;

use super::gic::{self, InterfaceState};
use super::regime::El1;
use super::sve::Sve;
use super::system_error::VirtualError;
use xenolith_hw::isb;

macro_rules! registers {
    (
        fixed { $($fixed:ident: $fixed_name:literal,)* }
        compared { $($field:ident: $name:literal,)* }
        plain { $($plain:ident: $plain_name:literal,)* }
    ) => {
        /// EL1 and EL0 system registers of a vCPU that is not running.
        #[derive(Clone, Debug, Default)]
        struct System {
            $($fixed: u64,)*
            $($field: u64,)*
            $($plain: u64,)*
            stage1: Stage1,
        }

        impl System {
            /// Takes them from the CPU, but for those that the guest cannot change.
            fn save(&mut self) {
                self.stage1 = Stage1::read(&El1);
                $(self.$field = read_sysreg!($name);)*
                $(self.$plain = read_sysreg!($plain_name);)*
            }

            /// Writes them, but for those of stage 1; of those that steer something, only what differs. Often little does:
            /// the same vCPU comes back, or one with the same kernel.
            ///
            /// # Safety
            /// The registers belong to a guest; EL2 relies on none of them.
            unsafe fn load(&self) {
                $(if read_sysreg!($fixed_name) != self.$fixed {
                    // SAFETY: by the caller's claim.
                    unsafe { write_sysreg!($fixed_name, self.$fixed) };
                })*
                $(if read_sysreg!($name) != self.$field {
                    // SAFETY: by the caller's claim.
                    unsafe { write_sysreg!($name, self.$field) };
                })*
                // SAFETY: by the caller's claim.
                unsafe {
                    $(write_sysreg!($plain_name, self.$plain);)*
                }
            }
        }
    };
}

registers! {
    fixed {
        vmpidr: "vmpidr_el2",
        vpidr: "vpidr_el2",
        // Before the timer, which compares with the counter that this makes.
        counter_offset: "cntvoff_el2",
    }
    compared {
        amair: "amair_el1",
        contextidr: "contextidr_el1",
        cpacr: "cpacr_el1",
        csselr: "csselr_el1",
        cntkctl: "cntkctl_el1",
        // In this order: a timer that is switched on with the last vCPU's value would fire for it.
        timer_compare: "cntv_cval_el0",
        timer_control: "cntv_ctl_el0",
    }
    plain {
        vbar: "vbar_el1",
        elr: "elr_el1",
        spsr: "spsr_el1",
        esr: "esr_el1",
        far: "far_el1",
        afsr0: "afsr0_el1",
        afsr1: "afsr1_el1",
        par: "par_el1",
        sp_el0: "sp_el0",
        sp_el1: "sp_el1",
        tpidr_el0: "tpidr_el0",
        tpidrro_el0: "tpidrro_el0",
        tpidr_el1: "tpidr_el1",
    }
}

/// V0 to V31, FPCR and FPSR.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
struct FloatingPoint {
    v: [u128; 32],
    control: [u64; 2],
}

core::arch::global_asm!(
    r#"
    .arch_extension fp
    .arch_extension simd
    .global save_floating_point
save_floating_point:
    stp     q0, q1, [x0, #0]
    stp     q2, q3, [x0, #32]
    stp     q4, q5, [x0, #64]
    stp     q6, q7, [x0, #96]
    stp     q8, q9, [x0, #128]
    stp     q10, q11, [x0, #160]
    stp     q12, q13, [x0, #192]
    stp     q14, q15, [x0, #224]
    stp     q16, q17, [x0, #256]
    stp     q18, q19, [x0, #288]
    stp     q20, q21, [x0, #320]
    stp     q22, q23, [x0, #352]
    stp     q24, q25, [x0, #384]
    stp     q26, q27, [x0, #416]
    stp     q28, q29, [x0, #448]
    stp     q30, q31, [x0, #480]
    mrs     x1, fpcr
    mrs     x2, fpsr
    add     x0, x0, #512
    stp     x1, x2, [x0]
    ret
    .global load_floating_point
load_floating_point:
    ldp     q0, q1, [x0, #0]
    ldp     q2, q3, [x0, #32]
    ldp     q4, q5, [x0, #64]
    ldp     q6, q7, [x0, #96]
    ldp     q8, q9, [x0, #128]
    ldp     q10, q11, [x0, #160]
    ldp     q12, q13, [x0, #192]
    ldp     q14, q15, [x0, #224]
    ldp     q16, q17, [x0, #256]
    ldp     q18, q19, [x0, #288]
    ldp     q20, q21, [x0, #320]
    ldp     q22, q23, [x0, #352]
    ldp     q24, q25, [x0, #384]
    ldp     q26, q27, [x0, #416]
    ldp     q28, q29, [x0, #448]
    ldp     q30, q31, [x0, #480]
    add     x0, x0, #512
    ldp     x1, x2, [x0]
    msr     fpcr, x1
    msr     fpsr, x2
    ret
"#
);

unsafe extern "C" {
    /// # Safety
    /// `state` is writable.
    unsafe fn save_floating_point(state: *mut FloatingPoint);
    /// # Safety
    /// `state` is readable, and the FP registers belong to guests (EL2 is compiled for soft float).
    unsafe fn load_floating_point(state: *const FloatingPoint);
}

/// The state of a vCPU that is not running.
#[derive(Clone, Debug)]
pub struct Context {
    system: System,
    floating_point: FloatingPoint,
    interface: InterfaceState,
    system_error: VirtualError,
    /// If its domain has SVE.
    sve: Option<Sve>,
}

/// SCTLR_EL1 when a vCPU starts, as under Xen (SCTLR_GUEST_INIT): MMU and caches off, little endian, alignment of the
/// stack pointer checked, WFI and WFE of EL0 not trapped to EL1.
const SCTLR_RESET: u64 = 0x00c5_0078;

impl Context {
    /// A vCPU that has not run: MMU off, `mpidr` what it reads in MPIDR_EL1. Its SVE has vectors of so many 128 bits, 0 for
    /// none. `None`: no memory.
    pub fn new(mpidr: u64, vector_granules: u8) -> Option<Self> {
        let sve = match vector_granules {
            0 => None,
            granules => Some(Sve::new(granules)?),
        };
        let floating_point = FloatingPoint { v: [0; 32], control: [0; 2] };
        let system = System::default();
        let (interface, system_error) = Default::default();
        let mut context = Context { system, floating_point, interface, system_error, sve };
        context.reset(mpidr);
        Some(context)
    }

    /// Makes it that of a vCPU which has not run.
    pub fn reset(&mut self, mpidr: u64) {
        self.system = System {
            stage1: Stage1 { sctlr: SCTLR_RESET, ..Stage1::default() },
            vmpidr: mpidr,
            vpidr: read_sysreg!("midr_el1"),
            ..System::default()
        };
        self.floating_point = FloatingPoint { v: [0; 32], control: [0; 2] };
        self.interface = InterfaceState::default();
        self.system_error = VirtualError::default();
        self.sve.iter_mut().for_each(Sve::reset);
    }

    /// The vCPU, which runs here, has used SVE, and it trapped. True if it may from here on; false if it has none, or it
    /// was no reason to trap.
    pub fn begin_sve(&mut self) -> bool {
        let Some(sve) = self.sve.as_mut().filter(|sve| !sve.is_used()) else { return false };
        // SAFETY: the registers are this vCPU's, and EL2 uses none of them.
        unsafe { save_floating_point(&mut self.floating_point) };
        sve.begin(&self.floating_point.control);
        // SAFETY: the same. A write of a V register zeroes what was behind it in its Z register.
        unsafe { load_floating_point(&self.floating_point) };
        true
    }

    /// Sets CNTVOFF_EL2: the ticks by which the virtual counter is behind the physical one.
    pub fn set_counter_offset(&mut self, ticks: u64) {
        self.system.counter_offset = ticks;
    }

    /// Takes the state out of the calling CPU.
    pub fn save(&mut self) {
        self.system.save();
        match &mut self.sve {
            Some(sve) if sve.is_used() => sve.save(&mut self.floating_point.control),
            // SAFETY: the registers were loaded for this vCPU.
            _ => unsafe { save_floating_point(&mut self.floating_point) },
        }
        // SAFETY: the timer must not fire for a vCPU that does not run.
        unsafe { write_sysreg!("cntv_ctl_el0", 0) };
        self.system_error.save();
        gic::save(&mut self.interface);
    }

    /// Puts the state into the calling CPU, which translates by the vCPU's tables and its domain's from here on.
    pub fn load(&self, stage2: Stage2) {
        self.system.stage1.load(stage2, &mut El1);
        gic::load(&self.interface);
        self.system_error.load();
        match &self.sve {
            Some(sve) if sve.is_used() => sve.load(&self.floating_point.control),
            // SAFETY: EL2 uses none of these registers itself.
            _ => unsafe { load_floating_point(&self.floating_point) },
        }
        // SAFETY: nor of these.
        unsafe { self.system.load() };
        // The ERET into the guest synchronizes anyhow; this is for accesses on the vCPU's behalf before it
        // (`translate`).
        isb();
    }

    /// The registers that a toolstack reads.
    pub fn el1(&self) -> El1Registers {
        let System { stage1: Stage1 { sctlr, tcr, ttbr0, ttbr1, .. }, sp_el0, sp_el1, elr, spsr, .. } =
            self.system;
        El1Registers { sctlr, tcr, ttbr0, ttbr1, sp_el0, sp_el1, elr, spsr }
    }

    /// Sets the registers that a toolstack sets.
    pub fn set_el1(&mut self, registers: &El1Registers) {
        let &El1Registers { sctlr, tcr, ttbr0, ttbr1, sp_el0, sp_el1, elr, spsr } = registers;
        let rest = core::mem::take(&mut self.system);
        let stage1 = Stage1 { sctlr, tcr, ttbr0, ttbr1, ..rest.stage1 };
        self.system = System { stage1, sp_el0, sp_el1, elr, spsr, ..rest };
    }

    /// When the virtual timer will fire, if it is on and not masked: a value of the physical counter.
    pub fn timer_deadline(&self) -> Option<u64> {
        // CNTV_CTL: bit 0 ENABLE, bit 1 IMASK. A virtual count that the sum has no room for comes after all time.
        let deadline = self.system.timer_compare.saturating_add(self.system.counter_offset);
        (self.system.timer_control & 3 == 1).then_some(deadline)
    }
}

/// What decides how an exception is taken to EL1 by the vCPU that runs on this CPU.
pub fn el1_state() -> El1State {
    El1State { vbar: read_sysreg!("vbar_el1"), sctlr: read_sysreg!("sctlr_el1") }
}

/// Records an exception in the EL1 registers of the vCPU that runs on this CPU.
pub fn set_exception(taken: &Taken) {
    // SAFETY: these registers are the guest's.
    unsafe {
        write_sysreg!("elr_el1", taken.elr);
        write_sysreg!("spsr_el1", taken.spsr);
        write_sysreg!("esr_el1", taken.esr);
        if let Some(far) = taken.far {
            write_sysreg!("far_el1", far);
        }
    }
}

/// The stack pointer of the vCPU that runs on this CPU, in the AArch64 state `pstate`.
pub fn stack_pointer(pstate: Pstate) -> u64 {
    if pstate.uses_sp_el1() { read_sysreg!("sp_el1") } else { read_sysreg!("sp_el0") }
}

/// Sets the stack pointer of the vCPU that runs on this CPU, in the AArch64 state `pstate`.
pub fn set_stack_pointer(pstate: Pstate, sp: u64) {
    // SAFETY: EL2 runs on SP_EL2; these are the guest's.
    unsafe {
        if pstate.uses_sp_el1() {
            write_sysreg!("sp_el1", sp);
        } else {
            write_sysreg!("sp_el0", sp);
        }
    }
}
