//! From queues to list registers and back.
//!
//! [`Vgic::fold`] takes everything out of a vCPU's list registers, [`Vgic::fill`] puts the most urgent interrupts in.
//! What is active has precedence, since only from a list register can the guest deactivate it; but one register is
//! always left for what waits, so that the guest can be preempted.

use arrayvec::ArrayVec;

use super::interrupt::{Bank, BankId, bit, bits, slot};
use super::list_register::{ListRegister, ListState, Origin};
use super::{Cpu, MAX_LIST_REGISTERS, Vgic};
use xenolith_abi::domctl::GicVersion;
use xenolith_core::bug;
use xenolith_core::types::{Intid, VcpuId};

/// What a vCPU's list registers need of the hardware. `ICH_HCR_EL2` and `GICH_HCR` have the same bits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Number of list registers that are filled, from the first on. All others must be free.
    pub used: usize,
    /// More interrupts wait: a maintenance interrupt (`NPIE`) is wanted once the guest has acknowledged all that are
    /// pending here.
    pub no_pending: bool,
    /// Active interrupts have no register: a maintenance interrupt (`LRENPIE`) is wanted when the guest drops one, for
    /// [`Vgic::drop_unlisted`], and GICv3 traps `ICC_DIR_EL1` (`TDIR`), for [`Vgic::deactivate`].
    pub unlisted_active: bool,
}

/// An interrupt in a list register, as it was filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    intid: Intid,
    /// The register took the latched pending state along.
    moved: bool,
    origin: Origin,
}

/// The most urgent interrupts of those that were added, in the order of priority and then of INTID.
struct Urgent {
    keys: ArrayVec<u32, MAX_LIST_REGISTERS>,
    limit: usize,
    /// More were added than the limit lets in.
    overflow: bool,
}

impl Urgent {
    fn new(limit: usize) -> Self {
        Urgent { keys: ArrayVec::new(), limit: limit.min(MAX_LIST_REGISTERS), overflow: false }
    }

    fn add(&mut self, priority: u8, intid: Intid) {
        // Which of two with the same priority comes first is IMPLEMENTATION DEFINED (IHI 0048, interrupt
        // prioritization).
        let key = u32::from(priority) << 16 | intid.0;
        let at = self.keys.partition_point(|other| *other < key);
        if self.keys.len() >= self.limit {
            self.overflow = true;
            if at >= self.keys.len() {
                return;
            }
            self.keys.pop();
        }
        if self.keys.try_insert(at, key).is_err() {
            bug!("no room among the urgent");
        }
    }

    fn limit(&mut self, limit: usize) {
        self.overflow |= self.keys.len() > limit;
        self.keys.truncate(limit);
    }
}

impl Vgic {
    /// How many list registers the last [`fill`](Self::fill) of a vCPU used, which are to be folded.
    pub fn listed(&self, vcpu: VcpuId) -> usize {
        self.cpus.get(usize::from(vcpu.0)).map_or(0, |cpu| cpu.listed.len())
    }

    /// Whether a vCPU has nothing in list registers, and nothing that could go there.
    pub fn is_quiet(&self, vcpu: VcpuId) -> bool {
        let cpu = self.cpus.get(usize::from(vcpu.0));
        cpu.is_none_or(|cpu| cpu.listed.is_empty() && (cpu.queue.is_empty() || !cpu.online))
    }

    /// Takes back what the list registers of a vCPU hold after it ran. `read` gives each of those that
    /// [`fill`](Self::fill) used, as the hardware left it.
    pub fn fold(&mut self, vcpu: VcpuId, mut read: impl FnMut(usize) -> ListRegister) {
        let kicked = self.effects.kick.contains(vcpu);
        for index in 0..self.listed(vcpu) {
            let cpu = self.cpus.get(usize::from(vcpu.0));
            let Some(&listed) = cpu.and_then(|cpu| cpu.listed.get(index)) else { break };
            self.unlist(vcpu, listed, read(index).state);
        }
        if let Some(cpu) = self.cpus.get_mut(usize::from(vcpu.0)) {
            cpu.listed.clear();
        }
        // This vCPU needs no kick for what it brings along itself.
        if !kicked {
            self.effects.kick.remove(vcpu);
        }
    }

    fn unlist(&mut self, vcpu: VcpuId, listed: Listed, state: ListState) {
        let id = BankId::of_intid(vcpu, listed.intid);
        let mask = bit(listed.intid);
        let sender = match listed.origin {
            Origin::Software { source, .. }
                if self.version == GicVersion::V2 && listed.intid < Intid::FIRST_PRIVATE =>
            {
                Some(source)
            }
            _ => None,
        };
        let Some(bank) = self.bank_mut(id) else { return bug!("no such interrupt") };
        let counts = bank.offered & mask != 0;
        let overruled = bank.overruled & mask != 0;
        let reactivate = bank.reactivate & mask;
        let refired = bank.refired & mask;
        bank.listed &= !mask;
        bank.offered &= !mask;
        bank.overruled &= !mask;
        bank.reactivate &= !mask;
        bank.refired &= !mask;

        // Without `offered` the guest has cleared the pending state since, and what the register says of it is out of
        // date.
        let unacknowledged = counts && state.is_pending();
        // Only what was moved comes back: a level is pending by its line, which may have fallen by now.
        if unacknowledged && listed.moved {
            bank.latched |= mask;
        }
        if bank.commanded != 0 {
            bank.commanded &= bank.latched | !mask;
        }
        // What the guest wrote to the active state later is in the bank already.
        if !overruled && state.is_active() {
            bank.active |= mask;
        } else if !overruled {
            bank.active &= !mask;
        }

        // The physical interrupt is active while the virtual one is pending or active. If that is over and the hardware
        // did not see it end, or not for the last time, it is ours to deactivate; if the hardware saw an end that is
        // none, to activate. It sees an end only by a register with the HW bit.
        let settled = matches!(listed.origin, Origin::Hardware(_)) && state == ListState::Invalid;
        let over = bank.hardware & !bank.active & !bank.latched & mask;
        if !settled || refired != 0 {
            bank.changes.deactivate(over);
        } else {
            bank.changes.activate(reactivate & !over);
        }
        if let Some(sender) = sender.filter(|_| unacknowledged) {
            self.restore_sender(vcpu, listed.intid, sender);
        }
        // Also where nothing has changed: it was taken out of the queue when it was listed.
        self.requeue(id, mask);
        self.note_changes(id);
    }

    /// Fills a vCPU's list registers before it runs, of which there are `capacity`: `write` gets each that is used, from
    /// the first on. The others must be free in the hardware. What was filled before must be folded first; otherwise
    /// nothing changes.
    pub fn fill(
        &mut self,
        vcpu: VcpuId,
        capacity: usize,
        mut write: impl FnMut(usize, ListRegister),
    ) -> Fill {
        let Some(cpu) = self.cpus.get(usize::from(vcpu.0)) else {
            bug!("no such vCPU");
            return Fill::default();
        };
        // What is listed has its state in the registers: filling over it would lose what the guest did.
        if !cpu.listed.is_empty() {
            return Fill { used: cpu.listed.len(), ..Fill::default() };
        }
        if cpu.queue.is_empty() || !cpu.online {
            return Fill::default();
        }
        let capacity = capacity.min(MAX_LIST_REGISTERS);
        if let Some(intid) = cpu.queue.only().filter(|_| capacity > 0) {
            // The usual case has no order to find.
            let candidate = self.bank(BankId::of_intid(vcpu, intid)).map_or(0, |bank| self.eligible(bank));
            let used = candidate & bit(intid) != 0 && self.enlist(vcpu, intid, true, 0, &mut write);
            return Fill { used: used.into(), ..Fill::default() };
        }
        let (mut active, mut waiting) = (Urgent::new(capacity), Urgent::new(capacity));
        self.candidates(vcpu, cpu, &mut active, &mut waiting);
        // One register is left for what waits: without it no handler could be preempted, and what is pending would wait
        // until one of them is done.
        active.limit(capacity.saturating_sub(usize::from(!waiting.keys.is_empty())));
        // Active ones first: what is active and in no register can only be ended by way of a trap or a maintenance
        // interrupt.
        waiting.limit(capacity.saturating_sub(active.keys.len()));

        let mut used = 0;
        for intid in active.keys.iter().chain(&waiting.keys).map(|key| Intid(key & 0xffff)) {
            used += usize::from(self.enlist(vcpu, intid, !waiting.overflow, used, &mut write));
        }
        Fill { used, no_pending: waiting.overflow, unlisted_active: active.overflow }
    }

    /// The interrupts of a bank that are active, or could be signalled.
    fn eligible(&self, bank: &Bank) -> u32 {
        bank.active | (bank.waiting() & bank.enabled & self.in_enabled_group(bank))
    }

    /// Moves an interrupt from the queue of `vcpu` into list register `index`, as [`Self::list`] does. False if there is
    /// no such interrupt.
    fn enlist(
        &mut self,
        vcpu: VcpuId,
        intid: Intid,
        merge: bool,
        index: usize,
        write: &mut impl FnMut(usize, ListRegister),
    ) -> bool {
        let Some((listed, register)) = self.list(vcpu, intid, merge) else {
            bug!("no such interrupt");
            return false;
        };
        let cpu = self.cpus.get_mut(usize::from(vcpu.0));
        if cpu.is_none_or(|cpu| cpu.listed.try_push(listed).is_err()) {
            bug!("more is listed than there are registers");
            return false;
        }
        write(index, register);
        true
    }

    /// Adds what is active on a vCPU, and what could be signalled to it.
    fn candidates(&self, vcpu: VcpuId, cpu: &Cpu, active: &mut Urgent, waiting: &mut Urgent) {
        for (n, queued) in cpu.queue.words() {
            let id = BankId::of_word(vcpu, n);
            let Some(bank) = self.bank(id) else {
                bug!("no such interrupt");
                continue;
            };
            for intid in bits(queued & self.eligible(bank)).map(|n| id.nth(n)) {
                let priority = bank.priority.get(slot(intid)).copied().unwrap_or(u8::MAX);
                let list = if bank.active & bit(intid) != 0 { &mut *active } else { &mut *waiting };
                list.add(priority, intid);
            }
        }
    }

    /// Moves an interrupt from the queue of `vcpu` into a list register. If it is active, the register takes its next
    /// pending state along only with `merge`: where others wait for a register, some may come before that.
    #[inline]
    fn list(&mut self, vcpu: VcpuId, intid: Intid, merge: bool) -> Option<(Listed, ListRegister)> {
        let id = BankId::of_intid(vcpu, intid);
        let mask = bit(intid);
        // One that is active stays where it was acknowledged; its next pending state may belong to another vCPU by now.
        let here = match id {
            BankId::Private(_) => true,
            BankId::Shared(n) => self.shared.get(n)?.target(intid) == Some(vcpu),
        };
        let per_sender = self.version == GicVersion::V2 && intid < Intid::FIRST_PRIVATE;
        // The virtual interface would end the physical interrupt on the CPU where the vCPU runs then. QEMU's GICv2 takes
        // that only from the CPU that took the interrupt; the distributor ends it from any.
        let by_distributor = self.version == GicVersion::V2 && matches!(id, BankId::Shared(_));
        let in_enabled_group = self.in_enabled_group(self.bank(id)?);

        let bank = self.bank_mut(id)?;
        let active = bank.active & mask != 0;
        let hardware = bank.hardware & mask != 0;
        let sampled = bank.sampled() & mask != 0;
        let asserted = sampled && bank.line & mask != 0;
        let waiting = here && bank.waiting() & bank.enabled & in_enabled_group & mask != 0;
        // Only an edge without hardware can be pending while active: a level is sampled again when the guest is done,
        // the architecture leaves "pending and active" to interrupts of software (ICH_LR<n>_EL2.State,
        // GICH_LR<n>.State), and another sender needs a register of its own.
        let mergeable = merge && !sampled && !hardware && !per_sender;
        let pending = waiting && (!active || mergeable);
        let moved = pending && bank.latched & mask != 0;
        if moved {
            bank.latched &= !mask;
        }
        if pending {
            bank.offered |= mask;
        }
        bank.listed |= mask;
        let source = if per_sender { self.take_sender(vcpu, intid, pending) } else { 0 };

        let bank = self.bank_mut(id)?;
        // What is pending beside what was just listed: it is listed when the guest is done with this one.
        let more = bank.waiting() & mask != 0;
        // With the HW bit the guest's EOI would deactivate the physical interrupt, on which the next pending state
        // still rests. Without it the EOI brings the vCPU out if there is then a line to sample, something to list, or
        // hardware to deactivate.
        let origin = if hardware && !more && !by_distributor {
            Origin::Hardware(bank.physical.get(slot(intid)).copied()?)
        } else {
            Origin::Software { eoi_maintenance: asserted || more || hardware, source }
        };
        let register = ListRegister {
            state: ListState::new(pending, active),
            intid,
            priority: bank.priority.get(slot(intid)).copied()?,
            group1: bank.group1 & mask != 0,
            origin,
        };
        let cpu = self.cpus.get_mut(usize::from(vcpu.0))?;
        // Out of the queue until it is folded: its state is in one place at a time.
        cpu.queue.remove(intid);
        Some((Listed { intid, moved, origin }, register))
    }

    /// The sender for whom an SGI goes into a list register: if `next`, the lowest of those who wait.
    fn take_sender(&mut self, vcpu: VcpuId, intid: Intid, next: bool) -> u8 {
        let Some(cpu) = self.cpus.get_mut(usize::from(vcpu.0)) else {
            bug!("no such vCPU");
            return 0;
        };
        let (Some(senders), Some(current)) =
            (cpu.senders.get_mut(slot(intid)), cpu.current_sender.get_mut(slot(intid)))
        else {
            bug!("no such interrupt");
            return 0;
        };
        if next {
            // A list register names one sender (`GICH_LR.CPUID`); the others wait, and the interrupt stays pending for them.
            *current = (senders.trailing_zeros() & 7) as u8;
            *senders &= senders.wrapping_sub(1);
            if *senders != 0 {
                cpu.private.latched |= bit(intid);
            }
        }
        *current
    }

    fn restore_sender(&mut self, vcpu: VcpuId, intid: Intid, sender: u8) {
        if let Some(cpu) = self.cpus.get_mut(usize::from(vcpu.0))
            && let Some(senders) = cpu.senders.get_mut(slot(intid))
        {
            *senders |= 1_u8.checked_shl(sender.into()).unwrap_or(0);
        }
    }

    /// Whether an interrupt would be signalled to a vCPU if it ran: then it must not wait in `WFI`. The virtual CPU
    /// interface's own mask is not known here. What list registers hold counts as pending if they were filled so; the
    /// answer is exact after a fold.
    pub fn deliverable(&self, vcpu: VcpuId) -> bool {
        let Some(cpu) = self.cpus.get(usize::from(vcpu.0)) else {
            bug!("no such vCPU");
            return false;
        };
        let signalled = |id, mask| {
            self.bank(id).is_some_and(|bank| {
                let pending = bank.offered | (bank.waiting() & !bank.active);
                pending & bank.enabled & self.in_enabled_group(bank) & mask != 0
            })
        };
        cpu.online
            && (cpu.queue.words().any(|(n, word)| signalled(BankId::of_word(vcpu, n), word))
                || cpu.listed.iter().any(|l| signalled(BankId::of_intid(vcpu, l.intid), bit(l.intid))))
    }

    /// The guest deactivated `count` interrupts that were in no list register (`EOIcount`): those with the highest
    /// priority, because that is the order in which it must drop them. To be called before the fold.
    pub fn drop_unlisted(&mut self, vcpu: VcpuId, count: u32) {
        // The field has five bits. The queue holds only what is in no register: after a fold it would hold all.
        for _ in 0..count.min(31) {
            let Some(cpu) = self.cpus.get(usize::from(vcpu.0)) else { return bug!("no such vCPU") };
            let (mut active, mut waiting) = (Urgent::new(1), Urgent::new(1));
            self.candidates(vcpu, cpu, &mut active, &mut waiting);
            // A guest can end interrupts more often than it has any.
            let Some(key) = active.keys.first() else { return };
            self.deactivate(vcpu, Intid(key & 0xffff));
        }
    }

    /// The guest deactivated an interrupt by name (a trapped `ICC_DIR_EL1`). To be called after the fold.
    pub fn deactivate(&mut self, vcpu: VcpuId, intid: Intid) {
        let id = BankId::of_intid(vcpu, intid);
        // The guest may name an INTID that does not exist.
        let Some(bank) = self.bank_mut(id) else { return };
        let changed = bank.deactivate(bit(intid));
        self.update(id, changed);
    }
}
