//! What a domain reads from its shared info page: the wall clock.

use xenolith_abi::Errno;
use xenolith_abi::shared::SharedInfo;

use xenolith_core::bug;
use xenolith_core::types::Gfn;

use super::{Domain, DomainRef};

const WC_VERSION: usize = core::mem::offset_of!(SharedInfo, wc_version);
const WC_SEC: usize = core::mem::offset_of!(SharedInfo, wc_sec);
const WC_NSEC: usize = core::mem::offset_of!(SharedInfo, wc_nsec);
const WC_SEC_HI: usize = core::mem::offset_of!(SharedInfo, wc_sec_hi);

impl Domain {
    /// Publishes the wall-clock time at which the domain's own time was zero: Linux adds its time since then (as on Xen, whose
    /// `time_offset` moves the words of each domain). `at_reset` is the wall-clock time of the machine's reset. The version is
    /// odd while the words do not belong together.
    pub fn write_wall_clock(&self, at_reset: i64) {
        let page = self.shared_info;
        let (Some(version), Some(seconds), Some(nanoseconds), Some(seconds_high)) =
            (page.word32(WC_VERSION), page.word32(WC_SEC), page.word32(WC_NSEC), page.word32(WC_SEC_HI))
        else {
            return bug!("the wall clock lies outside of the shared page");
        };
        let at_start = self.wall_clock_at_start(at_reset);
        let whole = at_start / 1_000_000_000;
        let odd = version.load() | 1;
        version.store(odd);
        seconds.store(whole as u32);
        seconds_high.store((whole >> 32) as u32);
        nanoseconds.store((at_start % 1_000_000_000) as u32);
        version.store(odd.wrapping_add(1));
    }
}

impl DomainRef<'_> {
    /// Maps the shared info page at a guest frame, in place of what is there (`XENMAPSPACE_shared_info`).
    pub fn map_shared_info(self, gfn: Gfn) -> Result<(), Errno> {
        let mut memory = self.memory.lock();
        if memory.shared_info_gfn.is_some() {
            return Err(Errno::EBUSY);
        }
        let kind = xenolith_memory::p2m::MapKind::Shared;
        memory.map_referenced(self, gfn, self.shared_info.mfn(), self.id, kind)?;
        memory.shared_info_gfn = Some(gfn);
        self.grants.lock().forget_gfn(gfn);
        Ok(())
    }
}
