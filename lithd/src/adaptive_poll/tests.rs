//! Guests that come back at all kinds of times, and what looking for them costs.

use proptest::prelude::*;

use super::*;

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// What a guest's visits came to.
#[derive(Debug, Default)]
struct Sum {
    visits: u32,
    /// Visits that were seen without waiting.
    seen: u32,
    /// Time spent looking for others.
    wasted: Duration,
    /// Time spent looking for those that were seen.
    looked: Duration,
    total: Duration,
}

impl Sum {
    /// Time wasted, in thousandths of all.
    fn waste(&self) -> u128 {
        self.wasted.as_nanos() * 1000 / self.total.as_nanos().max(1)
    }
}

/// The work of a request that a guest sends soon after the last one.
const WORK: Duration = Duration::from_micros(70);

/// A guest visits, each time as long after the last visit as `quiet` says, which hears how long it is looked for. It brings a
/// request.
fn visit(adaptive: &mut AdaptivePoll, visits: u32, quiet: impl FnMut(Duration) -> Duration) -> Sum {
    visit_with(adaptive, visits, WORK, quiet)
}

/// The same, with so much work each time.
fn visit_with(
    adaptive: &mut AdaptivePoll,
    visits: u32,
    work: Duration,
    mut quiet: impl FnMut(Duration) -> Duration,
) -> Sum {
    let mut sum = Sum::default();
    let mut now = adaptive.quiet_since;
    for _ in 0..visits {
        let limit = adaptive.limit();
        let quiet = quiet(limit);
        assert_eq!(adaptive.is_over(now + quiet), quiet >= limit);
        if quiet < limit {
            sum.seen += 1;
            sum.looked += quiet;
        } else {
            sum.wasted += limit;
        }
        now += quiet;
        sum.total += quiet;
        sum.visits += 1;
        adaptive.busy(now, now + work);
        now += work;
    }
    sum
}

/// Numbers from 0 to 1, any of them as likely as any other.
fn chance() -> impl FnMut() -> f64 {
    let mut state = 1_u64;
    move || {
        // Knuth's MMIX: the upper bits are good enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[test]
fn it_looks_long_for_a_busy_guest_and_hardly_for_a_quiet_one() {
    let mut adaptive = AdaptivePoll::new(Duration::ZERO);
    assert_eq!(adaptive.limit(), Duration::ZERO);
    visit_with(&mut adaptive, 20, micros(200), |_| LONGEST - micros(1));
    assert_eq!(adaptive.limit(), LONGEST);
    visit(&mut adaptive, 20, |_| LONGEST + micros(1));
    assert!(adaptive.span <= LONGEST / RATE + micros(1), "{adaptive:?}");
}

#[test]
fn what_it_finds_while_it_looks_does_not_change_the_time() {
    let mut adaptive = AdaptivePoll::new(Duration::ZERO);
    visit(&mut adaptive, 1, |_| micros(1));
    visit(&mut adaptive, 1, |_| micros(15));
    assert_eq!(adaptive.limit(), FIRST * 2);
    visit(&mut adaptive, 5, |limit| limit - micros(1));
    assert_eq!(adaptive.limit(), FIRST * 2);
}

#[test]
fn what_takes_long_to_do_is_no_quiet_time() {
    let mut adaptive = AdaptivePoll::new(Duration::ZERO);
    adaptive.busy(micros(1), micros(50_000));
    assert!(!adaptive.is_over(micros(50_000) + FIRST / 2));
    assert!(adaptive.is_over(micros(50_000) + FIRST));
}

#[test]
fn a_guest_that_comes_back_within_a_millisecond_is_seen_nearly_always() {
    let mut chance = chance();
    let mut adaptive = AdaptivePoll::new(Duration::ZERO);
    visit(&mut adaptive, 20, |_| micros(1000));
    let sum = visit(&mut adaptive, 10_000, |_| micros((chance() * 1000.0) as u64));
    assert_eq!((sum.seen, sum.wasted), (sum.visits, Duration::ZERO));
    // With a longer pause now and then.
    let sum = visit(&mut adaptive, 10_000, |_| micros(if chance() < 0.01 { 20_000 } else { 700 }));
    assert!(sum.seen > sum.visits * 97 / 100, "{sum:?}");
}

/// A guest that writes to a register every now and then, just before the end of each look.
#[test]
fn a_guest_that_gives_little_work_is_not_looked_for_all_the_time() {
    for every in [200, 500, 1000, 1900, 1999] {
        let work = micros(3);
        let sum = visit_with(&mut AdaptivePoll::new(Duration::ZERO), 50_000, work, |_| micros(every));
        let looked = sum.looked + sum.wasted;
        let share = looked.as_nanos() * 100 / sum.total.as_nanos();
        // What the work is worth, and a thirty-second part.
        let worth = 48 * 100 / u128::from(every) + 100 / 32;
        assert!(share <= worth + 1, "every {every} us: {share} per cent of a CPU: {sum:?}");
    }
}

#[test]
fn a_guest_that_looking_keeps_away_is_rarely_looked_for() {
    // It comes so long after the end of the look.
    for after in [1, 10, 100, 1000] {
        let sum = visit(&mut AdaptivePoll::new(Duration::ZERO), 100_000, |limit| limit + micros(after));
        assert_eq!(sum.seen, 0);
        assert!(sum.wasted <= sum.total / RATE + CREDIT + LONGEST, "{sum:?}");
    }
}

#[test]
fn such_a_guest_is_seen_again_soon_after_it_got_a_cpu_of_its_own() {
    let mut adaptive = AdaptivePoll::new(Duration::ZERO);
    visit(&mut adaptive, 10_000, |limit| limit + micros(100));
    let mut waited = Duration::ZERO;
    while visit(&mut adaptive, 1, |_| micros(100)).seen == 0 {
        waited += micros(100);
        assert!(waited <= LONGEST * RATE + CREDIT);
    }
    let sum = visit(&mut adaptive, 1000, |_| micros(100));
    assert_eq!(sum.seen, sum.visits);
}

#[test]
fn a_guest_that_comes_at_random_is_rarely_looked_for_in_vain() {
    for (mean, limit) in [(300, 20), (1_000, 300), (2_000, 150), (5_000, 50), (10_000, 25), (100_000, 5)] {
        let mut chance = chance();
        let quiet = |_| Duration::from_secs_f64(-(1.0 - chance()).ln() * f64::from(mean) / 1e6);
        let sum = visit(&mut AdaptivePoll::new(Duration::ZERO), 50_000, quiet);
        assert!(sum.waste() <= limit, "{mean}: {} thousandths: {sum:?}", sum.waste());
    }
}

#[test]
fn short_steps_between_long_waits_are_seen_for_little() {
    // A request in three steps, and a slow disk.
    let mut step = 0;
    let sum = visit(&mut AdaptivePoll::new(Duration::ZERO), 40_000, |_| {
        step += 1;
        micros(if step % 4 == 0 { 8000 } else { 15 })
    });
    assert!(sum.seen > sum.visits * 74 / 100 && sum.waste() <= 10, "{} {sum:?}", sum.waste());
}

proptest! {
    #[test]
    fn looking_is_paid_by_time_or_by_the_work_that_was_found(
        visits in proptest::collection::vec((any::<bool>(), 0..5000_u64), 0..500),
    ) {
        let mut visits = visits.into_iter();
        let count = u32::try_from(visits.len()).unwrap();
        let sum = visit(&mut AdaptivePoll::new(Duration::ZERO), count, |limit| {
            let (after, time) = visits.next().unwrap();
            micros(time) + if after { limit } else { Duration::ZERO }
        });
        let most = CREDIT + LONGEST;
        let paid = sum.total / RATE + WORK * WORTH * sum.seen;
        prop_assert!(sum.wasted + sum.looked <= paid + most + micros(1), "{:?}", sum);
    }
}
