//! A driver that does anything: registers, memory and queues in any order, as bytes tell it. For fuzzing.
//!
//! The device may do what it likes with its guest's memory, but must not panic, hang, or work without bound.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::{Bytes, GuestAddress};

use super::{Driver, LOW, attach, guest, read, write};
use crate::core::memory::{Buffers, GuestMemory as _};
use crate::devices::block::Block;
use crate::storage::{Geometry, Image, Inline};
use crate::transport::mmio::state::MmioState;

/// Bytes of the disk.
const DISK: u64 = 1 << 20;
/// Jobs that one look at the queues may start: all entries of all queues.
const MOST: u64 = 512 * 2;

/// A disk that only checks what it is asked.
pub struct Checked {
    jobs: Arc<AtomicU64>,
}

impl Checked {
    fn within(&self, offset: u64, len: u64) -> io::Result<()> {
        assert!(offset.is_multiple_of(512) && len.is_multiple_of(512) && len > 0);
        assert!(offset + len <= DISK);
        self.jobs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Image for Checked {
    fn geometry(&self) -> Geometry {
        Geometry { size: DISK, block: 512, physical: 4096, optimal: 0, discard: 4096, read_only: false }
    }

    fn read(&self, offset: u64, into: &Buffers) -> io::Result<()> {
        self.within(offset, into.len())?;
        into.copy_in(&[0x5a; 512]).map(drop).map_err(io::Error::other)
    }

    fn write(&self, offset: u64, from: &Buffers, _: bool) -> io::Result<()> {
        self.within(offset, from.len())?;
        from.copy_out(&mut [0; 512]).map(drop).map_err(io::Error::other)
    }

    fn flush(&self) -> io::Result<()> {
        self.jobs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.within(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, _: bool) -> io::Result<()> {
        self.within(offset, len)
    }
}

/// A disk that only checks what it is asked.
pub fn disk() -> Checked {
    Checked { jobs: Arc::default() }
}

/// Has a disk take up a state of which `bytes` are the body, in a frame that is right, and plays on with it.
///
/// # Panics
/// The device did what it must not.
pub fn take_up(bytes: &[u8]) {
    let guest = guest();
    let mut mmio = attach(Block::new(Box::new(Inline::new(disk())), 2, "state"), &guest);
    let Ok(state) = MmioState::from_body(bytes) else { return };
    assert_eq!(MmioState::from_bytes(&state.to_bytes()).as_ref(), Ok(&state));
    if mmio.restore(&state).is_err() {
        assert_eq!(read(&mut mmio, 0x70), 0, "as after a reset");
    } else {
        assert_eq!(mmio.save(), state);
    }
    for _ in 0..4 {
        let _ = mmio.poll_until_idle();
    }
    mmio.quiesce();
}

/// A source of small decisions.
struct Bytes8<'a>(&'a [u8]);

impl Bytes8<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }
}

/// Plays what `bytes` say against a block device with two queues that a well-behaved driver has started.
///
/// # Panics
/// The device did what it must not.
pub fn play(bytes: &[u8]) {
    let jobs = Arc::new(AtomicU64::new(0));
    let guest = guest();
    let ram = guest.memory();
    let device = || Block::new(Box::new(Inline::new(Checked { jobs: Arc::clone(&jobs) })), 2, "hostile");
    let mut mmio = attach(device(), &guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut mmio, u64::MAX, 2, 16);
    let area = driver.allocate(4096);
    let mut source = Bytes8(bytes);
    while let Some([what, a, b]) = source.take() {
        let small = u16::from_le_bytes([a, b]);
        match what % 8 {
            // Any word of the queues' areas and of the memory around.
            0 | 1 => {
                let Some(value) = source.take::<4>() else { break };
                let span = area + 4096 - LOW.0;
                let _ = ram.write_slice(&value, GuestAddress(LOW.0 + u64::from(small) % span));
            }
            2 => {
                let Some([c, d, e, f]) = source.take() else { break };
                let (flags, next) = (u16::from(c & 7), u16::from(d % 20));
                let table = if f & 1 == 0 { driver.rings[usize::from(f >> 1 & 1)].descriptors } else { area };
                let target = if b & 1 == 0 { area + u64::from(b) * 8 } else { table };
                driver.describe(
                    table,
                    u16::from(a % 16),
                    target,
                    u32::from(e) * 16 + u32::from(e & 1),
                    flags,
                    next,
                );
            }
            3 => driver.make_available(usize::from(a & 1), u16::from(b % 20)),
            4 => {
                let Some([c, d, e, f]) = source.take() else { break };
                let header = [u32::from(a % 16).to_le_bytes(), [0; 4]].concat();
                driver.fill(area, &header);
                driver.fill(area + 8, &u64::from(u32::from_le_bytes([c, d, e & 1, f & 1])).to_le_bytes());
                driver.offer(usize::from(b & 1), &[(area, 16)], &[(area + 64, u32::from(c) * 16 + 1)]);
            }
            5 => {
                let Some(value) = source.take::<4>() else { break };
                // A reset makes for a dull game: only now and then.
                let offset = u64::from(a) * 4 % 0x200;
                if offset != 0x70 || b % 16 == 0 {
                    mmio.write(offset, [4, 4, 1, 2, 8][usize::from(b) % 5], u32::from_le_bytes(value).into());
                }
            }
            6 if what >> 3 >= 28 => {
                // Another process takes the device up, whatever the driver has done with it.
                let state = mmio.save();
                mmio = attach(device(), &guest);
                let bytes = state.to_bytes();
                let read = MmioState::from_bytes(&bytes).expect("what was saved can be read");
                assert_eq!(mmio.restore(&read), Ok(()));
                assert_eq!(mmio.save().to_bytes(), bytes);
            }
            6 => drop(mmio.read(u64::from(small), what >> 3)),
            _ => {
                let before = jobs.load(Ordering::Relaxed);
                write(&mut mmio, 0x50, u32::from(a & 3));
                let _ = mmio.poll_until_idle();
                assert!(jobs.load(Ordering::Relaxed) - before <= MOST * 8);
            }
        }
    }
    for _ in 0..4 {
        let _ = mmio.poll_until_idle();
    }
    write(&mut mmio, 0x70, 0);
    assert_eq!(read(&mut mmio, 0x70), 0);
    // Whatever was before, a reset makes it whole.
    driver = Driver::new(&guest);
    driver.start(&mut mmio, u64::MAX, 1, 16);
    let (header, status) = (driver.allocate(16), driver.allocate(1));
    driver.fill(header, &[4, 0, 0, 0]);
    driver.fill(status, &[0xff]);
    driver.offer(0, &[(header, 16)], &[(status, 1)]);
    super::kick(&mut mmio, 0);
    assert_eq!(driver.bytes(status, 1), [0]);
}
