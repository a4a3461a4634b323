//! A store that one guest has for itself.

use rustix::io::Errno;
use xenolith_abi::DomId;

use super::tree::RELEASED;
use super::{ConnectionId, Delivery, Limits, Store};
use crate::path::home;
use crate::wire::{Assembler, Message, kind};
use crate::{Access, Permissions};

/// A store with one connection, its guest's. The guest may read all of it, and do what it likes below its own path.
#[derive(Clone, Debug)]
pub struct GuestStore {
    store: Store,
    connection: ConnectionId,
    home: String,
}

impl GuestStore {
    /// A store for a domain, with nodes below its own path.
    pub fn new<'a>(domain: DomId, nodes: impl IntoIterator<Item = (&'a str, &'a str)>) -> GuestStore {
        let mut store = Store::new(Limits::GUEST);
        let connection = store.connect(domain);
        let mut guest = GuestStore { store, connection, home: home(domain) };
        let made = guest
            .open(domain)
            .and_then(|()| nodes.into_iter().try_for_each(|(name, value)| guest.set(name, value).map(drop)));
        // Our own few nodes fit; one that did not would only be missing.
        debug_assert_eq!(made, Ok(()));
        guest
    }

    /// Opens the store to the guest: all to read, and its own path to own.
    fn open(&mut self, domain: DomId) -> Result<(), Errno> {
        let readable = Permissions { others: Access::Read, ..Permissions::private(DomId::CONTROL) };
        self.store.set_permissions("/", readable.clone())?;
        // Of other domains it hears nothing here, but it may ask to.
        self.store.set_permissions(RELEASED, readable)?;
        self.store.write(&self.home, b"")?;
        self.store.set_permissions(&self.home, Permissions::private(domain))
    }

    /// Writes a node below the guest's own path; returns what the guest is to be told.
    ///
    /// # Errors
    /// The guest has filled its store.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Vec<Message>, Errno> {
        Ok(messages(self.store.write(&self.whole(name), value.as_bytes())?))
    }

    /// The value of a node below the guest's own path.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.store.read(&self.whole(name))
    }

    /// Whether the guest watches a node below its own path.
    pub fn is_watched(&self, name: &str) -> bool {
        self.store.is_watched(&self.whole(name))
    }

    /// Answers a request: the answer, then what else the guest is to be told.
    pub fn answer(&mut self, request: &Message) -> Vec<Message> {
        messages(self.store.answer(self.connection, request))
    }

    /// The requests by which a store of the same guest without nodes comes to have the nodes and watches of this one. Its
    /// transactions are not among them, nor what the guest has said about who may use its nodes, which nobody else can.
    pub fn to_requests(&self) -> Vec<Message> {
        let below = format!("{}/", self.home);
        let nodes = self.store.paths().filter(|path| path.starts_with(&below));
        let write = |path: &str| Message {
            kind: kind::WRITE,
            request: 0,
            transaction: 0,
            payload: [path.as_bytes(), &[0], self.store.read(path).unwrap_or_default()].concat(),
        };
        let mut requests: Vec<Message> = nodes.map(write).collect();
        requests.extend(self.store.watch_requests(self.connection));
        requests
    }

    /// Answers all requests in some bytes, as far as they are messages.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        let mut assembler = Assembler::default();
        while let Ok(wanted) = assembler.wants() {
            let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
            if now.is_empty() {
                return;
            }
            bytes = rest;
            if let Ok(Some(request)) = assembler.add(now) {
                self.answer(&request);
            }
        }
    }

    fn whole(&self, name: &str) -> String {
        format!("{}/{name}", self.home)
    }
}

/// What is delivered, all of it to the only connection.
fn messages(deliveries: Vec<Delivery>) -> Vec<Message> {
    deliveries.into_iter().map(|(_, message)| message).collect()
}
