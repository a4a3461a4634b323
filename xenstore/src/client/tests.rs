use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use proptest::prelude::*;
use rustix::io::Errno;

use super::*;
use crate::Permissions;
use crate::mock::Mock;

const SHORT: Duration = Duration::from_millis(50);

/// The next event, which is on its way.
fn next(client: &mut Client) -> Event {
    loop {
        if let Some(event) = client.event().unwrap() {
            return event;
        }
        client.link.wait_to_receive(Instant::now()).unwrap();
    }
}

fn changed(path: &str, token: &str) -> Event {
    Event::Changed { path: path.into(), token: token.into() }
}

/// A client of a store that says `answer` to whatever it hears first.
fn against(answer: Vec<u8>) -> (Client, thread::JoinHandle<()>) {
    let (near, mut far) = UnixStream::pair().unwrap();
    let store = thread::spawn(move || {
        let mut request = [0; 16];
        far.read_exact(&mut request).unwrap();
        far.write_all(&answer).unwrap();
        // Until the client is gone.
        let _ = far.read_to_end(&mut Vec::new());
    });
    (Client::from_stream(near, SHORT).unwrap(), store)
}

fn answer(kind: u32, request: u32, payload: &[u8]) -> Vec<u8> {
    Message { kind, request, transaction: 0, payload: payload.to_vec() }.to_bytes()
}

#[test]
fn nodes_are_written_read_listed_and_removed() {
    let mut store = Mock::new().connect(0).unwrap();
    store.write("/a/b", b"1").unwrap();
    store.write("/a/c", b"").unwrap();
    store.make("/a/d").unwrap();
    assert_eq!(store.directory("/a").unwrap(), ["b", "c", "d"]);
    assert_eq!((store.read_text("/a/b").unwrap().as_str(), store.read("/a").unwrap().len()), ("1", 0));
    store.remove("/a/b").unwrap();
    assert!(store.read("/a/b").unwrap_err().is_absence());
    assert_eq!((store.find_text("/a/b").unwrap(), store.find_directory("/x").unwrap()), (None, vec![]));
    store.write("/a/c", b"\xff").unwrap();
    assert!(matches!(store.read_text("/a/c"), Err(Error::Value { .. })));
    assert!(store.read("").unwrap_err().errno() == Some(Errno::INVAL));
}

#[test]
fn a_long_list_comes_in_parts() {
    let mut store = Mock::new().connect(0).unwrap();
    let names: Vec<String> = (0..900).map(|number| format!("node-{number:04}")).collect();
    for name in &names {
        store.write(&format!("/all/{name}"), b"").unwrap();
    }
    assert_eq!(store.directory("/all").unwrap(), names);
}

#[test]
fn what_cannot_be_sent_is_refused_here() {
    let mut store = Mock::new().connect(0).unwrap();
    assert!(matches!(store.read("/a\0b"), Err(Error::Unfit { .. })));
    assert!(matches!(store.read(&"x".repeat(3073)), Err(Error::Unfit { .. })));
    assert!(matches!(store.write("/a", &[0; 4094]), Err(Error::Unfit { .. })));
    store.write("/a", &[0; 4093]).unwrap();
    assert_eq!(store.read("/a").unwrap().len(), 4093);
}

#[test]
fn a_domain_has_a_home_and_permissions() {
    let mock = Mock::new();
    let (mut control, mut guest) = (mock.connect(0).unwrap(), mock.connect(7).unwrap());
    control.write("/local/domain/7/domid", b"7").unwrap();
    control.set_permissions("/local/domain/7", &"n7".parse().unwrap()).unwrap();
    assert_eq!(guest.domain_path(DomId(7)).unwrap(), "/local/domain/7");
    assert_eq!(guest.read("domid").unwrap_err().errno(), Some(Errno::ACCESS));
    control.set_permissions("/local/domain/7/domid", &"n0,r7".parse().unwrap()).unwrap();
    assert_eq!(guest.read_text("domid").unwrap(), "7");
    assert_eq!(guest.write("domid", b"0").unwrap_err().errno(), Some(Errno::ACCESS));
    guest.write("data/x", b"1").unwrap();
    assert_eq!(control.permissions("/local/domain/7/data/x").unwrap(), Permissions::private(DomId(7)));
    assert!(control.is_introduced(DomId(0)).unwrap() && !control.is_introduced(DomId(7)).unwrap());
    mock.introduce(7);
    assert!(control.is_introduced(DomId(7)).unwrap());
}

#[test]
fn a_watch_tells_at_once_and_of_each_change() {
    let mock = Mock::new();
    let (mut one, mut other) = (mock.connect(0).unwrap(), mock.connect(0).unwrap());
    one.watch("/a", "mine").unwrap();
    assert_eq!(next(&mut one), changed("/a", "mine"));
    assert_eq!(one.watch("/a", "mine").unwrap_err().errno(), Some(Errno::EXIST));
    other.write("/a/b", b"1").unwrap();
    other.write("/ab", b"1").unwrap();
    assert_eq!(next(&mut one), changed("/a/b", "mine"));
    other.remove("/a").unwrap();
    assert_eq!(next(&mut one), changed("/a", "mine"));
    one.unwatch("/a", "mine").unwrap();
    other.write("/a", b"1").unwrap();
    other.read("/a").unwrap();
    one.read("/a").unwrap();
    assert_eq!(one.event().unwrap(), None);
    one.watch("x", "own").unwrap();
    assert_eq!(next(&mut one), changed("x", "own"));
}

#[test]
fn changes_that_come_before_an_answer_are_kept_once() {
    let mock = Mock::new();
    let (mut one, mut other) = (mock.connect(0).unwrap(), mock.connect(0).unwrap());
    one.watch("/a", "t").unwrap();
    assert_eq!(next(&mut one), changed("/a", "t"));
    for _ in 0..10 {
        other.write("/a/b", b"1").unwrap();
    }
    other.write("/a/c", b"1").unwrap();
    assert_eq!(one.read("/a/b").unwrap(), b"1");
    assert_eq!((next(&mut one), next(&mut one)), (changed("/a/b", "t"), changed("/a/c", "t")));
    assert_eq!(one.event().unwrap(), None);
}

#[test]
fn too_many_changes_are_one() {
    let mock = Mock::new();
    let (mut one, mut other) = (mock.connect(0).unwrap(), mock.connect(0).unwrap());
    one.watch("/a", "t").unwrap();
    let writer = thread::spawn(move || {
        for number in 0..MAX_EVENTS + 10 {
            other.write(&format!("/a/{number}"), b"").unwrap();
        }
    });
    // Its events are taken in while it waits for answers.
    while !writer.is_finished() {
        one.read("/").unwrap();
    }
    writer.join().unwrap();
    one.read("/").unwrap();
    assert_eq!(one.event().unwrap(), Some(Event::Missed));
    assert_eq!(one.event().unwrap(), None);
}

#[test]
fn a_transaction_is_done_again_until_it_comes_through() {
    let mock = Mock::new();
    let (mut one, mut other) = (mock.connect(0).unwrap(), mock.connect(0).unwrap());
    one.write("/n", b"0").unwrap();
    let mut rounds = 0;
    let seen = one.transaction(|store| {
        let seen = store.read_text("/n")?;
        rounds += 1;
        if rounds < 4 {
            other.write("/n", rounds.to_string().as_bytes())?;
        }
        store.write("/m", seen.as_bytes())?;
        Ok(seen)
    });
    assert_eq!((seen.unwrap().as_str(), rounds), ("3", 4));
    assert_eq!(other.read_text("/m").unwrap(), "3");
    mock.conflicts(u32::MAX);
    assert!(matches!(one.transaction(|store| store.read("/n")), Err(Error::Contended(_))));
}

#[test]
fn a_transaction_that_fails_did_nothing() {
    let mut store = Mock::new().connect(0).unwrap();
    store.watch("/a", "t").unwrap();
    assert_eq!(next(&mut store), changed("/a", "t"));
    let result = store.transaction(|store| {
        store.write("/a", b"1")?;
        store.read("/missing")
    });
    assert!(result.unwrap_err().is_absence());
    assert!(store.find_text("/a").unwrap().is_none());
    assert_eq!(store.event().unwrap(), None);
}

#[test]
fn what_is_no_answer_ends_the_connection() {
    for (what, bytes) in [
        ("another request's", answer(kind::READ, 9, b"x")),
        ("another kind", answer(kind::DIRECTORY, 1, b"x")),
        (
            "a transaction's",
            Message { kind: kind::READ, request: 1, transaction: 7, payload: vec![] }.to_bytes(),
        ),
        ("too long", [2u32, 1, 0, 4097].iter().flat_map(|word| word.to_le_bytes()).collect()),
        ("an event without its words", answer(kind::WATCH_EVENT, 0, b"/a")),
        ("an event without a token", answer(kind::WATCH_EVENT, 0, b"/a\0")),
        ("cut off", answer(kind::READ, 1, b"long")[..18].to_vec()),
        ("nothing", vec![]),
    ] {
        let (mut client, store) = against(bytes);
        let error = client.read("/a").unwrap_err();
        assert!(error.is_loss(), "{what}: {error}");
        // From here on nothing is believed.
        assert!(client.read("/a").unwrap_err().is_loss() && client.event().unwrap_err().is_loss(), "{what}");
        drop(client);
        store.join().unwrap();
    }
}

#[test]
fn odd_values_are_errors_of_one_request() {
    let (mut client, store) = against(answer(kind::GET_PERMS, 1, b"z9\0"));
    assert!(matches!(client.permissions("/a"), Err(Error::Value { .. })));
    drop(client);
    store.join().unwrap();
    for payload in [&b"0\0"[..], b"x\0", b"", b"5\x006\0", b"5"] {
        let (mut client, store) = against(answer(kind::TRANSACTION_START, 1, payload));
        assert!(matches!(client.transaction(|_| Ok(())), Err(Error::Value { .. })), "{payload:?}");
        drop(client);
        store.join().unwrap();
    }
    let (mut client, store) = against(answer(kind::ERROR, 1, b"EWHATEVER"));
    let error = client.read("/a").unwrap_err();
    assert!(!error.is_loss() && error.errno().is_none(), "{error}");
    drop(client);
    store.join().unwrap();
}

#[test]
fn an_end_of_the_store_is_told() {
    let mock = Mock::new();
    let mut client = mock.connect(0).unwrap();
    client.write("/a", b"").unwrap();
    mock.hang_up();
    assert!(client.read("/a").unwrap_err().is_loss());
    assert!(client.event().unwrap_err().is_loss());
}

proptest! {
    /// Whatever a store sends, a client comes to an end with it.
    #[test]
    fn any_answer_is_an_answer_or_an_error(
        noise in prop::collection::vec(any::<u8>(), 0..60),
        kind in 0..24u32,
        payload in prop::collection::vec(any::<u8>(), 0..40),
        pick in 0..3usize,
    ) {
        let bytes = match pick {
            0 => noise,
            1 => answer(kind, 1, &payload),
            _ => [answer(kind::WATCH_EVENT, 0, &payload), answer(kind, 1, &noise)].concat(),
        };
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(&bytes).unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        let mut client = Client::from_stream(near, SHORT).unwrap();
        let _ = client.directory("/a");
        while let Ok(Some(_)) = client.event() {}
        let _ = client.permissions("/a");
    }
}
