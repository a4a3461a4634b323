//! References that go at the same time, in every order of their steps.

use xenolith_hw::model::{cell::UnsafeCell, explore, thread};

use super::*;

/// A value whose accesses the model checker watches, its end among them.
struct Watched {
    content: UnsafeCell<u32>,
}

// SAFETY: the model checker ends the test where two accesses meet.
unsafe impl Sync for Watched {}

impl Drop for Watched {
    fn drop(&mut self) {
        self.content.with_mut(|_| ());
    }
}

fn shared() -> Arc<Watched> {
    Room::try_new().unwrap().fill(Watched { content: UnsafeCell::new(0) })
}

#[test]
fn the_end_comes_after_every_use() {
    let runs = explore(None, || {
        let value = shared();
        let users = [value.clone(), value.clone()].map(|own| {
            thread::spawn(move || {
                own.content.with(|_| ());
                drop(own);
            })
        });
        drop(value);
        users.into_iter().for_each(|user| user.join().unwrap());
    });
    assert!(runs > 10);
}

#[test]
fn who_has_the_only_reference_comes_after_every_use() {
    let runs = explore(None, || {
        let mut value = shared();
        let own = value.clone();
        let user = thread::spawn(move || {
            own.content.with(|_| ());
            drop(own);
        });
        if let Some(alone) = Arc::get_mut(&mut value) {
            alone.content.with_mut(|_| ());
        }
        user.join().unwrap();
    });
    assert!(runs > 2);
}
