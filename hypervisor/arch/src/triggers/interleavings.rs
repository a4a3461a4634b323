//! Two CPUs that change the triggers of neighbours, in every order of their steps.

use std::sync::Arc;

use xenolith_hw::atomic::{AtomicU32, Ordering};
use xenolith_hw::model::{explore, thread};

use super::*;

/// A word as hardware has it: read and written as a whole.
struct Word(AtomicU32);

impl TriggerWords for Word {
    fn read(&self, _n: u32) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn write(&self, _n: u32, word: u32) {
        self.0.store(word, Ordering::Relaxed);
    }
}

#[test]
fn neighbours_in_a_word_do_not_undo_each_other_in_any_order() {
    let runs = explore(None, || {
        let shared = Arc::new((Triggers::new(), Word(AtomicU32::new(0b1000))));
        assert!(is_edge(&shared.1, 33));
        let other = shared.clone();
        let other = thread::spawn(move || other.0.set(&other.1, 32, true));
        shared.0.set(&shared.1, 33, false);
        other.join().unwrap();
        assert_eq!((is_edge(&shared.1, 32), is_edge(&shared.1, 33)), (true, false));
    });
    assert!(runs > 1);
}
