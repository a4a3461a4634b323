//! One request of a driver (5.2.6): from a chain of descriptors to an operation on the image, or at once to a status.
//!
//! Where one field ends and the next begins does not depend on descriptors (2.7.4): the header is the first 16 bytes of
//! what can be read, the status the last byte of what can be written.

use std::sync::Arc;

use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use vm_memory::GuestAddress;

use super::layout::{MAX_DISCARD, MAX_WRITE_ZEROES};
use super::{SECTOR, layout};
use crate::core::memory::{Buffers, Part, cut_front, cut_last_byte, total};
use crate::core::queue::{Chain, QueueError};
use crate::core::ram::Ram;
use crate::storage::Operation;

/// Bytes of a request's header.
const HEADER: u32 = 16;
/// Bytes that describe one range of a discard or write-zeroes.
const RANGE: u64 = 16;

/// What a disk allows at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Sectors of the disk.
    pub capacity: u64,
    /// Whether it may only be read.
    pub read_only: bool,
    /// Whether a write is on stable storage before it is done.
    pub durable: bool,
    /// Whether discard was agreed on.
    pub discard: bool,
    /// Whether write-zeroes was.
    pub write_zeroes: bool,
}

/// What is to be done for a request.
#[derive(Debug)]
pub enum Action {
    /// This, on the image.
    Start(Operation),
    /// Return the serial number.
    Identify(Buffers),
    /// Nothing: this is its status.
    Refuse(u8),
}

/// A request.
#[derive(Debug)]
pub struct Request {
    /// What is to be done.
    pub action: Action,
    /// Where its status goes.
    pub status: GuestAddress,
    /// Bytes before the status that the device writes if all goes well.
    pub data: u32,
}

/// A request's status as a byte.
pub fn byte(status: u32) -> u8 {
    u8::try_from(status).unwrap_or(u8::MAX)
}

/// Reads a chain.
///
/// # Errors
/// [`QueueError::NoStatus`]: there is no byte in RAM for the status.
pub fn parse(mut chain: Chain, ram: &Arc<Ram>, terms: &Terms) -> Result<Request, QueueError> {
    let status = cut_last_byte(&mut chain.writable).ok_or(QueueError::NoStatus)?;
    Buffers::new(ram, &[Part { address: status, len: 1 }]).map_err(|_| QueueError::NoStatus)?;
    let data = u32::try_from(total(&chain.writable)).unwrap_or(u32::MAX);
    let action = decide(chain, ram, terms).unwrap_or_else(Action::Refuse);
    Ok(Request { action, status, data })
}

/// What to do, or the status that says why not.
fn decide(mut chain: Chain, ram: &Arc<Ram>, terms: &Terms) -> Result<Action, u8> {
    let error = byte(VIRTIO_BLK_S_IOERR);
    let header = cut_front(&mut chain.readable, HEADER).ok_or(error)?;
    let mut bytes = [0; 16];
    Buffers::new(ram, &header).and_then(|header| header.copy_out(&mut bytes)).map_err(|_| error)?;
    let [a, b, c, d, _, _, _, _, sector @ ..] = bytes;
    let sector = u64::from_le_bytes(sector);
    let out = |chain: &Chain| Buffers::new(ram, &chain.readable).map_err(|_| error);
    let into = |chain: &Chain| Buffers::new(ram, &chain.writable).map_err(|_| error);
    let start = |operation| Ok(Action::Start(operation));
    match u32::from_le_bytes([a, b, c, d]) {
        VIRTIO_BLK_T_IN => {
            let into = into(&chain)?;
            let offset = range(sector, into.len(), terms)?;
            start(Operation::Read { offset, into })
        }
        VIRTIO_BLK_T_OUT => {
            writable(terms)?;
            let from = out(&chain)?;
            let offset = range(sector, from.len(), terms)?;
            start(Operation::Write { offset, from, durable: terms.durable })
        }
        VIRTIO_BLK_T_FLUSH => start(Operation::Flush),
        VIRTIO_BLK_T_GET_ID => Ok(Action::Identify(into(&chain)?)),
        VIRTIO_BLK_T_DISCARD if terms.discard => {
            writable(terms)?;
            let (offset, len, _) = clear(&out(&chain)?, MAX_DISCARD, 0, terms)?;
            start(Operation::Discard { offset, len })
        }
        VIRTIO_BLK_T_WRITE_ZEROES if terms.write_zeroes => {
            writable(terms)?;
            let allowed = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
            let (offset, len, flags) = clear(&out(&chain)?, MAX_WRITE_ZEROES, allowed, terms)?;
            start(Operation::WriteZeroes { offset, len, unmap: flags & allowed != 0, durable: terms.durable })
        }
        _ => Err(byte(VIRTIO_BLK_S_UNSUPP)),
    }
}

/// 5.2.6.2: a write to a read-only device fails and changes nothing.
fn writable(terms: &Terms) -> Result<(), u8> {
    if terms.read_only { Err(byte(VIRTIO_BLK_S_IOERR)) } else { Ok(()) }
}

/// The byte offset of `len` bytes from `sector` on: whole sectors, at least one, all within the disk.
fn range(sector: u64, len: u64, terms: &Terms) -> Result<u64, u8> {
    let end = sector.checked_add(len / SECTOR);
    if len == 0 || !len.is_multiple_of(SECTOR) || end.is_none_or(|end| end > terms.capacity) {
        return Err(byte(VIRTIO_BLK_S_IOERR));
    }
    sector.checked_mul(SECTOR).ok_or(byte(VIRTIO_BLK_S_IOERR))
}

/// The range of a discard or write-zeroes: offset, bytes and flags. One range in a request, as the configuration says.
fn clear(data: &Buffers, most: u32, allowed: u32, terms: &Terms) -> Result<(u64, u64, u32), u8> {
    let error = byte(VIRTIO_BLK_S_IOERR);
    if data.len() != RANGE {
        return Err(error);
    }
    let mut bytes = [0; 16];
    data.copy_out(&mut bytes).map_err(|_| error)?;
    let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = bytes;
    let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let count = u32::from_le_bytes([n0, n1, n2, n3]);
    let flags = u32::from_le_bytes(flags);
    // 5.2.6.2: flags that are unknown, and `unmap` of a discard, are an unsupported request and not a failed one.
    if flags & !allowed != 0 {
        return Err(byte(VIRTIO_BLK_S_UNSUPP));
    }
    if count > most {
        return Err(error);
    }
    let len = u64::from(count).saturating_mul(SECTOR);
    Ok((range(sector, len, terms)?, len, flags))
}

/// Whether a request may have that many data segments: what the configuration promises, and what a queue takes.
const _: () = assert!(layout::SEG_MAX as usize + 2 <= crate::core::queue::MAX_CHAIN);
