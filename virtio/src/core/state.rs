//! What a device's parts remember, as bytes: for a backend that comes back, for migration, and for dumps.
//!
//! Layouts are `#[repr(C)]` structures of little-endian integers, which `zerocopy` reads and writes: what stands here is
//! what is in the bytes, on every host, and there is no code between that could differ. A frame around them says what they
//! are, in which version, and a checksum that they are whole. What is read is an allegation until it has been checked
//! against the device: restoring goes through the same functions as a driver's own set-up.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::doorbell::MAX_QUEUES;
use super::queue::{QueueError, QueueState, Setup};

/// The most bytes that a device may add of its own.
const MOST_OF_DEVICE: usize = 4096;

/// Why a state cannot be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It is no state, or not of this part.
    #[error("it is not the state of such a device")]
    Kind,
    /// It is of a version that is not known here.
    #[error("it is of version {0}, which is not known here")]
    Version(u32),
    /// Bytes are missing, too many, or changed.
    #[error("it is damaged")]
    Damaged,
    /// A value cannot be.
    #[error("it has no possible value for {0}")]
    Value(&'static str),
    /// A queue cannot be as it says.
    #[error("one of its queues cannot be used: {0}")]
    Queue(#[from] QueueError),
}

/// What is before the bytes of a part.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Frame {
    kind: [u8; 4],
    version: U32,
    len: U32,
    /// CRC-32 (IEEE) of all other bytes, those of the frame first.
    checksum: U32,
}

impl Frame {
    fn around(kind: [u8; 4], version: u32, body: &[u8]) -> Option<Frame> {
        let len = u32::try_from(body.len()).ok()?;
        let mut frame = Frame { kind, version: version.into(), len: len.into(), checksum: U32::ZERO };
        let mut sum = crc32fast::Hasher::new();
        sum.update(frame.as_bytes());
        sum.update(body);
        frame.checksum = sum.finalize().into();
        Some(frame)
    }
}

/// Puts a frame around a part's bytes.
pub fn seal(kind: [u8; 4], version: u32, body: &[u8]) -> Vec<u8> {
    match Frame::around(kind, version, body) {
        Some(frame) => [frame.as_bytes(), body].concat(),
        // No part comes near 4 GiB; without a frame it is the state of nothing.
        None => Vec::new(),
    }
}

/// The bytes in a frame, if it is one of this kind and version, and whole.
///
/// # Errors
/// [`StateError::Kind`], [`StateError::Version`], [`StateError::Damaged`]
pub fn open(kind: [u8; 4], version: u32, bytes: &[u8]) -> Result<&[u8], StateError> {
    let (frame, body) = Frame::read_from_prefix(bytes).map_err(|_| StateError::Damaged)?;
    if frame.kind != kind {
        return Err(StateError::Kind);
    }
    // The checksum before the version: a damaged version would otherwise be told as an unknown one.
    let expected = Frame::around(kind, frame.version.get(), body).ok_or(StateError::Damaged)?;
    if expected.as_bytes() != frame.as_bytes() {
        return Err(StateError::Damaged);
    }
    if frame.version.get() != version {
        return Err(StateError::Version(frame.version.get()));
    }
    Ok(body)
}

/// Takes a structure off the front of `bytes`.
///
/// # Errors
/// [`StateError::Damaged`]: there are not enough.
pub fn take<T: FromBytes>(bytes: &mut &[u8]) -> Result<T, StateError> {
    let (value, rest) = T::read_from_prefix(bytes).map_err(|_| StateError::Damaged)?;
    *bytes = rest;
    Ok(value)
}

/// A queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedQueue {
    /// What the driver said of it.
    pub setup: Setup,
    /// Whether the driver may use it.
    pub ready: bool,
    /// Its index in the rings.
    pub state: QueueState,
}

/// What is saved of a device whatever its transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlState {
    /// The device status (2.1).
    pub status: u32,
    /// The driver's choice of features.
    pub features: u64,
    /// Changes of the configuration space by the device itself (2.5), counted.
    pub generation: u32,
    /// The queues.
    pub queues: Vec<SavedQueue>,
    /// The device's own part ([`Device::save`](super::device::Device::save)).
    pub device: Vec<u8>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ControlBytes {
    features: U64,
    status: U32,
    generation: U32,
    queues: U32,
    device: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct QueueBytes {
    descriptors: U64,
    driver: U64,
    device: U64,
    size: U16,
    next: U16,
    flags: U32,
}

/// The driver may use the queue.
const READY: u32 = 1;
/// The driver said how many entries it has.
const SIZED: u32 = 2;

impl From<&SavedQueue> for QueueBytes {
    fn from(queue: &SavedQueue) -> QueueBytes {
        let SavedQueue { setup, ready, state } = queue;
        let ready = if *ready { READY } else { 0 };
        let sized = if setup.size.is_some() { SIZED } else { 0 };
        QueueBytes {
            descriptors: setup.descriptors.into(),
            driver: setup.driver.into(),
            device: setup.device.into(),
            size: setup.size.unwrap_or(0).into(),
            next: state.next.into(),
            flags: (ready | sized).into(),
        }
    }
}

impl TryFrom<QueueBytes> for SavedQueue {
    type Error = StateError;

    fn try_from(bytes: QueueBytes) -> Result<SavedQueue, StateError> {
        let (flags, size) = (bytes.flags.get(), bytes.size.get());
        // One form for each state, so that what is read and saved again is the same bytes.
        if flags & !(READY | SIZED) != 0 || (flags & SIZED == 0 && size != 0) {
            return Err(StateError::Value("the flags of a queue"));
        }
        let setup = Setup {
            size: (flags & SIZED != 0).then_some(size),
            descriptors: bytes.descriptors.get(),
            driver: bytes.driver.get(),
            device: bytes.device.get(),
        };
        Ok(SavedQueue { setup, ready: flags & READY != 0, state: QueueState { next: bytes.next.get() } })
    }
}

impl ControlState {
    /// Appends it to `bytes`.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        // Of more than it can have, the reader sees that they are too many.
        let count = |len: usize| U32::new(u32::try_from(len).unwrap_or(u32::MAX));
        let head = ControlBytes {
            features: self.features.into(),
            status: self.status.into(),
            generation: self.generation.into(),
            queues: count(self.queues.len()),
            device: count(self.device.len()),
        };
        bytes.extend_from_slice(head.as_bytes());
        for queue in &self.queues {
            bytes.extend_from_slice(QueueBytes::from(queue).as_bytes());
        }
        bytes.extend_from_slice(&self.device);
    }

    /// Takes it off the front of `bytes`.
    ///
    /// # Errors
    /// [`StateError::Damaged`], [`StateError::Value`]
    pub fn read(bytes: &mut &[u8]) -> Result<ControlState, StateError> {
        let head: ControlBytes = take(bytes)?;
        let (queues, device) = (head.queues.get(), head.device.get());
        // Before anything is allocated: the number is an allegation like all else.
        if queues > MAX_QUEUES.into() {
            return Err(StateError::Value("the number of queues"));
        }
        let queues = (0..queues).map(|_| take::<QueueBytes>(bytes)?.try_into()).collect::<Result<_, _>>()?;
        let len = usize::try_from(device).ok().filter(|&len| len <= MOST_OF_DEVICE);
        let (device, rest) = len.and_then(|len| bytes.split_at_checked(len)).ok_or(StateError::Damaged)?;
        *bytes = rest;
        Ok(ControlState {
            status: head.status.get(),
            features: head.features.get(),
            generation: head.generation.get(),
            queues,
            device: device.to_vec(),
        })
    }
}
