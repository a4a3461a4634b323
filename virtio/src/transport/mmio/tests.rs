//! The registers, and the order in which a driver may use them.

use std::sync::Mutex;

use crate::mock;

use super::*;
use crate::core::doorbell::QueueSet;
use crate::core::queue::{QueueState, VirtQueue};
use crate::core::running::RunningQueues;
use crate::driver::{self, Driver, EVENT_IDX, VERSION_1, read, write};

/// A device that notes what it is asked for.
#[derive(Default)]
struct Probe {
    resets: u64,
    drained: u64,
    running: RunningQueues,
    started: Vec<(u16, Option<QueueState>)>,
    stopped: Vec<(u16, QueueState)>,
    notified: Vec<u16>,
    negotiated: Arc<Mutex<Option<u64>>>,
    broken: bool,
}

impl Device for Probe {
    fn id(&self) -> u32 {
        42
    }
    fn features(&self) -> u64 {
        VERSION_1 | EVENT_IDX | 5
    }
    fn accepts(&self, features: u64) -> bool {
        features & VERSION_1 != 0 && features & 5 != 4
    }
    fn queues(&self) -> u16 {
        2
    }
    fn queue_size(&self) -> u16 {
        64
    }
    fn read_config(&self, offset: usize, data: &mut [u8]) {
        data.iter_mut().enumerate().for_each(|(at, byte)| *byte = (offset + at) as u8);
    }
    fn write_config(&mut self, _: usize, _: &[u8]) {}
    fn negotiated(&mut self, features: u64) {
        *self.negotiated.lock().unwrap() = Some(features);
    }
    fn start_queue(
        &mut self,
        index: u16,
        queue: VirtQueue,
        interrupt: Arc<dyn Interrupt>,
        state: Option<QueueState>,
    ) -> Result<(), QueueError> {
        self.started.push((index, state));
        self.running.start(index, queue, interrupt, state);
        Ok(())
    }
    fn stop_queue(&mut self, index: u16, _: &dyn GuestMemory) -> Result<QueueState, QueueError> {
        let state = self.running.stop(index);
        self.stopped.push((index, state));
        Ok(state)
    }
    fn notify(&mut self, index: u16) {
        self.notified.push(index);
    }
    fn poll(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        let ram = &memory.memory();
        if self.broken {
            return Err(QueueError::Chain);
        }
        let mut any = false;
        for (_, running) in self.running.iter_mut() {
            let mut used = false;
            while let Some(chain) = running.queue.pop(ram)? {
                running.queue.push(ram, chain.head, 0)?;
                used = true;
            }
            if used {
                running.signal_used(ram)?;
            }
            any |= used;
        }
        Ok(any)
    }
    fn arm_notifications(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        self.running.arm_notifications(&memory.memory())
    }
    fn drain(&mut self, _: &dyn GuestMemory) -> Result<(), QueueError> {
        self.drained += 1;
        Ok(())
    }
    fn reset(&mut self) {
        self.running.clear();
        self.resets += 1;
    }
    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn transport() -> (Transport<Probe>, Driver, Arc<mock::Guest>) {
    let guest = driver::guest();
    let mmio = driver::attach(Probe::default(), &guest);
    let driver = Driver::new(&guest);
    (mmio, driver, guest)
}

#[test]
fn the_constants() {
    let (mut mmio, ..) = transport();
    assert_eq!(read(&mut mmio, 0), u32::from_le_bytes(*b"virt"));
    assert_eq!(read(&mut mmio, 4), 2);
    assert_eq!(read(&mut mmio, 8), 42);
    assert_eq!(read(&mut mmio, 0xc), u32::from_le_bytes(*b"XENO"));
    for register in [0xb0, 0xb4, 0xb8, 0xbc] {
        write(&mut mmio, 0xac, 3);
        assert_eq!(read(&mut mmio, register), u32::MAX, "no shared memory");
    }
    assert_eq!(read(&mut mmio, 0x50), 0, "not readable");
    assert_eq!(read(&mut mmio, 0x48), 0, "no register");
}

#[test]
fn registers_are_words_and_the_configuration_is_anything() {
    let (mut mmio, ..) = transport();
    assert_eq!(mmio.read(0, 1), 0);
    assert_eq!(mmio.read(2, 4), 0);
    assert_eq!(mmio.read(0, 8), 0);
    assert_eq!(mmio.read(0x110, 1), 0x10);
    assert_eq!(mmio.read(0x111, 2), 0x1211);
    assert_eq!(mmio.read(0x110, 8), 0x1716_1514_1312_1110);
    assert_eq!(mmio.read(0x110, 3), 0);
    mmio.write(0x70, 2, 1);
    assert_eq!(read(&mut mmio, 0x70), 0);
}

#[test]
fn features_are_shown_by_halves_and_refused_as_a_whole() {
    let (mut mmio, ..) = transport();
    write(&mut mmio, 0x14, 1);
    assert_eq!(read(&mut mmio, 0x10), 1);
    write(&mut mmio, 0x14, 2);
    assert_eq!(read(&mut mmio, 0x10), 0);
    let choose = |mmio: &mut Transport<Probe>, halves: &[(u32, u32)]| {
        write(mmio, 0x70, 0);
        write(mmio, 0x70, 3);
        for &(half, value) in halves {
            write(mmio, 0x24, half);
            write(mmio, 0x20, value);
        }
        write(mmio, 0x70, 0xb);
        read(mmio, 0x70) & 8 != 0
    };
    assert!(choose(&mut mmio, &[(0, 1), (1, 1)]));
    assert_eq!(*mmio.device().negotiated.lock().unwrap(), Some(VERSION_1 | 1));
    assert_eq!(mmio.refused_features(), None);
    assert!(!choose(&mut mmio, &[(0, 1)]), "not without VERSION_1");
    assert_eq!(mmio.refused_features(), Some(1));
    assert!(!choose(&mut mmio, &[(0, 2), (1, 1)]), "one that is not offered");
    assert!(!choose(&mut mmio, &[(0, 4), (1, 1)]), "one that needs another");
    assert!(!choose(&mut mmio, &[(1, 1), (2, 1)]), "one beyond the 64");
    assert!(choose(&mut mmio, &[(0, 2), (0, 1), (1, 1)]), "the last word counts");
    assert_eq!(mmio.refused_features(), None, "a reset forgets it");
    write(&mut mmio, 0x24, 0);
    write(&mut mmio, 0x20, 5);
    write(&mut mmio, 0x70, 0xf);
    assert_eq!(mmio.driver_features(), VERSION_1 | 1, "fixed with FEATURES_OK");
}

#[test]
fn a_driver_that_does_not_acknowledge_is_served() {
    let (mut mmio, mut driver, _) = transport();
    write(&mut mmio, 0x70, 0);
    write(&mut mmio, 0x70, 2);
    for half in 0..2 {
        write(&mut mmio, 0x24, half);
        write(&mut mmio, 0x20, 1);
    }
    write(&mut mmio, 0x70, 0xa);
    assert_eq!(read(&mut mmio, 0x70), 0xa, "the features are refused");
    driver.set_up(&mut mmio, 0, 16);
    write(&mut mmio, 0x70, 0xe);
    assert_eq!(read(&mut mmio, 0x70), 0xe);
    let data = driver.allocate(16);
    driver.offer(0, &[(data, 16)], &[]);
    driver::kick(&mut mmio, 0);
    assert_eq!(driver.used(0), [(0, 0)]);
    let state = mmio.save();
    assert_eq!(mmio.restore(&state), Ok(()), "its status is one that can be");
}

#[test]
fn queues_that_there_are_not_are_nothing() {
    let (mut mmio, ..) = transport();
    for number in [2, 0x1_0000, u32::MAX] {
        write(&mut mmio, 0x30, number);
        assert_eq!(read(&mut mmio, 0x34), 0);
        write(&mut mmio, 0x44, 1);
        assert_eq!(read(&mut mmio, 0x44), 0);
    }
    write(&mut mmio, 0x30, 1);
    assert_eq!(read(&mut mmio, 0x34), 64);
}

#[test]
fn bad_queues_are_refused_and_the_driver_is_told() {
    type Change = fn(&mut Transport<Probe>);
    let ways: [Change; 7] = [
        |mmio| write(mmio, 0x38, 0),
        |mmio| write(mmio, 0x38, 3),
        |mmio| write(mmio, 0x38, 128),
        |mmio| write(mmio, 0x38, 0x1_0010),
        |mmio| write(mmio, 0x80, 0x4000_0001),
        |mmio| write(mmio, 0x94, 7),
        |mmio| write(mmio, 0xa0, 0x4000_0002),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let (mut mmio, mut driver, guest) = transport();
        driver.start(&mut mmio, u64::MAX, 1, 16);
        write(&mut mmio, 0x30, 0);
        write(&mut mmio, 0x44, 0);
        assert_eq!(read(&mut mmio, 0x44), 0);
        way(&mut mmio);
        write(&mut mmio, 0x44, 1);
        assert_eq!(read(&mut mmio, 0x44), 0, "way {number}");
        assert_eq!(read(&mut mmio, 0x70), 0x4f, "way {number}");
        assert_eq!((read(&mut mmio, 0x60), guest.take_interrupts().len()), (2, 1));
    }
}

#[test]
fn nothing_is_served_before_the_driver_is_ready() {
    let (mut mmio, mut driver, _) = transport();
    driver.start(&mut mmio, u64::MAX, 1, 16);
    let data = driver.allocate(16);
    for status in [1, 3, 0xb] {
        driver.start(&mut mmio, u64::MAX, 1, 16);
        write(&mut mmio, 0x70, 0);
        write(&mut mmio, 0x70, status);
        driver.offer(0, &[(data, 16)], &[]);
        driver::kick(&mut mmio, 0);
        assert!(driver.used(0).is_empty());
    }
    driver.start(&mut mmio, u64::MAX, 1, 16);
    driver.offer(0, &[(data, 16)], &[]);
    assert!(mmio.is_pending(), "what came before DRIVER_OK is found");
    while mmio.poll_until_idle() {}
    assert_eq!(driver.used(0), [(0, 0)]);
}

#[test]
fn a_queue_out_of_use_is_waited_for() {
    let (mut mmio, mut driver, _) = transport();
    driver.start(&mut mmio, u64::MAX, 2, 16);
    write(&mut mmio, 0x30, 1);
    write(&mut mmio, 0x44, 0);
    assert_eq!(mmio.device().stopped, [(1, QueueState { next: 0 })]);
    assert_eq!(read(&mut mmio, 0x44), 0);
    write(&mut mmio, 0x30, 0);
    assert_eq!(read(&mut mmio, 0x44), 1);
}

#[test]
fn a_ready_queue_does_not_move() {
    let (mut mmio, mut driver, _) = transport();
    driver.start(&mut mmio, u64::MAX, 1, 16);
    let data = driver.allocate(16);
    write(&mut mmio, 0x80, 0);
    write(&mut mmio, 0x38, 4);
    driver.offer(0, &[(data, 16)], &[]);
    driver::kick(&mut mmio, 0);
    assert_eq!(driver.used(0), [(0, 0)]);
}

#[test]
fn an_edge_comes_again_while_something_is_left() {
    let (mut mmio, mut driver, guest) = transport();
    driver.start(&mut mmio, VERSION_1, 1, 16);
    let data = driver.allocate(16);
    let edges = || guest.take_interrupts().len();
    for _ in 0..3 {
        driver.offer(0, &[(data, 16)], &[]);
        driver::kick(&mut mmio, 0);
    }
    assert_eq!(edges(), 1, "one until it is acknowledged");
    mmio.config_changed();
    assert_eq!(edges(), 1, "another reason is another edge");
    assert_eq!(read(&mut mmio, 0x60), 3);
    write(&mut mmio, 0x64, 1);
    assert_eq!((edges(), read(&mut mmio, 0x60)), (1, 2));
    write(&mut mmio, 0x64, 2);
    assert_eq!((edges(), read(&mut mmio, 0x60)), (0, 0));
    assert_eq!(read(&mut mmio, 0xfc), 1, "a new generation");
}

#[test]
fn a_reset_forgets_everything() {
    let (mut mmio, mut driver, _) = transport();
    driver.start(&mut mmio, u64::MAX, 2, 16);
    mmio.config_changed();
    let resets = mmio.device().resets;
    write(&mut mmio, 0x70, 0);
    assert_eq!(mmio.device().resets, resets + 1);
    for register in [0x70, 0x60, 0x44] {
        assert_eq!(read(&mut mmio, register), 0);
    }
    assert_eq!(mmio.driver_features(), 0);
    driver.start(&mut mmio, u64::MAX, 2, 64);
}

#[test]
fn a_driver_that_gives_up_is_left_alone() {
    let (mut mmio, mut driver, _) = transport();
    driver.start(&mut mmio, u64::MAX, 1, 16);
    let resets = mmio.device().resets;
    write(&mut mmio, 0x70, 0x8f);
    assert_eq!(mmio.device().resets, resets + 1, "nothing stays in flight");
    let data = driver.allocate(16);
    driver.offer(0, &[(data, 16)], &[]);
    driver::kick(&mut mmio, 0);
    assert!(driver.used(0).is_empty());
}

#[test]
fn a_broken_device_says_so_once() {
    let (mut mmio, mut driver, guest) = transport();
    driver.start(&mut mmio, u64::MAX, 1, 16);
    mmio.device_mut().broken = true;
    for _ in 0..3 {
        driver::kick(&mut mmio, 0);
    }
    assert_eq!(mmio.error(), Some(QueueError::Chain));
    assert_eq!(guest.take_interrupts().len(), 1);
    write(&mut mmio, 0x70, 0);
    assert_eq!(mmio.error(), None);
}

#[test]
fn a_driver_is_asked_to_notify_only_before_the_device_rests() {
    for features in [VERSION_1, VERSION_1 | EVENT_IDX] {
        let (mut mmio, mut driver, _) = transport();
        driver.start(&mut mmio, features, 1, 16);
        let used = driver.rings[0].used;
        // What the driver looks at before it notifies: the device's flags, or the index that it wants to hear of.
        let wants = |driver: &Driver, index: u16| match features & EVENT_IDX {
            0 => driver.word(used) & 1 == 0,
            _ => driver.word(used + 4 + 16 * 8) == index,
        };
        let buffer = driver.allocate(16);
        assert!(wants(&driver, 0), "the first");
        for _ in 0..3 {
            driver.offer(0, &[(buffer, 16)], &[]);
            assert!(mmio.poll_once());
        }
        assert!(!wants(&driver, 3), "it looks by itself");
        assert!(!mmio.poll_once(), "nothing there");
        assert!(!mmio.poll_until_idle());
        assert!(wants(&driver, 3));
        driver.offer(0, &[(buffer, 16)], &[]);
        assert!(mmio.poll_once());
        driver.offer(0, &[(buffer, 16)], &[]);
        assert!(!mmio.poll_until_idle());
        assert!(wants(&driver, 5));
        assert_eq!(driver.used(0).len(), 5);
    }
}

#[test]
fn the_device_learns_which_queue_was_notified() {
    let (mut mmio, mut driver, _) = transport();
    driver.start(&mut mmio, VERSION_1, 2, 16);
    for number in [1, 2, 64, 0x1_0000, u32::MAX] {
        write(&mut mmio, 0x50, number);
    }
    assert!(mmio.is_pending());
    while mmio.poll_until_idle() {}
    assert_eq!(mmio.device().notified, [1], "others are no queues");
    assert!(!mmio.is_pending());
    write(&mut mmio, 0x30, 1);
    write(&mut mmio, 0x44, 0);
    write(&mut mmio, 0x50, 1);
    assert!(!mmio.is_pending(), "a queue out of use");
}

/// A doorbell that rings once.
struct Rung(Mutex<QueueSet>);

impl Doorbell for Rung {
    fn take(&self) -> QueueSet {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn a_doorbell_notifies_too() {
    let (mut mmio, mut driver, _) = transport();
    driver.start(&mut mmio, VERSION_1, 2, 16);
    mmio.set_doorbell(Arc::new(Rung(Mutex::new(QueueSet::from_bits(0b1101)))));
    write(&mut mmio, 0x50, 1);
    while mmio.poll_until_idle() {}
    assert_eq!(mmio.device().notified, [0, 1], "once, and no queue that there is not");
}

#[test]
fn each_queue_starts_and_stops_by_itself() {
    let (mut mmio, mut driver, _) = transport();
    driver.start(&mut mmio, VERSION_1, 2, 16);
    assert_eq!(mmio.device().started, [(0, None), (1, None)]);
    let data = driver.allocate(16);
    for _ in 0..3 {
        driver.offer(0, &[(data, 16)], &[]);
        driver::kick(&mut mmio, 0);
    }
    write(&mut mmio, 0x30, 0);
    write(&mut mmio, 0x44, 0);
    assert_eq!(mmio.device().stopped, [(0, QueueState { next: 3 })]);
    driver.offer(1, &[(data, 16)], &[]);
    driver::kick(&mut mmio, 1);
    assert_eq!(driver.used(1).len(), 1, "the other goes on");
}

#[test]
fn a_device_goes_on_where_it_was_saved() {
    let (mut mmio, mut driver, guest) = transport();
    driver.start(&mut mmio, VERSION_1 | EVENT_IDX, 2, 16);
    let data = driver.allocate(16);
    driver.offer(1, &[(data, 16)], &[]);
    driver::kick(&mut mmio, 1);
    assert_eq!(guest.take_interrupts(), [driver::IRQ]);
    // One that nobody has taken yet, and an interrupt that nobody has acknowledged.
    driver.offer(1, &[(data, 16)], &[]);
    let state = mmio.save();
    assert_eq!(MmioState::from_bytes(&state.to_bytes()).as_ref(), Ok(&state));
    drop(mmio);
    let mut mmio = driver::attach(Probe::default(), &guest);
    mmio.restore(&state).unwrap();
    assert_eq!(mmio.device().started, [(0, Some(QueueState { next: 0 })), (1, Some(QueueState { next: 1 }))]);
    assert_eq!(guest.take_interrupts(), [driver::IRQ], "the edge may have been lost");
    assert_eq!((read(&mut mmio, 0x60), read(&mut mmio, 0x70)), (1, 0xf));
    assert!(mmio.is_pending());
    while mmio.poll_until_idle() {}
    assert_eq!(driver.used(1).len(), 2);
    driver.offer(1, &[(data, 16)], &[]);
    driver::kick(&mut mmio, 1);
    assert_eq!(driver.used(1).len(), 1);
}

#[test]
fn a_state_of_another_device_is_refused() {
    let (mut mmio, mut driver, guest) = transport();
    driver.start(&mut mmio, VERSION_1, 2, 16);
    let good = mmio.save();
    let mut bad: Vec<MmioState> = (0..7).map(|_| good.clone()).collect();
    bad[0].control.status = 0x1f;
    bad[1].control.features |= 1 << 40;
    bad[2].control.queues.pop();
    bad[3].control.queues[1].setup.size = Some(7);
    bad[4].control.queues[0].setup.device = 3 << 40;
    bad[5].control.device = vec![1];
    bad[6].control.status = 3;
    for (number, state) in bad.iter().enumerate() {
        let mut mmio = driver::attach(Probe::default(), &guest);
        assert!(mmio.restore(state).is_err(), "{number}");
        assert_eq!(read(&mut mmio, 0x70), 0, "{number}: as after a reset");
        driver.start(&mut mmio, VERSION_1, 2, 16);
    }
    assert_eq!(mmio.restore(&good), Ok(()));
}
