//! Images that a program reads for itself, with no guest whose memory the bytes go to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::Image as _;
use super::qcow2::Qcow2Image;
use super::raw::RawImage;

/// An image to read.
pub struct Reader {
    source: Source,
    size: u64,
}

enum Source {
    Raw(File),
    Qcow2(Box<Qcow2Image>),
}

impl Reader {
    /// The bytes of a plain file or of a block device.
    pub(super) fn raw(file: File) -> io::Result<Reader> {
        let size = RawImage::new(file.try_clone()?, true)?.geometry().size;
        Ok(Reader { source: Source::Raw(file), size })
    }

    pub(super) fn qcow2(image: Qcow2Image) -> Reader {
        Reader { size: image.geometry().size, source: Source::Qcow2(Box::new(image)) }
    }

    /// Bytes of the image.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    /// The range is not within the image, or what the system says.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.source {
            Source::Raw(file) => file.read_exact_at(into, offset),
            Source::Qcow2(image) => image.read_at(offset, into),
        }
    }
}
