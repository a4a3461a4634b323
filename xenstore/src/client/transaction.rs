//! Several requests that count as one.

use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::Client;
use crate::Error;
use crate::nodes::{Nodes, Request};
use crate::wire::kind;

/// How often a transaction is done again when others come between.
const TRIES: u32 = 100;
/// After as many tries, others get a moment to come to an end.
const TRIES_AT_ONCE: u32 = 5;
const PAUSE: Duration = Duration::from_millis(2);

/// The store as it was when the transaction began, with what the transaction changed.
#[derive(Debug)]
pub struct Transaction<'a> {
    client: &'a mut Client,
    number: u32,
}

impl Nodes for Transaction<'_> {
    fn request(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        self.client.call(self.number, request)
    }
}

/// Does `work` until it comes through.
pub(super) fn run<T>(
    client: &mut Client,
    work: &mut impl FnMut(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    for round in 0..TRIES {
        // A tool that writes much in one transaction would otherwise meet ours again and again.
        if round >= TRIES_AT_ONCE {
            thread::sleep(PAUSE);
        }
        let start = Request::of(kind::TRANSACTION_START, "begin", "a transaction", &[""]);
        let payload = client.call(0, &start)?;
        let number = start.one_word(&payload)?.parse().ok().filter(|&number| number != 0);
        let number = number.ok_or_else(|| start.value("is called what no transaction is called"))?;
        let result = work(&mut Transaction { client, number });
        // Ended after an error too: the store allows each connection only so many at once.
        let word = if result.is_ok() { "T" } else { "F" };
        let ended = client.call(number, &Request::of(kind::TRANSACTION_END, "end", "a transaction", &[word]));
        match (result, ended) {
            (Ok(_), Err(error)) if error.errno() == Some(Errno::AGAIN) => {}
            // A store may notice before the end that the work is in vain.
            (Err(error), Ok(_)) if error.errno() == Some(Errno::AGAIN) => {}
            (result, ended) => return result.and_then(|value| ended.map(|_| value)),
        }
    }
    Err(Error::Contended(TRIES))
}
