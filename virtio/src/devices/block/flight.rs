//! Requests in flight: a reset, a page that leaves the guest, and a driver that asks for too much.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use vm_memory::MmapRegion;

use crate::core::memory::{GuestMemory as _, Part};
use crate::core::ram::{Backing, Bank, RamRegion, StalePages};
use crate::mock;

use super::*;
use crate::driver::{self, Driver, HIGH, INDIRECT, IRQ, LOW, NEXT, WRITE};
use crate::storage::Operation;
use crate::transport::mmio::Transport;

/// An engine that does nothing until it is told to, or waited for.
#[derive(Clone, Default)]
struct Slow(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    allowed: usize,
    /// Jobs that fit, if there is a limit.
    room: Option<usize>,
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

    fn has_room(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.room.is_none_or(|room| state.jobs.len() < room)
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
    bench.mmio.invalidate(&StalePages::ALL);
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

/// A guest whose second bank was given up, of which nobody notices when pages come back.
struct Ballooned {
    low: RamRegion,
    high: Arc<dyn Backing>,
    /// Pages of the second bank that have come back.
    back: u64,
    state: Mutex<Ballooning>,
}

/// What a carrier knows of it.
struct Ballooning {
    memory: Arc<Ram>,
    /// Pages of the second bank that it has found: each look finds the next one.
    found: u64,
    looks: usize,
}

impl Ballooned {
    fn new(back: u64) -> Arc<Ballooned> {
        let low = RamRegion::anonymous(Bank { base: LOW.0, size: LOW.1 as u64 }).unwrap();
        let high = Arc::new(MmapRegion::<()>::new(HIGH.1).unwrap());
        let memory = Arc::new(Ram::new(vec![low.clone()]).unwrap());
        Arc::new(Ballooned { low, high, back, state: Mutex::new(Ballooning { memory, found: 0, looks: 0 }) })
    }

    /// With so many pages of the second bank.
    fn with(&self, pages: u64) -> Arc<Ram> {
        let bank = Bank { base: HIGH.0, size: pages * 4096 };
        let high = RamRegion::new(bank, Arc::clone(&self.high)).unwrap();
        Arc::new(Ram::new(vec![self.low.clone(), high]).unwrap())
    }

    /// Looks since the last call.
    fn looks(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().looks)
    }
}

impl GuestMemory for Ballooned {
    fn memory(&self) -> Arc<Ram> {
        Arc::clone(&self.state.lock().unwrap().memory)
    }

    fn rescan(&self, missing: Part) -> bool {
        let mut state = self.state.lock().unwrap();
        assert!(missing.address.0 >= HIGH.0, "the rest is there");
        state.looks += 1;
        if state.found == self.back {
            return false;
        }
        state.found += 1;
        state.memory = self.with(state.found);
        true
    }
}

/// A disk of a guest that has given up its second bank, of which so many pages have come back.
fn ballooned(back: u64) -> (Arc<Ballooned>, Slow, Transport<Block>, Driver) {
    let guest = Ballooned::new(back);
    let engine = Slow::default();
    engine.allow(1000);
    let other = driver::guest();
    let block = Block::new(Box::new(engine.clone()), 1, "");
    let mut mmio = Transport::new(block, Arc::clone(&guest) as _, other.line(IRQ)).unwrap();
    let mut driver = Driver::new(&other);
    driver.ram = guest.memory();
    driver.start(&mut mmio, u64::MAX, 1, 512);
    (guest, engine, mmio, driver)
}

#[test]
fn memory_that_came_back_is_found() {
    // Pages that are found one by one, by as many polls.
    let (guest, _engine, mut mmio, mut driver) = ballooned(3);
    let header = driver.allocate(16);
    driver.offer(0, &[(header, 16)], &[(HIGH.0, 512), (HIGH.0 + 2 * 4096, 512), (header, 1)]);
    driver::kick(&mut mmio, 0);
    assert_eq!(driver.used(0), [(0, 1025)]);
    assert!(guest.looks() <= 3);
    driver.ram = guest.memory();
    assert_eq!(driver.bytes(HIGH.0, 512), [0x77; 512]);
}

#[test]
fn a_table_of_descriptors_that_came_back_is_found() {
    let (guest, _engine, mut mmio, mut driver) = ballooned(1);
    let (header, data) = (driver.allocate(16), driver.allocate(512));
    driver.describe(driver.rings[0].descriptors, 0, HIGH.0, 3 * 16, INDIRECT, 0);
    // As the guest sees it, which has the page.
    let known = std::mem::replace(&mut driver.ram, guest.with(1));
    for (index, (address, len, flags)) in
        [(header, 16, NEXT), (data, 512, NEXT | WRITE), (header, 1, WRITE)].into_iter().enumerate()
    {
        let index = index as u16;
        driver.describe(HIGH.0, index, address, len, flags, index + 1);
    }
    driver.ram = known;
    driver.make_available(0, 0);
    driver::kick(&mut mmio, 0);
    assert_eq!(driver.used(0), [(0, 513)]);
    assert_eq!(guest.looks(), 1);
}

#[test]
fn a_poll_looks_once_for_memory_however_many_chains_are_bad() {
    let (guest, _engine, mut mmio, mut driver) = ballooned(0);
    let header = driver.allocate(16);
    for at in 0..100 {
        driver.offer(0, &[(header, 16)], &[(HIGH.0 + at * 512, 512), (header, 1)]);
    }
    driver::write(&mut mmio, 0x50, 0);
    let mut answered = 0;
    for polls in 1.. {
        let busy = mmio.poll_once();
        assert!(guest.looks() <= 1, "in one poll");
        let used = driver.used(0);
        assert!(used.iter().all(|(_, written)| *written == 1 || *written == 0), "{used:?}");
        answered += used.len();
        if !busy {
            break;
        }
        assert!(polls <= 101);
    }
    assert_eq!(answered, 100, "each has its status");
}

#[test]
fn a_poll_takes_a_bounded_number_of_chains_and_leaves_no_queue_out() {
    let (engine, guest) = (Slow::default(), driver::guest());
    let mut mmio = driver::attach(Block::new(Box::new(engine.clone()), 2, ""), &guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut mmio, u64::MAX, 2, 256);
    let (header, data) = (driver.allocate(16), driver.allocate(513));
    for _ in 0..80 {
        driver.offer(0, &[(header, 16)], &[(data, 513)]);
    }
    driver.offer(1, &[(header, 16)], &[(data, 513)]);
    driver::write(&mut mmio, 0x50, 0);
    driver::write(&mut mmio, 0x50, 1);
    assert!(mmio.poll_once());
    assert_eq!(engine.jobs(), CHAINS);
    assert!(!mmio.poll_until_idle(), "goes on by itself until all are taken");
    assert_eq!(engine.jobs(), 81);
}

#[test]
fn what_an_engine_had_no_room_for_is_taken_when_all_is_done_at_once() {
    let (engine, guest) = (Slow::default(), driver::guest());
    engine.0.lock().unwrap().room = Some(4);
    let mut mmio = driver::attach(Block::new(Box::new(engine.clone()), 2, ""), &guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut mmio, u64::MAX, 2, 16);
    let (header, data) = (driver.allocate(16), driver.allocate(513));
    for (queue, count) in [(0, 6), (1, 1)] {
        for _ in 0..count {
            driver.offer(queue, &[(header, 16)], &[(data, 513)]);
        }
    }
    driver::write(&mut mmio, 0x50, 0);
    driver::write(&mut mmio, 0x50, 1);
    assert!(!mmio.poll_until_idle(), "whoever waits for the engine is not kept busy");
    assert_eq!(engine.jobs(), 4);
    // Nothing but the engine wakes it, and that once.
    engine.allow(4);
    assert!(!mmio.poll_until_idle());
    assert_eq!(engine.jobs(), 3, "of both queues");
    engine.allow(3);
    assert!(!mmio.poll_until_idle());
    assert_eq!((driver.used(0).len(), driver.used(1).len()), (6, 1));
}
