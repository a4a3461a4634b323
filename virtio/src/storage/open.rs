//! Opens the files that a disk's configuration names, locks them, and makes an engine of them.
//!
//! Principle: two writers never share an image, nor a writer and a reader. Advisory locks (flock) say who has it; they
//! hold against every program that takes them, and end with the process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::Engine;
use super::qcow2::Qcow2Image;
use super::raw::RawImage;
use super::reader::Reader;
use super::uring::Uring;
use super::workers::Workers;
use crate::config::{DiskConfig, Format, Layer};
use crate::devices::block::SECTOR;
use crate::signature::Signature;

/// Threads for an image whose operations block.
const THREADS: usize = 2;
/// Between two attempts to lock a file.
const PAUSE: Duration = Duration::from_millis(20);

/// Why an image cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be opened.
    #[error("{path}: {error}")]
    Open {
        /// The file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// Somebody else has it.
    #[error("{path}: in use by another program{}", if *.writer { ", or by a reader while this guest is to write" } else { " that writes it" })]
    Locked {
        /// The file.
        path: String,
        /// Whether it was to be written.
        writer: bool,
    },
    /// It is not what the configuration says.
    #[error("{path}: cannot be used as a {format} image: {error}")]
    Format {
        /// The file.
        path: String,
        /// The format that was to be.
        format: &'static str,
        /// What is wrong with it.
        error: io::Error,
    },
    /// Its bytes say that it is something else, and nobody said a format.
    #[error(
        "{path}: {signature}; `format = \"{}\"`{} serves it as it is",
        if *.signature == Signature::Qcow2 { Format::Qcow2.name() } else { Format::Raw.name() },
        if *.signature == Signature::Cd { " or `read_only = true`" } else { "" },
    )]
    Foreign {
        /// The file.
        path: String,
        /// What it is.
        signature: Signature,
    },
    /// It has no room for a single sector.
    #[error("{path}: the image is empty")]
    Empty {
        /// The file.
        path: String,
    },
    /// It ends within a sector.
    #[error("{path}: {size} bytes are no multiple of 512: `truncate -s {} {path}` fills the last sector up", size.next_multiple_of(SECTOR))]
    Partial {
        /// The file.
        path: String,
        /// Its bytes.
        size: u64,
    },
    /// No threads or descriptors are to be had.
    #[error("{path}: cannot start: {error}")]
    Start {
        /// The file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
}

/// A disk's files, open and locked. Nothing of what is in them has been looked at.
pub struct Opened {
    config: DiskConfig,
    file: File,
    /// The same for direct I/O, of a raw image.
    direct: Option<File>,
    below: Vec<File>,
}

/// Opens a disk's files and locks them. If somebody has one, waits for it as long as `patience` says: the kernel takes
/// a moment to let go of what a process that ended had.
///
/// # Errors
/// [`OpenError`]
pub fn open(config: &DiskConfig, patience: Duration) -> Result<Opened, OpenError> {
    let until = Instant::now().checked_add(patience);
    let open_file = |path: &str, read_only| loop {
        match open_file(path, read_only) {
            Err(OpenError::Locked { .. }) if until.is_some_and(|until| Instant::now() < until) => {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    };
    let file = open_file(&config.image, config.read_only)?;
    let layers = config.backing.iter();
    let below = layers.map(|layer| open_file(&layer.image, true)).collect::<Result<_, _>>()?;
    let direct = match config.format() {
        Format::Raw => open_direct(&config.image, &file, config.read_only),
        Format::Qcow2 => None,
    };
    Ok(Opened { config: config.clone(), file, direct, below })
}

impl Opened {
    /// Reads what must be read, and makes something that this program itself can read from. Needs no more rights than the open
    /// files give.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn reader(self) -> Result<Reader, OpenError> {
        self.check()?;
        let Opened { config, file, below, .. } = self;
        let format =
            |error| OpenError::Format { path: config.image.clone(), format: config.format().name(), error };
        match config.format() {
            Format::Raw => Reader::raw(file).map_err(format),
            Format::Qcow2 => {
                let formats = config.backing.iter().map(Layer::format);
                let image = Qcow2Image::new(file, true, below.into_iter().zip(formats).collect());
                image.map(Reader::qcow2).map_err(format)
            }
        }
    }

    /// Whether the files are what the configuration says, as far as their signatures tell.
    fn check(&self) -> Result<(), OpenError> {
        let Opened { config, file, below, .. } = self;
        object(file, &config.image, config.format, config.read_only)?;
        for (layer, file) in config.backing.iter().zip(below) {
            object(file, &layer.image, layer.format, true)?;
        }
        Ok(())
    }

    /// Reads what must be read, and makes an engine. Needs no more rights than the open files give.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn start(self) -> Result<Box<dyn Engine>, OpenError> {
        self.check()?;
        let Opened { config, file, direct, below } = self;
        let path = || config.image.clone();
        let format = |error| OpenError::Format { path: path(), format: config.format().name(), error };
        let start = |error| OpenError::Start { path: path(), error };
        let engine: Box<dyn Engine> = match config.format() {
            Format::Raw => {
                let image = RawImage::new(file, config.read_only).map_err(format)?.with_direct(direct);
                match Uring::new(image) {
                    Ok(engine) => Box::new(engine),
                    // A kernel without io_uring, or one where it is switched off.
                    Err((image, _)) => Box::new(Workers::new(image, THREADS).map_err(start)?),
                }
            }
            Format::Qcow2 => {
                let formats = config.backing.iter().map(Layer::format);
                let below = below.into_iter().zip(formats).collect();
                let image = Qcow2Image::new(file, config.read_only, below).map_err(format)?;
                Box::new(Workers::new(image, THREADS).map_err(start)?)
            }
        };
        match engine.geometry().size {
            0 => Err(OpenError::Empty { path: path() }),
            size if !size.is_multiple_of(SECTOR) => Err(OpenError::Partial { path: path(), size }),
            _ => Ok(engine),
        }
    }
}

/// Refuses a file whose bytes say that it is something else than what nobody has said that it is.
fn object(file: &File, path: &str, format: Option<Format>, read_only: bool) -> Result<(), OpenError> {
    if format.is_some() {
        return Ok(());
    }
    let failed = |error| OpenError::Open { path: path.into(), error };
    match Signature::of_file(file).map_err(failed)? {
        Some(signature) if !signature.allows(Format::default(), read_only) => {
            Err(OpenError::Foreign { path: path.into(), signature })
        }
        _ => Ok(()),
    }
}

fn open_file(path: &str, read_only: bool) -> Result<File, OpenError> {
    let failed = |error| OpenError::Open { path: path.into(), error };
    let mut options = OpenOptions::new();
    options.read(true).write(!read_only);
    if !read_only && is_block_device(Path::new(path)) {
        // Of a block device O_EXCL says that it is mounted nowhere, nor open this way (open(2)).
        options.custom_flags(libc::O_EXCL);
    }
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => OpenError::Locked { path: path.into(), writer: true },
        _ => failed(error),
    })?;
    let lock = match read_only {
        true => FlockOperation::NonBlockingLockShared,
        false => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(&file, lock) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(OpenError::Locked { path: path.into(), writer: !read_only })
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// The file that is open as `file`, once more for direct I/O. `None`: its file system has none, or the name leads to
/// another file by now.
fn open_direct(path: &str, file: &File, read_only: bool) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(!read_only).custom_flags(libc::O_DIRECT);
    let direct = options.open(path).ok()?;
    let (one, other) = (file.metadata().ok()?, direct.metadata().ok()?);
    (one.dev() == other.dev() && one.ino() == other.ino()).then_some(direct)
}

fn is_block_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device())
}
