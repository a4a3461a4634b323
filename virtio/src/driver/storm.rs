//! Queues that say anything, by the hundred million: a driver that lies at random, and after each notification a look at all that
//! the device did.
//!
//! One execution is one notification: chains are written into queues, well-formed ones, broken ones and noise; the device serves
//! them; and then
//! - it has come to rest after a bounded number of polls, and did not panic;
//! - each chain was completed at most once, and exactly once unless the device says that it needs a reset;
//! - it needs a reset only where the rules were broken, and touches nothing before it gets one, and after one that comes in between;
//! - the used ring has these chains and nothing else, the driver was told if it wanted to be, and the device has asked for the next
//!   notification;
//! - no byte was reached that no descriptor and no area of a queue grants, and none was changed but where the device may write.
//!
//! Where buffers lie on the queues themselves, or another vCPU writes meanwhile, only the first of these can be said.

mod block;
mod expected;
mod guest;
mod lies;
mod look;
mod random;

pub use block::Disk;
pub use expected::Granted;
pub use guest::{BASE, SIZE, offset};
pub use random::Random;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{EVENT_IDX, Ring, read, write};
use crate::core::device::Device;
use crate::core::interrupt::Interrupt;
use crate::transport::mmio::Transport;
use crate::transport::mmio::state::MmioState;
use expected::Expected;
use guest::Memory;

/// Executions of a game: what a seed decides as a whole.
const GAME: u64 = 1000;
/// Polls after which the device has nothing to do any more, whatever the queues say: some may find nothing done.
const POLLS: usize = 1000;
/// Words that another vCPU writes in a turn.
const RACES: u64 = 4;
/// How long one game may take.
const HANG: Duration = Duration::from_secs(60);
/// Where the queues end and buffers begin.
const POOL: usize = SIZE / 2;

/// The kind of device that is played against.
pub trait Subject {
    /// The device.
    type Device: Device;

    /// A game begins, in which all devices are alike.
    fn begin(&mut self, _: &mut Random) {}

    /// A device, or another one that takes its state up.
    fn device(&mut self) -> Self::Device;

    /// Parts of a request as a driver makes it: those that the device reads, with what is in them,
    /// and the lengths of those that it writes.
    fn request(&mut self, random: &mut Random) -> (Vec<Vec<u8>>, Vec<u32>);

    /// Whether the device may refuse to go on at a chain that keeps the rules of queues.
    fn may_refuse(&self, chain: &Granted) -> bool;

    /// Looks at what came of the only chain of a turn, of which nothing that is read was written meanwhile: memory before and
    /// after it, and the bytes that the used ring tells of.
    fn judge(&mut self, chain: &Granted, before: &[u8], after: &[u8], written: u32);

    /// Whether nothing is under way that a later poll gives back.
    fn is_at_rest(&self) -> bool {
        true
    }

    /// A turn ends. Returns the operations that were done since the last one, if the kind can tell.
    fn settle(&mut self) -> u64 {
        0
    }
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Notifications.
    pub executions: u64,
    /// Chains that were completed.
    pub completed: u64,
    /// Executions after which the device needed a reset.
    pub resets: u64,
    /// Executions of which little could be said.
    pub tangled: u64,
}

/// Plays so many executions, and prints what was seen. A failure names the seed with which it comes again at once.
///
/// # Panics
/// The device did what it must not.
pub fn play<S: Subject>(name: &str, mut subject: S, executions: u64, seed: u64) -> Sum {
    let games = executions.div_ceil(GAME);
    let began = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let watched = Arc::clone(&began);
    // A device that hangs cannot be interrupted: the whole process ends. The thread ends with the last game.
    let watch = thread::spawn(move || {
        let mut last = (0, Instant::now());
        while Arc::strong_count(&watched) > 1 {
            thread::park_timeout(Duration::from_secs(1));
            let game = watched.load(Ordering::Relaxed);
            if game != last.0 {
                last = (game, Instant::now());
            } else if last.1.elapsed() > HANG {
                let _ = writeln!(std::io::stderr(), "the device hangs: seed {}", seed.wrapping_add(game));
                std::process::abort();
            }
        }
    });
    let mut sum = Sum::default();
    for game in 0..games {
        began.store(game, Ordering::Relaxed);
        let seed = Told(seed.wrapping_add(game));
        Game::new(&mut subject, Random::new(seed.0)).play(GAME.min(executions - game * GAME), &mut sum);
    }
    drop(began);
    watch.thread().unpark();
    let _ = watch.join();
    let rate = sum.executions as f64 / start.elapsed().as_secs_f64();
    let _ = writeln!(
        std::io::stderr(),
        "{name}: {} executions ({rate:.0} a second), {} chains completed, {} times a reset was needed, {} tangled",
        sum.executions,
        sum.completed,
        sum.resets,
        sum.tangled
    );
    sum
}

/// Names the seed of a game that fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = writeln!(std::io::stderr(), "it fails in the first game of seed {}", self.0);
        }
    }
}

/// The line of the device: the interrupt status says it all.
struct Unheard;

impl Interrupt for Unheard {
    fn trigger(&self) {}
}

struct Game<'a, S: Subject> {
    subject: &'a mut S,
    random: Random,
    memory: Arc<Memory>,
    mmio: Transport<S::Device>,
    /// Memory as the driver has left it, and as it is after the device.
    image: Vec<u8>,
    after: Vec<u8>,
    /// The queues, and the index of each one's next chain.
    rings: Vec<(Ring, u16)>,
    event_idx: bool,
    expected: Expected,
    reached: Vec<(usize, usize)>,
}

impl<'a, S: Subject> Game<'a, S> {
    fn new(subject: &'a mut S, mut random: Random) -> Self {
        let memory = Arc::new(Memory::new());
        subject.begin(&mut random);
        let mmio = attach(subject.device(), &memory);
        let (image, after) = (vec![0; SIZE], vec![0; SIZE]);
        let (rings, expected, reached) = (Vec::new(), Expected::new(), Vec::new());
        Game { subject, random, memory, mmio, image, after, rings, event_idx: false, expected, reached }
    }

    fn play(mut self, executions: u64, sum: &mut Sum) {
        self.start();
        for _ in 0..executions {
            let races = self.random.once_in(16);
            if races {
                let (count, random) = (1 + self.random.below(RACES) as u32, Random::new(self.random.word()));
                self.memory.race(count, random);
            }
            for _ in 0..self.random.of(&[1, 1, 1, 1, 2, 3, 8]) {
                self.offer();
            }
            self.noise();
            let is_whole = self.turn(races, sum);
            sum.executions += 1;
            if !is_whole || self.random.once_in(512) {
                self.start();
            } else if self.random.once_in(512) {
                self.move_on();
            }
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.image[at..at + bytes.len()].copy_from_slice(bytes);
        self.memory.write(at, bytes);
    }

    /// Resets the device, and brings it up with queues of other sizes at other places. It works then, whatever was before.
    fn start(&mut self) {
        let queues = self.mmio.device().queues();
        let max = self.mmio.device().queue_size();
        let mmio = &mut self.mmio;
        self.memory.race(0, Random::default());
        write(mmio, 0x70, 0);
        assert_eq!(read(mmio, 0x70), 0, "a reset is over at once");
        let left_out = self.random.of(&[0, EVENT_IDX, EVENT_IDX]);
        let features = mmio.device().features() & !left_out;
        self.event_idx = features & EVENT_IDX != 0;
        [1, 3].iter().for_each(|&status| write(mmio, 0x70, status));
        for (half, bits) in [(0, features as u32), (1, (features >> 32) as u32)] {
            write(mmio, 0x24, half);
            write(mmio, 0x20, bits);
        }
        write(mmio, 0x70, 0xb);
        assert_eq!(read(mmio, 0x70), 0xb, "the features are refused");
        let noise = self.random.word().to_le_bytes().repeat(SIZE / 8);
        self.put(0, &noise);
        self.rings.clear();
        let mut free = 0;
        let mut place = |random: &mut Random, bytes: usize| {
            let at = free + 16 * random.below(8) as usize;
            free = (at + bytes).next_multiple_of(16);
            assert!(free <= POOL, "the queues have room");
            BASE + at as u64
        };
        for number in 0..queues {
            let size = self.random.of(&[1, 2, 4, 8, 16, 32, 64, 128]).min(max);
            let ring = Ring {
                size,
                descriptors: place(&mut self.random, 16 * usize::from(size)),
                available: place(&mut self.random, 6 + 2 * usize::from(size)),
                used: place(&mut self.random, 8 + 8 * usize::from(size)),
                next: 0,
                offered: 0,
                seen: 0,
            };
            write(&mut self.mmio, 0x30, number.into());
            write(&mut self.mmio, 0x38, size.into());
            for (register, address) in [(0x80, ring.descriptors), (0x90, ring.available), (0xa0, ring.used)] {
                write(&mut self.mmio, register, address as u32);
                write(&mut self.mmio, register + 4, (address >> 32) as u32);
            }
            let event = ring.used + 4 + 8 * u64::from(size);
            for at in [ring.available, ring.used, event] {
                self.put((at - BASE) as usize, &[0; 4]);
            }
            write(&mut self.mmio, 0x44, 1);
            assert_eq!(read(&mut self.mmio, 0x44), 1);
            self.rings.push((ring, 0));
        }
        write(&mut self.mmio, 0x70, 0xf);
        assert_eq!(read(&mut self.mmio, 0x70), 0xf);
        self.subject.settle();
    }

    /// Another process takes the device up.
    fn move_on(&mut self) {
        let state = self.mmio.save();
        self.mmio = attach(self.subject.device(), &self.memory);
        let bytes = state.to_bytes();
        let read = MmioState::from_bytes(&bytes).expect("what was saved can be read");
        assert_eq!(self.mmio.restore(&read), Ok(()));
        assert_eq!(self.mmio.save().to_bytes(), bytes);
        self.memory.read_all(&mut self.image);
        self.memory.take_reached(&mut self.reached);
        self.subject.settle();
    }
}

fn attach<D: Device>(device: D, memory: &Arc<Memory>) -> Transport<D> {
    Transport::new(device, Arc::clone(memory) as _, Arc::new(Unheard)).expect("a valid size")
}

/// The number of executions that `QUEUE_RUNS` asks for, or a small share of them, and the seed that `QUEUE_SEED` names.
///
/// # Panics
/// One of them is no number.
pub fn asked(share: u64) -> (u64, u64) {
    let number = |name: &str, default| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    };
    (number("QUEUE_RUNS", share), number("QUEUE_SEED", 1))
}

#[cfg(test)]
mod tests;
