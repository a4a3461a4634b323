//! One line for all queues and the configuration: a bit of the interrupt status says which it was (4.2.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::core::interrupt::{Interrupt, Interrupts};

/// Used buffers are in a queue.
const BUFFERS: u32 = 1;
/// The configuration changed, or the device needs a reset.
const CONFIG: u32 = 2;

/// The interrupt status register, and the line that stands for it. The line has edges only: one is sent when a bit comes
/// that was not there, and another when the driver acknowledges less than there is.
pub struct SharedLine {
    status: AtomicU32,
    line: Arc<dyn Interrupt>,
}

/// One bit's interrupt.
struct Share {
    line: Arc<SharedLine>,
    bit: u32,
}

impl Interrupt for Share {
    fn trigger(&self) {
        // The used ring must be out before the driver can see the bit: it reads the register first and the ring then.
        // For a bit that is set no edge is sent: a driver that acknowledges before it looks at the ring, as Linux does,
        // finds this too.
        if self.line.status.fetch_or(self.bit, Ordering::AcqRel) & self.bit == 0 {
            self.line.line.trigger();
        }
    }
}

impl SharedLine {
    /// With no bit set.
    pub fn new(line: Arc<dyn Interrupt>) -> SharedLine {
        SharedLine { status: AtomicU32::new(0), line }
    }

    /// The interrupts of a device with so many queues. All queues share one.
    pub fn interrupts(self: &Arc<Self>, queues: u16) -> Interrupts {
        let share = |bit| Arc::new(Share { line: Arc::clone(self), bit }) as Arc<dyn Interrupt>;
        let buffers = share(BUFFERS);
        Interrupts { queues: vec![buffers; queues.into()], config: share(CONFIG) }
    }

    /// The interrupt status register.
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::Acquire)
    }

    /// The driver has handled these.
    pub fn acknowledge(&self, bits: u32) {
        // The line stands for a level: what is left must come again.
        if self.status.fetch_and(!bits, Ordering::AcqRel) & !bits != 0 {
            self.line.trigger();
        }
    }

    /// As after a reset.
    pub fn clear(&self) {
        self.status.store(0, Ordering::Release);
    }

    /// Takes up bits that were saved. Their edge may have been lost with who saved them.
    pub fn restore(&self, bits: u32) {
        self.status.store(bits, Ordering::Release);
        if bits != 0 {
            self.line.trigger();
        }
    }

    /// Bits that there are.
    pub const ALL: u32 = BUFFERS | CONFIG;
}
