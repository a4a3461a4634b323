//! Raw images: the bytes of a plain file or of a block device are the disk.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};

use rustix::fs::{
    Advice, FallocateFlags, FlockOperation, fadvise, fallocate, flock, ioctl_blkpbszget, ioctl_blksszget,
};

use super::{Geometry, Image, vectored};
use crate::core::memory::Buffers;

/// Bytes of a single write where zeroes must be written.
const ZEROES: usize = 1 << 16;

/// A raw image.
#[derive(Debug)]
pub struct RawImage {
    file: File,
    direct: Option<File>,
    geometry: Geometry,
}

impl RawImage {
    /// The image in `file`, which must be open for what is wanted.
    ///
    /// # Errors
    /// Neither a plain file nor a block device, or what the system says.
    pub fn new(mut file: File, read_only: bool) -> io::Result<RawImage> {
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither a plain file nor a block device",
            ));
        }
        // The metadata of a block device has no size.
        let size = file.seek(SeekFrom::End(0))?;
        let (block, physical) = match kind.is_block_device() {
            true => (ioctl_blksszget(&file)?.max(512), ioctl_blkpbszget(&file)?.max(512)),
            false => (512, 4096),
        };
        let geometry = Geometry { size, block, physical, optimal: 0, discard: physical, read_only };
        Ok(RawImage { file, direct: None, geometry })
    }

    /// The same file once more, opened for direct I/O.
    pub fn with_direct(mut self, direct: Option<File>) -> RawImage {
        // Nothing that is read ahead can be older than what is written directly. If that is not to be had, the file
        // has none of either.
        self.direct = direct.filter(|_| fadvise(&self.file, 0, None, Advice::Random).is_ok());
        self
    }

    /// The file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The file for direct I/O, if there is one.
    pub fn direct(&self) -> Option<BorrowedFd<'_>> {
        self.direct.as_ref().map(File::as_fd)
    }

    /// Fills `into` if that needs no waiting for a disk. False: it may, or something is wrong.
    pub fn read_cached(&self, offset: u64, into: &Buffers) -> bool {
        into.slices().is_ok_and(|slices| vectored::read_cached(self.file(), &slices, offset))
    }

    /// Makes a range read as zeroes without writing it. False: the file system knows no such way.
    ///
    /// # Errors
    /// What the system says.
    pub fn zero_quickly(&self, offset: u64, len: u64, unmap: bool) -> io::Result<bool> {
        let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // A hole reads as zeroes too: where a range cannot be zeroed it may do.
        for mode in if unmap { [punch, zero] } else { [zero, punch] } {
            match fallocate(&self.file, mode, offset, len) {
                Err(error) if is_impossible(error) => {}
                other => return other.map(|()| true).map_err(io::Error::from),
            }
        }
        Ok(false)
    }

    /// Writes zeroes, for file systems that know nothing quicker.
    fn write_zeroes_slowly(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeroes = [0; ZEROES];
        let mut done = 0u64;
        while done < len {
            let rest = usize::try_from(len.saturating_sub(done)).unwrap_or(ZEROES);
            let piece = zeroes.get(..rest.min(ZEROES)).unwrap_or(&zeroes);
            self.file.write_all_at(piece, offset.saturating_add(done))?;
            done = done.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

/// Whether the answer means that the file system or device cannot do it.
pub fn is_impossible(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV)
}

fn no_ram(_: crate::core::memory::NotRam) -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

impl Drop for RawImage {
    fn drop(&mut self) {
        // A ring that goes holds the file for some time yet, and with it a lock.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Image for RawImage {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, offset: u64, into: &Buffers) -> io::Result<()> {
        vectored::read(self.file(), &into.slices().map_err(no_ram)?, offset)
    }

    fn write(&self, offset: u64, from: &Buffers, durable: bool) -> io::Result<()> {
        vectored::write(self.file(), &from.slices().map_err(no_ram)?, offset, durable)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, mode, offset, len) {
            Err(error) if !is_impossible(error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        if self.zero_quickly(offset, len, unmap)? {
            return Ok(());
        }
        self.write_zeroes_slowly(offset, len)
    }
}
