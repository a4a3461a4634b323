//! Atomic words that the model checker knows while a model runs, and `core`'s otherwise.
//!
//! A word has the size and the value of `core`'s, so that it may stand anywhere: in a `const`, in a static, in a page that
//! others write. The model checker's word for it is made when the model first touches it, and is found by its address. So a
//! word must not move once it has been touched, nor another take its place in the same run. Who touches it first has to be the
//! model's first thread, before it spawns others: else the model checker tells of a "causality violation".
//!
//! loom takes a sequentially consistent access for one that acquires and releases, and knows sequential consistency of
//! fences only. So there is a fence beside such accesses: before each of them, or after each that writes. Either is how compilers
//! make them of fences, and orders more than it has to on one side; so a model runs with both ([`model::Fences`]).

pub use core::sync::atomic::Ordering;

use crate::model::{self, Fences, Word};

/// [`core::sync::atomic::fence`].
pub fn fence(order: Ordering) {
    match model::is_running() {
        true => loom::sync::atomic::fence(order),
        false => core::sync::atomic::fence(order),
    }
}

/// Puts the fence before an access that the model checker would not order.
fn ordered(order: Ordering) -> Ordering {
    if order == Ordering::SeqCst && model::fences() == Fences::Before {
        loom::sync::atomic::fence(order);
    }
    order
}

/// Puts the fence after one that writes.
fn written(order: Ordering) {
    if order == Ordering::SeqCst && model::fences() == Fences::AfterWrites {
        loom::sync::atomic::fence(order);
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty, { $($operation:ident => $new:expr,)* }) => {
        #[doc = concat!("[`core::sync::atomic::", stringify!($name), "`].")]
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name(core::sync::atomic::$name);

        impl $name {
            /// A word with this value.
            pub const fn new(value: $value) -> Self {
                Self(core::sync::atomic::$name::new(value))
            }

            /// The value, which nobody else can reach.
            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            /// The value, which nobody else could reach.
            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }

            /// Reads it.
            pub fn load(&self, order: Ordering) -> $value {
                match self.word() {
                    Some(word) => word.load(ordered(order)),
                    None => self.0.load(order),
                }
            }

            /// Writes it.
            pub fn store(&self, value: $value, order: Ordering) {
                if let Some(word) = self.word() {
                    word.store(value, ordered(order));
                    self.0.store(value, Ordering::Relaxed);
                    written(order);
                } else {
                    self.0.store(value, order);
                }
            }

            /// Writes it, and returns what it was.
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                let Some(word) = self.word() else { return self.0.swap(value, order) };
                let old = word.swap(value, ordered(order));
                self.0.store(value, Ordering::Relaxed);
                written(order);
                old
            }

            /// Writes `new` if it is `current`. Returns what it was, as an error if it was not that.
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let Some(word) = self.word() else {
                    return self.0.compare_exchange(current, new, success, failure);
                };
                let swapped = word.compare_exchange(current, new, ordered(success), failure);
                if swapped.is_ok() {
                    self.0.store(new, Ordering::Relaxed);
                    written(success);
                }
                swapped
            }

            /// The same, but may fail without a reason.
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                match model::is_running() {
                    true => self.compare_exchange(current, new, success, failure),
                    false => self.0.compare_exchange_weak(current, new, success, failure),
                }
            }

            $(
                #[doc = concat!("[`core::sync::atomic::", stringify!($name), "::", stringify!($operation), "`].")]
                pub fn $operation(&self, value: $value, order: Ordering) -> $value {
                    let Some(word) = self.word() else { return self.0.$operation(value, order) };
                    let old = word.$operation(value, ordered(order));
                    let new: fn($value, $value) -> $value = $new;
                    self.0.store(new(old, value), Ordering::Relaxed);
                    written(order);
                    old
                }
            )*

            fn word(&self) -> Option<std::rc::Rc<loom::sync::atomic::$name>> {
                model::word(&self.0, |plain| plain.load(Ordering::Relaxed))
            }
        }

        impl From<$value> for $name {
            fn from(value: $value) -> Self {
                Self::new(value)
            }
        }

        impl Word for loom::sync::atomic::$name {
            type Value = $value;

            fn new(value: $value) -> Self {
                Self::new(value)
            }

            fn follow(&self, value: $value) {
                self.store(value, Ordering::Relaxed);
            }
        }
    };
}

macro_rules! integers {
    ($($name:ident: $value:ty,)*) => {
        $(atomic!($name, $value, {
            fetch_add => |old, value| old.wrapping_add(value),
            fetch_sub => |old, value| old.wrapping_sub(value),
            fetch_and => |old, value| old & value,
            fetch_or => |old, value| old | value,
            fetch_xor => |old, value| old ^ value,
        });)*
    };
}

integers! {
    AtomicU8: u8,
    AtomicU16: u16,
    AtomicU32: u32,
    AtomicU64: u64,
    AtomicUsize: usize,
}

atomic!(AtomicBool, bool, {
    fetch_and => |old, value| old & value,
    fetch_or => |old, value| old | value,
    fetch_xor => |old, value| old ^ value,
});
