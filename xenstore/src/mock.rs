//! A store in memory, for tests: any number of connections, each as a domain, with permissions, watches and transactions.
//!
//! It answers as Xen's own store does, as far as clients of this crate can tell.

mod tree;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use crate::wire::{Assembler, MAX_PAYLOAD, Message, kind, payload};
use crate::{Client, Error, Permissions, error};
use tree::{Tree, is_within};

/// How long a client of the mock waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The store.
#[derive(Clone, Debug, Default)]
pub struct Mock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    /// Goes up with every change.
    generation: u64,
    domains: Vec<u16>,
    connections: BTreeMap<u64, Connection>,
    transactions: BTreeMap<(u64, u32), Copy>,
    last: u64,
    conflicts: u32,
}

#[derive(Debug)]
struct Connection {
    domain: u16,
    stream: UnixStream,
    /// Whole path, what is left out of it in events, and token.
    watches: Vec<(String, usize, String)>,
}

/// What a transaction sees and did.
#[derive(Debug)]
struct Copy {
    tree: Tree,
    generation: u64,
    changes: Vec<String>,
}

impl Mock {
    /// An empty store that knows domain 0.
    pub fn new() -> Mock {
        let mock = Mock::default();
        mock.introduce(0);
        mock
    }

    /// Connects as a domain.
    ///
    /// # Errors
    /// The system has no sockets to give.
    pub fn connect(&self, domain: u16) -> Result<Client, Error> {
        Client::from_stream(self.stream(domain)?, PATIENCE)
    }

    /// The client's end of a new connection.
    ///
    /// # Errors
    /// The system has no sockets to give.
    pub fn stream(&self, domain: u16) -> Result<UnixStream, Error> {
        let lost = |error: std::io::Error| Error::lost(error.to_string());
        let (near, far) = UnixStream::pair().map_err(lost)?;
        let stream = far.try_clone().map_err(lost)?;
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.connections.insert(number, Connection { domain, stream, watches: Vec::new() });
        let mock = self.clone();
        thread::spawn(move || mock.serve(number, far));
        Ok(near)
    }

    /// Has the store know a domain, as when it is made.
    pub fn introduce(&self, domain: u16) {
        let mut state = self.lock();
        state.domains.push(domain);
        state.tell("@introduceDomain", true);
    }

    /// Has the store forget a domain, as at its end.
    pub fn release(&self, domain: u16) {
        let mut state = self.lock();
        state.domains.retain(|&known| known != domain);
        state.tell("@releaseDomain", true);
    }

    /// Lets the next transactions fail as if others had come between.
    pub fn conflicts(&self, count: u32) {
        self.lock().conflicts = count;
    }

    /// Closes all connections, as the end of the store's daemon does.
    pub fn hang_up(&self) {
        for connection in std::mem::take(&mut self.lock().connections).into_values() {
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// The paths of all nodes, in order.
    pub fn paths(&self) -> Vec<String> {
        self.lock().tree.paths()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, number: u64, mut stream: UnixStream) {
        let mut assembler = Assembler::default();
        let mut bytes = [0; MAX_PAYLOAD];
        while let Ok(wanted) = assembler.wants() {
            let place = bytes.get_mut(..wanted.min(MAX_PAYLOAD)).unwrap_or_default();
            let Ok(count @ 1..) = stream.read(place) else { break };
            match assembler.add(bytes.get(..count).unwrap_or_default()) {
                Ok(Some(request)) => self.lock().answer(number, &request),
                Ok(None) => {}
                Err(_) => break,
            }
        }
        self.lock().connections.remove(&number);
    }
}

impl State {
    fn answer(&mut self, number: u64, request: &Message) {
        let mut changes = Vec::new();
        let (kind, payload) = match self.act(number, request, &mut changes) {
            Ok(bytes) if bytes.len() <= MAX_PAYLOAD => (request.kind, bytes),
            Ok(_) => (kind::ERROR, payload([error::name(Errno::TOOBIG)])),
            Err(errno) => (kind::ERROR, payload([error::name(errno)])),
        };
        self.send(number, &Message { kind, payload, ..*request });
        for path in changes {
            self.tell(&path, false);
        }
        if request.kind == kind::WATCH
            && kind == kind::WATCH
            && let Some(connection) = self.connections.get(&number)
            && let Some((path, left_out, token)) = connection.watches.last().cloned()
        {
            self.send(number, &event(path.get(left_out..).unwrap_or_default(), &token));
        }
    }

    fn act(&mut self, number: u64, request: &Message, changes: &mut Vec<String>) -> Result<Vec<u8>, Errno> {
        let ok = payload(["OK"]);
        let domain = self.connections.get(&number).ok_or(Errno::IO)?.domain;
        let (name, rest) = split(&request.payload)?;
        let home = format!("/local/domain/{domain}");
        let path = if name.starts_with(['/', '@']) { name.to_owned() } else { format!("{home}/{name}") };
        let key = (number, request.transaction);
        let tree = match request.transaction {
            0 => &mut self.tree,
            _ => &mut self.transactions.get_mut(&key).ok_or(Errno::NOENT)?.tree,
        };
        let changed = match request.kind {
            kind::READ => return tree.read(&path, domain),
            kind::DIRECTORY => return tree.list(&path, domain).map(|names| payload(names.iter().copied())),
            kind::DIRECTORY_PART => {
                let names = payload(tree.list(&path, domain)?);
                return part(&names, rest, self.generation);
            }
            kind::GET_PERMS => {
                let words = tree.permissions(&path, domain)?.to_words();
                return Ok(payload(words.iter().map(String::as_str)));
            }
            kind::WRITE => tree.write(&path, rest, domain)?,
            kind::MKDIR => tree.make(&path, domain)?,
            kind::RM => tree.remove(&path, domain)?,
            kind::SET_PERMS => {
                let words = crate::wire::words(rest).map_err(|_| Errno::INVAL)?;
                let permissions = Permissions::from_words(words).map_err(|_| Errno::INVAL)?;
                tree.set_permissions(&path, permissions, domain)?
            }
            kind::WATCH => return self.watch(number, path, name, rest).map(|()| ok),
            kind::UNWATCH => return self.unwatch(number, &path, rest).map(|()| ok),
            kind::TRANSACTION_START => {
                let free = (1..u32::MAX).find(|&at| !self.transactions.contains_key(&(number, at)));
                let free = free.ok_or(Errno::NOSPC)?;
                let copy = Copy { tree: self.tree.clone(), generation: self.generation, changes: Vec::new() };
                self.transactions.insert((number, free), copy);
                return Ok(payload([free.to_string().as_str()]));
            }
            kind::TRANSACTION_END => {
                let copy = self.transactions.remove(&key).ok_or(Errno::NOENT)?;
                if name != "T" {
                    return Ok(ok);
                }
                if self.conflicts > 0 || copy.generation != self.generation {
                    self.conflicts = self.conflicts.saturating_sub(1);
                    return Err(Errno::AGAIN);
                }
                if !copy.changes.is_empty() {
                    (self.tree, self.generation) = (copy.tree, self.generation.wrapping_add(1));
                }
                *changes = copy.changes;
                return Ok(ok);
            }
            kind::GET_DOMAIN_PATH => return Ok(payload([format!("/local/domain/{name}").as_str()])),
            kind::IS_DOMAIN_INTRODUCED => {
                let known = name.parse().is_ok_and(|domain| self.domains.contains(&domain));
                return Ok(payload([if known { "T" } else { "F" }]));
            }
            _ => return Err(Errno::NOSYS),
        };
        if changed {
            match self.transactions.get_mut(&key) {
                Some(copy) => copy.changes.push(path),
                None => {
                    self.generation = self.generation.wrapping_add(1);
                    changes.push(path);
                }
            }
        }
        Ok(ok)
    }

    fn watch(&mut self, number: u64, path: String, name: &str, rest: &[u8]) -> Result<(), Errno> {
        let token = token(rest)?;
        let connection = self.connections.get_mut(&number).ok_or(Errno::IO)?;
        if path == "@releaseDomain" && connection.domain != 0 {
            return Err(Errno::ACCESS);
        }
        let watch = (path.clone(), path.len().saturating_sub(name.len()), token);
        if connection.watches.contains(&watch) {
            return Err(Errno::EXIST);
        }
        connection.watches.push(watch);
        Ok(())
    }

    fn unwatch(&mut self, number: u64, path: &str, rest: &[u8]) -> Result<(), Errno> {
        let token = token(rest)?;
        let watches = &mut self.connections.get_mut(&number).ok_or(Errno::IO)?.watches;
        let found = watches.iter().position(|watch| watch.0 == path && watch.2 == token);
        watches.remove(found.ok_or(Errno::NOENT)?);
        Ok(())
    }

    /// Tells those who watch that a node, or if `everybody`, something that is none, changed.
    fn tell(&mut self, changed: &str, everybody: bool) {
        let mut events = Vec::new();
        for (&number, connection) in &self.connections {
            for (path, left_out, token) in &connection.watches {
                let gone = !everybody && self.tree.permissions(changed, 0).is_err();
                let allowed = everybody || gone || self.tree.permissions(changed, connection.domain).is_ok();
                // Of what is removed, those hear too who watch what stood below.
                if is_within(changed, path) && allowed {
                    events.push((number, event(changed.get(*left_out..).unwrap_or_default(), token)));
                } else if gone && is_within(path, changed) {
                    events.push((number, event(path.get(*left_out..).unwrap_or_default(), token)));
                }
            }
        }
        for (number, event) in events {
            self.send(number, &event);
        }
    }

    fn send(&mut self, number: u64, message: &Message) {
        if let Some(connection) = self.connections.get_mut(&number) {
            // Who has closed its end does not hear it.
            let _ = connection.stream.write_all(&message.to_bytes());
        }
    }
}

fn event(path: &str, token: &str) -> Message {
    Message { kind: kind::WATCH_EVENT, request: 0, transaction: 0, payload: payload([path, token]) }
}

/// The first word of a payload, and what is behind it.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), Errno> {
    let end = bytes.iter().position(|&byte| byte == 0).ok_or(Errno::INVAL)?;
    let (name, rest) = bytes.split_at(end);
    Ok((std::str::from_utf8(name).map_err(|_| Errno::INVAL)?, rest.get(1..).unwrap_or_default()))
}

fn token(bytes: &[u8]) -> Result<String, Errno> {
    split(bytes).map(|(token, _)| token.to_owned())
}

/// A part of a list of names, as far as a message holds it.
fn part(names: &[u8], offset: &[u8], generation: u64) -> Result<Vec<u8>, Errno> {
    let offset: usize = token(offset)?.parse().map_err(|_| Errno::INVAL)?;
    let rest = names.get(offset..).ok_or(Errno::INVAL)?;
    let mut bytes = payload([generation.to_string().as_str()]);
    let room = MAX_PAYLOAD.saturating_sub(bytes.len()).saturating_sub(1);
    if rest.len() <= room {
        bytes.extend(rest.iter().chain(&[0]));
        return Ok(bytes);
    }
    let end = rest.iter().take(room).rposition(|&byte| byte == 0).map_or(0, |last| last + 1);
    bytes.extend(rest.iter().take(end));
    Ok(bytes)
}
