//! The page through which a guest talks to its store (Xen, `public/io/xs_wire.h`): a ring for each direction.

use std::collections::VecDeque;

use rustix::io::Errno;

use super::GuestStore;
use crate::page::{SharedPage, read_ring, write_ring};
use crate::wire::{Assembler, Broken, Message};

const REQUESTS: (usize, u32) = (0, 1024);
const ANSWERS: (usize, u32) = (1024, 1024);
const REQ_CONS: usize = 2048;
const REQ_PROD: usize = 2052;
const RSP_CONS: usize = 2056;
const RSP_PROD: usize = 2060;

/// Bytes of answers and events that may wait for the guest before its requests have to wait.
const ENOUGH_WAITING: usize = 64 << 10;
/// Bytes that may wait before the guest is not told of changes any more. Between the two is room for the answers to
/// what is in hand, which are never dropped.
const TOO_MUCH_WAITING: usize = 256 << 10;
/// Requests that are answered before others have their turn.
const REQUESTS_AT_ONCE: usize = 64;

/// What came of serving a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The guest is to be told that the page has changed.
    pub notify: bool,
    /// There is more to do at once.
    pub more: bool,
}

/// A guest's connection to its store.
#[derive(Clone, Debug)]
pub struct RingConnection {
    store: GuestStore,
    assembler: Assembler,
    waiting: VecDeque<u8>,
    /// Bytes of requests that were taken and of answers that were given. The page has these numbers too, for the guest,
    /// which can write them: they are never read back.
    req_cons: u32,
    rsp_prod: u32,
    broken: Option<&'static str>,
}

impl RingConnection {
    /// A connection on which nothing was said.
    pub fn new(store: GuestStore) -> RingConnection {
        RingConnection {
            store,
            assembler: Assembler::default(),
            waiting: VecDeque::new(),
            req_cons: 0,
            rsp_prod: 0,
            broken: None,
        }
    }

    /// What [`RingConnection::resume`] goes on from, in another process.
    pub fn save(&self) -> Vec<u8> {
        let (begun, waiting): (&[u8], Vec<u8>) =
            (self.assembler.begun(), self.waiting.iter().copied().collect());
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let words = [self.req_cons, self.rsp_prod, length(begun), length(&waiting)];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(begun);
        bytes.extend(waiting);
        self.store.to_requests().iter().for_each(|request| bytes.extend(request.to_bytes()));
        bytes
    }

    /// The connection as [`RingConnection::save`] left it, with a store of the same guest that has no nodes. It is broken
    /// unless it was saved after the last bytes that went through the page: which those were, nobody knows any more.
    pub fn resume(store: GuestStore, saved: &[u8], page: &dyn SharedPage) -> RingConnection {
        let mut connection = RingConnection::new(store);
        if connection.restore(saved, page).is_none() {
            connection.broken = Some("who kept it ended in the middle of a request");
        }
        connection
    }

    fn restore(&mut self, saved: &[u8], page: &dyn SharedPage) -> Option<()> {
        let (words, rest) =
            saved.as_chunks::<4>().0.split_at_checked(4).map(|(words, _)| words).zip(saved.get(16..))?;
        let word = |index: usize| words.get(index).map(|word| u32::from_le_bytes(*word));
        (self.req_cons, self.rsp_prod) = (word(0)?, word(1)?);
        // The page's copies are the guest's to write, and are only compared: they are what was last told to it.
        if (self.req_cons, self.rsp_prod) != (page.load(REQ_CONS), page.load(RSP_PROD)) {
            return None;
        }
        let (begun, rest) = rest.split_at_checked(usize::try_from(word(2)?).ok()?)?;
        let (waiting, requests) = rest.split_at_checked(usize::try_from(word(3)?).ok()?)?;
        self.assembler.add(begun).ok()?;
        self.waiting.extend(waiting);
        self.store.feed(requests);
        Some(())
    }

    /// The store behind it.
    pub fn store(&self) -> &GuestStore {
        &self.store
    }

    /// How the guest broke the protocol, after which it is not served any more.
    pub fn broken(&self) -> Option<&'static str> {
        self.broken
    }

    /// Writes a node below the guest's own path. [`RingConnection::serve`] tells the guest.
    ///
    /// # Errors
    ///
    /// The guest has filled its store.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Errno> {
        let events = self.store.set(name, value)?;
        self.queue(events);
        Ok(())
    }

    /// Answers what the guest has asked, and gives it what waits for it.
    pub fn serve(&mut self, page: &dyn SharedPage) -> Served {
        if self.broken.is_some() {
            return Served::default();
        }
        self.try_serve(page).unwrap_or_else(|Broken(how)| {
            self.broken = Some(how);
            self.waiting = VecDeque::new();
            Served::default()
        })
    }

    fn try_serve(&mut self, page: &dyn SharedPage) -> Result<Served, Broken> {
        let mut served = Served::default();
        for _ in 0..REQUESTS_AT_ONCE {
            // Before each request, so that what it is answered has room: a guest that does not read is not served
            // either.
            served.notify |= self.send(page)?;
            if self.waiting.len() > ENOUGH_WAITING {
                return Ok(served);
            }
            let (took, request) = self.receive(page)?;
            // Also without an answer: the guest may be waiting for room for the rest of its request.
            served.notify |= took;
            match request {
                Some(request) => {
                    let answers = self.store.answer(&request);
                    self.queue(answers);
                }
                None if took => {}
                None => return Ok(served),
            }
        }
        served.notify |= self.send(page)?;
        served.more = true;
        Ok(served)
    }

    /// Takes bytes of one request. Returns whether there were any, and the request if it is complete.
    fn receive(&mut self, page: &dyn SharedPage) -> Result<(bool, Option<Message>), Broken> {
        // The indices run freely: their difference counts, also where they wrap.
        let there = page.load(REQ_PROD).wrapping_sub(self.req_cons);
        if there > REQUESTS.1 {
            return Err(Broken("a request ring with more bytes than it holds"));
        }
        let there = usize::try_from(there).unwrap_or(0);
        let count = there.min(self.assembler.wants()?);
        if count == 0 {
            return Ok((false, None));
        }
        let mut bytes = vec![0; count];
        read_ring(page, REQUESTS, self.req_cons, &mut bytes);
        self.req_cons = self.req_cons.wrapping_add(u32::try_from(count).unwrap_or(0));
        // Only now, with the bytes copied out, may the guest write over them.
        page.store(REQ_CONS, self.req_cons);
        Ok((true, self.assembler.add(&bytes)?))
    }

    /// Gives the guest what waits and has room. Returns whether that was anything.
    fn send(&mut self, page: &dyn SharedPage) -> Result<bool, Broken> {
        if self.waiting.is_empty() {
            return Ok(false);
        }
        let unread = self.rsp_prod.wrapping_sub(page.load(RSP_CONS));
        let room =
            ANSWERS.1.checked_sub(unread).ok_or(Broken("an answer ring with more bytes than it holds"))?;
        let count = self.waiting.len().min(usize::try_from(room).unwrap_or(0));
        if count == 0 {
            return Ok(false);
        }
        let bytes: Vec<u8> = self.waiting.drain(..count).collect();
        write_ring(page, ANSWERS, self.rsp_prod, &bytes);
        // The bytes are there before the index that tells of them.
        self.rsp_prod = self.rsp_prod.wrapping_add(u32::try_from(count).unwrap_or(0));
        page.store(RSP_PROD, self.rsp_prod);
        Ok(true)
    }

    fn queue(&mut self, messages: Vec<Message>) {
        for message in messages {
            // An answer is never dropped: requests wait long before. What is dropped are events, of which Linux's driver
            // expects no count.
            if self.waiting.len() <= TOO_MUCH_WAITING {
                self.waiting.extend(message.to_bytes());
            }
        }
    }
}
