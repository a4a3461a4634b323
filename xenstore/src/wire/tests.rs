use super::*;
use proptest::prelude::*;

/// Puts bytes in as they come; returns the messages, and whether an error ended it.
fn assemble(bytes: &[u8], pieces: &[usize]) -> (Vec<Message>, bool) {
    let mut assembler = Assembler::default();
    let (mut messages, mut rest) = (Vec::new(), bytes);
    let mut pieces = pieces.iter().copied().cycle();
    while !rest.is_empty() {
        let Ok(wanted) = assembler.wants() else { return (messages, true) };
        assert!(wanted > 0 && wanted <= HEADER + MAX_PAYLOAD);
        let piece = pieces.next().unwrap_or(wanted).clamp(1, wanted).min(rest.len());
        let (now, then) = rest.split_at(piece);
        rest = then;
        match assembler.add(now) {
            Ok(message) => messages.extend(message),
            Err(_) => return (messages, true),
        }
        assert!(assembler.bytes.len() < HEADER + MAX_PAYLOAD);
    }
    (messages, false)
}

fn message() -> impl Strategy<Value = Message> {
    let size = prop_oneof![Just(0), 0..40usize, Just(MAX_PAYLOAD)];
    let payload = size.prop_flat_map(|size| prop::collection::vec(any::<u8>(), size));
    (any::<u32>(), any::<u32>(), any::<u32>(), payload)
        .prop_map(|(kind, request, transaction, payload)| Message { kind, request, transaction, payload })
}

#[test]
fn a_header_is_four_words() {
    let message = Message { kind: 2, request: 0x0102_0304, transaction: 5, payload: b"ab\0".to_vec() };
    assert_eq!(message.to_bytes(), b"\x02\0\0\0\x04\x03\x02\x01\x05\0\0\0\x03\0\0\0ab\0");
}

#[test]
fn a_message_has_an_end() {
    let mut bytes = Message { kind: 1, request: 1, transaction: 0, payload: vec![0; MAX_PAYLOAD] }.to_bytes();
    assert_eq!(assemble(&bytes, &[usize::MAX]).0.len(), 1);
    bytes[12..16].copy_from_slice(&4097u32.to_le_bytes());
    assert_eq!(assemble(&bytes, &[usize::MAX]), (vec![], true));
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(assemble(&bytes, &[1]), (vec![], true));
}

#[test]
fn words_end_with_zeros() {
    let read = |bytes| words(bytes).map(|words| words.map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(read(b""), Ok(vec![]));
    assert_eq!(read(b"\0"), Ok(vec![String::new()]));
    assert_eq!(read(b"a\0bc\0"), Ok(vec!["a".into(), "bc".into()]));
    assert!(read(b"a\0b").is_err() && read(b"\xff\0").is_err());
}

proptest! {
    #[test]
    fn messages_arrive_in_whatever_pieces(
        messages in prop::collection::vec(message(), 0..6),
        pieces in prop::collection::vec(1..100usize, 1..8),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(Message::to_bytes).collect();
        prop_assert_eq!(assemble(&bytes, &pieces), (messages, false));
    }

    #[test]
    fn any_bytes_are_messages_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        pieces in prop::collection::vec(1..40usize, 1..4),
    ) {
        assemble(&bytes, &pieces);
    }

    #[test]
    fn words_come_back(list in prop::collection::vec("[^\0]{0,9}", 0..6)) {
        let bytes = payload(list.iter().map(String::as_str));
        prop_assert_eq!(words(&bytes).unwrap().collect::<Vec<_>>(), list);
    }
}
