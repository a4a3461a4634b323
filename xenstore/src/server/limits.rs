//! How much a store takes from its clients.

use crate::MAX_PATH;
use crate::wire::MAX_PAYLOAD;

/// The most that a store holds, and the most that each of its connections may ask of it. What goes beyond is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes.
    pub nodes: usize,
    /// Bytes of all paths and values together.
    pub bytes: usize,
    /// Bytes of an absolute path.
    pub path: usize,
    /// Bytes of a value.
    pub value: usize,
    /// Domains that a node's permissions name, its owner among them.
    pub permissions: usize,
    /// Watches of a connection.
    pub watches: usize,
    /// Bytes of a watch's token.
    pub token: usize,
    /// Open transactions of a connection. Each has a copy of the tree.
    pub transactions: usize,
    /// Changes that a transaction tells of when it is committed.
    pub changes: usize,
}

impl Limits {
    /// For a store that one guest fills as it likes: less than 2 MiB of nodes, and some 16 MiB of changes, with all transactions open.
    pub const GUEST: Limits = Limits {
        nodes: 512,
        bytes: 128 << 10,
        path: 512,
        value: 2048,
        permissions: 5,
        watches: 64,
        token: 256,
        transactions: 8,
        changes: 1024,
    };

    /// For clients that are trusted with the memory of the store.
    pub const AMPLE: Limits = Limits {
        nodes: 1 << 20,
        bytes: 1 << 30,
        path: MAX_PATH,
        value: MAX_PAYLOAD,
        permissions: MAX_PAYLOAD,
        watches: 1 << 16,
        token: MAX_PAYLOAD,
        transactions: 1 << 10,
        changes: 1 << 20,
    };
}
