//! A store in this process, for tests: the store that guests get, with a socket for each of any number of clients.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use xenolith_abi::DomId;

use crate::server::{ConnectionId, Delivery, Limits, Store};
use crate::wire::{Assembler, MAX_PAYLOAD, Message, kind, payload};
use crate::{Client, Error, error};

/// How long a client of the mock waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The store. A clone is the same store.
#[derive(Clone, Debug)]
pub struct Mock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    store: Store,
    streams: BTreeMap<ConnectionId, UnixStream>,
    /// Transactions that are still to fail.
    conflicts: u32,
}

impl Default for Mock {
    fn default() -> Mock {
        Mock::new()
    }
}

impl Mock {
    /// An empty store that knows domain 0.
    pub fn new() -> Mock {
        let mut store = Store::new(Limits::AMPLE);
        store.introduce(DomId::CONTROL);
        Mock { state: Arc::new(Mutex::new(State { store, streams: BTreeMap::new(), conflicts: 0 })) }
    }

    /// Connects as a domain.
    ///
    /// # Errors
    /// The system has no sockets to give.
    pub fn connect(&self, domain: impl Into<DomId>) -> Result<Client, Error> {
        Client::from_stream(self.stream(domain)?, TIMEOUT)
    }

    /// The client's end of a new connection.
    ///
    /// # Errors
    /// The system has no sockets to give.
    pub fn stream(&self, domain: impl Into<DomId>) -> Result<UnixStream, Error> {
        let lost = |error: std::io::Error| Error::lost(error.to_string());
        let (near, far) = UnixStream::pair().map_err(lost)?;
        let stream = far.try_clone().map_err(lost)?;
        let mut state = self.lock();
        let connection = state.store.connect(domain.into());
        state.streams.insert(connection, stream);
        let mock = self.clone();
        thread::spawn(move || mock.serve(connection, far));
        Ok(near)
    }

    /// Has the store know a domain, as when it is made.
    pub fn introduce(&self, domain: impl Into<DomId>) {
        let mut state = self.lock();
        let events = state.store.introduce(domain.into());
        state.deliver(events);
    }

    /// Has the store forget a domain, as at its end.
    pub fn release(&self, domain: impl Into<DomId>) {
        let mut state = self.lock();
        let events = state.store.release(domain.into());
        state.deliver(events);
    }

    /// Lets the next transactions fail as if others had come between.
    pub fn conflicts(&self, count: u32) {
        self.lock().conflicts = count;
    }

    /// Closes all connections, as the end of the store's daemon does.
    pub fn hang_up(&self) {
        let mut state = self.lock();
        for (connection, stream) in std::mem::take(&mut state.streams) {
            state.store.disconnect(connection);
            // A client that has closed its end already is hung up on, too.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The paths of all nodes, in order.
    pub fn paths(&self) -> Vec<String> {
        self.lock().store.paths().map(str::to_owned).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, connection: ConnectionId, mut stream: UnixStream) {
        let mut assembler = Assembler::default();
        let mut bytes = [0; MAX_PAYLOAD];
        while let Ok(wanted) = assembler.wants() {
            let place = bytes.get_mut(..wanted.min(MAX_PAYLOAD)).unwrap_or_default();
            let Ok(count @ 1..) = stream.read(place) else { break };
            match assembler.add(bytes.get(..count).unwrap_or_default()) {
                Ok(Some(request)) => self.lock().answer(connection, request),
                Ok(None) => {}
                Err(_) => break,
            }
        }
        let mut state = self.lock();
        state.store.disconnect(connection);
        state.streams.remove(&connection);
    }
}

impl State {
    fn answer(&mut self, connection: ConnectionId, request: Message) {
        let is_commit = request.kind == kind::TRANSACTION_END && request.payload == b"T\0";
        let fails = is_commit && self.conflicts > 0;
        if !fails {
            let answers = self.store.answer(connection, &request);
            return self.deliver(answers);
        }
        // The transaction ends without effect, and its client hears that another one came between.
        self.conflicts = self.conflicts.saturating_sub(1);
        let undo = Message { payload: payload(["F"]), ..request };
        let mut answers = self.store.answer(connection, &undo);
        if let Some((_, answer)) = answers.first_mut() {
            (answer.kind, answer.payload) = (kind::ERROR, payload([error::name(Errno::AGAIN)]));
        }
        self.deliver(answers);
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) {
        for (to, message) in deliveries {
            if let Some(stream) = self.streams.get_mut(&to) {
                // Who has closed its end does not hear it.
                let _ = stream.write_all(&message.to_bytes());
            }
        }
    }
}
