//! The same on a host, with the model checker.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "on a host alone")]

use std::any::Any;
use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Mutex, MutexGuard};

/// Cells whose accesses the model checker holds against each other: two of which one writes, and neither comes before the
/// other, end the test.
pub use loom::cell;
/// The threads of a model.
pub use loom::thread;

/// Steps of one run. A loop in which a thread waits takes as many as the model checker lets it.
const BRANCHES: usize = 20_000;

thread_local! {
    // All threads of a model are played by the thread of the host that explores it.
    static RUNNING: Cell<Option<Fences>> = const { Cell::new(None) };
    /// What the model checker knows of a run, by address.
    static WORDS: RefCell<BTreeMap<usize, Touched>> = const { RefCell::new(BTreeMap::new()) };
    static STEPS: RefCell<Option<Rc<AtomicUsize>>> = const { RefCell::new(None) };
    static LOCKS: RefCell<BTreeMap<usize, &'static Mutex<()>>> = const { RefCell::new(BTreeMap::new()) };
}

/// A word that the model has touched.
#[derive(Clone)]
struct Touched {
    word: Rc<dyn Any>,
    /// Writes to the word what has been copied to its address.
    follow: Rc<dyn Fn()>,
}

/// Whether a model runs.
pub fn is_running() -> bool {
    RUNNING.get().is_some()
}

/// Where fences stand for sequentially consistent accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fences {
    /// Before each of them.
    Before,
    /// After each that writes.
    AfterWrites,
}

/// Where they stand in the model that runs.
pub fn fences() -> Fences {
    RUNNING.get().unwrap_or(Fences::Before)
}

/// Runs a model in every order of its threads' steps in which no thread is interrupted more than `preemptions` times, `None`
/// for all orders; and with every value that a read may return, for both kinds of [`Fences`]. Panics, data races in [`cell`]s and
/// deadlocks end the test.
/// Returns the number of runs.
pub fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) -> u64 {
    struct Running;

    impl Drop for Running {
        fn drop(&mut self) {
            RUNNING.set(None);
            forget();
        }
    }

    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = BRANCHES;
    let (model, runs) = (Arc::new(model), Arc::new(AtomicU64::new(0)));
    let _running = Running;
    for fences in [Fences::Before, Fences::AfterWrites] {
        let (model, runs) = (model.clone(), runs.clone());
        RUNNING.set(Some(fences));
        builder.check(move || {
            runs.fetch_add(1, Ordering::Relaxed);
            forget();
            STEPS.set(Some(Rc::new(AtomicUsize::new(0))));
            model();
        });
    }
    runs.load(Ordering::Relaxed)
}

/// A step of a thread is about to be made. The model checker tries two steps in both orders only if they touch the same thing,
/// and remembers of each thing the last touch alone: a thread that loads a word and then swaps it hides that another one has
/// loaded it before. So all steps touch one counter, which orders nothing else, and are tried in every order.
fn step() {
    let steps = STEPS.with_borrow(Option::clone);
    if let Some(steps) = steps {
        steps.fetch_add(1, Ordering::Relaxed);
    }
}

fn forget() {
    WORDS.take();
    STEPS.take();
    LOCKS.take();
}

/// The model checker's form of an atomic word.
pub trait Word: 'static {
    /// What it holds.
    type Value;

    /// A word with this value.
    fn new(value: Self::Value) -> Self;

    /// Writes it, in no order with anything else.
    fn follow(&self, value: Self::Value);
}

/// The model checker's form of the word at an address; `None` while no model runs. `plain` is the word itself, of which
/// `value` tells what it holds.
pub fn word<W: Word, P: 'static>(plain: &P, value: fn(&P) -> W::Value) -> Option<Rc<W>> {
    if !is_running() {
        return None;
    }
    let pointer = core::ptr::from_ref(plain);
    let touch = || {
        let word = Rc::new(W::new(value(plain)));
        let followed = word.clone();
        // SAFETY: a word stays where it is for as long as a run lasts that has touched it, and is reached by atomic accesses
        // only.
        let follow = move || followed.follow(value(unsafe { &*pointer }));
        Touched { word, follow: Rc::new(follow) }
    };
    step();
    // The table is free again before the word is used: another thread of the model goes on then.
    let touched = WORDS.with_borrow_mut(|words| words.entry(pointer.addr()).or_insert_with(touch).clone());
    let Ok(word) = touched.word.downcast() else {
        panic!("a model reaches the word at {pointer:p} in two sizes")
    };
    Some(word)
}

/// Bytes were copied to where the model may have touched words. Each of those is written on its own, in the order of their
/// addresses as far as the writer can tell, and in no order for others.
pub fn note_copied(to: *const u8, bytes: usize) {
    if is_running() {
        let from = to.addr();
        let copied: Vec<_> = WORDS.with_borrow(|words| {
            words.range(from..from + bytes).map(|(_, touched)| touched.follow.clone()).collect()
        });
        copied.iter().for_each(|follow| follow());
    }
}

/// What the holder of a lock has in a model.
pub struct Turn {
    _guard: Option<MutexGuard<'static, ()>>,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

impl Turn {
    /// Waits, in a model, until nobody else has the lock.
    pub fn wait_for<L>(lock: &L) -> Self {
        let guard = turns(lock).map(|turns| turns.lock().unwrap_or_else(PoisonError::into_inner));
        Turn { _guard: guard }
    }

    /// Takes the lock; `None` if a model runs in which somebody else has it.
    pub fn try_take<L>(lock: &L) -> Option<Self> {
        match turns(lock) {
            Some(turns) => Some(Turn { _guard: Some(turns.try_lock().ok()?) }),
            None => Some(Turn { _guard: None }),
        }
    }
}

/// Whose turn it is with a lock, in a model.
fn turns<L>(lock: &L) -> Option<&'static Mutex<()>> {
    let address = core::ptr::from_ref(lock).addr();
    if is_running() {
        step();
    }
    // It is never freed, so that a guard needs no reference to its owner: a few bytes for each run.
    is_running().then(|| {
        LOCKS.with_borrow_mut(|locks| {
            *locks.entry(address).or_insert_with(|| Box::leak(Box::new(Mutex::new(()))))
        })
    })
}
