//! Where a vCPU reads how its time was spent (`vcpu_op` register_runstate_memory_area).
//!
//! The area is named by an address of the guest. It is translated when it is registered, so that each
//! later turn of the vCPU costs a few stores and depends on no tables of the guest; the page is held meanwhile. An area
//! that cannot be held, because it crosses a page or belongs to a vCPU that is not the caller, is looked up each time.

use core::mem::{offset_of, size_of};

use xenolith_abi::shared::{RUNSTATE_UPDATE, RunStateInfo};
use zerocopy::IntoBytes;

use crate::hypervisor::{Hypervisor, VcpuRef};
use crate::vcpu::Vcpu;
use xenolith_arch as arch;
use xenolith_core::bug;
use xenolith_core::types::{Gva, PAGE_SIZE};
use xenolith_hw::atomic::{Ordering, fence};
use xenolith_memory::page::Page;
use xenolith_policy::sched::RunState;

use super::DomainRef;
use crate::parts::runstate::RunstateArea;

/// Bytes of the area.
const SIZE: u64 = size_of::<RunStateInfo>() as u64;
/// The byte of [`RUNSTATE_UPDATE`] in the area.
const FLAG: usize = offset_of!(RunStateInfo, state_entry_time) + 7;

impl DomainRef<'_> {
    /// Registers the area of a vCPU at `address`, 0 for none. `own`: the vCPU is the caller, so that its translation
    /// tables are at hand.
    pub fn register_runstate(self, vcpu: &Vcpu, address: u64, own: bool) {
        let held = || {
            let ipa = arch::translate(Gva(address), true).filter(|_| own && whole_page(Gva(address)))?;
            Some(RunstateArea::Page(self.get_frame(ipa.frame()).ok()?, ipa.offset()))
        };
        let area = match address {
            0 => RunstateArea::None,
            _ => held().unwrap_or(RunstateArea::Address(Gva(address))),
        };
        self.replace_runstate(vcpu, area);
    }

    /// Lets go of the areas of a domain whose vCPUs run no more.
    pub(crate) fn forget_runstates(self) {
        for vcpu in &self.vcpus {
            self.replace_runstate(vcpu, RunstateArea::None);
        }
    }

    fn replace_runstate(self, vcpu: &Vcpu, area: RunstateArea) {
        let old = core::mem::replace(&mut *vcpu.runstate.lock(), area);
        if let RunstateArea::Page(frame, _) = old {
            self.hv.put_frame(frame);
        }
    }
}

impl Hypervisor {
    /// Tells the vCPU that runs on this CPU how its time was spent, if it asked to be told. An address that leads
    /// nowhere at the moment, because another address space is active, is tried again the next time.
    #[inline]
    pub fn write_runstate(&self, vcpu: &VcpuRef) {
        let area = vcpu.vcpu().runstate.lock();
        let address = match *area {
            RunstateArea::None => return,
            RunstateArea::Page(ref frame, at) => {
                if let Some((info, flagged)) = self.runstate(vcpu) {
                    store(frame.page(), at, &info, flagged);
                }
                return;
            }
            RunstateArea::Address(address) => address,
        };
        // The tables are looked at under a lock that comes before this one.
        drop(area);
        let Some((mut info, flagged)) = self.runstate(vcpu) else { return };
        let top = (info.state_entry_time >> 56) as u8;
        let write = |offset, bytes: &[u8]| self.write_at(vcpu, address, offset, bytes);
        if flagged {
            info.state_entry_time |= RUNSTATE_UPDATE;
            if !write(FLAG, &[(info.state_entry_time >> 56) as u8]) {
                return;
            }
            fence(Ordering::SeqCst);
        }
        if write(0, info.as_bytes()) && flagged {
            fence(Ordering::SeqCst);
            write(FLAG, &[top]);
        }
    }

    /// A vCPU's run state, and whether the guest wants to see from [`RUNSTATE_UPDATE`] that it is being written.
    fn runstate(&self, vcpu: &VcpuRef) -> Option<(RunStateInfo, bool)> {
        let Some(times) = self.scheduler.times(vcpu.vcpu().unit) else {
            bug!("{} {}: the scheduler does not know it", vcpu.domain.id, vcpu.id);
            return None;
        };
        let info = RunStateInfo {
            state: state_number(times.state),
            pad: 0,
            state_entry_time: vcpu.domain.system_time(times.since),
            time: times.spent.map(arch::nanoseconds),
        };
        Some((info, vcpu.domain.runstate_update_flag.load(Ordering::Relaxed)))
    }

    /// Writes a part of an area that has to be looked up. It may cross a page; then each piece is looked up on its own.
    fn write_at(&self, vcpu: &VcpuRef, area: Gva, offset: usize, bytes: &[u8]) -> bool {
        let from = Gva(area.0.wrapping_add(offset as u64));
        let in_page = (PAGE_SIZE - from.0 % PAGE_SIZE) as usize;
        let (first, second) = bytes.split_at(in_page.min(bytes.len()));
        let write = |at: Gva, bytes: &[u8]| {
            bytes.is_empty()
                || arch::translate(at, true)
                    .is_some_and(|ipa| vcpu.domain.on(self).write_memory(ipa, bytes).is_ok())
        };
        write(from, first) && write(Gva(from.0.wrapping_add(first.len() as u64)), second)
    }
}

/// Whether an area is made of words of one page.
fn whole_page(area: Gva) -> bool {
    area.0.is_multiple_of(8) && area.0 % PAGE_SIZE <= PAGE_SIZE - SIZE
}

/// Writes a run state into a page word by word, each after those before it.
#[inline]
fn store(page: Page, at: usize, info: &RunStateInfo, flagged: bool) {
    let word = |offset: usize, value: u64| {
        match page.word64(at.saturating_add(offset)) {
            Some(word) => word.store(value),
            // `whole_page` has seen that it is there.
            None => bug!("a run state that is held crosses its page"),
        }
    };
    let entry = offset_of!(RunStateInfo, state_entry_time);
    if flagged {
        word(entry, info.state_entry_time | RUNSTATE_UPDATE);
    }
    word(offset_of!(RunStateInfo, state), info.state.into());
    for (n, &time) in info.time.iter().enumerate() {
        word(offset_of!(RunStateInfo, time) + 8 * n, time);
    }
    word(entry, info.state_entry_time);
}

/// `RUNSTATE_*` of Xen's `vcpu.h`.
fn state_number(state: RunState) -> u32 {
    match state {
        RunState::Running => 0,
        RunState::Runnable => 1,
        RunState::Blocked => 2,
        RunState::Offline => 3,
    }
}

#[cfg(test)]
mod interleavings;
