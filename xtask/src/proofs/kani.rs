//! The names of Kani that `xenolith_core::proofs!` uses, with their types and nothing behind them.

pub use kani_macros::proof;

/// A type that Kani knows all values of.
pub trait Arbitrary {}

macro_rules! known {
    ($($kind:ty),*) => { $(impl Arbitrary for $kind {})* };
}

known!(bool, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, char);

/// Any value.
pub fn any<T: Arbitrary>() -> T {
    unimplemented!("Kani alone has it")
}
