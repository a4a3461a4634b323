//! What a guest does to the machine without EL2: its system registers, and its side of the list registers.

use xenolith_core::types::Intid;
use xenolith_isa::stage2::Stage2;
use xenolith_isa::vgic::list_register::ListState;
use xenolith_isa::vgic::{ListRegister, Origin};

use super::machine::registers::Registers;
use super::machine::with;

/// The stage 2 under which the CPU would run a guest now.
pub fn stage2() -> Option<Stage2> {
    with(|machine| machine.cpu().stage2)
}

/// The EL1 registers of the vCPU on this CPU.
pub fn registers() -> Registers {
    with(|machine| machine.cpu().registers)
}

/// Changes the EL1 registers of the vCPU on this CPU.
pub fn change_registers(change: impl FnOnce(&mut Registers)) {
    with(|machine| change(&mut machine.cpu().registers));
}

/// The virtual counter (CNTVCT_EL0). Time passes by a tick with every look.
pub fn counter() -> u64 {
    let now = super::time::now();
    with(|machine| now.wrapping_sub(machine.cpu().registers.counter_offset))
}

/// The guest takes its most urgent virtual interrupt, if there is one (ICC_IAR1_EL1).
pub fn acknowledge() -> Option<Intid> {
    with(|machine| {
        let list = &mut machine.cpu().gic.list;
        let pending = list.iter_mut().flatten().filter(|register| register.state == ListState::Pending);
        let register = pending.min_by_key(|register| (register.priority, register.intid))?;
        register.state = ListState::Active;
        Some(register.intid)
    })
}

/// The guest ends a virtual interrupt (ICC_EOIR1_EL1, EOImode 0). With a physical one behind it, that ends too.
pub fn end(intid: Intid) {
    with(|machine| {
        let interface = &mut machine.cpu().gic;
        let listed = |register: &&mut ListRegister| register.intid == intid && register.state.is_active();
        let Some(register) = interface.list.iter_mut().flatten().find(listed) else {
            interface.unlisted_ends += 1;
            return;
        };
        register.state = ListState::new(register.state.is_pending(), false);
        match register.origin {
            Origin::Software { eoi_maintenance, .. } => {
                interface.ended |= eoi_maintenance && register.state == ListState::Invalid;
            }
            Origin::Hardware(physical) => machine.line(physical).active = false,
        }
    });
}

/// The guest takes a virtual interrupt and ends it at once.
pub fn take() -> Option<Intid> {
    let taken = acknowledge()?;
    end(taken);
    Some(taken)
}
