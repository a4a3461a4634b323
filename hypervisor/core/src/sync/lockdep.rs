//! Lockdep: each lock that a CPU takes is held against [`super::order`]. Without the feature there is nothing here.

#[cfg(not(feature = "lockdep"))]
mod off {
    /// A lock that is held.
    #[derive(Debug)]
    pub struct Held;

    impl Held {
        #[inline(always)]
        pub fn wait_for<L>(_lock: &L) -> Self {
            Held
        }

        #[inline(always)]
        pub fn found_free<L>(_lock: &L) -> Self {
            Held
        }
    }
}

#[cfg(feature = "lockdep")]
mod on {
    use core::any::type_name;
    use core::cell::Cell;
    use core::panic::Location;
    use std::thread_local;

    use xenolith_hw::model::is_running;

    use super::super::order::{MayFollow, may_follow};

    /// In place of a lock's address, in a model of several threads: they take turns on one thread of the host, so that nothing
    /// tells whose a lock is.
    const NONE: usize = 0;

    /// The most locks that are held at a time.
    const MOST: usize = 16;

    #[derive(Clone, Copy)]
    struct Entry {
        class: &'static str,
        lock: usize,
        place: &'static Location<'static>,
    }

    thread_local! {
        // No allocation: that would count as the hypervisor's.
        static HELD: Cell<[Option<Entry>; MOST]> = const { Cell::new([None; MOST]) };
    }

    /// A lock that is held.
    #[derive(Debug)]
    pub struct Held(usize);

    impl Held {
        /// The caller is going to wait for this lock.
        #[track_caller]
        pub fn wait_for<L>(lock: &L) -> Self {
            if is_running() {
                return Held(NONE);
            }
            let wanted = Entry::new(lock);
            for held in HELD.get().into_iter().flatten() {
                assert!(
                    held.lock != wanted.lock,
                    "{} is waited for at {} by who holds it since {}",
                    wanted.class,
                    wanted.place,
                    held.place
                );
                match may_follow(held.class, wanted.class) {
                    MayFollow::Yes => {}
                    MayFollow::No => panic!(
                        "{} is waited for at {} while {} is held, taken at {}: the order of locks says otherwise",
                        wanted.class, wanted.place, held.class, held.place
                    ),
                    MayFollow::Unknown(class) => panic!("the order of locks has no place for {class}"),
                }
            }
            wanted.push()
        }

        /// The caller has found this lock free and taken it, and would not have waited.
        #[track_caller]
        pub fn found_free<L>(lock: &L) -> Self {
            if is_running() {
                return Held(NONE);
            }
            Entry::new(lock).push()
        }
    }

    impl Entry {
        #[track_caller]
        fn new<L>(lock: &L) -> Self {
            Entry {
                class: type_name::<L>(),
                lock: core::ptr::from_ref(lock).addr(),
                place: Location::caller(),
            }
        }

        fn push(self) -> Held {
            xenolith_hw::steps::count(xenolith_hw::steps::LOCK);
            let mut held = HELD.get();
            let Some(free) = held.iter_mut().find(|entry| entry.is_none()) else {
                panic!("more than {MOST} locks are held at {}", self.place)
            };
            *free = Some(self);
            HELD.set(held);
            Held(self.lock)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let mut held = HELD.get();
            if let Some(entry) =
                held.iter_mut().rev().find(|entry| entry.is_some_and(|entry| entry.lock == self.0))
            {
                *entry = None;
            }
            HELD.set(held);
        }
    }

    /// The number of locks that the calling thread holds.
    pub fn held_locks() -> usize {
        HELD.get().into_iter().flatten().count()
    }
}

#[cfg(not(feature = "lockdep"))]
pub(super) use off::Held;
#[cfg(feature = "lockdep")]
pub(super) use on::Held;
#[cfg(feature = "lockdep")]
pub use on::held_locks;

#[cfg(all(test, feature = "lockdep"))]
mod tests {
    use super::super::{Mutex, RwLock, held_locks};

    // Names that the order knows.
    struct Queue;
    struct Ring;
    struct AddressTable;

    #[test]
    fn what_is_taken_in_order_is_held_until_it_is_dropped() {
        let (table, queue, ring) = (RwLock::new(AddressTable), Mutex::new(Queue), Mutex::new(Ring));
        let outer = table.read();
        let inner = (queue.lock(), ring.lock());
        assert_eq!(held_locks(), 3);
        drop(outer);
        drop(inner);
        assert_eq!(held_locks(), 0);
        drop(table.write());
    }

    #[test]
    #[should_panic(expected = "the order of locks says otherwise")]
    fn what_is_waited_for_out_of_order_ends_the_test() {
        let (queue, ring) = (Mutex::new(Queue), Mutex::new(Ring));
        let _outer = ring.lock();
        drop(queue.lock());
    }

    #[test]
    fn what_is_found_free_may_be_out_of_order() {
        let (queue, ring) = (Mutex::new(Queue), Mutex::new(Ring));
        let _outer = ring.lock();
        assert!(queue.try_lock().is_some());
    }

    #[test]
    #[should_panic(expected = "is waited for at")]
    fn a_reader_does_not_read_again() {
        let table = RwLock::new(AddressTable);
        let _outer = table.read();
        drop(table.read());
    }
}
