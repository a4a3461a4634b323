//! Messages of the xenstore protocol (Xen, `public/io/xs_wire.h`): a header of four words, then the payload.
//!
//! For both ends: a client's, and that of whoever keeps a store.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The longest payload.
pub const MAX_PAYLOAD: usize = 4096;

/// What a message is, by its number.
pub mod kind {
    /// Lists the nodes below one.
    pub const DIRECTORY: u32 = 1;
    /// Reads a node.
    pub const READ: u32 = 2;
    /// Reads who may use a node.
    pub const GET_PERMS: u32 = 3;
    /// Asks to be told of changes.
    pub const WATCH: u32 = 4;
    /// Ends a watch.
    pub const UNWATCH: u32 = 5;
    /// Begins a transaction.
    pub const TRANSACTION_START: u32 = 6;
    /// Ends a transaction.
    pub const TRANSACTION_END: u32 = 7;
    /// Asks where a domain's nodes are.
    pub const GET_DOMAIN_PATH: u32 = 10;
    /// Writes a node.
    pub const WRITE: u32 = 11;
    /// Makes a node.
    pub const MKDIR: u32 = 12;
    /// Removes a node and all below it.
    pub const RM: u32 = 13;
    /// Sets who may use a node.
    pub const SET_PERMS: u32 = 14;
    /// Tells of a change; never a request.
    pub const WATCH_EVENT: u32 = 15;
    /// The answer to a request that failed.
    pub const ERROR: u32 = 16;
    /// Asks whether the store knows a domain.
    pub const IS_DOMAIN_INTRODUCED: u32 = 17;
    /// Drops all watches and transactions.
    pub const RESET_WATCHES: u32 = 21;
    /// Lists some of the nodes below one, where a single message does not hold them all.
    pub const DIRECTORY_PART: u32 = 22;
}

/// The head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    kind: U32,
    request: U32,
    transaction: U32,
    length: U32,
}

const HEADER: usize = size_of::<Header>();

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A number of [`kind`].
    pub kind: u32,
    /// The request's number, chosen by the client; the answer repeats it.
    pub request: u32,
    /// The transaction's number, or 0 for none.
    pub transaction: u32,
    /// The payload: for most kinds, words that end with zero bytes.
    pub payload: Vec<u8>,
}

impl Message {
    /// Its bytes. The payload has [`MAX_PAYLOAD`] bytes at most, or no other end takes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = Header {
            kind: self.kind.into(),
            request: self.request.into(),
            transaction: self.transaction.into(),
            length: u32::try_from(self.payload.len()).unwrap_or(u32::MAX).into(),
        };
        [header.as_bytes(), &self.payload].concat()
    }
}

/// The other end said something that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub &'static str);

/// Puts messages together from bytes that come in pieces. It never holds more than one message.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
}

impl Assembler {
    /// Bytes that it takes now, at least 1: never more than belong to the message that is begun.
    ///
    /// # Errors
    /// The header says more than a message may have.
    pub fn wants(&self) -> Result<usize, Broken> {
        let total = match Header::read_from_prefix(&self.bytes) {
            Ok((header, _)) => HEADER.saturating_add(payload_size(&header)?),
            Err(_) => HEADER,
        };
        Ok(total.saturating_sub(self.bytes.len()))
    }

    /// The bytes of the message that is begun.
    pub fn begun(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds bytes, at most as many as it [`wants`](Assembler::wants); returns a message that is complete with them.
    ///
    /// # Errors
    /// As [`Assembler::wants`].
    pub fn add(&mut self, bytes: &[u8]) -> Result<Option<Message>, Broken> {
        self.bytes.extend_from_slice(bytes);
        let Ok((header, payload)) = Header::read_from_prefix(&self.bytes) else { return Ok(None) };
        if payload.len() < payload_size(&header)? {
            return Ok(None);
        }
        let message = Message {
            kind: header.kind.get(),
            request: header.request.get(),
            transaction: header.transaction.get(),
            payload: payload.to_vec(),
        };
        self.bytes.clear();
        Ok(Some(message))
    }
}

fn payload_size(header: &Header) -> Result<usize, Broken> {
    let length = usize::try_from(header.length.get()).unwrap_or(usize::MAX);
    if length > MAX_PAYLOAD { Err(Broken("a message longer than 4096 bytes")) } else { Ok(length) }
}

/// The words of a payload, each of which ends with a zero byte.
///
/// # Errors
/// The last one does not, or it is no UTF-8.
pub fn words(payload: &[u8]) -> Result<impl Iterator<Item = &str>, Broken> {
    let text = std::str::from_utf8(payload).map_err(|_| Broken("a text that is no UTF-8"))?;
    if !text.is_empty() && !text.ends_with('\0') {
        return Err(Broken("a text without its end"));
    }
    Ok(text.split_terminator('\0'))
}

/// What is before the first zero byte of a payload, and what is behind it; none if there is none.
pub fn first_word(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = payload.iter().position(|&byte| byte == 0)?;
    let (word, rest) = payload.split_at_checked(end)?;
    Some((word, rest.get(1..)?))
}

/// A payload of words.
pub fn payload<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    words.into_iter().flat_map(|word| word.bytes().chain([0])).collect()
}

#[cfg(test)]
mod tests;
