//! One server: its owner and its pages.

use xenolith_abi::Errno;
use xenolith_abi::ioreq::SLOTS_PER_PAGE;

use super::slot::SlotPlace;
use crate::event::{Port, SharedFrame};
use xenolith_core::guest_index::GuestIndex;
use xenolith_core::types::{DomId, VcpuId};
use xenolith_core::vcpu_set::VcpuSet;

/// Synchronous pages that the most vCPUs need.
pub(super) const SYNC_PAGES: usize = (VcpuSet::CAPACITY as usize).div_ceil(SLOTS_PER_PAGE as usize);

/// A server.
pub(super) struct Server<F> {
    /// The domain that made it and answers.
    pub owner: DomId,
    /// How many servers were made before it.
    pub generation: u32,
    /// Whether accesses go to it.
    pub enabled: bool,
    /// vCPUs to whose port the owner is bound.
    pub bound: VcpuSet,
    /// vCPUs to whose port the owner was bound and is no longer: nobody would answer them.
    pub lost: VcpuSet,
    /// How many ranges it has.
    pub ranges: u16,
    /// The pages with slots, once made.
    pub pages: [Option<F>; SYNC_PAGES],
}

impl<F: SharedFrame> Server<F> {
    /// How many frames the server's pages keep allocated.
    pub(super) fn held_frames(&self) -> usize {
        self.pages.iter().flatten().count()
    }

    /// The vCPU's slot, if its page exists.
    pub(super) fn slot(&self, vcpu: VcpuId) -> Option<SlotPlace> {
        let page = GuestIndex::from(u32::from(vcpu.0) / SLOTS_PER_PAGE);
        Some(SlotPlace::new(page.of(&self.pages)?.as_ref()?.page(), vcpu.0))
    }

    /// The vCPU's slot, if the owner can be asked there.
    pub(super) fn reachable(&self, vcpu: VcpuId) -> Option<SlotPlace> {
        if !self.enabled || self.lost.contains(vcpu) {
            return None;
        }
        self.slot(vcpu)
    }

    /// Whether the owner was bound to some ports and is bound to none: the program that served has ended.
    pub(super) fn is_deserted(&self) -> bool {
        // One that was never bound is only about to start.
        self.bound.is_empty() && !self.lost.is_empty()
    }

    /// The page with this index, made if need be. `ENOMEM`: no memory. `EINVAL`: no such page.
    pub(super) fn sync_page(
        &mut self,
        index: usize,
        ports: &[Port],
        alloc: impl FnMut() -> Option<F>,
    ) -> Result<&F, Errno> {
        if index >= ports.len().div_ceil(SLOTS_PER_PAGE as usize) {
            return Err(Errno::EINVAL);
        }
        let place = GuestIndex::from(index).of_mut(&mut self.pages).ok_or(Errno::EINVAL)?;
        if place.is_none() {
            *place = Some(zeroed(alloc)?);
            // The device model learns its ports from the slots, and may map the page before the server is enabled.
            self.announce_ports(ports);
        }
        GuestIndex::from(index).of(&self.pages).and_then(Option::as_ref).ok_or(Errno::EINVAL)
    }

    /// Makes the pages that are missing. `ENOMEM`: no memory; those that were made stay.
    pub(super) fn make_pages(
        &mut self,
        ports: &[Port],
        mut alloc: impl FnMut() -> Option<F>,
    ) -> Result<(), Errno> {
        for index in 0..ports.len().div_ceil(SLOTS_PER_PAGE as usize) {
            self.sync_page(index, ports, &mut alloc)?;
        }
        Ok(())
    }

    /// Writes each vCPU's port into its slot, as far as there are pages.
    pub(super) fn announce_ports(&self, ports: &[Port]) {
        for (vcpu, &port) in (0..).map(VcpuId).zip(ports) {
            if let Some(slot) = self.slot(vcpu) {
                slot.announce(port);
            }
        }
    }
}

/// A new frame with nothing in it. `ENOMEM`: there is none.
fn zeroed<F: SharedFrame>(mut alloc: impl FnMut() -> Option<F>) -> Result<F, Errno> {
    let frame = alloc().ok_or(Errno::ENOMEM)?;
    frame.page().zero();
    Ok(frame)
}
