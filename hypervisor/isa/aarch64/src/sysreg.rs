//! Emulation of the system registers whose accesses trap to EL2.
//!
//! One table answers every access, and what it does not name is undefined. What traps is decided by
//! [`controls`](crate::controls); why no other register has to is in `reach`.

mod debug;
mod encoding;
pub mod fields;
mod guest;
pub mod ids;
mod names;
mod pmu;
/// Which registers EL1 and EL0 can reach, for tests.
#[cfg(not(target_os = "none"))]
pub mod reach;

pub use encoding::{Encoding, SysregAccess};
pub use guest::Guest;
pub use ids::{FilteredIds, IdRegisters};

use crate::physical_timer::TimerRegister;
use names::{
    ACTLR_EL1, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTP_TVAL_EL0, DC_CISW, DC_CSW, DC_ISW, ICC_ASGI1R_EL1,
    ICC_DIR_EL1, ICC_SGI0R_EL1, ICC_SGI1R_EL1, ICC_SRE_EL1,
};

/// What the answers depend on, besides the identification registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuView {
    /// The access came from EL0.
    pub el0: bool,
    /// The guest's interrupt controller has a system register interface (GICv3).
    pub gic_system_registers: bool,
    /// ACTLR_EL1 of the machine.
    pub actlr: u64,
}

/// The interrupt group that a write to a software-generated interrupt register names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiGroup {
    /// ICC_SGI0R_EL1.
    Group0,
    /// ICC_SGI1R_EL1: group 1 of the caller's security state.
    Group1,
    /// ICC_ASGI1R_EL1: group 1 of the other security state.
    Group1Other,
}

/// What becomes of an access. All but `Undefined` step over the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A read gives this value.
    Value(u64),
    /// A write has no effect.
    Ignored,
    /// The guest takes an undefined-instruction exception.
    Undefined,
    /// A software-generated interrupt, in the layout of ICC_SGI1R_EL1 (Arm GICv3 specification, 12.2.20).
    SendSgi {
        /// The group.
        group: SgiGroup,
        /// The value written to the register.
        value: u64,
    },
    /// An access to the emulated EL1 physical timer.
    PhysicalTimer {
        /// The timer's register.
        register: TimerRegister,
        /// The value written; `None` for a read.
        write: Option<u64>,
    },
    /// The guest deactivates an interrupt by its number (ICC_DIR_EL1, which traps only on request).
    Deactivate {
        /// What was written; the interrupt in bits 23:0.
        value: u64,
    },
    /// Cache maintenance by set and way of a whole level, which cannot reach other CPUs: maintain the guest's memory by
    /// address.
    SetWay,
}

/// ICC_SRE_EL1 for a guest whose GIC has system registers: SRE, DFB and DIB, none of which can be cleared.
const SYSTEM_REGISTERS_ONLY: u64 = 0b111;

/// Decides an access. `written` is the value of the general-purpose register, and counts for writes only.
pub fn emulate(access: SysregAccess, written: u64, vcpu: &VcpuView, ids: &FilteredIds) -> Outcome {
    if let Some(answer) = el0_registers(access, written) {
        return answer;
    }
    if vcpu.el0 {
        return Outcome::Undefined;
    }
    match access.encoding {
        ACTLR_EL1 => read_only(access, vcpu.actlr),
        ICC_SGI1R_EL1 => sgi(access, vcpu, SgiGroup::Group1, written),
        ICC_ASGI1R_EL1 => sgi(access, vcpu, SgiGroup::Group1Other, written),
        ICC_SGI0R_EL1 => sgi(access, vcpu, SgiGroup::Group0, written),
        ICC_DIR_EL1 if vcpu.gic_system_registers && !access.is_read => Outcome::Deactivate { value: written },
        // A kernel that finds SRE clear after setting it falls back to the memory-mapped interface.
        ICC_SRE_EL1 => read_only(access, if vcpu.gic_system_registers { SYSTEM_REGISTERS_ONLY } else { 0 }),
        DC_ISW | DC_CSW | DC_CISW if !access.is_read => set_way(written),
        encoding => match ids.get(encoding) {
            Some(value) if access.is_read => Outcome::Value(value),
            Some(_) => Outcome::Undefined,
            None => debug::el1(access).or_else(|| pmu::el1(access)).unwrap_or(Outcome::Undefined),
        },
    }
}

/// Registers that EL0 reaches too, when the guest kernel's own controls allow it: those are checked by hardware first.
fn el0_registers(access: SysregAccess, written: u64) -> Option<Outcome> {
    let register = match access.encoding {
        CNTP_TVAL_EL0 => TimerRegister::TimerValue,
        CNTP_CTL_EL0 => TimerRegister::Control,
        CNTP_CVAL_EL0 => TimerRegister::CompareValue,
        _ => return debug::el0(access).or_else(|| pmu::el0(access)),
    };
    Some(Outcome::PhysicalTimer { register, write: (!access.is_read).then_some(written) })
}

/// Maintenance of one line by set and way. A kernel does all sets and ways of a level in a loop, tens of thousands, to have
/// the level's content in memory when the loop ends. Whatever the geometry and the direction, the loop comes by set 0 of
/// way 0 once: all of memory is cleaned then, and the other lines ask for nothing more.
const fn set_way(operand: u64) -> Outcome {
    /// The level is in bits 3:1; set and way are above (Arm ARM, D24.5, `DC CISW`).
    const LEVEL: u64 = 0xf;
    if operand & !LEVEL == 0 { Outcome::SetWay } else { Outcome::Ignored }
}

/// A register that reads as `value` and ignores writes.
const fn read_only(access: SysregAccess, value: u64) -> Outcome {
    if access.is_read { Outcome::Value(value) } else { Outcome::Ignored }
}

/// A write-only register of the interrupt controller.
const fn sgi(access: SysregAccess, vcpu: &VcpuView, group: SgiGroup, value: u64) -> Outcome {
    if access.is_read || !vcpu.gic_system_registers {
        return Outcome::Undefined;
    }
    Outcome::SendSgi { group, value }
}

#[cfg(test)]
mod tests;
