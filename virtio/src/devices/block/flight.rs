//! Requests in flight: a reset, a page that leaves the guest, and a driver that asks for too much.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::core::memory::GuestMemory as _;
use crate::core::ram::{Bank, RamRegion};
use crate::mock;

use super::*;
use crate::driver::{self, Driver, HIGH, IRQ, LOW};
use crate::storage::Operation;
use crate::transport::mmio::Transport;

/// An engine that does nothing until it is told to, or waited for.
#[derive(Clone, Default)]
struct Slow(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    allowed: usize,
}

impl Slow {
    fn allow(&self, count: usize) {
        self.0.lock().unwrap().allowed += count;
    }

    fn jobs(&self) -> usize {
        self.0.lock().unwrap().jobs.len()
    }
}

impl Engine for Slow {
    fn geometry(&self) -> Geometry {
        Geometry { size: 1 << 20, block: 512, physical: 512, optimal: 0, discard: 0, read_only: false }
    }

    fn submit(&mut self, job: Job) {
        self.0.lock().unwrap().jobs.push_back(job);
    }

    fn start(&mut self) {}

    fn completed(&mut self, done: &mut Vec<Done>) {
        let mut state = self.0.lock().unwrap();
        while state.allowed > 0
            && let Some(Job { token, operation }) = state.jobs.pop_front()
        {
            state.allowed -= 1;
            if let Operation::Read { into, .. } = operation {
                into.copy_in(&[0x77; 512]).unwrap();
            }
            done.push(Done { token, result: Ok(()) });
        }
    }

    fn wait(&mut self, done: &mut Vec<Done>) {
        self.allow(1);
        self.completed(done);
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

struct Bench {
    engine: Slow,
    mmio: Transport<Block>,
    driver: Driver,
    guest: Arc<mock::Guest>,
    header: u64,
    data: u64,
}

fn bench() -> Bench {
    let (engine, guest) = (Slow::default(), driver::guest());
    let mut mmio = driver::attach(Block::new(Box::new(engine.clone()), 1, ""), &guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut mmio, u64::MAX, 1, 64);
    let (header, data) = (driver.allocate(16), driver.allocate(20 * 513));
    Bench { engine, mmio, driver, guest, header, data }
}

impl Bench {
    /// Offers `count` reads of a sector.
    fn read(&mut self, count: u64) {
        for at in 0..count {
            let (header, data) = (self.header, self.data + at * 513);
            self.driver.offer(0, &[(header, 16)], &[(data, 513)]);
        }
        driver::kick(&mut self.mmio, 0);
    }
}

#[test]
fn what_is_done_later_is_given_back_later_with_one_interrupt() {
    let mut bench = bench();
    bench.read(6);
    assert_eq!(bench.engine.jobs(), 6);
    assert!(bench.driver.used(0).is_empty());
    assert!(bench.guest.take_interrupts().is_empty());
    bench.engine.allow(4);
    assert!(!bench.mmio.poll_until_idle());
    assert_eq!(bench.driver.used(0).len(), 4);
    assert_eq!(bench.guest.take_interrupts(), [IRQ]);
    bench.engine.allow(2);
    assert!(!bench.mmio.poll_until_idle());
    assert_eq!(bench.driver.used(0).len(), 2);
}

#[test]
fn after_a_reset_nothing_touches_memory() {
    let mut bench = bench();
    bench.read(6);
    driver::write(&mut bench.mmio, 0x70, 0);
    assert_eq!(bench.engine.jobs(), 0, "waited for");
    assert!(bench.driver.used(0).is_empty(), "and forgotten");
    assert!(bench.guest.take_interrupts().is_empty());
    let data = bench.data;
    bench.driver.fill(data, &[0; 6 * 513]);
    bench.engine.allow(10);
    assert!(!bench.mmio.poll_until_idle());
    assert_eq!(bench.driver.bytes(data, 6 * 513), [0; 6 * 513]);
    bench.driver.start(&mut bench.mmio, u64::MAX, 1, 64);
    bench.read(1);
    bench.engine.allow(1);
    assert!(!bench.mmio.poll_until_idle());
    assert_eq!(bench.driver.used(0).len(), 1);
}

#[test]
fn pages_that_leave_the_guest_are_let_go() {
    let mut bench = bench();
    let held = Arc::strong_count(&bench.driver.ram);
    bench.read(6);
    assert!(Arc::strong_count(&bench.driver.ram) > held);
    bench.mmio.invalidate();
    assert_eq!(Arc::strong_count(&bench.driver.ram), held);
    assert_eq!(bench.driver.used(0).len(), 6, "what was in flight is answered");
    assert_eq!(bench.guest.take_interrupts().len(), 1);
}

#[test]
fn a_queue_out_of_use_is_answered_first() {
    let mut bench = bench();
    bench.read(3);
    driver::write(&mut bench.mmio, 0x30, 0);
    driver::write(&mut bench.mmio, 0x44, 0);
    assert_eq!(bench.driver.used(0).len(), 3);
    assert_eq!(bench.engine.jobs(), 0);
}

#[test]
fn no_more_is_in_flight_than_the_queue_holds() {
    let mut bench = bench();
    let head = bench.driver.offer(0, &[(bench.header, 16)], &[(bench.data, 513)]);
    for _ in 0..63 {
        bench.driver.make_available(0, head);
    }
    driver::kick(&mut bench.mmio, 0);
    assert_eq!(bench.engine.jobs(), 64);
    assert_eq!(driver::read(&mut bench.mmio, 0x70), 0xf);
    bench.driver.make_available(0, head);
    driver::kick(&mut bench.mmio, 0);
    assert_eq!(driver::read(&mut bench.mmio, 0x70), 0x4f, "none was given back: the driver lies");
    assert_eq!(bench.engine.jobs(), 0);
}

/// A guest whose second bank was given up and has come back, which nobody has noticed.
struct Ballooned {
    memory: Mutex<Arc<Ram>>,
    whole: Arc<Ram>,
}

impl GuestMemory for Ballooned {
    fn memory(&self) -> Arc<Ram> {
        Arc::clone(&self.memory.lock().unwrap())
    }

    fn rescan(&self) -> bool {
        let mut memory = self.memory.lock().unwrap();
        let found = !Arc::ptr_eq(&memory, &self.whole);
        *memory = Arc::clone(&self.whole);
        found
    }
}

#[test]
fn memory_that_came_back_is_found() {
    let region = |(base, size): (u64, usize)| RamRegion::anonymous(Bank { base, size: size as u64 }).unwrap();
    let (low, high) = (region(LOW), region(HIGH));
    let whole = Ram::new(vec![low.clone(), high]).unwrap();
    let part = Ram::new(vec![low]).unwrap();
    let guest = Arc::new(Ballooned { memory: Mutex::new(Arc::new(part)), whole: Arc::new(whole) });
    let engine = Slow::default();
    engine.allow(100);
    let block = Block::new(Box::new(engine), 1, "");
    let other = driver::guest();
    let mut mmio = Transport::new(block, Arc::clone(&guest) as _, other.line(IRQ)).unwrap();
    let mut driver = Driver::new(&other);
    driver.ram = guest.memory();
    driver.start(&mut mmio, u64::MAX, 1, 16);
    let header = driver.allocate(16);
    driver.offer(0, &[(header, 16)], &[(HIGH.0, 512), (header, 1)]);
    driver::kick(&mut mmio, 0);
    assert_eq!(driver.used(0), [(0, 513)]);
    driver.ram = guest.memory();
    assert_eq!(driver.bytes(HIGH.0, 512), [0x77; 512]);
}
