//! A connection to the store.
//!
//! Requests go one at a time, and each is answered before the next. What the store says of changes meanwhile is kept, once
//! for each watch and path. Whatever is no answer to the request ends the connection: from there on nobody could tell
//! which answer is to what.

mod transaction;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use xenolith_abi::DomId;

use crate::link::Link;
use crate::nodes::{Nodes, Request};
use crate::wire::{Assembler, MAX_PAYLOAD, Message, kind, words};
use crate::{Error, error};

pub use transaction::Transaction;

/// How long the store may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Changes that are kept at most; of more than that only the fact is.
const MAX_EVENTS: usize = 4096;
/// Bytes that are read at once at most.
const READ: usize = 1024;

/// What the store says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node changed, or one below it, or was made or removed.
    Changed {
        /// The node; below a watch that was set by a relative name, its name relative to the same.
        path: String,
        /// The token of the watch.
        token: String,
    },
    /// There was more than could be kept: anything that is watched may have changed.
    Missed,
}

/// A connection to the store.
#[derive(Debug)]
pub struct Client {
    link: Link,
    assembler: Assembler,
    /// The number of the last request, which its answer repeats.
    last: u32,
    events: VecDeque<Event>,
    /// Why the connection is lost.
    broken: Option<String>,
}

impl Client {
    /// Connects to the store: by its daemon's socket if that runs in this domain, by the kernel if not.
    ///
    /// # Errors
    /// [`Error::NoStore`]
    pub fn open() -> Result<Client, Error> {
        Ok(Client::over(Link::open(TIMEOUT)?))
    }

    /// Talks to a store over an open stream.
    ///
    /// # Errors
    /// The file cannot be read without waiting.
    pub fn from_stream(stream: impl Into<OwnedFd>, timeout: Duration) -> Result<Client, Error> {
        Ok(Client::over(Link::new(stream.into(), timeout)?))
    }

    fn over(link: Link) -> Client {
        Client { link, assembler: Assembler::default(), last: 0, events: VecDeque::new(), broken: None }
    }

    /// What becomes readable when the store says something: call [`Client::event`] then, until it has no more.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// The next change, without waiting. `None`: there was no other.
    ///
    /// # Errors
    /// [`Error::Lost`]
    pub fn event(&mut self) -> Result<Option<Event>, Error> {
        self.check_connected()?;
        while let Some(message) = self.or_lose(Client::receive)? {
            self.or_lose(|client| client.on_watch_event(message))?;
        }
        Ok(self.events.pop_front())
    }

    /// Whether changes are here that came while a request waited for its answer: [`event`](Self::event) returns them, and
    /// [`fd`](Self::fd) says nothing of them.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Asks to be told when a node changes, or any below it. The first event comes at once.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.done(Request::of(kind::WATCH, "watch", path, &[path, token]))
    }

    /// Ends a watch. Events that are here already are still told of.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.done(Request::of(kind::UNWATCH, "stop watching", path, &[path, token]))
    }

    /// The path below which a domain's own nodes are.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    pub fn domain_path(&mut self, domain: DomId) -> Result<String, Error> {
        let number = domain.0.to_string();
        let request = Request::of(kind::GET_DOMAIN_PATH, "tell the path of domain", &number, &[&number]);
        self.one_word(request)
    }

    /// Whether the store knows a domain: it does from its making to its end.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    pub fn is_introduced(&mut self, domain: DomId) -> Result<bool, Error> {
        let number = domain.0.to_string();
        let request = Request::of(kind::IS_DOMAIN_INTRODUCED, "tell of domain", &number, &[&number]);
        Ok(self.one_word(request)? == "T")
    }

    /// Does several things as one, with what `work` reads unchanged by others until it is done. `work` is called again,
    /// with all that it did undone, when somebody else came between.
    ///
    /// # Errors
    /// That of `work`, after which nothing is done; [`Error::Contended`]; or the connection is lost.
    pub fn transaction<T>(
        &mut self,
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        transaction::run(self, &mut work)
    }

    /// Sends a request and returns the answer's payload.
    pub(crate) fn call(&mut self, transaction: u32, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        self.check_connected()?;
        let number = self.last.wrapping_add(1);
        self.last = number;
        let payload = request.payload()?;
        let message = Message { kind: request.kind, request: number, transaction, payload };
        let answer = self.or_lose(|client| client.exchange(&message))?;
        if answer.kind != kind::ERROR {
            return Ok(answer.payload);
        }
        let name = String::from_utf8_lossy(&answer.payload).trim_end_matches('\0').to_owned();
        Err(Error::Refused {
            action: request.action,
            path: request.path.to_owned(),
            errno: error::errno(&name),
            name: name.chars().take(40).collect(),
        })
    }

    fn exchange(&mut self, request: &Message) -> Result<Message, Error> {
        self.link.send(&request.to_bytes())?;
        // One limit for the whole answer: events that keep coming meanwhile do not put it off.
        let begun = Instant::now();
        loop {
            let Some(message) = self.receive()? else {
                self.link.wait_to_receive(begun)?;
                continue;
            };
            if message.kind == kind::WATCH_EVENT {
                self.on_watch_event(message)?;
                continue;
            }
            let is_answer = message.request == request.request
                && (message.kind == request.kind || message.kind == kind::ERROR)
                && (message.transaction == request.transaction || message.transaction == 0);
            if !is_answer {
                return Err(Error::lost("it gave an answer that nobody asked for"));
            }
            return Ok(message);
        }
    }

    /// The next message. `None`: all of it is not here yet.
    fn receive(&mut self) -> Result<Option<Message>, Error> {
        let mut bytes = [0; READ];
        loop {
            // Never more than of one message: what comes behind it stays with the kernel, and keeps the file readable.
            let wanted = self.assembler.wants().map_err(|broken| Error::lost(broken.0))?;
            let place = bytes.get_mut(..wanted.min(READ)).unwrap_or_default();
            let Some(count) = self.link.receive(place)? else { return Ok(None) };
            let read = bytes.get(..count).unwrap_or_default();
            let message = self.assembler.add(read).map_err(|broken| Error::lost(broken.0))?;
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Queues a message that is no answer, which must be a watch event.
    fn on_watch_event(&mut self, message: Message) -> Result<(), Error> {
        let event = change(&message).ok_or_else(|| Error::lost("it said something that nobody asked for"))?;
        if self.events.contains(&event) {
            return Ok(());
        }
        // With `Missed` in front everything will be looked at: what comes behind it would tell nothing new.
        if self.events.len() >= MAX_EVENTS {
            self.events.clear();
            self.events.push_back(Event::Missed);
        } else if self.events.front() != Some(&Event::Missed) {
            self.events.push_back(event);
        }
        Ok(())
    }

    /// Does something; if that loses the connection, no later request is sent: nobody could tell which answer is whose.
    fn or_lose<T>(&mut self, work: impl FnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let result = work(self);
        if let Err(Error::Lost(why)) = &result {
            self.broken = Some(why.clone());
        }
        result
    }

    fn check_connected(&self) -> Result<(), Error> {
        self.broken.as_ref().map_or(Ok(()), |why| Err(Error::Lost(why.clone())))
    }

    /// Sends a request whose answer says no more than that it is done.
    fn done(&mut self, request: Request<'_>) -> Result<(), Error> {
        self.call(0, &request).map(drop)
    }

    fn one_word(&mut self, request: Request<'_>) -> Result<String, Error> {
        let payload = self.call(0, &request)?;
        request.one_word(&payload)
    }
}

impl Nodes for Client {
    fn request(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        self.call(0, request)
    }
}

/// The change that a message tells of.
fn change(message: &Message) -> Option<Event> {
    if message.kind != kind::WATCH_EVENT || message.payload.len() > MAX_PAYLOAD {
        return None;
    }
    let mut words = words(&message.payload).ok()?;
    let (path, token) = (words.next()?.to_owned(), words.next()?.to_owned());
    // Newer stores may say more behind it.
    Some(Event::Changed { path, token })
}

#[cfg(test)]
mod tests;
