//! The table against two arrays: which window is emulated at each address, and which server has claimed it.

use proptest::prelude::*;

use super::*;

const UART: Handler = Handler::Vuart;
const CONTROLLER: Handler = Handler::InterruptController(0);

/// What the table must say of each address.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The window, and the offset in it.
    emulated: Option<(Handler, u64)>,
    claimed: Option<ServerId>,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Emulate(u64, u64, u8),
    Claim(u64, u64, u16),
    Unclaim(u64, u64),
    RemoveServer(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let (first, size) = (0u64..48, 1u64..14);
    prop_oneof![
        1 => (first.clone(), 0u64..6, 0u8..6).prop_map(|(first, size, number)| Op::Emulate(first, size, number)),
        4 => (first.clone(), size.clone(), 0u16..3).prop_map(|(first, size, server)| Op::Claim(first, size, server)),
        4 => (first, size).prop_map(|(first, size)| Op::Unclaim(first, size)),
        1 => (0u16..3).prop_map(Op::RemoveServer),
    ]
}

/// Makes a step on both; claims only as the servers' books would allow them.
fn step(table: &mut AddressTable, model: &mut [Place; 64], op: Op) {
    match op {
        Op::Emulate(first, size, number) => {
            let handler = if number == 0 { UART } else { Handler::InterruptController(number) };
            let again = model.iter().any(|place| place.emulated.is_some_and(|(other, _)| other == handler));
            let window = &mut model[first as usize..(first + size) as usize];
            let expected = match size {
                0 => Err(Errno::EINVAL),
                _ if again || window.iter().any(|place| place.emulated.is_some()) => Err(Errno::EEXIST),
                _ => Ok(()),
            };
            assert_eq!(table.emulate(Ipa(first), size, handler), expected);
            if expected.is_ok() {
                (0..).zip(window).for_each(|(offset, place)| place.emulated = Some((handler, offset)));
            }
        }
        Op::Claim(first, size, server) => {
            let part = &mut model[first as usize..(first + size) as usize];
            if part.iter().all(|place| place.claimed.is_none()) {
                part.iter_mut().for_each(|place| place.claimed = Some(ServerId(server)));
                assert_eq!(table.claim(first, first + size - 1, ServerId(server)), Ok(()));
            }
        }
        Op::Unclaim(first, size) => {
            let part = &mut model[first as usize..(first + size) as usize];
            if part.iter().all(|place| place.claimed.is_some() && place.claimed == part[0].claimed) {
                part.iter_mut().for_each(|place| place.claimed = None);
                assert_eq!(table.unclaim(first, first + size - 1), Ok(()));
            }
        }
        Op::RemoveServer(server) => {
            table.remove_server(ServerId(server));
            let own = model.iter_mut().filter(|place| place.claimed == Some(ServerId(server)));
            own.for_each(|place| place.claimed = None);
        }
    }
}

fn check(table: &AddressTable, model: &[Place; 64]) {
    for (address, place) in (0u64..).zip(model) {
        let found = table.find(Ipa(address));
        let handler = found.map(|found| found.handler);
        match (place.emulated, place.claimed) {
            (Some((emulated, offset)), _) => {
                assert_eq!(handler, Some(emulated), "{address}");
                assert_eq!(found.map(|found| found.offset), Some(offset), "{address}");
            }
            (None, claimed) => assert_eq!(handler, claimed.map(Handler::Server), "{address}"),
        }
        // The row goes on as long as the same answers.
        let last = found.map_or(address, |found| found.last.0);
        for beyond in address..=last {
            assert_eq!(table.find(Ipa(beyond)).map(|found| found.handler), handler, "{address} {beyond}");
        }
    }
}

proptest! {
    #[test]
    fn emulated_windows_come_before_claims(ops in prop::collection::vec(op(), 0..40)) {
        let mut table = AddressTable::try_new(7).unwrap();
        let mut model = [Place::default(); 64];
        for op in ops {
            step(&mut table, &mut model, op);
            check(&table, &model);
        }
    }
}

#[test]
fn a_claim_of_everything_leaves_the_windows_alone() {
    let mut table = AddressTable::try_new(7).unwrap();
    table.emulate(Ipa(0), 0x1000, CONTROLLER).unwrap();
    table.emulate(Ipa(!0xfff), 0x1000, UART).unwrap();
    table.claim(0, u64::MAX, ServerId(3)).unwrap();
    let at = |table: &AddressTable, at| table.find(Ipa(at)).map(|found| (found.handler, found.offset));
    assert_eq!(at(&table, 0xfff), Some((CONTROLLER, 0xfff)));
    assert_eq!(at(&table, 0x1000), Some((Handler::Server(ServerId(3)), 0)));
    assert_eq!(at(&table, u64::MAX), Some((UART, 0xfff)));
    table.unclaim(0, u64::MAX).unwrap();
    assert_eq!((at(&table, 0x1000), at(&table, 0)), (None, Some((CONTROLLER, 0))));
}

#[test]
fn a_window_that_wraps_is_refused() {
    let mut table = AddressTable::try_new(7).unwrap();
    assert_eq!(table.emulate(Ipa(!0xfff), 0x1001, UART), Err(Errno::EINVAL));
    assert_eq!(table.find(Ipa(u64::MAX)), None);
}

/// Claims of all ranges that there may be, with windows among them, take the pages that were promised and no more.
#[test]
fn all_claims_have_their_place_from_the_start() {
    const WINDOWS: usize = 4;
    let mut table = AddressTable::try_new(WINDOWS).unwrap();
    for number in 0..WINDOWS as u8 {
        let at = Ipa(u64::from(number) * 0x1_0000 + 0x40);
        table.emulate(at, 0x10, Handler::InterruptController(number)).unwrap();
    }
    for number in 0..RANGES as u64 {
        let (first, last, server) = (number * 0x80, number * 0x80 + 0x7f, ServerId((number % 2) as u16));
        assert_eq!(table.reserve(first, last), Ok(()), "range {number}");
        assert_eq!(table.claim(first, last, server), Ok(()), "range {number}");
    }
    assert_eq!(table.0.len(), RANGES + 2 * WINDOWS);
    assert_eq!(table.held_pages(), AddressTable::pages(WINDOWS));
    for number in 0..RANGES as u64 {
        let (first, last) = (number * 0x80, number * 0x80 + 0x7f);
        assert_eq!(
            (table.reserve(first, last), table.unclaim(first, last)),
            (Ok(()), Ok(())),
            "range {number}"
        );
    }
    table.remove_server(ServerId(0));
    assert_eq!((table.0.len(), table.held_pages()), (WINDOWS, 1));
}
