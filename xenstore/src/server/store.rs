//! Answers to requests, of any number of connections to one tree.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use xenolith_abi::DomId;

use super::Limits;
use super::transaction::{Change, Transactions};
use super::tree::{INTRODUCED, RELEASED, Tree};
use super::watch::Watches;
use crate::path::{home, resolve};
use crate::wire::{MAX_PAYLOAD, Message, first_word, kind, payload, words};
use crate::{Permissions, error};

/// A connection, which ends with [`Store::disconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// A message, and whose it is.
pub type Delivery = (ConnectionId, Message);

/// A store. It moves no bytes: whoever carries its messages hands it requests, and delivers what it answers, in order.
#[derive(Clone, Debug)]
pub struct Store {
    limits: Limits,
    tree: Tree,
    /// Goes up with every change.
    generation: u64,
    /// Domains that were introduced.
    domains: BTreeSet<DomId>,
    connections: BTreeMap<ConnectionId, Connection>,
    last: u64,
}

/// What is known of a connection.
#[derive(Clone, Debug)]
struct Connection {
    domain: DomId,
    home: String,
    watches: Watches,
    transactions: Transactions,
}

const OK: &[u8] = b"OK\0";

impl Store {
    /// A store with nothing but the root, which is the control domain's.
    pub fn new(limits: Limits) -> Store {
        Store {
            limits,
            tree: Tree::new(limits),
            generation: 0,
            domains: BTreeSet::new(),
            connections: BTreeMap::new(),
            last: 0,
        }
    }

    /// Begins a connection of a domain.
    pub fn connect(&mut self, domain: DomId) -> ConnectionId {
        self.last = self.last.wrapping_add(1);
        let connection = ConnectionId(self.last);
        let known = Connection {
            domain,
            home: home(domain),
            watches: Watches::default(),
            transactions: Transactions::default(),
        };
        self.connections.insert(connection, known);
        connection
    }

    /// Ends a connection, with its watches and its transactions.
    pub fn disconnect(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    /// Introduces a domain to the store, as when it is created; returns what is to be delivered.
    pub fn introduce(&mut self, domain: DomId) -> Vec<Delivery> {
        self.domains.insert(domain);
        self.events(INTRODUCED, false)
    }

    /// Releases a domain, as when it has ended; returns what is to be delivered.
    pub fn release(&mut self, domain: DomId) -> Vec<Delivery> {
        self.domains.remove(&domain);
        self.events(RELEASED, false)
    }

    /// Writes a node as the control domain does; returns what is to be delivered.
    ///
    /// # Errors
    /// The store is as full as it may be, or the value is too long.
    pub fn write(&mut self, path: &str, value: &[u8]) -> Result<Vec<Delivery>, Errno> {
        self.tree.write(path, value, DomId::CONTROL)?;
        Ok(self.changed([Change { path: path.to_owned(), removed: false }]))
    }

    /// Says as the control domain does who may use a node, or watch `@introduceDomain` or `@releaseDomain`.
    ///
    /// # Errors
    /// There is no such node, or too many domains are named.
    pub fn set_permissions(&mut self, path: &str, permissions: Permissions) -> Result<(), Errno> {
        self.tree.set_permissions(path, permissions, DomId::CONTROL)?;
        // An open transaction does not know of it, and must not undo it.
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// The value of a node.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.tree.read(path, DomId::CONTROL).ok()
    }

    /// The paths of all nodes, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.tree.paths()
    }

    /// Whether a connection watches just this node.
    pub fn is_watched(&self, path: &str) -> bool {
        self.connections.values().any(|connection| connection.watches.has(path))
    }

    /// The requests by which a connection has set its watches, without numbers of their own.
    pub fn watch_requests(&self, connection: ConnectionId) -> Vec<Message> {
        let watches = self.connections.get(&connection).into_iter().flat_map(|found| found.watches.iter());
        let request = |(name, token): (&str, &[u8])| Message {
            kind: kind::WATCH,
            request: 0,
            transaction: 0,
            payload: [name.as_bytes(), &[0], token, &[0]].concat(),
        };
        watches.map(request).collect()
    }

    /// Answers a request: the answer comes first, then what else is to be delivered, to this connection and to others.
    /// Nothing, if the connection has ended.
    pub fn answer(&mut self, from: ConnectionId, request: &Message) -> Vec<Delivery> {
        // Taken out, so that the request may change it and the tree at once.
        let Some(mut connection) = self.connections.remove(&from) else { return Vec::new() };
        let result = self.act(&mut connection, request);
        self.connections.insert(from, connection);
        // A longer payload is no message (XENSTORE_PAYLOAD_MAX). Who lists a node asks for its parts after E2BIG. No
        // change has so long an answer, so that none is lost here.
        let result = result.and_then(|done| match done.answer.len() {
            0..=MAX_PAYLOAD => Ok(done),
            _ => Err(Errno::TOOBIG),
        });
        let (kind, done) = match result {
            Ok(done) => (request.kind, done),
            Err(errno) => (kind::ERROR, Done::saying(payload([error::name(errno)]))),
        };
        // The request's numbers come back with the answer: that is how a client knows whose it is.
        let answer = Message { kind, payload: done.answer, ..*request };
        let mut deliveries = vec![(from, answer)];
        if !done.changes.is_empty() {
            deliveries.extend(self.changed(done.changes));
        }
        // Behind the answer: before it, the client does not know of the watch that the event is of.
        deliveries.extend(done.first_event.map(|payload| (from, event(payload))));
        deliveries
    }

    fn act(&mut self, by: &mut Connection, request: &Message) -> Result<Done, Errno> {
        match request.kind {
            kind::READ | kind::DIRECTORY | kind::DIRECTORY_PART | kind::GET_PERMS => {
                self.look(by, request).map(Done::saying)
            }
            kind::WRITE | kind::MKDIR | kind::RM | kind::SET_PERMS => self.change(by, request),
            kind::WATCH | kind::UNWATCH => self.watch(by, request),
            kind::TRANSACTION_START => {
                let most = self.limits.transactions;
                let number = by.transactions.start(&self.tree, self.generation, most)?;
                Ok(Done::saying(payload([number.to_string().as_str()])))
            }
            kind::TRANSACTION_END => self.end_transaction(by, request),
            kind::RESET_WATCHES => {
                by.watches.clear();
                by.transactions.clear();
                Ok(Done::ok())
            }
            kind::GET_DOMAIN_PATH => {
                let path = home(domain_number(&request.payload)?);
                Ok(Done::saying(payload([path.as_str()])))
            }
            kind::IS_DOMAIN_INTRODUCED => {
                let is_known = self.domains.contains(&domain_number(&request.payload)?);
                Ok(Done::saying(payload([if is_known { "T" } else { "F" }])))
            }
            _ => Err(Errno::NOSYS),
        }
    }

    /// A request that changes nothing.
    fn look(&self, by: &mut Connection, request: &Message) -> Result<Vec<u8>, Errno> {
        let (name, rest) = first_word(&request.payload).ok_or(Errno::INVAL)?;
        let path = self.path(by, request.kind, name)?;
        let (domain, tree) = (by.domain, self.tree_of(by, request)?);
        match request.kind {
            kind::READ => Ok(tree.read(&path, domain)?.to_vec()),
            kind::DIRECTORY => Ok(payload(tree.list(&path, domain)?)),
            kind::DIRECTORY_PART => part(&payload(tree.list(&path, domain)?), rest, self.generation),
            _ => Ok(payload(tree.permissions(&path, domain)?.to_words().iter().map(String::as_str))),
        }
    }

    fn change(&mut self, by: &mut Connection, request: &Message) -> Result<Done, Errno> {
        let (name, rest) = first_word(&request.payload).ok_or(Errno::INVAL)?;
        let path = self.path(by, request.kind, name)?;
        let (domain, removed) = (by.domain, request.kind == kind::RM);
        // Its home is made for a domain, and goes with it.
        if removed && path == by.home && domain != DomId::CONTROL {
            return Err(Errno::ACCESS);
        }
        let tree = match request.transaction {
            0 => &mut self.tree,
            number => {
                let transaction = by.transactions.get(number)?;
                if !transaction.has_room(self.limits.changes) {
                    return Err(Errno::NOSPC);
                }
                &mut transaction.tree
            }
        };
        let did_something = match request.kind {
            kind::WRITE => tree.write(&path, rest, domain).map(|()| true)?,
            kind::MKDIR => tree.make(&path, domain)?,
            kind::RM => tree.remove(&path, domain)?,
            _ => {
                let words = words(rest).map_err(|_| Errno::INVAL)?;
                let permissions = Permissions::from_words(words).map_err(|_| Errno::INVAL)?;
                tree.set_permissions(&path, permissions, domain).map(|()| true)?
            }
        };
        let mut done = Done::ok();
        if did_something {
            let change = Change { path, removed };
            match request.transaction {
                0 => done.changes.push(change),
                number => by.transactions.get(number)?.note(change),
            }
        }
        Ok(done)
    }

    fn watch(&mut self, by: &mut Connection, request: &Message) -> Result<Done, Errno> {
        let (name, rest) = first_word(&request.payload).ok_or(Errno::INVAL)?;
        let (token, rest) = first_word(rest).ok_or(Errno::INVAL)?;
        if !rest.is_empty() {
            return Err(Errno::INVAL);
        }
        let path = self.path(by, request.kind, name)?;
        if request.kind == kind::UNWATCH {
            by.watches.remove(&path, token)?;
            return Ok(Done::ok());
        }
        // A name with @ is no node: it has permissions, if there is such an event.
        if path.starts_with('@') && !self.tree.is_heard_by(&path, by.domain) {
            return Err(Errno::ACCESS);
        }
        // A watch by a relative name hears relative names (Xen, docs/misc/xenstore.txt, WATCH).
        let left_out = path.len().saturating_sub(name.len());
        let first_event = Some(by.watches.add(path, left_out, token, &self.limits)?);
        Ok(Done { first_event, ..Done::ok() })
    }

    fn end_transaction(&mut self, by: &mut Connection, request: &Message) -> Result<Done, Errno> {
        let commit = match request.payload.as_slice() {
            b"T\0" => true,
            b"F\0" => false,
            _ => return Err(Errno::INVAL),
        };
        let mut done = Done::ok();
        // A whole tree takes the other's place: nobody ever sees a part of the changes.
        if let Some((tree, changes)) = by.transactions.end(request.transaction, commit, self.generation)? {
            self.tree = tree;
            done.changes = changes;
        }
        Ok(done)
    }

    /// The tree as a request sees it.
    fn tree_of<'a>(&'a self, by: &'a mut Connection, request: &Message) -> Result<&'a Tree, Errno> {
        match request.transaction {
            0 => Ok(&self.tree),
            number => Ok(&by.transactions.get(number)?.tree),
        }
    }

    /// What a connection names: the whole path of a node or, where there may be one, a name with `@`.
    fn path(&self, by: &Connection, kind: u32, name: &[u8]) -> Result<String, Errno> {
        let may_be_special = matches!(kind, kind::WATCH | kind::UNWATCH | kind::GET_PERMS | kind::SET_PERMS);
        match name {
            [b'@', rest @ ..] if may_be_special => {
                // Its characters are those of a path.
                resolve("", rest, self.limits.path).map(|path| path.replacen('/', "@", 1))
            }
            _ => resolve(&by.home, name, self.limits.path),
        }
    }

    /// Takes note of changes; returns what is to be delivered.
    fn changed(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Delivery> {
        self.generation = self.generation.wrapping_add(1);
        changes.into_iter().flat_map(|change| self.events(&change.path, change.removed)).collect()
    }

    /// Tells those who watch a node, and may hear of it, that it changed or was removed.
    fn events(&self, changed: &str, removed: bool) -> Vec<Delivery> {
        let hears = |connection: &Connection| self.tree.is_heard_by(changed, connection.domain);
        let told = self.connections.iter().filter(|(_, connection)| hears(connection));
        let events = told.flat_map(|(&to, connection)| {
            connection.watches.events(changed, removed).into_iter().map(move |payload| (to, event(payload)))
        });
        events.collect()
    }
}

/// What came of a request.
#[derive(Debug, Default)]
struct Done {
    /// The answer's payload.
    answer: Vec<u8>,
    /// Changes of the tree that all connections see.
    changes: Vec<Change>,
    /// The first event of a new watch, which comes at once.
    first_event: Option<Vec<u8>>,
}

impl Done {
    fn saying(answer: Vec<u8>) -> Done {
        Done { answer, ..Done::default() }
    }

    fn ok() -> Done {
        Done::saying(OK.to_vec())
    }
}

fn event(payload: Vec<u8>) -> Message {
    Message { kind: kind::WATCH_EVENT, request: 0, transaction: 0, payload }
}

fn domain_number(payload: &[u8]) -> Result<DomId, Errno> {
    let (digits, _) = first_word(payload).filter(|(_, rest)| rest.is_empty()).ok_or(Errno::INVAL)?;
    let digits = std::str::from_utf8(digits).map_err(|_| Errno::INVAL)?;
    digits.parse().map(DomId).map_err(|_| Errno::INVAL)
}

/// A part of a list of names, as far as a message holds it: the list's generation, then names from an offset on, and one
/// more zero byte behind the last of all.
fn part(names: &[u8], offset: &[u8], generation: u64) -> Result<Vec<u8>, Errno> {
    let (offset, _) = first_word(offset).ok_or(Errno::INVAL)?;
    let offset: usize =
        std::str::from_utf8(offset).ok().and_then(|text| text.parse().ok()).ok_or(Errno::INVAL)?;
    let rest = names.get(offset..).ok_or(Errno::INVAL)?;
    let mut bytes = payload([generation.to_string().as_str()]);
    // One byte is kept free for the zero that marks the end: with it the last part must fit, too.
    let room = MAX_PAYLOAD.saturating_sub(bytes.len()).saturating_sub(1);
    if rest.len() <= room {
        bytes.extend(rest.iter().chain(&[0]));
        return Ok(bytes);
    }
    // Whole names only. A name is shorter than the room, since a path is (MAX_PATH).
    let end = rest.iter().take(room).rposition(|&byte| byte == 0).map_or(0, |last| last.saturating_add(1));
    bytes.extend(rest.iter().take(end));
    Ok(bytes)
}
