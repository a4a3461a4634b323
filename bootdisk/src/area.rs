//! A range of a disk: all of it, or a partition.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use virtio::storage::reader::Reader;

/// Where a disk's bytes come from.
pub trait Source {
    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    ///
    /// The range is not within the disk, or what the system says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

impl Source for Reader {
    fn size(&self) -> u64 {
        Reader::size(self)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        Reader::read_at(self, offset, into)
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).ok();
        let range = offset.and_then(|start| self.get(start..start.checked_add(into.len())?));
        into.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A range of a disk.
#[derive(Clone)]
pub struct Area {
    disk: Rc<dyn Source>,
    start: u64,
    size: u64,
}

impl Area {
    /// All of a disk.
    pub fn whole(disk: impl Source + 'static) -> Area {
        let size = disk.size();
        Area { disk: Rc::new(disk), start: 0, size }
    }

    /// A part of it; none if it has no such part.
    pub fn part(&self, start: u64, size: u64) -> Option<Area> {
        let is_inside = start.checked_add(size).is_some_and(|end| end <= self.size);
        let start = self.start.checked_add(start).filter(|_| is_inside && size != 0)?;
        Some(Area { disk: Rc::clone(&self.disk), start, size })
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    ///
    /// The range is not within the area, or what the system says.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64);
        let start = self.start.checked_add(offset).filter(|_| end.is_some_and(|end| end <= self.size));
        self.disk.read_at(start.ok_or(io::ErrorKind::UnexpectedEof)?, into)
    }

    /// The bytes of a field; none if it is not within the area.
    pub fn field<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes).ok()?;
        Some(bytes)
    }

    /// The area as a stream, for crates that take one.
    pub fn stream(&self) -> Stream {
        Stream { area: self.clone(), position: 0, block: Vec::new(), block_at: None }
    }
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {:#x} on", self.size, self.start)
    }
}

/// An area as a stream that is read in blocks, since it is asked for a few bytes at a time. It cannot be written.
#[derive(Debug)]
pub struct Stream {
    area: Area,
    position: u64,
    block: Vec<u8>,
    block_at: Option<u64>,
}

/// Bytes of a block.
const BLOCK: u64 = 64 << 10;

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let at = self.position - self.position % BLOCK;
        let left = self.area.size.saturating_sub(at).min(BLOCK);
        if self.position >= self.area.size {
            return Ok(0);
        }
        if self.block_at != Some(at) {
            self.block_at = None;
            self.block.resize(usize::try_from(left).unwrap_or(0), 0);
            self.area.read(at, &mut self.block)?;
            self.block_at = Some(at);
        }
        let inside = usize::try_from(self.position.saturating_sub(at)).unwrap_or(usize::MAX);
        let rest = self.block.get(inside..).unwrap_or_default();
        let count = rest.len().min(into.len());
        for (to, from) in into.iter_mut().zip(rest) {
            *to = *from;
        }
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.area.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Write for Stream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
