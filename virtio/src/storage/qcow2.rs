//! Copy-on-write images in QEMU's qcow2 format, by the `imago` crate.
//!
//! Principle: only files that the configuration names are opened. The names in an image's header are the word of
//! whoever wrote the image, and are never followed.
//!
//! What the guest gives up, the image gives back to the file system that it lies on: `space` makes holes of clusters that
//! the crate has set free.

mod header;
mod space;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use imago::file::File as ImageFile;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder};

use self::header::Header;
use self::space::Space;
use super::{Geometry, Image};
use crate::config::Format;
use crate::core::memory::{Buffers, NotRam};

/// One file of a chain, open.
type Opened = Arc<FormatAccess<ImageFile>>;

/// A qcow2 image, with what lies below it.
pub struct Qcow2Image {
    // Discards move what a read or write has already looked up, and zeroes mark whole clusters: both need the image for
    // themselves.
    access: RwLock<FormatAccess<ImageFile>>,
    space: Space,
    giving_up: GivingUp,
    geometry: Geometry,
}

/// What can become of clusters that are not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivingUp {
    /// They are marked as zeroes.
    Zeroes,
    /// They are marked as nothing, which reads as zeroes: version 2 has no other mark, and nothing lies below.
    Nothing,
    /// They have to stay: version 2 would show what lies below.
    No,
}

impl Qcow2Image {
    /// Opens the image in `file` on top of `below`, the nearest first, each with its format.
    ///
    /// # Errors
    /// Not a qcow2 image, a feature of one that is not known, a backing file in the header but not in `below`, or what
    /// the system says.
    pub fn new(file: File, read_only: bool, below: Vec<(File, Format)>) -> io::Result<Qcow2Image> {
        let header = Header::read(&file)?;
        header.check(!read_only)?;
        let giving_up = match (header.version, below.is_empty()) {
            (2, true) => GivingUp::Nothing,
            (2, false) => GivingUp::No,
            _ => GivingUp::Zeroes,
        };
        let space = Space::new(file.try_clone()?);
        let mut backing: Option<Opened> = None;
        // The farthest first: each is opened on top of the one before.
        for (file, format) in below.into_iter().rev() {
            if format == Format::Qcow2 {
                let refused = |error: io::Error| io::Error::new(error.kind(), format!("below it: {error}"));
                Header::read(&file).and_then(|header| header.check(false)).map_err(refused)?;
            }
            let file = ImageFile::try_from(file)?;
            let access = match format {
                Format::Raw => FormatAccess::new(Raw::builder(file).open(DenyImplicitOpenGate::default())?),
                Format::Qcow2 => FormatAccess::new(layer(file, false, backing.take())?),
            };
            backing = Some(Arc::new(access));
        }
        let access = FormatAccess::new(layer(ImageFile::try_from(file)?, !read_only, backing)?);
        let geometry = Geometry {
            size: access.size(),
            block: 512,
            physical: 4096,
            optimal: 0,
            // Less than a cluster cannot be given up; more than 2 MiB a cluster has not.
            discard: u32::try_from(header.cluster()).unwrap_or(0),
            read_only,
        };
        Ok(Qcow2Image { access: RwLock::new(access), space, giving_up, geometry })
    }

    /// Fills memory of this program from `offset` on.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.shared(|access| access.read(into, offset))
    }

    fn shared<T>(&self, f: impl FnOnce(&FormatAccess<ImageFile>) -> io::Result<T>) -> io::Result<T> {
        f(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A qcow2 file, on `backing` and nothing else.
fn layer(file: ImageFile, write: bool, backing: Option<Opened>) -> io::Result<Qcow2<ImageFile, Opened>> {
    let named = backing.is_some();
    let mut builder = Qcow2::<ImageFile, Opened>::builder(file).write(write);
    if named {
        builder = builder.backing(backing);
    }
    // Without one of ours, a backing file that the header asks for is an error of this gate.
    let image = builder.open(DenyImplicitOpenGate::default())?;
    if named && image.implicit_backing_file().is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the image has no backing file, but one is configured",
        ));
    }
    Ok(image)
}

fn no_ram(_: NotRam) -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

impl Image for Qcow2Image {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, offset: u64, into: &Buffers) -> io::Result<()> {
        let slices = into.slices().map_err(no_ram)?;
        let (vector, _guard) = IoVectorMut::from_volatile_slice(&slices);
        self.shared(|access| access.readv(vector, offset))
    }

    fn write(&self, offset: u64, from: &Buffers, durable: bool) -> io::Result<()> {
        let slices = from.slices().map_err(no_ram)?;
        let (vector, _guard) = IoVector::from_volatile_slice(&slices);
        self.shared(|access| access.writev(vector, offset))?;
        if durable { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> io::Result<()> {
        self.shared(|access| {
            access.flush()?;
            access.sync()
        })
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        match self.giving_up {
            GivingUp::Zeroes => self.give_up(offset, len, |access| access.discard_to_any(offset, len)),
            GivingUp::Nothing => self.give_up(offset, len, |access| access.discard_to_backing(offset, len)),
            GivingUp::No => Ok(()),
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        match (unmap, self.giving_up) {
            (true, GivingUp::Zeroes) => {
                self.give_up(offset, len, |access| access.discard_to_zero(offset, len))
            }
            (false, GivingUp::Zeroes) => {
                // The crate looks whether the rest of a cluster is zero and then marks all of it: what is written to the
                // rest in between would be lost.
                let access = self.access.write().unwrap_or_else(PoisonError::into_inner);
                access.write_zeroes(offset, len)
            }
            (true, GivingUp::Nothing) => {
                let cluster = u64::from(self.geometry.discard.max(1));
                let end = offset.saturating_add(len);
                // Whole clusters are given up, what is left of others at both ends is written.
                let first = offset.next_multiple_of(cluster).min(end);
                let last = end.saturating_sub(end % cluster).max(first);
                let inner = last.saturating_sub(first);
                self.give_up(first, inner, |access| access.discard_to_backing(first, inner))?;
                self.write_zeroes_slowly(offset, first.saturating_sub(offset))?;
                self.write_zeroes_slowly(last, end.saturating_sub(last))
            }
            (false, GivingUp::Nothing) | (_, GivingUp::No) => self.write_zeroes_slowly(offset, len),
        }
    }
}

impl Qcow2Image {
    /// Gives up what holds a range, by `discard`, and then its room in the host's file system.
    fn give_up(
        &self,
        offset: u64,
        len: u64,
        discard: impl FnOnce(&mut FormatAccess<ImageFile>) -> io::Result<()>,
    ) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let mut access = self.access.write().unwrap_or_else(PoisonError::into_inner);
        // Tables are read from the file, before and after: what of them is in the crate's caches must be there too.
        access.flush()?;
        let clusters = self.space.clusters(offset, len)?;
        discard(&mut access)?;
        access.flush()?;
        // With the image still for ourselves, nobody can have taken a cluster that was set free.
        self.space.give_back(&clusters)
    }

    fn write_zeroes_slowly(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeroes = vec![0; 1 << 16];
        let mut done = 0u64;
        while done < len {
            let rest = usize::try_from(len.saturating_sub(done)).unwrap_or(usize::MAX);
            let piece = zeroes.get(..rest.min(zeroes.len())).unwrap_or(&zeroes);
            self.shared(|access| access.write(piece, offset.saturating_add(done)))?;
            done = done.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}
