//! Where each vCPU's `vcpu_info` stands, and its two words that say "look for events".
//!
//! vCPU 0 starts with a place in the shared info page, the others with none. A vCPU without a place is not told of
//! events; nothing is lost, because registering a place tells it to look at everything.

use alloc::vec::Vec;
use core::mem::offset_of;

use xenolith_abi::Errno;
use xenolith_abi::shared::{LEGACY_VCPUS, SharedInfo, VcpuInfo};
use zerocopy::{FromZeros, IntoBytes};

use super::{Refused, SharedFrame};
use xenolith_core::bug;
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::{PAGE_SIZE, VcpuId};
use xenolith_hw::atomic::{AtomicU8, AtomicU64};
use xenolith_memory::page::{Contended, Page, Word};

/// A frame of the guest and where in it the structure stands; the offset was validated.
struct Place<F> {
    frame: F,
    offset: usize,
}

/// Whether a vCPU's information may begin at this offset of a page.
pub fn vcpu_info_fits(offset: u32) -> bool {
    let offset = offset as usize;
    let end = offset.checked_add(size_of::<VcpuInfo>());
    offset.is_multiple_of(align_of::<VcpuInfo>()) && end.is_some_and(|end| end <= PAGE_SIZE as usize)
}

/// The places of a domain's vCPUs.
pub(super) struct VcpuInfos<F> {
    shared_info: Page,
    places: Vec<Option<Place<F>>>,
}

impl<F: SharedFrame> VcpuInfos<F> {
    /// For a domain with this many vCPUs. `ENOMEM`: no memory.
    pub(super) fn new(shared_info: Page, vcpus: u16) -> Result<Self, Errno> {
        let mut places = Vec::new();
        places.try_reserve_exact(usize::from(vcpus)).map_err(|_| Errno::ENOMEM)?;
        places.resize_with(usize::from(vcpus), || None);
        Ok(VcpuInfos { shared_info, places })
    }

    /// How many frames of the guest hold a `vcpu_info`.
    pub(super) fn held_frames(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// Moves a vCPU's information to a frame of the guest, where everything is then marked as pending.
    ///
    /// `ENOENT`: no such vCPU. `ENXIO`: misaligned, or not in one page. `EINVAL`: the vCPU registered before.
    pub(super) fn register(&mut self, vcpu: VcpuId, frame: F, offset: u32) -> Result<(), Refused<F>> {
        let fits = vcpu_info_fits(offset);
        let offset = offset as usize;
        let mut content = VcpuInfo::new_zeroed();
        if let Some((page, old)) = self.place(vcpu) {
            let copied = page.read(old, content.as_mut_bytes());
            if !copied {
                bug!("a vcpu_info leaves its page");
            }
        }
        // Events may have come while the vCPU had no place to be told of them.
        content.evtchn_pending_sel = u64::MAX;
        content.evtchn_upcall_pending = 1;
        let errno = match GuestIndex::from(vcpu).of_mut(&mut self.places) {
            None => Errno::ENOENT,
            Some(_) if !fits => Errno::ENXIO,
            Some(Some(_)) => Errno::EINVAL,
            Some(place) if frame.page().write(offset, content.as_bytes()) => {
                *place = Some(Place { frame, offset });
                return Ok(());
            }
            Some(None) => Errno::ENXIO,
        };
        Err(Refused { errno, frame })
    }

    /// Tells a vCPU to look for events. True when it had not been told yet: its interrupt is then due.
    pub(super) fn raise(&self, vcpu: VcpuId) -> Result<bool, Contended> {
        let Some(byte) = self.upcall(vcpu) else { return Ok(false) };
        // Only from 0 to 1: the guest clears the byte before it looks for events, so while it is set a look is still to
        // come.
        Ok(byte.update(|value| (value == 0).then_some(1))? == 0)
    }

    /// Whether a vCPU was told to look for events and has not done so yet.
    pub(super) fn is_raised(&self, vcpu: VcpuId) -> bool {
        self.upcall(vcpu).is_some_and(|byte| byte.load() != 0)
    }

    /// 2-level form: the word that says which words of pending ports to look at.
    pub(super) fn selector(&self, vcpu: VcpuId) -> Option<Word<AtomicU64>> {
        let (page, offset) = self.place(vcpu)?;
        page.word64(offset + offset_of!(VcpuInfo, evtchn_pending_sel))
    }

    /// Takes one frame back, for a domain that ends.
    pub(super) fn take_frame(&mut self) -> Option<F> {
        self.places.iter_mut().find_map(Option::take).map(|place| place.frame)
    }

    #[inline]
    fn upcall(&self, vcpu: VcpuId) -> Option<Word<AtomicU8>> {
        let (page, offset) = self.place(vcpu)?;
        page.byte(offset + offset_of!(VcpuInfo, evtchn_upcall_pending))
    }

    fn place(&self, vcpu: VcpuId) -> Option<(Page, usize)> {
        match GuestIndex::from(vcpu).of(&self.places)? {
            Some(place) => Some((place.frame.page(), place.offset)),
            None if vcpu.0 < LEGACY_VCPUS => Some((
                self.shared_info,
                offset_of!(SharedInfo, vcpu_info) + usize::from(vcpu.0) * size_of::<VcpuInfo>(),
            )),
            None => None,
        }
    }
}
