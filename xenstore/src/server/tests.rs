use super::*;
use crate::page::mock::MockPage;
use crate::page::{SharedPage, read_ring, write_ring};
use crate::wire::{Assembler, Message, kind};
use proptest::prelude::*;
use xenolith_abi::DomId;

const HOME: &str = "/local/domain/5";

fn store() -> GuestStore {
    GuestStore::new(DomId(5), [("domid", "5"), ("control/shutdown", ""), ("device", "")])
}

/// The guest's end, as Linux's driver has it, with answers that are read as they come.
struct Guest {
    page: MockPage,
    connection: RingConnection,
    answers: Assembler,
    received: Vec<Message>,
    notified: bool,
}

impl Guest {
    fn new() -> Guest {
        let connection = RingConnection::new(store());
        Guest {
            page: MockPage::default(),
            connection,
            answers: Assembler::default(),
            received: vec![],
            notified: false,
        }
    }

    fn serve(&mut self) {
        for _ in 0..1000 {
            let served = self.connection.serve(&self.page);
            self.notified |= served.notify;
            if !self.read() && !served.more {
                return;
            }
        }
        panic!("no end");
    }

    fn read(&mut self) -> bool {
        let consumed = self.page.word(2056);
        let count = self.page.word(2060).wrapping_sub(consumed);
        let mut bytes = vec![0; usize::try_from(count).unwrap()];
        read_ring(&self.page, (1024, 1024), consumed, &mut bytes);
        self.page.store(2056, consumed.wrapping_add(count));
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (now, then) = rest.split_at(rest.len().min(self.answers.wants().unwrap()));
            self.received.extend(self.answers.add(now).unwrap());
            rest = then;
        }
        count != 0
    }

    fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(700) {
            let produced = self.page.word(2052);
            write_ring(&self.page, (0, 1024), produced, piece);
            self.page.store(2052, produced.wrapping_add(u32::try_from(piece.len()).unwrap()));
            self.serve();
        }
    }

    /// Asks; returns the answer as text, an error with `!` before it. What comes besides stays in `received`.
    fn ask_in(&mut self, transaction: u32, kind: u32, payload: &str) -> String {
        let request = Message { kind, request: 77, transaction, payload: payload.into() };
        self.send(&request.to_bytes());
        let answer = self.received.iter().position(|message| message.kind != kind::WATCH_EVENT).unwrap();
        let answer = self.received.remove(answer);
        assert_eq!((answer.request, answer.transaction), (77, transaction));
        let text = String::from_utf8(answer.payload).unwrap();
        if answer.kind == kind::ERROR { format!("!{}", text.trim_end_matches('\0')) } else { text }
    }

    fn ask(&mut self, kind: u32, payload: &str) -> String {
        self.ask_in(0, kind, payload)
    }

    fn events(&mut self) -> Vec<String> {
        let events = self.received.drain(..);
        events.map(|event| String::from_utf8(event.payload).unwrap()).collect()
    }
}

#[test]
fn nodes_are_read_written_listed_and_removed() {
    let mut guest = Guest::new();
    assert_eq!(guest.ask(kind::READ, "domid\0"), "5");
    assert_eq!(guest.ask(kind::READ, &format!("{HOME}/domid\0")), "5");
    assert_eq!(guest.ask(kind::READ, "data/x\0"), "!ENOENT");
    assert_eq!(guest.ask(kind::WRITE, "data/x\0value"), "OK\0");
    assert_eq!(guest.ask(kind::READ, "data/x\0"), "value");
    assert_eq!(guest.ask(kind::DIRECTORY, "data\0"), "x\0");
    assert_eq!(guest.ask(kind::DIRECTORY, "device\0"), "");
    assert_eq!(guest.ask(kind::MKDIR, "data/y\0"), "OK\0");
    assert_eq!(guest.ask(kind::RM, "data\0"), "OK\0");
    assert_eq!(guest.ask(kind::RM, "data/x\0"), "!ENOENT");
    assert_eq!(guest.ask(kind::DIRECTORY, &format!("{HOME}\0")), "control\0device\0domid\0");
    assert_eq!(guest.ask(kind::GET_PERMS, "domid\0"), "n5\0");
    assert_eq!(guest.ask(kind::GET_DOMAIN_PATH, "5\0"), "/local/domain/5\0");
    assert!(guest.notified);
}

#[test]
fn what_is_not_the_guests_stays_as_it_is() {
    let mut guest = Guest::new();
    assert_eq!(guest.ask(kind::WRITE, "/local/domain/0/x\0y"), "!EACCES");
    assert_eq!(guest.ask(kind::WRITE, "/local/domain/50/x\0y"), "!EACCES");
    assert_eq!(guest.ask(kind::RM, &format!("{HOME}\0")), "!EACCES");
    assert_eq!(guest.ask(kind::WRITE, "a b\0y"), "!EINVAL");
    assert_eq!(guest.ask(kind::READ, "domid"), "!EINVAL");
    assert_eq!(guest.ask(0, "help\0"), "!ENOSYS");
    assert_eq!(guest.ask(8, "1\0"), "!ENOSYS");
    assert_eq!(guest.ask_in(9, kind::READ, "domid\0"), "!ENOENT");
}

#[test]
fn a_guest_says_who_may_use_what_is_its_own() {
    let mut guest = Guest::new();
    assert_eq!(guest.ask(kind::SET_PERMS, "data\0n5\0r0\0"), "!ENOENT");
    guest.ask(kind::WRITE, "data\0x");
    assert_eq!(guest.ask(kind::SET_PERMS, "data\0n5\0r0\0"), "OK\0");
    assert_eq!(guest.ask(kind::GET_PERMS, "data\0"), "n5\0r0\0");
    assert_eq!(guest.ask(kind::SET_PERMS, "data\0b0\0"), "!EPERM");
    assert_eq!(guest.ask(kind::SET_PERMS, "data\0x5\0"), "!EINVAL");
    assert_eq!(guest.ask(kind::SET_PERMS, "/local\0b5\0"), "!EACCES");
    assert_eq!(guest.ask(kind::GET_PERMS, "/local\0"), "r0\0");
}

#[test]
fn a_watcher_is_told_and_a_shutdown_reaches_it() {
    let mut guest = Guest::new();
    assert!(!guest.connection.store().is_watched("control/shutdown"));
    assert_eq!(guest.ask(kind::WATCH, "control/shutdown\0t1\0"), "OK\0");
    assert_eq!(guest.events(), ["control/shutdown\0t1\0"]);
    assert!(guest.connection.store().is_watched("control/shutdown"));
    guest.connection.set("control/shutdown", "poweroff").unwrap();
    guest.serve();
    assert_eq!(guest.events(), ["control/shutdown\0t1\0"]);
    // The way of Linux's handler.
    let number = guest.ask(kind::TRANSACTION_START, "\0");
    let number = number.trim_end_matches('\0').parse().unwrap();
    assert_eq!(guest.ask_in(number, kind::READ, "control/shutdown\0"), "poweroff");
    assert_eq!(guest.ask_in(number, kind::WRITE, "control/shutdown\0"), "OK\0");
    assert_eq!(guest.ask_in(number, kind::TRANSACTION_END, "T\0"), "OK\0");
    assert_eq!(guest.events(), ["control/shutdown\0t1\0"]);
    assert_eq!(guest.connection.store().get("control/shutdown"), Some(&b""[..]));
    assert_eq!(guest.ask(kind::UNWATCH, "control/shutdown\0t1\0"), "OK\0");
    assert_eq!(guest.ask(kind::UNWATCH, "control/shutdown\0t1\0"), "!ENOENT");
}

#[test]
fn watches_see_what_is_below_and_what_is_removed_above() {
    let mut guest = Guest::new();
    guest.ask(kind::WATCH, "device\0d\0");
    guest.ask(kind::WATCH, &format!("{HOME}/device/vif/0\0v\0"));
    assert_eq!(guest.ask(kind::WATCH, "@releaseDomain\0r\0"), "OK\0");
    assert_eq!(guest.ask(kind::WATCH, "device\0d\0"), "!EEXIST");
    guest.events();
    guest.ask(kind::WRITE, "device/vif/0/state\x001");
    assert_eq!(
        guest.events(),
        ["device/vif/0/state\0d\0".to_owned(), format!("{HOME}/device/vif/0/state\0v\0")]
    );
    guest.ask(kind::RM, "device/vif\0");
    assert_eq!(guest.events(), ["device/vif\0d\0".to_owned(), format!("{HOME}/device/vif/0\0v\0")]);
    guest.ask(kind::RESET_WATCHES, "\0");
    guest.ask(kind::WRITE, "device/x\0");
    assert!(guest.events().is_empty());
}

#[test]
fn a_transaction_that_another_change_overtook_is_done_again() {
    let mut guest = Guest::new();
    let start = |guest: &mut Guest| -> u32 {
        guest.ask(kind::TRANSACTION_START, "\0").trim_end_matches('\0').parse().unwrap()
    };
    let first = start(&mut guest);
    guest.ask_in(first, kind::WRITE, "data\0mine");
    assert_eq!(guest.ask(kind::READ, "data\0"), "!ENOENT");
    guest.connection.set("name", "web").unwrap();
    assert_eq!(guest.ask_in(first, kind::TRANSACTION_END, "T\0"), "!EAGAIN");
    let second = start(&mut guest);
    guest.ask_in(second, kind::WRITE, "data\0mine");
    assert_eq!(guest.ask_in(second, kind::TRANSACTION_END, "F\0"), "OK\0");
    assert_eq!(guest.ask(kind::READ, "data\0"), "!ENOENT");
    let open: Vec<String> = (0..9).map(|_| guest.ask(kind::TRANSACTION_START, "\0")).collect();
    assert_eq!(open.last().unwrap(), "!ENOSPC");
}

#[test]
fn a_transaction_notes_a_bounded_number_of_changes() {
    let mut guest = Guest::new();
    let number: u32 = guest.ask(kind::TRANSACTION_START, "\0").trim_end_matches('\0').parse().unwrap();
    // What is written and removed again uses no node up.
    let answers: Vec<String> = (0..1025)
        .flat_map(|n| {
            let path = format!("device/{n}");
            let written = guest.ask_in(number, kind::WRITE, &format!("{path}\0x"));
            [written, guest.ask_in(number, kind::RM, &format!("{path}\0"))]
        })
        .collect();
    let done = answers.iter().take_while(|answer| !answer.starts_with('!')).count();
    assert_eq!((done, answers.get(done).map(String::as_str)), (1024, Some("!ENOSPC")));
    // Refused is the change, not the transaction.
    assert_eq!(guest.ask_in(number, kind::READ, "domid\0"), "5");
    assert_eq!(guest.ask_in(number, kind::TRANSACTION_END, "F\0"), "OK\0");
}

#[test]
fn long_values_stream_through_the_rings() {
    let mut guest = Guest::new();
    let value = "v".repeat(2048);
    assert_eq!(guest.ask(kind::WRITE, &format!("data\0{value}")), "OK\0");
    assert_eq!(guest.ask(kind::READ, "data\0"), value);
    assert_eq!(guest.ask(kind::WRITE, &format!("data\0{value}v")), "!E2BIG");
    for node in 0..500 {
        guest.ask(kind::WRITE, &format!("many/node-{node:04}\0"));
    }
    assert_eq!(guest.ask(kind::DIRECTORY, "many\0"), "!E2BIG");
}

#[test]
fn a_guest_that_breaks_the_protocol_is_served_no_more() {
    let mut guest = Guest::new();
    let mut long = Message { kind: kind::READ, request: 0, transaction: 0, payload: vec![] }.to_bytes();
    long[12..].copy_from_slice(&5000u32.to_le_bytes());
    guest.send(&long);
    assert_eq!(guest.connection.broken(), Some("a message longer than 4096 bytes"));
    let mut guest = Guest::new();
    guest.page.store(2052, 1025);
    guest.serve();
    assert!(guest.connection.broken().is_some_and(|how| how.contains("request ring")));
    let (page, mut connection) = (MockPage::default(), RingConnection::new(store()));
    page.store(2056, 1);
    connection.set("name", "web").unwrap();
    connection.serve(&page);
    assert_eq!(connection.broken(), None);
    let watch = Message { kind: kind::WATCH, request: 0, transaction: 0, payload: b"name\0t\0".to_vec() };
    write_ring(&page, (0, 1024), 0, &watch.to_bytes());
    page.store(2052, 23);
    connection.serve(&page);
    assert!(connection.broken().is_some_and(|how| how.contains("answer ring")));
}

#[test]
fn a_guest_that_reads_nothing_costs_bounded_memory() {
    let (page, mut connection) = (MockPage::default(), RingConnection::new(store()));
    let watch = Message { kind: kind::WATCH, request: 0, transaction: 0, payload: b"data\0token\0".to_vec() };
    let write = Message { kind: kind::WRITE, request: 0, transaction: 0, payload: b"data\0x".to_vec() };
    let bytes = [watch.to_bytes(), write.to_bytes().repeat(10_000)].concat();
    let mut sent = 0usize;
    for _ in 0..100_000 {
        let (produced, consumed) = (page.word(2052), page.word(2048));
        let room = 1024 - usize::try_from(produced.wrapping_sub(consumed)).unwrap();
        let piece = &bytes[sent..bytes.len().min(sent + room)];
        write_ring(&page, (0, 1024), produced, piece);
        page.store(2052, produced.wrapping_add(u32::try_from(piece.len()).unwrap()));
        sent += piece.len();
        if connection.serve(&page) == Served::default() {
            break;
        }
    }
    assert!(sent < bytes.len() && sent > 1024, "{sent}");
    for _ in 0..10_000 {
        connection.set("data", "y").unwrap();
    }
}

proptest! {
    #[test]
    fn any_bytes_and_indices_are_harmless(
        drift in prop_oneof![Just(0u32), 0u32..64, any::<u32>()],
        steps in proptest::collection::vec((any::<u16>(), proptest::collection::vec(any::<u8>(), 0..64)), 1..60),
    ) {
        let (page, mut connection) = (MockPage::drifting(drift), RingConnection::new(store()));
        for (step, bytes) in steps {
            write_ring(&page, (0, 1024), u32::from(step), &bytes);
            page.store(2048 + 4 * usize::from(step % 4), u32::from(step));
            connection.serve(&page);
        }
    }

    #[test]
    fn any_request_has_an_answer(
        requests in proptest::collection::vec(
            (0u32..24, 0u32..4, "(control|data|device|/local/domain/5|@x|[a-z/]{0,12})(/[a-z]{0,6}){0,3}\0[ -~]{0,20}(\0|)"), 1..80),
    ) {
        let mut store = store();
        for (kind, transaction, payload) in requests {
            let request = Message { kind, request: 3, transaction, payload: payload.into_bytes() };
            let answers = store.answer(&request);
            prop_assert!(answers[0].kind == kind || answers[0].kind == crate::wire::kind::ERROR);
            prop_assert!(answers[1..].iter().all(|event| event.kind == crate::wire::kind::WATCH_EVENT));
        }

    }
}

#[test]
fn another_process_goes_on_where_the_last_one_was() {
    let mut guest = Guest::new();
    guest.ask(kind::WATCH, "control/shutdown\0token-1\0");
    guest.ask(kind::WATCH, "/local/domain/5/device\0token-2\0");
    guest.ask(kind::WRITE, "data/mine\0value");
    guest.ask(kind::RM, "domid\0");
    guest.serve();
    guest.received.clear();
    // The first half of a request has been taken, and an event waits for the guest.
    let half =
        Message { kind: kind::READ, request: 9, transaction: 0, payload: b"data/mine\0".to_vec() }.to_bytes();
    let (first, second) = half.split_at(20);
    guest.send(first);
    guest.serve();
    guest.connection.set("control/shutdown", "poweroff").unwrap();
    let saved = guest.connection.save();
    guest.connection = RingConnection::resume(GuestStore::new(DomId(5), []), &saved, &guest.page);
    assert_eq!(guest.connection.broken(), None);
    assert_eq!(guest.connection.save(), saved, "nothing is lost");
    let store = guest.connection.store();
    assert_eq!((store.get("data/mine"), store.get("domid")), (Some(&b"value"[..]), None));
    assert!(store.is_watched("control/shutdown") && store.is_watched("device"));
    guest.send(second);
    guest.serve();
    let heard: Vec<(u32, &[u8])> = guest.received.iter().map(|one| (one.kind, &*one.payload)).collect();
    let event = (kind::WATCH_EVENT, &b"control/shutdown\0token-1\0"[..]);
    assert_eq!(heard, [event, (kind::READ, &b"value"[..])]);
}

#[test]
fn a_connection_that_was_cut_in_the_middle_is_said_to_be_broken() {
    let mut guest = Guest::new();
    let early = guest.connection.save();
    guest.ask(kind::READ, "domid\0");
    guest.serve();
    let late = guest.connection.save();
    let broken = |saved: &[u8]| {
        RingConnection::resume(GuestStore::new(DomId(5), []), saved, &guest.page).broken().is_some()
    };
    assert!(broken(&early), "what came after it is not known");
    assert!(!broken(&late));
    assert!((0..16).all(|count| broken(&late[..count])) && broken(&[0xff; 64]));
}
