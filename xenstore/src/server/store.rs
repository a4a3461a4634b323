//! Answers to a guest's requests.

use super::path::{parent, resolve};
use super::transaction::{Change, Transactions};
use super::tree::Tree;
use super::watch::Watches;
use crate::wire::{Assembler, MAX_PAYLOAD, Message, kind};

/// Why a request is refused. The guest gets the name of a Unix error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such node, watch or transaction.
    NoEntry,
    /// The guest may not do that.
    Denied,
    /// That is there already.
    Exists,
    /// The request makes no sense.
    Invalid,
    /// Another change came between: the transaction is to be done again.
    Again,
    /// There is no such request.
    Unknown,
    /// The guest has as much as it may have.
    NoSpace,
    /// The value, or the answer, is too long.
    TooBig,
}

impl Refusal {
    fn name(self) -> &'static str {
        match self {
            Refusal::NoEntry => "ENOENT",
            Refusal::Denied => "EACCES",
            Refusal::Exists => "EEXIST",
            Refusal::Invalid => "EINVAL",
            Refusal::Again => "EAGAIN",
            Refusal::Unknown => "ENOSYS",
            Refusal::NoSpace => "ENOSPC",
            Refusal::TooBig => "E2BIG",
        }
    }
}

/// The store of one guest.
#[derive(Clone, Debug)]
pub struct Store {
    domain: u16,
    home: String,
    tree: Tree,
    /// Goes up with every change.
    generation: u64,
    watches: Watches,
    transactions: Transactions,
}

const OK: &[u8] = b"OK\0";

impl Store {
    /// A store for a domain, with nodes below its own path.
    pub fn new<'a>(domain: u16, nodes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Store {
        let home = format!("/local/domain/{domain}");
        let mut store = Store {
            domain,
            home,
            tree: Tree::default(),
            generation: 0,
            watches: Watches::default(),
            transactions: Transactions::default(),
        };
        for (name, value) in nodes {
            // Our own few nodes fit; one that did not would only be missing.
            let _ = store.tree.write(&store.whole(name), value.as_bytes());
        }
        store
    }

    /// Writes a node below the guest's own path; returns what the guest is to be told.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the guest has filled its store.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Vec<Message>, Refusal> {
        let path = self.whole(name);
        self.tree.write(&path, value.as_bytes())?;
        Ok(self.changed([Change { path, removed: false }]))
    }

    /// The value of a node below the guest's own path.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.tree.read(&self.whole(name))
    }

    /// Whether the guest watches a node below its own path.
    pub fn is_watched(&self, name: &str) -> bool {
        self.watches.has(&self.whole(name))
    }

    /// Answers a request: the answer, then what else the guest is to be told.
    pub fn answer(&mut self, request: &Message) -> Vec<Message> {
        let mut events = Vec::new();
        let (kind, payload) = match self.act(request, &mut events) {
            Ok(payload) if payload.len() <= MAX_PAYLOAD => (request.kind, payload),
            Ok(_) => (kind::ERROR, error(Refusal::TooBig)),
            Err(refusal) => (kind::ERROR, error(refusal)),
        };
        let answer = Message { kind, payload, ..*request };
        std::iter::once(answer).chain(events).collect()
    }

    /// Answers all requests in some bytes, as far as they are messages. For tests with bytes of any kind.
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

    fn act(&mut self, request: &Message, events: &mut Vec<Message>) -> Result<Vec<u8>, Refusal> {
        let payload = &request.payload;
        match request.kind {
            kind::READ => {
                let path = self.named(payload)?;
                let value = self.tree_of(request)?.read(&path).ok_or(Refusal::NoEntry)?;
                Ok(value.to_vec())
            }
            kind::DIRECTORY => {
                let path = self.named(payload)?;
                let names = self.tree_of(request)?.list(&path).ok_or(Refusal::NoEntry)?;
                Ok(names.into_iter().flat_map(|name| name.bytes().chain([0])).collect())
            }
            kind::GET_PERMS => {
                let path = self.named(payload)?;
                self.tree_of(request)?.read(&path).ok_or(Refusal::NoEntry)?;
                let owner = if self.is_own(&path) { self.domain } else { 0 };
                Ok(format!("n{owner}\0").into_bytes())
            }
            kind::SET_PERMS => Ok(OK.to_vec()),
            kind::GET_DOMAIN_PATH => Ok(format!("/local/domain/{}\0", domain_number(payload)?).into_bytes()),
            kind::WRITE | kind::MKDIR | kind::RM => self.change(request, events),
            kind::WATCH | kind::UNWATCH => self.watch(request, events),
            kind::TRANSACTION_START => {
                let number = self.transactions.start(&self.tree, self.generation)?;
                Ok(format!("{number}\0").into_bytes())
            }
            kind::TRANSACTION_END => {
                let commit = match payload.as_slice() {
                    b"T\0" => true,
                    b"F\0" => false,
                    _ => return Err(Refusal::Invalid),
                };
                if let Some((tree, changes)) =
                    self.transactions.end(request.transaction, commit, self.generation)?
                {
                    self.tree = tree;
                    events.extend(self.changed(changes));
                }
                Ok(OK.to_vec())
            }
            kind::RESET_WATCHES => {
                self.watches.clear();
                self.transactions.clear();
                Ok(OK.to_vec())
            }
            _ => Err(Refusal::Unknown),
        }
    }

    fn change(&mut self, request: &Message, events: &mut Vec<Message>) -> Result<Vec<u8>, Refusal> {
        let (name, value) = split(&request.payload)?;
        let path = resolve(&self.home, name)?;
        if !self.is_own(&path) {
            return Err(Refusal::Denied);
        }
        let tree = match request.transaction {
            0 => &mut self.tree,
            number => &mut self.transactions.get(number)?.tree,
        };
        let removed = request.kind == kind::RM;
        let did_something = match request.kind {
            kind::WRITE => tree.write(&path, value).map(|()| true)?,
            kind::MKDIR => tree.make(&path)?,
            // As in Xen, a node that is not there can be removed if one could be there.
            _ if path == self.home => return Err(Refusal::Denied),
            _ => {
                let can_be = parent(&path).is_some_and(|above| tree.read(above).is_some());
                if !can_be {
                    return Err(Refusal::NoEntry);
                }
                tree.remove(&path)
            }
        };
        if did_something {
            let change = Change { path, removed };
            match request.transaction {
                0 => events.extend(self.changed([change])),
                number => self.transactions.get(number)?.note(change),
            }
        }
        Ok(OK.to_vec())
    }

    fn watch(&mut self, request: &Message, events: &mut Vec<Message>) -> Result<Vec<u8>, Refusal> {
        let (name, rest) = split(&request.payload)?;
        let token = rest.strip_suffix(&[0]).ok_or(Refusal::Invalid)?;
        // Names with @ in front are of events that are not of nodes. None of them happens here.
        let is_special = name.starts_with(b"@");
        let whole = if is_special { [b"/", name].concat() } else { name.to_vec() };
        let path = resolve(&self.home, &whole)?;
        if request.kind == kind::UNWATCH {
            self.watches.remove(&path, token)?;
            return Ok(OK.to_vec());
        }
        let left_out = match name.first() {
            Some(b'/') => 0,
            Some(b'@') => 1,
            _ => self.home.len().saturating_add(1),
        };
        let first = self.watches.add(path, left_out, token)?;
        events.push(event(first));
        Ok(OK.to_vec())
    }

    /// The tree as a request sees it.
    fn tree_of(&mut self, request: &Message) -> Result<&Tree, Refusal> {
        match request.transaction {
            0 => Ok(&self.tree),
            number => Ok(&self.transactions.get(number)?.tree),
        }
    }

    /// The path that a payload names, which has a zero byte behind it.
    fn named(&self, payload: &[u8]) -> Result<String, Refusal> {
        resolve(&self.home, payload.strip_suffix(&[0]).ok_or(Refusal::Invalid)?)
    }

    fn is_own(&self, path: &str) -> bool {
        super::path::is_within(path, &self.home)
    }

    fn whole(&self, name: &str) -> String {
        format!("{}/{name}", self.home)
    }

    fn changed(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Message> {
        self.generation = self.generation.wrapping_add(1);
        let events = changes.into_iter().flat_map(|change| self.watches.events(&change.path, change.removed));
        events.map(event).collect()
    }
}

fn event(payload: Vec<u8>) -> Message {
    Message { kind: kind::WATCH_EVENT, request: 0, transaction: 0, payload }
}

fn error(refusal: Refusal) -> Vec<u8> {
    let mut name = refusal.name().as_bytes().to_vec();
    name.push(0);
    name
}

/// What stands before the first zero byte, and what behind it.
fn split(payload: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let end = payload.iter().position(|&byte| byte == 0).ok_or(Refusal::Invalid)?;
    let (name, rest) = payload.split_at(end);
    Ok((name, rest.get(1..).unwrap_or_default()))
}

fn domain_number(payload: &[u8]) -> Result<u16, Refusal> {
    let digits = payload.strip_suffix(&[0]).ok_or(Refusal::Invalid)?;
    let digits = std::str::from_utf8(digits).map_err(|_| Refusal::Invalid)?;
    digits.parse().map_err(|_| Refusal::Invalid)
}
