//! What a domain reads from its shared info page and from the memory of its vCPUs: wall clock, run states.

use core::sync::atomic::{Ordering, fence};

use xenolith_abi::Errno;
use xenolith_abi::shared::{RUNSTATE_UPDATE, RunStateInfo, SharedInfo};
use zerocopy::IntoBytes;

use crate::arch;
use crate::hypervisor::{Hypervisor, VcpuRef};
use crate::p2m::Access;
use crate::sched::State;
use crate::types::{Gfn, Gva, PAGE_SIZE};

use super::Domain;

const WC_VERSION: usize = core::mem::offset_of!(SharedInfo, wc_version);
const WC_SEC: usize = core::mem::offset_of!(SharedInfo, wc_sec);
const WC_NSEC: usize = core::mem::offset_of!(SharedInfo, wc_nsec);
const WC_SEC_HI: usize = core::mem::offset_of!(SharedInfo, wc_sec_hi);

impl Domain {
    /// Maps the shared info page at a guest frame, in place of what is there (`XENMAPSPACE_shared_info`).
    pub fn map_shared_info(&self, hv: &Hypervisor, gfn: Gfn) -> Result<(), Errno> {
        let mut memory = self.memory.lock();
        if memory.shared_info_gfn.is_some() {
            return Err(Errno::EBUSY);
        }
        let kind = crate::p2m::MapKind::Shared;
        memory.map_referenced(hv, self, gfn, self.shared_info.mfn(), self.id, kind)?;
        memory.shared_info_gfn = Some(gfn);
        self.grants.lock().forget_gfn(gfn);
        Ok(())
    }

    /// Publishes the wall-clock time, in nanoseconds since 1970, at which the counter was zero. The version is odd
    /// while the words do not belong together.
    pub fn write_wall_clock(&self, at_boot: u64) {
        let page = self.shared_info.page();
        let (Some(version), Some(seconds), Some(nanoseconds), Some(seconds_high)) =
            (page.word32(WC_VERSION), page.word32(WC_SEC), page.word32(WC_NSEC), page.word32(WC_SEC_HI))
        else {
            return;
        };
        let whole = at_boot / 1_000_000_000;
        let odd = version.load() | 1;
        version.store(odd);
        seconds.store(whole as u32);
        seconds_high.store((whole >> 32) as u32);
        nanoseconds.store((at_boot % 1_000_000_000) as u32);
        version.store(odd.wrapping_add(1));
    }
}

impl Hypervisor {
    /// Tells the vCPU that runs on this CPU how its time was spent, if it asked to be told. An address that leads
    /// nowhere at the moment, because another address space is active, is tried again the next time.
    pub fn write_runstate(&self, vcpu: &VcpuRef) {
        let Some(area) = vcpu.vcpu().runstate_area() else { return };
        let Some(times) = self.scheduler.times(vcpu.vcpu().unit) else { return };
        let info = RunStateInfo {
            state: state_number(times.state),
            pad: 0,
            state_entry_time: arch::nanoseconds(times.since),
            time: times.spent.map(arch::nanoseconds),
        };
        let flagged = vcpu.domain.runstate_update_flag.load(Ordering::Relaxed);
        let size = size_of::<RunStateInfo>() as u64;
        let in_page = PAGE_SIZE - area.0 % PAGE_SIZE;
        let translate = |offset: usize| arch::translate(Gva(area.0.wrapping_add(offset as u64)), true);
        if in_page >= size {
            // The usual case is looked up once.
            let Some(ipa) = translate(0) else { return };
            // A page that is not there is as an address that leads nowhere.
            let _ = vcpu.domain.with_page(self, ipa.frame(), Access::Write, |page| {
                publish(info, flagged, |offset, bytes| page.write(ipa.offset() + offset, bytes))
            });
            return;
        }
        let write = |offset, bytes: &[u8]| {
            bytes.is_empty()
                || translate(offset).is_some_and(|ipa| vcpu.domain.write_memory(self, ipa, bytes).is_ok())
        };
        publish(info, flagged, |offset, bytes| {
            let (first, second) = bytes.split_at(bytes.len().min((in_page as usize).saturating_sub(offset)));
            write(offset, first) && write(offset + first.len(), second)
        });
    }
}

/// Writes a run state piece by piece; false from `write` ends it. With `flagged`, the guest can tell from the top bit of
/// the entry time that the pieces do not belong together yet.
fn publish(info: RunStateInfo, flagged: bool, mut write: impl FnMut(usize, &[u8]) -> bool) {
    /// The byte with the flag, in a little-endian word.
    const FLAG: usize = core::mem::offset_of!(RunStateInfo, state_entry_time) + 7;
    let mut info = info;
    let top = (info.state_entry_time >> 56) as u8;
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

/// `RUNSTATE_*` of Xen's `vcpu.h`.
fn state_number(state: State) -> u32 {
    match state {
        State::Running => 0,
        State::Runnable => 1,
        State::Blocked => 2,
        State::Offline => 3,
    }
}
