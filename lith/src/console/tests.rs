use super::*;
use proptest::prelude::*;
use xenstore::page::mock::MockPage;

/// The guest's end, as Linux's driver has it.
fn print(page: &MockPage, bytes: &[u8]) {
    let produced = page.word(OUT_PROD);
    write_ring(page, OUT, produced, bytes);
    page.store(OUT_PROD, produced.wrapping_add(u32::try_from(bytes.len()).unwrap()));
}

fn typed(page: &MockPage) -> Vec<u8> {
    let consumed = page.word(IN_CONS);
    let count = page.word(IN_PROD).wrapping_sub(consumed);
    let mut bytes = vec![0; usize::try_from(count).unwrap()];
    read_ring(page, IN, consumed, &mut bytes);
    page.store(IN_CONS, consumed.wrapping_add(count));
    bytes
}

#[test]
fn text_goes_both_ways_and_around_the_end() {
    let (page, mut ring) = (MockPage::default(), ConsoleRing::default());
    let (mut printed, mut expected) = (Vec::new(), Vec::<u8>::new());
    for round in 0u8..30 {
        let text = vec![round; 300];
        print(&page, &text);
        expected.extend(&text);
        assert!(ring.drain(&page, &mut printed));
        assert_eq!(ring.feed(&page, &text), 300);
        assert_eq!(typed(&page), text);
    }
    assert_eq!(printed, expected);
    assert!(!ring.drain(&page, &mut printed));
    assert_eq!(page.word(OUT_CONS), 9000);
}

#[test]
fn no_more_is_typed_than_there_is_room() {
    let (page, mut ring) = (MockPage::default(), ConsoleRing::default());
    assert_eq!(ring.feed(&page, &[b'x'; 2000]), 1024);
    assert_eq!(ring.feed(&page, b"more"), 0);
    assert_eq!(typed(&page).len(), 1024);
    assert_eq!(ring.feed(&page, b"more"), 4);
}

#[test]
fn a_count_past_the_ring_prints_nothing_and_does_no_harm() {
    let (page, mut ring) = (MockPage::default(), ConsoleRing::default());
    let mut printed = Vec::new();
    page.store(OUT_PROD, 0x8000_0000);
    assert!(ring.drain(&page, &mut printed) && printed.is_empty());
    print(&page, b"sane again");
    ring.drain(&page, &mut printed);
    assert_eq!(printed, b"sane again");
    page.store(IN_CONS, 5);
    assert_eq!(ring.feed(&page, b"text"), 0);
}

proptest! {
    #[test]
    fn any_index_at_any_time_is_harmless(
        drift in any::<u32>(), words in proptest::collection::vec((0usize..4, any::<u32>()), 1..40),
    ) {
        let (page, mut ring) = (MockPage::drifting(drift), ConsoleRing::default());
        let mut printed = Vec::new();
        for (word, value) in words {
            page.store(IN_CONS + 4 * word, value);
            let before = printed.len();
            ring.drain(&page, &mut printed);
            prop_assert!(printed.len() - before <= 2048);
            prop_assert!(ring.feed(&page, &[7; 3000]) <= 1024);
        }
    }
}

#[test]
fn another_process_goes_on_where_the_last_one_was() {
    let (page, mut ring, mut printed) = (MockPage::default(), ConsoleRing::default(), Vec::new());
    print(&page, b"before");
    ring.drain(&page, &mut printed);
    ring.feed(&page, b"ls\n");
    print(&page, b" and after");
    let mut ring = ConsoleRing::resume(&page);
    assert!(ring.drain(&page, &mut printed));
    assert_eq!(ring.feed(&page, b"pwd\n"), 4);
    assert_eq!((printed.as_slice(), typed(&page).as_slice()), (&b"before and after"[..], &b"ls\npwd\n"[..]));
}
