//! One queue by itself.

use super::*;

const SLICE: u64 = 1000;

fn queue() -> Queue {
    let mut queue = Queue::new(SLICE, Arc::new(Wanting::new(16)));
    queue.reserve(16).unwrap();
    queue
}

/// A unit of a domain.
fn unit_of(group: u32, id: u32, weight: u16) -> Entry {
    let allowed = CpuMask::ALL;
    let number = |id| EntryId::of(UnitId(id));
    Entry { id: number(id), group: number(group), weight, load: weight, ran: 0, allowed }
}

/// A domain's only unit.
fn entry(id: u32, weight: u16) -> Entry {
    unit_of(id, id, weight)
}

fn run(queue: &mut Queue, now: u64) -> Option<UnitId> {
    if !queue.goes_on(now, true) {
        let running = queue.current.as_ref().map(|current| current.head.entry);
        let previous = queue.retire(now);
        let _ = queue.dispatch(now);
        if let Some(left) = previous {
            let _ = queue.insert(&Entry { ran: left.ran, ..running.unwrap() }, now, false);
        }
    }
    queue.current()
}

/// The units that run in the next slices.
fn order(queue: &mut Queue, slices: u64) -> Vec<u32> {
    (0..slices).map(|slice| run(queue, slice * SLICE).unwrap().0).collect()
}

#[test]
fn shares_follow_weights() {
    let weights = [1u16, 64, 256, 256, 1024, u16::MAX];
    let mut queue = queue();
    for (id, &weight) in (0..).zip(&weights) {
        let _ = queue.insert(&entry(id, weight), 0, false);
    }
    let mut shares = [0u64; 6];
    let total = 140_000;
    for round in 0..total {
        shares[run(&mut queue, round * SLICE).unwrap().0 as usize] += 1;
    }
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    for (share, weight) in shares.into_iter().zip(weights) {
        let due = total * u64::from(weight) / sum;
        assert!(share.abs_diff(due) <= 4, "weight {weight}: {share} slices, {due} due");
    }
}

#[test]
fn a_lone_unit_needs_no_timer_and_the_second_one_sets_it() {
    let mut queue = queue();
    assert!(queue.insert(&entry(0, 256), 0, false));
    assert_eq!(run(&mut queue, 0), Some(UnitId(0)));
    assert_eq!(queue.deadline(), None);
    assert!(queue.insert(&entry(1, 256), 10, false));
    assert!(!queue.insert(&entry(2, 256), 10, false));
    assert_eq!(queue.deadline(), Some(SLICE));
}

#[test]
fn sleepers_are_credited_half_a_slice_at_most() {
    let mut queue = queue();
    let asleep = queue.floor;
    let _ = queue.insert(&entry(0, 256), 0, false);
    run(&mut queue, 0);
    queue.charge(1_000_000);
    assert_eq!(queue.groups.0[1].vtime, asleep);
    queue.awaken(&mut entry(1, 256));
    assert_eq!(queue.leave(&entry(1, 256)).group, Some(-cost(SLICE, 256) / 2));
    assert!(queue.insert(&entry(1, 256), 1_000_000, true));
    assert_eq!(run(&mut queue, 1_000_000), Some(UnitId(1)));
}

#[test]
fn virtual_time_wraps() {
    let mut queue = queue();
    queue.floor = Vtime::default().moved(-6);
    for id in 0..3 {
        queue.awaken(&mut entry(id, 256));
        let _ = queue.insert(&entry(id, 256), 0, false);
    }
    assert_eq!(order(&mut queue, 6), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn yielding_lets_the_next_one_run_once() {
    let mut queue = queue();
    for id in 0..2 {
        let _ = queue.insert(&entry(id, 256), 0, false);
    }
    assert_eq!(run(&mut queue, 0), Some(UnitId(0)));
    queue.yield_now();
    assert_eq!(run(&mut queue, 1), Some(UnitId(1)));
    assert_eq!(run(&mut queue, 2), Some(UnitId(1)));
}

#[test]
fn a_run_of_any_length_can_be_charged() {
    let mut queue = Queue::new(u64::MAX, Arc::new(Wanting::new(16)));
    queue.reserve(1).unwrap();
    let _ = queue.insert(&entry(0, 0), 0, false);
    run(&mut queue, 0);
    queue.charge(u64::MAX);
    queue.charge(0);
    assert_eq!(run(&mut queue, u64::MAX), Some(UnitId(0)));
}

#[test]
fn domains_take_turns_and_the_units_of_each_within_its_own() {
    let mut queue = queue();
    for id in 0..3 {
        let _ = queue.insert(&unit_of(0, id, 256), 0, false);
    }
    let _ = queue.insert(&entry(3, 256), 0, false);
    assert_eq!(order(&mut queue, 8), [0, 3, 1, 3, 2, 3, 0, 3]);
}

#[test]
fn the_unit_that_has_run_least_stands_for_its_domain() {
    let mut queue = queue();
    let _ = queue.insert(&Entry { ran: 20, ..unit_of(0, 1, 256) }, 0, false);
    let _ = queue.insert(&Entry { ran: 30, ..unit_of(0, 2, 256) }, 0, false);
    let _ = queue.insert(&Entry { ran: 10, ..unit_of(0, 0, 256) }, 0, false);
    assert_eq!(queue.remove(UnitId(0)).map(|entry| entry.ran), Some(10));
    assert_eq!(run(&mut queue, 0), Some(UnitId(1)));
    assert_eq!((queue.remove(UnitId(0)).is_none(), queue.waiting()), (true, 1));
}

#[test]
fn a_unit_that_wakes_takes_the_cpu_from_one_of_its_own_that_has_run_longer() {
    let mut queue = queue();
    let _ = queue.insert(&unit_of(0, 0, 256), 0, false);
    assert_eq!(run(&mut queue, 0), Some(UnitId(0)));
    let woken = unit_of(0, 1, 256);
    assert!(queue.insert(&woken, SLICE / 4, true));
    assert_eq!(run(&mut queue, SLICE / 4), Some(UnitId(1)));
}

#[test]
fn a_unit_that_yields_gives_way_to_one_of_its_own_and_its_domain_loses_nothing() {
    let mut queue = queue();
    for id in 0..2 {
        let _ = queue.insert(&unit_of(0, id, 256), 0, false);
    }
    assert_eq!(run(&mut queue, 0), Some(UnitId(0)));
    // The other domain is ahead: it has had more.
    queue.groups.0[2].vtime = Vtime::default().moved(cost(SLICE, 256));
    let _ = queue.insert(&entry(2, 256), 0, false);
    for round in 1..5 {
        queue.yield_now();
        assert_eq!(run(&mut queue, round), Some(UnitId(round as u32 % 2)));
    }
    assert_eq!(run(&mut queue, 2 * SLICE), Some(UnitId(2)));
}

#[test]
fn a_weight_that_is_raised_counts_at_once() {
    let mut queue = queue();
    let _ = queue.insert(&entry(0, 1), 0, false);
    let _ = queue.insert(&entry(1, u16::MAX), 0, false);
    assert_eq!(order(&mut queue, 4), [0, 1, 1, 1]);
    queue.reweigh(UnitId(0), u16::MAX, u16::MAX, 4 * SLICE);
    let next: Vec<_> = (4..10).map(|slice| run(&mut queue, slice * SLICE).unwrap().0).collect();
    assert_eq!(next.iter().filter(|&&id| id == 0).count(), 3, "{next:?}");
}

#[test]
fn what_ran_before_an_interrupt_is_charged_after_it() {
    let mut queue = queue();
    let _ = queue.insert(&entry(0, 256), 0, false);
    run(&mut queue, 0);
    assert_eq!(queue.charge_interrupt(None, 60, 160), Some(UnitId(0)));
    queue.charge(200);
    assert_eq!(queue.current.unwrap().head.entry.ran, 140);
}

#[test]
fn who_is_displaced_by_an_interrupt_pays_for_none_of_it() {
    let mut queue = queue();
    let _ = queue.insert(&entry(0, 256), 0, false);
    run(&mut queue, 0);
    // The interrupt comes at 100 and wakes its owner at 150.
    let owner = entry(1, 256);
    queue.awaken(&mut owner.clone());
    let _ = queue.insert(&owner, 150, true);
    assert_eq!(queue.charge_interrupt(Some(&owner), 60, 160), Some(UnitId(0)));
    queue.charge(160);
    let head = queue.current.unwrap().head;
    assert_eq!(head.entry.ran, 100);
    assert_eq!(head.vtime.ahead_of(Vtime::default()), cost(100, 256));
}
