//! Copy-on-write images in QEMU's qcow2 format, by the `imago` crate.
//!
//! Principle: only files that the configuration names are opened. The names in an image's header are the word of
//! whoever wrote the image, and are never followed.

use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use imago::file::File as ImageFile;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder};

use super::{Geometry, Image};
use crate::config::Format;
use crate::core::memory::{Buffers, NotRam};

/// One file of a chain, open.
type Opened = Arc<FormatAccess<ImageFile>>;

/// A qcow2 image, with what lies below it.
pub struct Qcow2Image {
    // Discards move what a read or write has already looked up: they need the image for themselves.
    access: RwLock<FormatAccess<ImageFile>>,
    geometry: Geometry,
}

impl Qcow2Image {
    /// Opens the image in `file` on top of `below`, the nearest first, each with its format.
    ///
    /// # Errors
    /// Not a qcow2 image, a feature of one that is not known, a backing file in the header but not in `below`, or what
    /// the system says.
    pub fn new(file: File, read_only: bool, below: Vec<(File, Format)>) -> io::Result<Qcow2Image> {
        let mut backing: Option<Opened> = None;
        // The farthest first: each is opened on top of the one before.
        for (file, format) in below.into_iter().rev() {
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
            discard: 65536,
            read_only,
        };
        Ok(Qcow2Image { access: RwLock::new(access), geometry })
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
        let mut access = self.access.write().unwrap_or_else(PoisonError::into_inner);
        match access.discard_to_any(offset, len) {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => Ok(()),
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        if unmap {
            let mut access = self.access.write().unwrap_or_else(PoisonError::into_inner);
            match access.discard_to_zero(offset, len) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                other => return other,
            }
        }
        let zeroed = self.shared(|access| access.write_zeroes(offset, len));
        match zeroed {
            // An image of format version 2 knows no zero clusters.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_zeroes_slowly(offset, len),
            other => other,
        }
    }
}

impl Qcow2Image {
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
