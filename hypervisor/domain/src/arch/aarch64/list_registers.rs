//! The list registers of this CPU: they hold what the vCPU that runs here sees of its interrupts.

use core::ops::Range;
use core::sync::atomic::Ordering;

use xenolith_arch as arch;
use xenolith_core::bug;
use xenolith_core::types::{Intid, VcpuId};
use xenolith_isa::vgic::{Fill, Frame, ListRegister, Vgic};

use crate::cpu::Local;
use crate::domain::DomainRef;
use crate::vcpu::Vcpu;

impl DomainRef<'_> {
    /// Brings the list registers of the vCPU that runs here up to date.
    #[inline]
    pub fn present_interrupts(self, vcpu: &Vcpu) {
        self.change_vgic(|vgic| {
            if !vgic.is_quiet(vcpu.id) {
                refill(vcpu.id, vgic);
            }
            // The timer's physical interrupt is active while the virtual one is anywhere between its cause and its end.
            self.keep_timer_line(vcpu, vgic.in_flight(Some(vcpu.id), self.arch.guest_timer));
        });
    }

    /// Takes what the vCPU that runs here has done about its interrupts out of the list registers, which are free afterwards
    /// for another.
    #[inline]
    pub fn withdraw_interrupts(self, vcpu: &Vcpu) {
        self.change_vgic(|vgic| empty_list(vcpu.id, vgic));
    }

    /// Whether an interrupt waits for the vCPU that runs here. Its list registers are free afterwards, until
    /// [`Self::present_interrupts`].
    #[inline]
    pub fn interrupt_waits(self, vcpu: &Vcpu) -> bool {
        vcpu.mark_interrupts_changed();
        self.change_vgic(|vgic| {
            empty_list(vcpu.id, vgic);
            follow_timer_line(vcpu.id, vgic);
            vgic.deliverable(vcpu.id)
        })
    }

    /// Makes the physical interrupt of the virtual timer on this CPU active or inactive for the vCPU that runs here. It is
    /// left alone only where nobody can have made it active since it was last made inactive, whatever the guest has written
    /// about the virtual one.
    #[inline]
    pub fn keep_timer_line(self, vcpu: &Vcpu, active: bool) {
        if active || vcpu.arch.timer_raised.load(Ordering::Relaxed) {
            arch::gic::set_active(self.hv.lines().guest_timer, active);
            vcpu.arch.timer_raised.store(active, Ordering::Relaxed);
        }
    }

    /// Before a register shows the vCPU that runs here what is pending or active: what its list registers know goes into the
    /// controller, and the register's levels are as they are now.
    #[inline(never)]
    pub(crate) fn bring_in_state(self, id: VcpuId, frame: Frame, offset: u64) {
        let Some(vcpu) = self.vcpu(id) else { return bug!("{}: there is no {id}", self.id) };
        self.change_vgic(|vgic| {
            if vgic.listed(id) > 0 {
                empty_list(id, vgic);
                vcpu.mark_interrupts_changed();
            }
            vgic.sample_at(id, frame, offset, is_asserted);
        });
    }

    /// WFI: the vCPU that runs here sleeps unless an interrupt waits for it.
    #[inline]
    pub fn wait_for_interrupt(self, vcpu: &Vcpu, local: &mut Local) {
        vcpu.clear_suspicion();
        self.hv.scheduler.block(vcpu.unit, arch::now());
        local.choose();
        if self.interrupt_waits(vcpu) {
            self.hv.wake(vcpu.unit);
        }
    }
}

/// Fills the list registers anew.
#[inline]
fn refill(vcpu: VcpuId, vgic: &mut Vgic) {
    let before = vgic.listed(vcpu);
    take_interrupts_back(vcpu, vgic);
    follow_timer_line(vcpu, vgic);
    let fill = vgic.fill(vcpu, arch::gic::list_registers(), arch::gic::write_list);
    free_list(fill.used..before);
    arch::gic::set_maintenance(&fill);
}

/// Reads the list registers back and invalidates them: whoever fills them next writes only those that it needs, and must
/// find no stale ones behind them.
#[inline]
fn empty_list(vcpu: VcpuId, vgic: &mut Vgic) {
    let used = vgic.listed(vcpu);
    if used > 0 {
        take_interrupts_back(vcpu, vgic);
        free_list(0..used);
    }
}

/// Reads the list registers back.
#[inline]
fn take_interrupts_back(vcpu: VcpuId, vgic: &mut Vgic) {
    let ended = arch::gic::unlisted_ends();
    if ended > 0 {
        vgic.drop_unlisted(vcpu, ended);
        // It counts from zero again, so that none is taken twice.
        arch::gic::set_maintenance(&Fill::default());
    }
    vgic.fold(vcpu, arch::gic::read_list);
}

/// Takes back the interrupt of the virtual timer of the vCPU that runs here, and whose list registers are folded, if the timer
/// asks for none any more.
#[inline(always)]
fn follow_timer_line(vcpu: VcpuId, vgic: &mut Vgic) {
    // Out of line, as it seldom does.
    if vgic.rests_on_line(vcpu) {
        sample_timer(vcpu, vgic);
    }
}

#[inline(never)]
fn sample_timer(vcpu: VcpuId, vgic: &mut Vgic) {
    vgic.sample_private(vcpu, is_asserted);
}

/// Whether the line of a physical interrupt is asserted that is a guest's. The only private one is the virtual timer's, of the
/// vCPU that runs here.
#[inline]
fn is_asserted(intid: Intid) -> bool {
    if intid < Intid::FIRST_SHARED { arch::guest_timer_fires() } else { arch::gic::is_pending(intid) }
}

#[inline]
fn free_list(registers: Range<usize>) {
    for index in registers {
        arch::gic::write_list(index, ListRegister::INVALID);
    }
}
