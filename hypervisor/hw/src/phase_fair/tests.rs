use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

type RwLock<T> = lock_api::RwLock<PhaseFair, T>;

fn raw<T>(lock: &RwLock<T>) -> &PhaseFair {
    // SAFETY: nothing is unlocked by it.
    unsafe { lock.raw() }
}

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// Waits until something is so.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_writer_that_waits_keeps_out_who_comes_later() {
    let lock = RwLock::new(0);
    let first = lock.read();
    thread::scope(|scope| {
        scope.spawn(|| *lock.write() += 1);
        wait_for("the writer has come", || raw(&lock).arrived.load(Ordering::Relaxed) & PRESENT != 0);
        // Whoever reads now does so behind the writer.
        let reader = scope.spawn(|| *lock.read());
        wait_for("the reader has come", || raw(&lock).arrived.load(Ordering::Relaxed) >= 2 * READER);
        drop(first);
        assert_eq!(reader.join().unwrap(), 1);
    });
}

#[test]
fn a_reader_goes_before_the_second_of_two_writers() {
    let lock = RwLock::new(0);
    let first = lock.write();
    thread::scope(|scope| {
        let reader = scope.spawn(|| *lock.read());
        wait_for("the reader has come", || raw(&lock).arrived.load(Ordering::Relaxed) >= READER);
        scope.spawn(|| *lock.write() += 1);
        wait_for("the second writer has come", || raw(&lock).tickets.load(Ordering::Relaxed) == 2);
        drop(first);
        assert_eq!(reader.join().unwrap(), 0);
    });
    assert_eq!(*lock.read(), 1);
}

/// Threads that hold the lock nearly all of the time, so that it is hardly ever free, and how often somebody else gets it
/// in spite of them.
fn crowd(busy: impl Fn(&RwLock<u64>) + Sync, other: impl Fn(&RwLock<u64>) + Sync) {
    const ROUNDS: usize = 50;
    let lock = RwLock::new(0);
    let (stop, running) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                running.fetch_add(1, Ordering::Relaxed);
                while !stop.load(Ordering::Relaxed) {
                    busy(&lock);
                }
            });
        }
        wait_for("all run", || running.load(Ordering::Relaxed) == 6);
        let other = scope.spawn(|| (0..ROUNDS).for_each(|_| other(&lock)));
        // Who starves comes back only when the crowd is gone.
        let begun = Instant::now();
        while !other.is_finished() && begun.elapsed() < LONG {
            thread::sleep(Duration::from_millis(1));
        }
        let starves = !other.is_finished();
        stop.store(true, Ordering::Relaxed);
        assert!(!starves);
    });
}

#[test]
fn readers_without_end_do_not_starve_a_writer() {
    crowd(
        |lock| {
            let _guard = lock.read();
            thread::sleep(Duration::from_millis(1));
        },
        |lock| *lock.write() += 1,
    );
}

#[test]
fn writers_without_end_do_not_starve_a_reader() {
    crowd(
        |lock| {
            let _guard = lock.write();
            thread::sleep(Duration::from_millis(1));
        },
        |lock| drop(lock.read()),
    );
}

#[test]
fn a_writer_is_alone() {
    const ROUNDS: u64 = 400;
    // The counts wrap on the way.
    let count = u32::MAX - u32::MAX % READER - 40 * READER;
    let raw =
        PhaseFair { arrived: count.into(), left: count.into(), tickets: count.into(), serving: count.into() };
    let lock = RwLock::from_raw(raw, [0_u64; 2]);
    thread::scope(|scope| {
        for number in 0..4 {
            let lock = &lock;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    if (round + number) % 4 == 0 {
                        let mut both = lock.write();
                        both[0] += 1;
                        both[1] += 1;
                    } else if (round + number) % 4 == 1 {
                        if let Some(mut both) = lock.try_write() {
                            both[0] += 2;
                            both[1] += 2;
                        }
                    } else {
                        let both = lock.read();
                        assert_eq!(both[0], both[1]);
                    }
                }
            });
        }
    });
    assert!(lock.read()[0] >= ROUNDS);
}

#[test]
fn attempts_do_not_wait() {
    let lock = RwLock::new(());
    let read = lock.read();
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(lock.try_write().is_none());
            assert!(lock.try_read().is_some());
        });
    });
    drop(read);
    let written = lock.try_write().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| assert!(lock.try_read().is_none() && lock.try_write().is_none()));
    });
    drop(written);
    assert!(lock.try_read().is_some());
}
