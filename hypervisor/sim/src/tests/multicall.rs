//! Lists of calls, with interrupts everywhere.

use xenolith_abi::Errno;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::Reservation;
use xenolith_abi::multicall::MulticallEntry;

use super::super::*;
use super::support::*;

fn entry(call: Hypercall, arguments: [u64; 2]) -> MulticallEntry {
    MulticallEntry { op: call.number(), result: 0x1111, args: [arguments[0], arguments[1], 0, 0, 0, 0] }
}

#[test]
fn each_entry_has_its_result_and_failures_do_not_stop_the_list() {
    let (mut machine, guest) = Guest::alone();
    let list = guest.page(&machine, 3) - 64;
    let entries = [
        entry(Hypercall::XenVersion, [0, 0]),
        entry(Hypercall::Multicall, [list, 1]),
        entry(Hypercall::XenVersion, [6, 3]),
        entry(Hypercall::HypfsOp, [0, 0]),
        entry(Hypercall::XenVersion, [7, 0]),
    ];
    machine.poke(&guest.domain, list, &entries);
    assert_eq!(guest.plain(&mut machine, Hypercall::Multicall, [list, 5, 0, 0, 0]), 0);
    let results = machine.peek::<[MulticallEntry; 5]>(&guest.domain, list).map(|entry| entry.result as i64);
    let nested = error(Errno::EINVAL);
    assert_eq!(results, [0x4_0011, nested, error(Errno::EFAULT), error(Errno::ENOSYS), 4096]);
}

/// Xen's advisory 145: a list that is put off in the middle of a call must neither repeat nor lose a part of it.
#[test]
fn a_list_that_is_put_off_at_any_place_does_everything_once() {
    for every in 1..12 {
        let (mut machine, guest) = Guest::alone();
        let (list, request, frames) =
            (guest.page(&machine, 2), guest.page(&machine, 3), guest.page(&machine, 4));
        let gfn = guest.page(&machine, 10) >> 12;
        for (index, first) in [gfn, gfn + 20].into_iter().enumerate() {
            let at = frames + index as u64 * 256;
            let numbers: [u64; 20] = core::array::from_fn(|page| first + page as u64);
            machine.poke(&guest.domain, at, &numbers);
            let request = request + index as u64 * 32;
            let reservation = Reservation {
                extent_start: at.into(),
                nr_extents: 20,
                domid: SELF,
                ..Reservation::default()
            };
            machine.poke(&guest.domain, request, &reservation);
        }
        let entries = [
            entry(Hypercall::MemoryOp, [1, request]),
            entry(Hypercall::XenVersion, [0, 0]),
            entry(Hypercall::MemoryOp, [1, request + 32]),
            entry(Hypercall::MemoryOp, [6, request]),
        ];
        machine.poke(&guest.domain, list, &entries);
        sim::pause_every(Some(every));
        assert_eq!(guest.plain(&mut machine, Hypercall::Multicall, [list, 4, 0, 0, 0]), 0);
        let results = machine.peek::<[MulticallEntry; 4]>(&guest.domain, list).map(|entry| entry.result);
        assert_eq!(results, [20, 0x4_0011, 20, 20], "every {every}");
        assert_eq!(guest.domain.memory.lock().pages, 44);
        assert_eq!(machine.audit(), Ok(()));
    }
}

#[test]
fn a_list_that_leads_nowhere_is_an_error() {
    let (mut machine, guest) = Guest::alone();
    let end = guest.page(&machine, 64);
    for (list, count) in [(end, 1), (end - 64, 2), (u64::MAX - 10, 1), (u64::MAX, u64::MAX), (end - 8, 1)] {
        let result = guest.plain(&mut machine, Hypercall::Multicall, [list, count, 0, 0, 0]);
        assert_eq!(result, error(Errno::EFAULT), "{list:#x} {count}");
    }
    assert_eq!(guest.plain(&mut machine, Hypercall::Multicall, [end, 0, 0, 0, 0]), 0);
}
