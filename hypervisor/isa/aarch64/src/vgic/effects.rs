//! What the caller must do after it has changed the controller.
//!
//! [`VgicActions`] are sets of vCPUs: merging two is harmless, and they may be carried out after the lock is released.
//! [`LineChange`]s set physical lines to what the guest wants now. They must be carried out in the order in which they
//! were taken, that is under the lock: otherwise one CPU's late "enable" could undo another's "disable".

use super::Vgic;
use super::interrupt::{BankId, bit, bits};
use xenolith_core::types::{Intid, VcpuId};
use xenolith_core::vcpu_set::VcpuSet;

/// What to do for vCPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VgicActions {
    /// On-line vCPUs for which something changed. One that waits for an interrupt looks at [`Vgic::deliverable`]
    /// again; one that runs in the guest leaves it, to fold and fill its list registers.
    pub kick: VcpuSet,
    /// vCPUs on which the guest enabled the event-channel interrupt: if events are pending there, it must be
    /// [made pending](Vgic::pend), since its line has no other memory.
    pub event_ppi_enabled: VcpuSet,
}

/// What a physical interrupt that backs a virtual one must become. `None` leaves a property alone. To be applied in
/// this order: disable, `edge`, `target`, `active`, enable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineChange {
    /// The vCPU whose private interrupt it is; `None` for a shared one. If that vCPU is not running, the change is due
    /// when it is next.
    pub vcpu: Option<VcpuId>,
    /// The virtual interrupt.
    pub intid: Intid,
    /// The physical interrupt.
    pub physical: Intid,
    /// The guest enabled or disabled it.
    pub enabled: Option<bool>,
    /// Edge-triggered or level-sensitive. Of no account for a private one: its physical line is not this guest's.
    pub edge: Option<bool>,
    /// The vCPU to which it should go. Shared interrupts only.
    pub target: Option<VcpuId>,
    /// To be made active or deactivated, because no list register will do it.
    pub active: Option<bool>,
}

/// The banks with line changes: bit *n* for the private bank of vCPU *n*, for shared bank *n*.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dirty {
    private: VcpuSet,
    shared: u32,
}

impl Vgic {
    /// Whether there are [`VgicActions`] or [`LineChange`]s to take.
    pub fn has_consequences(&self) -> bool {
        let VgicActions { kick, event_ppi_enabled } = self.effects;
        self.dirty.shared != 0 || !(self.dirty.private | kick | event_ppi_enabled).is_empty()
    }

    /// Takes what is to be done for vCPUs.
    pub fn take_effects(&mut self) -> VgicActions {
        core::mem::take(&mut self.effects)
    }

    /// Takes the next change of a physical line, until there is none.
    pub fn take_line_change(&mut self) -> Option<LineChange> {
        // Each round takes a change or clears a bit.
        loop {
            let id = if self.dirty.shared != 0 {
                BankId::Shared(self.dirty.shared.trailing_zeros() as usize)
            } else if let Some(vcpu) = self.dirty.private.first() {
                BankId::Private(vcpu)
            } else {
                return None;
            };
            let change = self.bank_line_change(id);
            if change.is_some() {
                return change;
            }
            match id {
                BankId::Private(vcpu) => self.dirty.private.remove(vcpu),
                BankId::Shared(_) => self.dirty.shared &= self.dirty.shared.wrapping_sub(1),
            }
        }
    }

    fn bank_line_change(&mut self, id: BankId) -> Option<LineChange> {
        let bank = self.bank_mut(id)?;
        let n = bits(bank.changes.any()).next()?;
        let intid = id.nth(n);
        let mask = bit(intid);
        let take = |word: &mut u32| {
            let set = *word & mask != 0;
            *word &= !mask;
            set
        };
        // All of one interrupt at once, because the caller has to put them in order: disabled first, enabled last.
        let (enable, trigger, route) =
            (take(&mut bank.changes.enable), take(&mut bank.changes.trigger), take(&mut bank.changes.route));
        let (activate, deactivate) = (take(&mut bank.changes.activate), take(&mut bank.changes.deactivate));
        let mut change = LineChange {
            vcpu: None,
            intid,
            physical: bank.physical.get(n as usize).copied()?,
            enabled: enable.then_some(bank.enabled & mask != 0),
            edge: trigger.then_some(bank.edge & mask != 0),
            target: None,
            active: (activate || deactivate).then_some(activate),
        };
        match id {
            BankId::Private(vcpu) => change.vcpu = Some(vcpu),
            BankId::Shared(bank) => {
                let target = self.shared.get(bank)?.target.get(n as usize).copied()?;
                change.target = target.filter(|_| route);
            }
        }
        Some(change)
    }

    /// The vCPU runs on another physical CPU than before: its shared interrupts with hardware behind them are to go
    /// there.
    pub fn reroute(&mut self, vcpu: VcpuId) {
        for n in 0..self.shared.len() {
            if let Some(shared) = self.shared.get_mut(n) {
                let own = |(slot, target): (usize, &Option<VcpuId>)| {
                    (*target == Some(vcpu)).then_some(1_u32 << slot)
                };
                let mask = shared.target.iter().enumerate().filter_map(own).fold(0, |all, bit| all | bit);
                // Where the virtual interrupt goes has not changed: only the physical one follows the vCPU.
                shared.bank.changes.route |= mask & shared.bank.hardware;
            }
            self.note_changes(BankId::Shared(n));
        }
    }

    /// Notes that a bank may have line changes.
    #[inline]
    pub(super) fn note_changes(&mut self, id: BankId) {
        let any = self.bank(id).is_some_and(|bank| bank.changes.any() != 0);
        if any {
            match id {
                BankId::Private(vcpu) => self.dirty.private.insert(vcpu),
                BankId::Shared(n) => self.dirty.shared |= 1 << (n % 32),
            }
        }
    }

    /// Has a vCPU kicked, if it is on line.
    pub(super) fn kick(&mut self, vcpu: VcpuId) {
        if self.cpus.get(usize::from(vcpu.0)).is_some_and(|cpu| cpu.online) {
            self.effects.kick.insert(vcpu);
        }
    }
}
