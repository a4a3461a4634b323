//! What follows from a change of a domain's interrupt controller: for its vCPUs, and for the physical lines behind it.

use core::sync::atomic::Ordering;

use xenolith_abi::Errno;

use xenolith_arch::gic;
use xenolith_core::bug;
use xenolith_core::sync::MutexGuard;
use xenolith_core::types::{CpuId, Intid, VcpuId};
use xenolith_isa::vgic::{Frame, LineChange, Vgic};

use crate::domain::DomainRef;
use crate::parts::io_state::IoState;
use crate::vcpu::Vcpu;

impl DomainRef<'_> {
    /// Changes the interrupt controller, then does what the change asks for.
    #[inline]
    pub fn change_vgic<T>(self, change: impl FnOnce(&mut Vgic) -> T) -> T {
        let mut vgic = self.arch.vgic.lock();
        let result = change(&mut vgic);
        // The generic part is short: there is one for each kind of change.
        if vgic.has_consequences() {
            self.follow_vgic(vgic);
        }
        result
    }

    /// A load, or a store of `write`, at an offset of one of the controller's frames ([`frames`] numbers them).
    ///
    /// [`frames`]: xenolith_isa::vgic::frames
    #[inline]
    pub(crate) fn access_interrupt_controller(
        self,
        id: VcpuId,
        frame: u8,
        offset: u64,
        size: u8,
        write: Option<u64>,
    ) -> IoState {
        let frame = Frame(frame);
        if Vgic::concerns_state(offset, write.is_some()) {
            self.bring_in_state(id, frame, offset);
        }
        // Two changes, so that neither carries the other's registers through the lock.
        let done = match write {
            None => self.change_vgic(|vgic| vgic.read(id, frame, offset, size)),
            Some(value) => self.change_vgic(|vgic| vgic.write(id, frame, offset, size, value)).map(|()| 0),
        };
        done.map_or(IoState::Refused, IoState::Done)
    }

    #[inline(never)]
    fn follow_vgic(self, mut vgic: MutexGuard<'_, Vgic>) {
        // Lines change under the lock, in the order in which the guest asked.
        while let Some(change) = vgic.take_line_change() {
            self.change_line(&change);
        }
        let effects = vgic.take_effects();
        drop(vgic);
        for id in effects.kick.iter() {
            self.notify(id);
            self.wake_suspended();
        }
        for id in effects.event_ppi_enabled.iter() {
            if self.events.lock().needs_upcall(id) {
                self.raise_event(id);
            }
        }
    }

    /// Has a vCPU look at its interrupts: wakes it when it sleeps, makes it leave the guest when it runs elsewhere.
    #[inline]
    fn notify(self, id: VcpuId) {
        let Some(vcpu) = self.vcpu(id) else { return bug!("{}: there is no {id}", self.id) };
        vcpu.mark_interrupts_changed();
        self.hv.wake(vcpu.unit);
        if let Some(cpu) = self.hv.scheduler.running_on(vcpu.unit)
            && cpu != xenolith_arch::this_cpu()
        {
            gic::kick(cpu);
        }
    }

    fn change_line(self, change: &LineChange) {
        if let Some(id) = change.vcpu {
            self.change_private_line(id, change);
            return;
        }
        let line = change.physical;
        if change.enabled == Some(false) {
            gic::disable(line);
        }
        if let Some(edge) = change.edge {
            // A guest may do so while it is enabled; it is enabled again below then.
            gic::disable(line);
            gic::set_trigger(line, edge);
        }
        if let Some(vcpu) = change.target.and_then(|id| self.vcpu(id)) {
            gic::route(line, CpuId(vcpu.last_cpu.load(Ordering::Relaxed)));
        }
        if let Some(active) = change.active {
            gic::set_active(line, active);
        }
        if change.enabled == Some(true) {
            gic::enable(line);
        }
    }

    /// The only private line with hardware behind it is the virtual timer's, which EL2 leaves enabled; its active state
    /// counts on the CPU where the vCPU runs. Elsewhere than here that CPU puts it right, when it presents the interrupts.
    fn change_private_line(self, id: VcpuId, change: &LineChange) {
        let Some((vcpu, active)) = self.vcpu(id).zip(change.active) else { return };
        if self.hv.scheduler.running_on(vcpu.unit) == Some(xenolith_arch::this_cpu()) {
            gic::set_active(change.physical, active);
            if active {
                vcpu.arch.timer_raised.store(true, Ordering::Relaxed);
            }
        } else {
            self.notify(id);
        }
    }

    /// Takes back the interrupt of the virtual timer of a vCPU that no CPU holds, unless the timer has fired still. It was made
    /// pending when it fired, and a guest that has turned the timer off since, without taking the interrupt, does not
    /// expect it.
    pub(crate) fn withdraw_stale_timer(self, vcpu: &Vcpu) {
        let now = xenolith_arch::now();
        let deadline = vcpu.saved.lock().context.timer_deadline();
        if deadline.is_none_or(|deadline| deadline > now) {
            self.set_private_level(vcpu.id, self.arch.guest_timer, false);
        }
    }

    /// Whether an interrupt would be signalled to a vCPU, which no CPU holds, if it ran.
    pub(crate) fn has_deliverable_interrupt(self, id: VcpuId) -> bool {
        self.arch.vgic.lock().deliverable(id)
    }

    /// Has the physical interrupt of the same number come as this shared one.
    pub fn attach_interrupt(self, intid: Intid) {
        self.change_vgic(|vgic| vgic.back_by_hardware(None, intid, Some(intid)));
    }

    /// No physical interrupt comes as this shared one any more.
    pub fn detach_interrupt(self, intid: Intid) {
        self.change_vgic(|vgic| vgic.back_by_hardware(None, intid, None));
    }

    /// Turns a vCPU's part of the interrupt controller on or off.
    pub fn set_interrupts_online(self, id: VcpuId, online: bool) {
        self.change_vgic(|vgic| vgic.set_online(id, online));
    }

    /// Sends the physical interrupts of a vCPU to the CPU that it ran on last.
    pub fn move_interrupts(self, id: VcpuId) {
        self.change_vgic(|vgic| vgic.reroute(id));
    }

    /// Makes the event interrupt of a vCPU pending.
    #[inline]
    pub fn raise_event(self, id: VcpuId) {
        self.change_vgic(|vgic| vgic.pend(Some(id), self.arch.event_ppi));
    }

    /// Makes a private interrupt of a vCPU pending.
    #[inline]
    pub fn raise_private(self, id: VcpuId, intid: Intid) {
        self.change_vgic(|vgic| vgic.pend(Some(id), intid));
    }

    /// Sets the level of a private interrupt's line.
    #[inline]
    pub fn set_private_level(self, id: VcpuId, intid: Intid, asserted: bool) {
        self.change_vgic(|vgic| vgic.set_level(Some(id), intid, asserted));
    }

    /// Sets the level of a shared interrupt's line.
    pub fn set_shared_level(self, intid: Intid, asserted: bool) {
        self.change_vgic(|vgic| vgic.set_level(None, intid, asserted));
    }

    /// A device model drives a shared line. `EINVAL`: there is no such line, or a physical device has it.
    pub fn drive_line(self, intid: Intid, asserted: bool) -> Result<(), Errno> {
        self.change_vgic(|vgic| {
            if !vgic.is_free_line(intid) {
                return Err(Errno::EINVAL);
            }
            vgic.set_level(None, intid, asserted);
            Ok(())
        })
    }

    /// A physical interrupt that belongs to the domain has come.
    pub fn raise_shared(self, intid: Intid) {
        self.change_vgic(|vgic| vgic.pend(None, intid));
    }
}
