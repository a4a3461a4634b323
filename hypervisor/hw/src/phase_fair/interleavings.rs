//! Every order in which readers and writers can come and go.

use std::sync::Arc;

use super::*;
use crate::model::{cell::UnsafeCell, explore, thread};

/// A number whose accesses the model checker watches.
type Watched = lock_api::RwLock<PhaseFair, UnsafeCell<u32>>;

fn write(lock: &Watched) {
    // SAFETY: a writer is alone, or the model checker ends the test.
    lock.write().with_mut(|number| unsafe { *number += 1 });
}

fn read(lock: &Watched) -> u32 {
    // SAFETY: nobody writes, or the model checker ends the test.
    lock.read().with(|number| unsafe { *number })
}

/// Plays each of these on a thread of its own, from a lock whose counts are about to wrap. What the number is in the end.
fn together<const N: usize>(plays: [fn(&Watched); N]) -> u32 {
    let count = u32::MAX - u32::MAX % READER;
    let raw = PhaseFair {
        arrived: count.into(),
        left: count.into(),
        tickets: u32::MAX.into(),
        serving: u32::MAX.into(),
    };
    let lock = Arc::new(Watched::from_raw(raw, UnsafeCell::new(0)));
    // The model checker has to know all words before the threads begin.
    drop(lock.write());
    let threads = plays.map(|play| {
        let lock = lock.clone();
        thread::spawn(move || play(&lock))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    read(&lock)
}

#[test]
fn writers_are_alone_and_none_is_lost() {
    explore(Some(3), || assert_eq!(together([write, write]), 2));
}

#[test]
fn a_reader_that_comes_again_meets_no_writer() {
    let reads = |lock: &Watched| assert!(read(lock) <= read(lock));
    explore(Some(3), move || assert_eq!(together([write, reads]), 1));
}

/// The phase tells the second writer from the first.
#[test]
fn a_reader_meets_neither_of_two_writers() {
    let writes = |lock: &Watched| {
        write(lock);
        write(lock);
    };
    let reads = |lock: &Watched| assert!(read(lock) <= 2);
    explore(Some(3), move || assert_eq!(together([writes, reads]), 2));
}

#[test]
fn who_only_tries_meets_nobody_either() {
    let tries = |lock: &Watched| {
        if let Some(number) = lock.try_write() {
            // SAFETY: a writer is alone, or the model checker ends the test.
            number.with_mut(|number| unsafe { *number += 4 });
        }
        if let Some(number) = lock.try_read() {
            // SAFETY: nobody writes, or the model checker ends the test.
            assert!(number.with(|number| unsafe { *number }) <= 5);
        }
    };
    explore(Some(3), move || {
        let end = together([tries, write]);
        assert!(end == 1 || end == 5, "{end}");
    });
}
