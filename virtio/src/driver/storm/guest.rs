//! A guest whose memory is small enough to be looked at as a whole after each turn, and that notes what a device reaches of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::{Bytes, GuestAddress, MmapRegion, VolatileMemory as _, VolatileSlice};

use super::random::Random;
use crate::core::memory::GuestMemory;
use crate::core::ram::{Backing, Bank, Ram, RamRegion};

/// Where its memory begins, and its bytes. The last quarter is a region of its own.
pub const BASE: u64 = 0x4000_0000;
/// Bytes of it.
pub const SIZE: usize = 16 << 10;
const SECOND: usize = SIZE / 4 * 3;

/// What a device reaches, and what happens meanwhile.
#[derive(Debug, Default)]
struct Watch {
    /// Offsets and bytes, since the last look.
    reached: Vec<(usize, usize)>,
    /// Another vCPU writes so many words more, one before each access of the device.
    races: u32,
    random: Random,
}

/// Memory of the guest.
#[derive(Debug)]
pub struct Memory {
    bytes: Arc<MmapRegion<()>>,
    ram: Arc<Ram>,
    watch: Arc<Mutex<Watch>>,
}

#[derive(Debug)]
struct Watched {
    bytes: Arc<MmapRegion<()>>,
    watch: Arc<Mutex<Watch>>,
    first: usize,
    len: usize,
}

fn locked(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backing for Watched {
    fn slice(&self, offset: usize, count: usize) -> Option<VolatileSlice<'_>> {
        if offset.checked_add(count)? > self.len {
            return None;
        }
        let mut watch = locked(&self.watch);
        if let Some(races) = watch.races.checked_sub(1) {
            watch.races = races;
            let (at, value) = (watch.random.below(SIZE as u64 / 2) as usize * 2, watch.random.word() as u16);
            self.bytes.get_slice(at, 2).ok()?.copy_from(&[value]);
        }
        watch.reached.push((self.first + offset, count));
        self.bytes.get_slice(self.first + offset, count).ok()
    }
}

impl Memory {
    /// Memory full of zeroes.
    pub fn new() -> Memory {
        let bytes = Arc::new(MmapRegion::<()>::new(SIZE).expect("the host has memory"));
        let watch = Arc::<Mutex<Watch>>::default();
        let region = |first: usize, end: usize| {
            let backing =
                Watched { bytes: Arc::clone(&bytes), watch: Arc::clone(&watch), first, len: end - first };
            let bank = Bank { base: BASE + first as u64, size: (end - first) as u64 };
            RamRegion::new(bank, Arc::new(backing)).expect("a place for it")
        };
        let ram = Ram::new(vec![region(0, SECOND), region(SECOND, SIZE)]).expect("in order and apart");
        Memory { bytes, ram: Arc::new(ram), watch }
    }

    /// The guest writes.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        self.bytes.as_volatile_slice().write_slice(bytes, at).expect("within its memory");
    }

    /// All of it.
    pub fn read_all(&self, into: &mut [u8]) {
        self.bytes.as_volatile_slice().copy_to(into);
    }

    /// From now on another vCPU writes words anywhere while the device works, so many.
    pub fn race(&self, count: u32, random: Random) {
        let mut watch = locked(&self.watch);
        (watch.races, watch.random) = (count, random);
    }

    /// What the device has reached since the last call: offsets and bytes.
    pub fn take_reached(&self, into: &mut Vec<(usize, usize)>) {
        into.clear();
        into.append(&mut locked(&self.watch).reached);
    }
}

impl GuestMemory for Memory {
    fn memory(&self) -> Arc<Ram> {
        Arc::clone(&self.ram)
    }
}

/// The offset of an address in the guest's memory, if `len` bytes from there on are in it.
pub fn offset(address: GuestAddress, len: u32) -> Option<usize> {
    let at = usize::try_from(address.0.checked_sub(BASE)?).ok()?;
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    (at < SIZE && end <= SIZE).then_some(at)
}
