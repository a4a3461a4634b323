//! A disk in a storm, and what its requests must do.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Granted, Random, Subject, offset};
use crate::core::memory::Buffers;
use crate::devices::block::Block;
use crate::storage::{Done, Engine, Geometry, Image, Inline, Job, abandoned};

/// Sectors of the disk.
const SECTORS: u64 = 32;
const SECTOR: usize = 512;
/// Operations of the driver (5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;
/// What a request says at its end.
const OK: u8 = 0;

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    operations: u64,
    is_changed: bool,
    under_way: usize,
}

/// A disk of a few sectors in memory.
pub struct Disk {
    content: Arc<Mutex<Content>>,
    before: Vec<u8>,
    read_only: bool,
    is_late: bool,
    random: Random,
}

struct InMemory {
    content: Arc<Mutex<Content>>,
    read_only: bool,
}

fn locked(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InMemory {
    fn bytes(&self, offset: u64, len: u64, work: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<()> {
        assert!(offset.is_multiple_of(SECTOR as u64) && len.is_multiple_of(SECTOR as u64) && len > 0);
        let mut content = locked(&self.content);
        content.operations += 1;
        let end = offset.checked_add(len).expect("an end");
        work(content.bytes.get_mut(offset as usize..end as usize).expect("within the disk"))
    }

    fn change(
        &self,
        offset: u64,
        len: u64,
        work: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        assert!(!self.read_only, "the disk may only be read");
        locked(&self.content).is_changed = true;
        self.bytes(offset, len, work)
    }
}

impl Image for InMemory {
    fn geometry(&self) -> Geometry {
        let size = SECTORS * SECTOR as u64;
        Geometry { size, block: 512, physical: 4096, optimal: 0, discard: 4096, read_only: self.read_only }
    }

    fn read(&self, offset: u64, into: &Buffers) -> io::Result<()> {
        self.bytes(offset, into.len(), |bytes| into.copy_in(bytes).map(drop).map_err(io::Error::other))
    }

    fn write(&self, offset: u64, from: &Buffers, _: bool) -> io::Result<()> {
        self.change(offset, from.len(), |bytes| from.copy_out(bytes).map(drop).map_err(io::Error::other))
    }

    fn flush(&self) -> io::Result<()> {
        locked(&self.content).operations += 1;
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(offset, len, |_| Ok(()))
    }

    fn write_zeroes(&self, offset: u64, len: u64, _: bool) -> io::Result<()> {
        self.change(offset, len, |bytes| {
            bytes.fill(0);
            Ok(())
        })
    }
}

/// An engine whose jobs are done later, in any order.
struct Late {
    image: InMemory,
    jobs: Vec<Job>,
    /// As many as there are with room for another.
    room: usize,
    is_abandoned: bool,
    random: Random,
}

impl Late {
    /// Does so many of the jobs.
    fn work(&mut self, count: u64, done: &mut Vec<Done>) {
        for _ in 0..count {
            let Job { token, operation } =
                self.jobs.swap_remove(self.random.below(self.jobs.len() as u64) as usize);
            let result = if self.is_abandoned { Err(abandoned()) } else { self.image.run(&operation) };
            done.push(Done { token, result });
            locked(&self.image.content).under_way -= 1;
        }
        self.is_abandoned &= !self.jobs.is_empty();
    }
}

impl Engine for Late {
    fn geometry(&self) -> Geometry {
        self.image.geometry()
    }

    fn has_room(&self) -> bool {
        self.jobs.len() < self.room
    }

    fn submit(&mut self, job: Job) {
        locked(&self.image.content).under_way += 1;
        self.jobs.push(job);
    }

    fn start(&mut self) {}

    fn completed(&mut self, done: &mut Vec<Done>) {
        let count = self.random.below(self.jobs.len() as u64 + 1);
        self.work(count, done);
    }

    fn wait(&mut self, done: &mut Vec<Done>) {
        let most = self.jobs.len() as u64;
        let count = most.min(1 + self.random.below(most.max(1)));
        self.work(count, done);
    }

    fn abandon(&mut self) {
        self.is_abandoned = !self.jobs.is_empty();
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        locked(&self.image.content).under_way -= self.jobs.len();
    }
}

impl Default for Disk {
    fn default() -> Self {
        Disk::new()
    }
}

impl Disk {
    /// A disk full of zeroes.
    pub fn new() -> Disk {
        let bytes = vec![0; SECTORS as usize * SECTOR];
        let before = bytes.clone();
        let content = Content { bytes, ..Content::default() };
        Disk {
            content: Arc::new(Mutex::new(content)),
            before,
            read_only: false,
            is_late: false,
            random: Random::default(),
        }
    }
}

/// The bytes of parts, those that are in memory.
fn gather(parts: &[crate::core::memory::Part], memory: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for part in parts {
        let at = offset(part.address, part.len).or((part.len == 0).then_some(0))?;
        all.extend_from_slice(&memory[at..at + part.len as usize]);
    }
    Some(all)
}

/// Whether two parts that are written have a byte in common: what stands there then depends on the order of the writes.
fn overlap(chain: &Granted) -> bool {
    let all: Vec<_> = chain.writable.iter().filter(|part| part.len > 0).collect();
    let end = |part: usize| all[part].address.0.saturating_add(all[part].len.into());
    let is_apart =
        |one: usize, other: usize| end(one) <= all[other].address.0 || end(other) <= all[one].address.0;
    (0..all.len()).any(|one| (one + 1..all.len()).any(|other| !is_apart(one, other)))
}

impl Subject for Disk {
    type Device = Block;

    fn begin(&mut self, random: &mut Random) {
        // What a seed does depends on nothing that was before.
        (self.read_only, self.is_late) = (random.once_in(8), random.once_in(2));
        self.random = Random::new(random.word());
        locked(&self.content).bytes.fill(0);
        self.before.fill(0);
    }

    fn device(&mut self) -> Block {
        let image = InMemory { content: Arc::clone(&self.content), read_only: self.read_only };
        let mut random = Random::new(self.random.word());
        let room = random.of(&[1, 4, 30, 100]);
        let engine: Box<dyn Engine> = if self.is_late {
            Box::new(Late { image, jobs: Vec::new(), room, is_abandoned: false, random })
        } else {
            Box::new(Inline::new(image))
        };
        Block::new(engine, 2, "storm")
    }

    fn request(&mut self, random: &mut Random) -> (Vec<Vec<u8>>, Vec<u32>) {
        let (any, within) = (random.word(), random.below(SECTORS));
        let kind = random.of(&[IN, IN, OUT, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, 7, any as u32]);
        let sector = random.of(&[within, within, within, within, SECTORS, u64::MAX, any]);
        let mut header = [kind.to_le_bytes(), [0; 4]].concat();
        header.extend(sector.to_le_bytes());
        let sectors = 1 + random.below(4) as usize;
        let mut data = match kind {
            OUT => random.word().to_le_bytes().repeat(sectors * SECTOR / 8),
            DISCARD | WRITE_ZEROES => {
                let mut range = random.below(SECTORS + 1).to_le_bytes().to_vec();
                range.extend(random.of(&[0, 1, 4, 32, 1 << 23, u32::MAX]).to_le_bytes());
                range.extend(random.of(&[0, 0, 1, 2, u32::MAX]).to_le_bytes());
                range
            }
            _ => Vec::new(),
        };
        let mut writable = match kind {
            IN => vec![(sectors * SECTOR) as u32],
            GET_ID => vec![20],
            _ => Vec::new(),
        };
        // Where one part ends and the next begins is the driver's business (2.7.4).
        let mut readable = Vec::new();
        if random.once_in(4) {
            readable.push(header.drain(..random.below(17) as usize).collect());
        }
        if random.once_in(4) {
            header.append(&mut data);
        }
        readable.push(header);
        if !data.is_empty() {
            if random.once_in(4) {
                readable.push(data.drain(..random.below(data.len() as u64 + 1) as usize).collect());
            }
            readable.push(data);
        }
        match (writable.last_mut(), random.below(4)) {
            (Some(last), 0) => *last += 1,
            (Some(last), 1) => {
                let cut = random.below(u64::from(*last) + 1) as u32;
                *last -= cut;
                writable.extend([cut, 1]);
            }
            _ => writable.push(1),
        }
        (readable, writable)
    }

    fn may_refuse(&self, chain: &Granted) -> bool {
        // There is no byte for the status.
        chain.writable.iter().rfind(|part| part.len > 0).is_none_or(|part| {
            let last = part.address.0.wrapping_add(u64::from(part.len) - 1);
            offset(vm_memory::GuestAddress(last), 1).is_none()
        })
    }

    fn judge(&mut self, chain: &Granted, before: &[u8], after: &[u8], written: u32) {
        let content = locked(&self.content);
        let disk = &mut self.before;
        let (asked, told) = (gather(&chain.readable, before), gather(&chain.writable, after));
        if let (Some(asked), Some(told), false) = (asked, told, overlap(chain))
            && let (Some((header, data)), Some((status, read))) =
                (asked.split_first_chunk::<16>(), told.split_last())
        {
            let [a, b, c, d, _, _, _, _, sector @ ..] = *header;
            let (kind, sector) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector));
            let len = if kind == IN { read.len() } else { data.len() };
            let is_in = |first: u64, count: u64| first.checked_add(count).is_some_and(|end| end <= SECTORS);
            let is_sound = len > 0 && len.is_multiple_of(SECTOR) && is_in(sector, (len / SECTOR) as u64);
            assert!(*status <= 2, "the status is {status}");
            assert!(*status != OK || u64::from(written) == chain.room(), "{written} bytes of {chain:x?}");
            let place = || sector as usize * SECTOR..sector as usize * SECTOR + len;
            match kind {
                IN => {
                    assert_eq!(*status == OK, is_sound, "a read of {len} bytes from sector {sector}");
                    assert!(!is_sound || *read == disk[place()], "what is read is not what is there");
                }
                OUT => {
                    assert_eq!(*status == OK, is_sound && !self.read_only, "a write to sector {sector}");
                    if *status == OK {
                        disk[place()].copy_from_slice(data);
                    }
                }
                FLUSH => assert_eq!(*status, OK, "a flush"),
                // Ranges are checked by the image.
                DISCARD | WRITE_ZEROES => disk.clone_from(&content.bytes),
                GET_ID => assert!(
                    *status != OK || read.is_empty() || read.starts_with(&b"storm\0"[..read.len().min(6)])
                ),
                _ => assert_eq!(*status, 2, "a request of kind {kind}"),
            }
            assert!(*disk == content.bytes, "a request of kind {kind} has changed other sectors");
        }
    }

    fn is_at_rest(&self) -> bool {
        locked(&self.content).under_way == 0
    }

    fn settle(&mut self) -> u64 {
        let mut content = locked(&self.content);
        if std::mem::take(&mut content.is_changed) {
            self.before.clone_from(&content.bytes);
        }
        std::mem::take(&mut content.operations)
    }
}
