//! The 2-level form: a bit for each port in the shared info page, and for each vCPU a word that says which words of
//! those bits to look at.
//!
//! The order of steps is the ABI's. Between a write and a test of another word stands a full barrier, because the
//! guest does the same two things in the opposite order and one of the two sides must see the other's write.

use core::mem::offset_of;

use xenolith_abi::event::two_level::PORTS;
use xenolith_abi::shared::SharedInfo;

use super::port::Port;
use super::vcpu_info::VcpuInfos;
use super::{Raised, SharedFrame, barrier};
use xenolith_core::types::VcpuId;
use xenolith_hw::atomic::AtomicU64;
use xenolith_memory::page::{Contended, Page, Word};

const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);

/// A domain's bits.
pub(super) struct TwoLevel {
    shared_info: Page,
}

impl TwoLevel {
    /// The bits in this shared info page.
    pub(super) fn new(shared_info: Page) -> Self {
        TwoLevel { shared_info }
    }

    /// Marks a port as pending and, unless it is masked, its word as one to look at.
    pub(super) fn set_pending<F: SharedFrame>(
        &self,
        infos: &VcpuInfos<F>,
        port: Port,
        vcpu: VcpuId,
    ) -> Result<Raised, Contended> {
        let Some((pending, bit)) = self.bit(PENDING, port) else { return Ok(Raised::NOTHING) };
        // A bit that is set already is not written. Then nothing but this barrier puts what the sender wrote before our
        // look at the bit (XSA-359).
        barrier();
        if pending.set(bit)? & bit != 0 {
            return Ok(Raised::NOTHING);
        }
        // The guest unmasks by clearing the mask and then looking at the pending bit: here in the opposite order.
        barrier();
        let announced = !self.is_set(MASK, port) && announce(infos, port, vcpu)?;
        Ok(Raised { became_pending: true, announced })
    }

    /// Unmasks a port; what is pending is announced.
    pub(super) fn unmask<F: SharedFrame>(
        &self,
        infos: &VcpuInfos<F>,
        port: Port,
        vcpu: VcpuId,
    ) -> Result<Raised, Contended> {
        let Some((mask, bit)) = self.bit(MASK, port) else { return Ok(Raised::NOTHING) };
        mask.clear(bit)?;
        // The same from the other side: an event that comes now sees the mask gone, or we see its bit.
        barrier();
        let announced = self.is_pending(port) && announce(infos, port, vcpu)?;
        Ok(Raised { became_pending: false, announced })
    }

    /// Whether the port's event waits for the guest.
    pub(super) fn is_pending(&self, port: Port) -> bool {
        self.is_set(PENDING, port)
    }

    /// Forgets the event of a port that is being closed. A guest that fights over the word keeps a stale bit.
    pub(super) fn clear_pending(&self, port: Port) {
        if let Some((word, bit)) = self.bit(PENDING, port) {
            let _contended = word.clear(bit);
        }
    }

    fn is_set(&self, bits: usize, port: Port) -> bool {
        self.bit(bits, port).is_some_and(|(word, bit)| word.load() & bit != 0)
    }

    fn bit(&self, bits: usize, port: Port) -> Option<(Word<AtomicU64>, u64)> {
        if port.0 >= PORTS {
            return None;
        }
        let word = self.shared_info.word64(bits + (port.0 / u64::BITS) as usize * size_of::<u64>())?;
        Some((word, 1 << (port.0 % u64::BITS)))
    }
}

/// Marks the port's word in the vCPU's selector; true when it was not marked yet.
#[inline]
fn announce<F: SharedFrame>(infos: &VcpuInfos<F>, port: Port, vcpu: VcpuId) -> Result<bool, Contended> {
    let Some(selector) = infos.selector(vcpu) else { return Ok(false) };
    let bit = 1 << (port.0 / u64::BITS % u64::BITS);
    // As for the pending bit: a selector bit that is set already is not written.
    barrier();
    Ok(selector.set(bit)? & bit == 0)
}
