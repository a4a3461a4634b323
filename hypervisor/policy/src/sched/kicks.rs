//! Kicks without an interrupt: marks for CPUs that are to reschedule, left by themselves or while they busy-poll.

use xenolith_core::types::CpuId;
use xenolith_hw::atomic::{AtomicU64, Ordering};

use super::CpuMask;

/// The marks of a machine's CPUs.
#[derive(Debug, Default)]
pub struct Kicks {
    /// CPUs that were kicked and have not rescheduled since.
    kicked: AtomicU64,
    /// Idle CPUs that busy-poll. Each CPU changes its own bit only.
    polling: AtomicU64,
}

impl Kicks {
    /// Nobody is kicked, and nobody polls.
    pub const fn new() -> Self {
        Kicks { kicked: AtomicU64::new(0), polling: AtomicU64::new(0) }
    }

    /// Kicks the calling CPU: it reschedules before it enters a guest or sleeps.
    #[inline]
    pub fn kick_own(&self, own: CpuId) {
        self.kicked.fetch_or(CpuMask::one(own).0, Ordering::Relaxed);
    }

    /// Kicks a CPU if it busy-polls; one that does not has to be sent an interrupt. The mark is set first and the CPU's bit
    /// read again after that, while the CPU clears its bit first and reads the mark after that: so one of the two sees the
    /// other's write, and no kick is lost.
    pub fn kick_polling(&self, cpu: CpuId) -> bool {
        let polls = || CpuMask(self.polling.load(Ordering::SeqCst)).contains(cpu);
        if !polls() {
            return false;
        }
        self.kicked.fetch_or(CpuMask::one(cpu).0, Ordering::SeqCst);
        polls()
    }

    /// The calling CPU busy-polls for as long as `looks` takes. True if it was kicked meanwhile: then it must not sleep, as
    /// nobody has sent it an interrupt.
    #[inline]
    pub fn poll(&self, own: CpuId, looks: impl FnOnce()) -> bool {
        let bit = CpuMask::one(own).0;
        self.polling.fetch_or(bit, Ordering::SeqCst);
        looks();
        self.polling.fetch_and(!bit, Ordering::SeqCst);
        // After it has stopped, whatever it has seen before: who saw it poll may have left the mark since.
        self.is_kicked(own)
    }

    /// Whether the calling CPU was kicked without an interrupt, and has not rescheduled since.
    #[inline]
    pub fn is_kicked(&self, own: CpuId) -> bool {
        CpuMask(self.kicked.load(Ordering::SeqCst)).contains(own)
    }

    /// Clears the calling CPU's kick before it reschedules. Sequentially consistent, so that the scheduler's state as it was
    /// when the kick was sent is seen by what follows.
    #[inline]
    pub fn take(&self, own: CpuId) {
        self.kicked.fetch_and(!CpuMask::one(own).0, Ordering::SeqCst);
    }
}
