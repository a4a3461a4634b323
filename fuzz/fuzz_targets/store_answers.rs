//! What a xenstore says to its client: answers, events, and bytes that are neither. The store's end is open as long as the
//! client asks, and says no more than these bytes.
#![no_main]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use xenstore::wire::{Assembler, MAX_PAYLOAD, Message, kind, words};
use xenstore::{Client, DomId, Error, Nodes};

/// A client that waits for an answer gives up at once: all that comes is there before it asks.
const PATIENCE: Duration = Duration::ZERO;
/// What a socket holds for certain.
const MOST: usize = 64 << 10;

fuzz_target!(|bytes: &[u8]| {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    assemble(bytes);
    ask(bytes);
    ask(&answers(bytes));
});

/// Messages come out as they went in, however the bytes are cut.
fn assemble(mut bytes: &[u8]) {
    let mut assembler = Assembler::default();
    while let Ok(wanted) = assembler.wants() {
        assert!(wanted >= 1 && wanted <= MAX_PAYLOAD + 16);
        let Some((now, later)) = bytes.split_at_checked(wanted.min(7)) else { return };
        bytes = later;
        let Ok(Some(message)) = assembler.add(now) else { continue };
        assert!(message.payload.len() <= MAX_PAYLOAD);
        let _ = words(&message.payload).map(Iterator::count);
        let again = message.to_bytes();
        let (head, rest) = again.split_at(16);
        let mut other = Assembler::default();
        let whole = other.add(head).and_then(|first| Ok(first.or(other.add(rest)?)));
        assert_eq!(whole, Ok(Some(message)));
    }
}

/// Messages that fit what [`ask`] asks, so that more than their heads is read: of each two bytes that lead a piece, the
/// first says the kind and the second the length.
fn answers(mut bytes: &[u8]) -> Vec<u8> {
    const KINDS: [u32; 7] = [
        kind::READ,
        kind::DIRECTORY,
        kind::WATCH_EVENT,
        kind::ERROR,
        kind::GET_PERMS,
        kind::TRANSACTION_START,
        kind::TRANSACTION_END,
    ];
    let (mut all, mut request) = (Vec::new(), 1);
    while let [choice, length, rest @ ..] = bytes {
        let (payload, later) = rest.split_at(usize::from(*length).min(rest.len()));
        let kind = KINDS[usize::from(*choice) % KINDS.len()];
        let is_event = kind == kind::WATCH_EVENT;
        let number = if is_event { 0 } else { request };
        request += u32::from(!is_event);
        all.extend(Message { kind, request: number, transaction: 0, payload: payload.to_vec() }.to_bytes());
        bytes = later;
    }
    all.truncate(MOST);
    all
}

/// Asks all that a client asks, until nothing but errors comes.
fn ask(bytes: &[u8]) {
    let Ok((near, mut far)) = UnixStream::pair() else { return };
    far.write_all(bytes).expect("the socket holds them");
    let mut store = Client::from_stream(near, PATIENCE).expect("a socket will do");
    for _ in 0..8 {
        let _ = store.read("/a");
        let _ = store.directory("/a").inspect_err(|error| drop(error.to_string()));
        let _ = store.watch("/a", "token");
        let _ = store.permissions("/a");
        let _ = store.is_introduced(DomId(1));
        let result = store.transaction(|store| store.read_text("/a").map(drop));
        while let Ok(Some(_)) = store.event() {}
        if result.as_ref().is_err_and(Error::is_loss) {
            assert!(store.read("/a").is_err_and(|error| error.is_loss()), "a lost connection stays lost");
            return;
        }
    }
}
