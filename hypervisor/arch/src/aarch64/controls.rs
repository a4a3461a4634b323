//! Writes EL2's control registers as their table has them (`xenolith_isa::controls`).

use xenolith_hw::isb;
use xenolith_isa::controls::{CONTROLS, Features, Needs, Register};

use super::{idregs, stage2};

macro_rules! accessors {
    ($($variant:ident $name:literal $op1:literal $crn:literal $crm:literal $op2:literal,)*) => {
        fn read(register: Register) -> u64 {
            match register {
                $(Register::$variant => {
                    read_sysreg!(concat!("s3_", $op1, "_c", $crn, "_c", $crm, "_", $op2))
                })*
            }
        }

        /// # Safety
        /// The CPU has the register, and EL2 can go on with the value.
        unsafe fn write(register: Register, value: u64) {
            match register {
                // SAFETY: by the caller's claim.
                $(Register::$variant => unsafe {
                    write_sysreg!(concat!("s3_", $op1, "_c", $crn, "_c", $crm, "_", $op2), value)
                },)*
            }
        }
    };
}

xenolith_isa::el2_controls!(accessors);

/// Brings the calling CPU's control registers into the state that the table says, whatever reset and firmware have left.
pub fn init_cpu() {
    // Before HCR_EL2 turns stage 2 on, so that nothing is walked by what reset has left in VTTBR_EL2.
    stage2::init_cpu();
    let ids = idregs::read();
    let mut features = Features { ids: &ids, mpamidr: 0, pmbidr: 0 };
    if features.have(Needs::Mpam) {
        features.mpamidr = read_sysreg!("s3_0_c10_c4_4");
    }
    if features.have(Needs::Profiling) {
        features.pmbidr = read_sysreg!("s3_0_c9_c10_7");
    }
    for control in CONTROLS {
        let Some(value) = control.value(&features) else { continue };
        let kept = if control.kept == 0 { 0 } else { read(control.register) & control.kept };
        // SAFETY: the identification registers show it; the registers decide what guests may do, and EL2 itself uses nothing
        // that they take away.
        unsafe { write(control.register, value | kept) };
        // The layout of some follows from HCR_EL2.
        isb();
    }
}
