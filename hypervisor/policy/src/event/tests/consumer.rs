//! The guest's half of both forms, one memory access at a time, as Linux does it: what is not read from the shared
//! words, the guest keeps for itself.
//!
//! Linux's atomic operations that return a value are full barriers, on both sides (`Documentation/atomic_t.txt`), and the ABI
//! counts on it: between the taking of an event and the look at what it is about, and between the taking of a selector or of
//! ready bits and the look at the words that they lead to.

use xenolith_abi::event::fifo::{BUSY, LINK, LINKED, MASKED, PENDING};

use super::support::word;
use crate::event::Port;
use xenolith_hw::atomic::{AtomicU8, AtomicU64, Ordering, fence};
use xenolith_memory::page::{Contended, Page, Word};

/// What one step of a consumer did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// It found nothing to do, and waits for its event interrupt.
    Idle,
    /// It is under way.
    Busy,
    /// It took the event of a port: the handler runs now.
    Handle(Port),
}

/// Does it, and again as long as the hypervisor comes between, as a full barrier.
fn ordered<R>(operation: impl Fn() -> Result<R, Contended>) -> R {
    fence(Ordering::SeqCst);
    let done = loop {
        if let Ok(done) = operation() {
            break done;
        }
    };
    fence(Ordering::SeqCst);
    done
}

/// A vCPU that consumes its FIFO queues.
pub struct FifoCpu {
    upcall: Word<AtomicU8>,
    control: Page,
    offset: usize,
    array: Vec<Page>,
    ready: u32,
    heads: [u32; 16],
    at: FifoAt,
}

#[derive(Clone, Copy)]
enum FifoAt {
    Upcall,
    Ready,
    Head,
    Unlink { queue: usize },
    Take { port: Port },
}

impl FifoCpu {
    pub fn new(upcall: Word<AtomicU8>, control: Page, offset: usize, array: Vec<Page>) -> Self {
        FifoCpu { upcall, control, offset, array, ready: 0, heads: [0; 16], at: FifoAt::Upcall }
    }

    /// One access to shared memory.
    pub fn step(&mut self) -> Step {
        match self.at {
            FifoAt::Upcall => {
                if self.upcall.load() == 0 {
                    return Step::Idle;
                }
                self.upcall.store(0);
                self.at = FifoAt::Ready;
            }
            FifoAt::Ready => {
                self.ready |= ordered(|| self.control.word32(self.offset).unwrap().update(|_| Some(0)));
                self.at = if self.ready == 0 { FifoAt::Upcall } else { FifoAt::Head };
            }
            FifoAt::Head => {
                let queue = self.ready.trailing_zeros() as usize;
                if self.heads[queue] == 0 {
                    self.heads[queue] = self.control.word32(self.offset + 8 + queue * 4).unwrap().load();
                }
                self.at = FifoAt::Unlink { queue };
            }
            FifoAt::Unlink { queue } => {
                let port = Port(self.heads[queue]);
                assert_ne!(port, Port(0), "a queue that is ready has a head");
                let before = self.unlink(port);
                assert_ne!(before & LINKED, 0, "{port} was not queued");
                self.heads[queue] = before & LINK;
                if self.heads[queue] == 0 {
                    self.ready &= !(1 << queue);
                }
                self.at = FifoAt::Take { port };
            }
            FifoAt::Take { port } => {
                self.at = FifoAt::Ready;
                let own = word(&self.array, port);
                let take = |word: u32| (word & (PENDING | MASKED) == PENDING).then_some(word & !PENDING);
                if take(ordered(|| own.update(take))).is_some() {
                    return Step::Handle(port);
                }
            }
        }
        Step::Busy
    }

    fn unlink(&self, port: Port) -> u32 {
        ordered(|| word(&self.array, port).update(|word| Some(word & !(LINKED | LINK))))
    }
}

/// A guest masks a port.
pub fn fifo_mask(array: &[Page], port: Port) {
    while word(array, port).set(MASKED).is_err() {}
}

/// A guest unmasks a port; true when it must make the call, because an event is pending.
pub fn fifo_unmask(array: &[Page], port: Port) -> bool {
    for _ in 0..1_000_000 {
        let change = |word: u32| (word & (PENDING | BUSY) == 0).then_some(word & !MASKED);
        match word(array, port).update(change) {
            Ok(before) if before & PENDING != 0 => return true,
            Ok(before) if before & BUSY == 0 => return false,
            _ => std::hint::spin_loop(),
        }
    }
    panic!("the hypervisor keeps the word busy");
}

/// A vCPU that consumes the 2-level bits of the ports that are bound to it.
pub struct TwoLevelCpu {
    upcall: Word<AtomicU8>,
    selector: Word<AtomicU64>,
    shared_info: Page,
    /// The ports that this vCPU handles.
    own: [u64; 64],
    selected: u64,
    bits: u64,
    index: usize,
    at: TwoLevelAt,
}

#[derive(Clone, Copy)]
enum TwoLevelAt {
    Upcall,
    Selector,
    Word,
    Take,
}

impl TwoLevelCpu {
    pub fn new(info: (Page, usize), shared_info: Page, own: &[Port]) -> Self {
        let mut bits = [0; 64];
        for port in own {
            bits[port.0 as usize / 64] |= 1 << (port.0 % 64);
        }
        TwoLevelCpu {
            upcall: info.0.byte(info.1).unwrap(),
            selector: info.0.word64(info.1 + 8).unwrap(),
            shared_info,
            own: bits,
            selected: 0,
            bits: 0,
            index: 0,
            at: TwoLevelAt::Upcall,
        }
    }

    /// One access to shared memory.
    pub fn step(&mut self) -> Step {
        match self.at {
            TwoLevelAt::Upcall => {
                if self.upcall.load() == 0 {
                    return Step::Idle;
                }
                self.upcall.store(0);
                self.at = TwoLevelAt::Selector;
            }
            TwoLevelAt::Selector => {
                self.selected = ordered(|| self.selector.update(|_| Some(0)));
                self.at = TwoLevelAt::Word;
            }
            TwoLevelAt::Word if self.selected == 0 => self.at = TwoLevelAt::Upcall,
            TwoLevelAt::Word => {
                self.index = self.selected.trailing_zeros() as usize;
                let mask = self.shared_info.word64(560 + self.index * 8).unwrap().load();
                let pending = self.shared_info.word64(48 + self.index * 8).unwrap().load();
                self.bits = pending & !mask & self.own[self.index];
                self.at = TwoLevelAt::Take;
            }
            TwoLevelAt::Take if self.bits == 0 => {
                self.selected &= self.selected - 1;
                self.at = TwoLevelAt::Word;
            }
            TwoLevelAt::Take => {
                let bit = self.bits.trailing_zeros();
                self.bits &= self.bits - 1;
                ordered(|| self.shared_info.word64(48 + self.index * 8).unwrap().clear(1 << bit));
                return Step::Handle(Port(self.index as u32 * 64 + bit));
            }
        }
        Step::Busy
    }
}

/// A guest masks a port.
pub fn two_level_mask(shared_info: Page, port: Port) {
    let word = shared_info.word64(560 + port.0 as usize / 64 * 8).unwrap();
    while word.set(1 << (port.0 % 64)).is_err() {}
}

/// A guest unmasks a port by itself; true when an event is pending, which it then has to take.
pub fn two_level_unmask(shared_info: Page, port: Port) -> bool {
    let (index, bit) = (port.0 as usize / 64 * 8, 1 << (port.0 % 64));
    ordered(|| shared_info.word64(560 + index).unwrap().clear(bit));
    shared_info.word64(48 + index).unwrap().load() & bit != 0
}

/// A guest takes the event of a port.
pub fn two_level_take(shared_info: Page, port: Port) {
    ordered(|| shared_info.word64(48 + port.0 as usize / 64 * 8).unwrap().clear(1 << (port.0 % 64)));
}
