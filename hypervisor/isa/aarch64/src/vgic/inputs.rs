//! What happens to interrupts from outside the guest: lines, edges, hardware behind them; and the one place that brings
//! queues and running vCPUs up to date after any change of state.

use super::interrupt::{BankId, bit, bits, slot};
use super::{Frame, Vgic};
use xenolith_core::bug;
use xenolith_core::types::{Intid, VcpuId};

impl Vgic {
    /// A device drives an interrupt's line. `vcpu` is the owner of a private interrupt, and of no account for a
    /// shared one.
    ///
    /// A level-sensitive interrupt is pending while the line is asserted. For an edge-triggered one, every call with
    /// `asserted` is an edge: device models assert and never release. For one that is backed by hardware, `asserted`
    /// means that the physical interrupt is active, and the release takes back what the guest has not yet
    /// acknowledged.
    pub fn set_level(&mut self, vcpu: Option<VcpuId>, intid: Intid, asserted: bool) {
        let Some(id) = input(vcpu, intid).and_then(|id| self.confined(id)) else { return };
        let Some(bank) = self.bank_mut(id) else { return };
        let mask = bit(intid) & bank.implemented;
        if bank.hardware & mask != 0 {
            let changed = if asserted { bank.fire(mask) } else { bank.clear_pending(mask) };
            self.update(id, changed);
            return;
        }
        let line = if asserted { mask } else { 0 };
        let changed = (bank.line & mask) ^ line;
        // Kept for an edge too: the guest may make the interrupt level-sensitive while the line is asserted.
        bank.line ^= changed;
        if bank.edge & mask != 0 {
            let changed = if asserted { bank.fire(mask) } else { 0 };
            self.update(id, changed);
        } else {
            // A list register that was filled while the line was asserted asks for maintenance when the guest is done,
            // and the line is sampled then. Any other has to be filled anew, so that it does.
            let listed = bank.listed & changed & line;
            self.recall(id, listed);
            self.requeue(id, changed);
        }
    }

    /// Whether [`Self::sample_private`] has a line to look at.
    #[inline]
    pub fn rests_on_line(&self, vcpu: VcpuId) -> bool {
        self.cpus.get(usize::from(vcpu.0)).is_some_and(|cpu| cpu.private.resting_on_line() != 0)
    }

    /// Takes back the pending state of this vCPU's private interrupts with a physical line behind them that has fallen since
    /// it made them pending: a level has no memory. `line` says of a physical interrupt whether it is asserted now. The list
    /// registers must be folded: what the guest has acknowledged is not pending any more.
    #[inline]
    pub fn sample_private(&mut self, vcpu: VcpuId, line: impl FnMut(Intid) -> bool) {
        self.sample(BankId::Private(vcpu), line);
    }

    /// The same for the interrupts that are in the register at an offset of a frame, as this vCPU finds it, if
    /// [`Self::concerns_state`] says so. Another vCPU's private ones are left alone: their lines are those of the CPU that
    /// it runs on.
    pub fn sample_at(&mut self, vcpu: VcpuId, frame: Frame, offset: u64, line: impl FnMut(Intid) -> bool) {
        let bank = match frame.region() {
            None => BankId::of_word(vcpu, (offset as usize & 0x7f) / size_of::<u32>()),
            Some(region) if self.redistributor(region, offset).0 == Some(vcpu) => BankId::Private(vcpu),
            Some(_) => return,
        };
        if let Some(bank) = self.confined(bank) {
            self.sample(bank, line);
        }
    }

    #[inline]
    fn sample(&mut self, id: BankId, mut line: impl FnMut(Intid) -> bool) {
        let Some(bank) = self.bank_mut(id) else { return };
        let mut fallen = 0;
        for n in bits(bank.resting_on_line()) {
            if bank.physical.get(n as usize).is_some_and(|&physical| !line(physical)) {
                fallen |= 1 << n;
            }
        }
        if fallen != 0 {
            let changed = bank.clear_pending(fallen);
            self.update(id, changed);
        }
    }

    /// Whether a shared interrupt exists and no physical one is behind it.
    pub fn is_free_line(&self, intid: Intid) -> bool {
        let id =
            input(None, intid).filter(|id| matches!(id, BankId::Shared(_))).and_then(|id| self.confined(id));
        let bank = id.and_then(|id| self.bank(id));
        bank.is_some_and(|bank| bank.implemented & !bank.hardware & bit(intid) != 0)
    }

    /// An edge: makes an interrupt pending whatever its trigger. A physical interrupt that backs it is active now.
    #[inline]
    pub fn pend(&mut self, vcpu: Option<VcpuId>, intid: Intid) {
        let Some(id) = input(vcpu, intid).and_then(|id| self.confined(id)) else { return };
        let Some(bank) = self.bank_mut(id) else { return };
        let changed = bank.fire(bit(intid));
        self.update(id, changed);
    }

    /// Puts a physical interrupt behind a virtual one, or takes it away; nothing may be pending or active then. What
    /// the guest has already set is reported as a [`LineChange`](super::LineChange). A caller that takes it away
    /// masks and deactivates the physical interrupt itself.
    pub fn back_by_hardware(&mut self, vcpu: Option<VcpuId>, intid: Intid, physical: Option<Intid>) {
        let Some(id) = input(vcpu, intid).and_then(|id| self.confined(id)) else { return };
        let Some(bank) = self.bank_mut(id) else { return };
        let mask = bit(intid) & bank.implemented;
        let changes = &mut bank.changes;
        for word in [
            &mut changes.enable,
            &mut changes.trigger,
            &mut changes.route,
            &mut changes.activate,
            &mut changes.deactivate,
        ] {
            *word &= !mask;
        }
        bank.hardware &= !mask;
        let Some(physical) = physical else { return };
        if let Some(slot) = bank.physical.get_mut(slot(intid)) {
            *slot = physical;
        }
        bank.hardware |= mask;
        // What the line was says nothing of the physical interrupt, whose state comes by `pend`.
        bank.line &= !mask;
        bank.changes.enable |= mask & bank.enabled;
        if matches!(id, BankId::Shared(_)) {
            bank.changes.trigger |= mask;
            bank.changes.route |= mask;
        }
        self.note_changes(id);
    }

    /// Whether an interrupt is pending or active, as far as is known: what a list register holds now counts as it was
    /// filled. For the virtual timer this says whether its physical interrupt must be active when the vCPU runs.
    #[inline]
    pub fn in_flight(&self, vcpu: Option<VcpuId>, intid: Intid) -> bool {
        input(vcpu, intid)
            .and_then(|id| self.confined(id))
            .and_then(|id| self.bank(id))
            .is_some_and(|bank| (bank.pending() | bank.active | bank.listed) & bit(intid) != 0)
    }

    /// The interrupts of a vCPU that wait or are served, and how each stands; shared ones belong to the vCPU that they are
    /// sent to. As with [`Vgic::in_flight`], what a list register holds counts as it was filled.
    pub fn in_hand(&self, vcpu: VcpuId) -> impl Iterator<Item = (Intid, &'static str)> {
        let words = 0..=self.shared.len();
        let banks = words.filter_map(move |n| {
            let id = BankId::of_word(vcpu, n);
            Some((id, self.bank(id)?))
        });
        banks.flat_map(move |(id, bank)| {
            bits(bank.pending() | bank.active | bank.listed).filter_map(move |n| {
                let intid = id.nth(n);
                let sent_here = match id {
                    BankId::Private(_) => true,
                    BankId::Shared(n) => self.shared.get(n)?.home(intid) == Some(vcpu),
                };
                let (waits, served) = (bank.pending() & bit(intid) != 0, bank.active & bit(intid) != 0);
                sent_here.then_some((
                    intid,
                    match (waits, served) {
                        (true, true) => "waits, and is served",
                        (true, false) if bank.enabled & bit(intid) == 0 => "waits, but is disabled",
                        (true, false) => "waits",
                        (false, _) => "is served",
                    },
                ))
            })
        })
    }

    /// After a change of state of the interrupts `mask` of a bank: kicks the vCPUs that have them in list registers,
    /// puts them into the right queues, and notes what changes for physical lines.
    pub(super) fn update(&mut self, id: BankId, mask: u32) {
        if mask == 0 {
            return;
        }
        let listed = self.bank(id).map_or(0, |bank| bank.listed & mask);
        self.recall(id, listed);
        self.requeue(id, mask);
        self.note_changes(id);
    }

    /// Kicks the vCPUs that have these interrupts in their queues or list registers.
    pub(super) fn recall(&mut self, id: BankId, mask: u32) {
        match id {
            BankId::Private(vcpu) => {
                // Queued ones too: their order, or whether they are signalled, may have changed.
                let concerned = self.bank(id).map_or(0, |bank| (bank.listed | bank.queueable()) & mask);
                if concerned != 0 {
                    self.kick(vcpu);
                }
            }
            BankId::Shared(n) => {
                for intid in bits(mask).map(|n| id.nth(n)) {
                    if let Some(home) = self.shared.get(n).and_then(|shared| shared.home(intid)) {
                        self.kick(home);
                    }
                }
            }
        }
    }

    /// Puts interrupts of which something changed into the queues where they belong now, and out of all others; kicks
    /// the vCPUs that get or could get one. Those in list registers stay out until they are folded.
    pub(super) fn requeue(&mut self, id: BankId, mask: u32) {
        match id {
            BankId::Private(vcpu) => {
                let Some(cpu) = self.cpus.get_mut(usize::from(vcpu.0)) else {
                    return bug!("no such vCPU");
                };
                let queueable = cpu.private.queueable() & mask;
                let new = cpu.queue.replace(0, mask, queueable);
                // Also when it was queued before: what was active without a register may be signalled now, and a vCPU
                // that sleeps has to look again.
                if new | (queueable & !cpu.private.active) != 0 {
                    self.kick(vcpu);
                }
            }
            BankId::Shared(n) => {
                for intid in bits(mask).map(|n| id.nth(n)) {
                    self.requeue_shared(n, intid);
                }
            }
        }
    }

    fn requeue_shared(&mut self, n: usize, intid: Intid) {
        let Some(shared) = self.shared.get_mut(n) else {
            return bug!("no such interrupt");
        };
        // Its state is in a list register, perhaps of another vCPU: the fold decides where it belongs.
        if shared.bank.listed & bit(intid) != 0 {
            return;
        }
        let deliverable = shared.bank.active & bit(intid) == 0;
        let was = shared.home(intid);
        let now = shared.settle(intid);
        // Out of the old queue first: an interrupt is in one queue at most, so that two vCPUs never list it.
        if let Some(was) = was.filter(|_| was != now)
            && let Some(cpu) = self.cpus.get_mut(usize::from(was.0))
        {
            cpu.queue.remove(intid);
        }
        if let Some(now) = now
            && let Some(cpu) = self.cpus.get_mut(usize::from(now.0))
            && (cpu.queue.insert(intid) || deliverable)
        {
            self.kick(now);
        }
    }
}

/// The bank of an interrupt that has an input.
fn input(vcpu: Option<VcpuId>, intid: Intid) -> Option<BankId> {
    const FIRST_PPI: u32 = Intid::FIRST_PRIVATE.0;
    const FIRST_SPI: u32 = Intid::FIRST_SHARED.0;
    const SPIS_END: u32 = Intid::SHARED_END.0;
    match intid.0 {
        FIRST_PPI..FIRST_SPI => vcpu.map(BankId::Private),
        FIRST_SPI..SPIS_END => Some(BankId::of_intid(VcpuId(0), intid)),
        // SGIs have no input.
        _ => None,
    }
}
