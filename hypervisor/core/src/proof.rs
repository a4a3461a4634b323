//! Properties of pure functions, for all values of their arguments.
//!
//! Kani proves them (`cargo kani`). `cargo test` tries them with all combinations of [`Edges`], and with random values, so that
//! they are compiled and run where there is no Kani.

/// Values at which arithmetic, and tests of bits, go wrong if they do.
pub trait Edges: Copy + 'static {
    /// Few enough that all combinations of four such values can be tried.
    const EDGES: &'static [Self];
}

impl Edges for bool {
    const EDGES: &'static [Self] = &[false, true];
}

macro_rules! edges {
    ($($number:ty: [$($more:expr),*]),* $(,)?) => {
        $(
            impl Edges for $number {
                const EDGES: &'static [Self] = &[
                    0, 1, 2, 3, 4, 7, 8, 9, 11, 12, 0x7e, 0x7f, 0x80, 0x81,
                    <$number>::MAX / 2, <$number>::MAX / 2 + 1, <$number>::MAX - 1, <$number>::MAX, $($more),*
                ];
            }
        )*
    };
}

edges! {
    u8: [],
    u16: [0xff, 0x100],
    u32: [0xff, 0x100, 0xffff, 0x1_0000],
    u64: [0xfff, 0x1000, 0xffff_ffff, 0x1_0000_0000, 0xff_ffff_ffff, 0x100_0000_0000, 0xffff_0000_0000_0000],
    usize: [0xfff, 0x1000, 0xffff_ffff],
}

/// `proofs! { fn name(argument: Type) { assert!(…) } }`, in a module for `any(test, kani)` of a crate that has `proptest` to test
/// with. An assumption is a value for which the function returns early.
#[macro_export]
macro_rules! proofs {
    (@each [] $body:expr) => { $body };
    (@each [$argument:ident: $kind:ty, $($rest:tt)*] $body:expr) => {
        for &$argument in <$kind as $crate::proof::Edges>::EDGES {
            $crate::proofs!(@each [$($rest)*] $body)
        }
    };
    ($($(#[$about:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)*) => {
        $(
            mod $name {
                use super::*;

                $(#[$about])*
                fn holds($($argument: $kind),*) $body

                #[cfg(kani)]
                #[kani::proof]
                fn of_all_values() {
                    holds($(kani::any::<$kind>()),*);
                }

                #[cfg(not(kani))]
                #[test]
                fn at_edges() {
                    $crate::proofs!(@each [$($argument: $kind,)*] {
                        if let Err(panic) = std::panic::catch_unwind(|| holds($($argument),*)) {
                            std::eprintln!("of {:?}", ($($argument,)*));
                            std::panic::resume_unwind(panic);
                        }
                    });
                }

                #[cfg(not(kani))]
                proptest::proptest! {
                    #[test]
                    fn of_random_values($(
                        $argument in proptest::prop_oneof![
                            proptest::arbitrary::any::<$kind>(),
                            proptest::sample::select(<$kind as $crate::proof::Edges>::EDGES),
                        ]
                    ),*) {
                        holds($($argument),*);
                    }
                }
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::Edges;

    #[test]
    fn all_combinations_of_edges_are_tried() {
        let mut tried = 0;
        crate::proofs!(@each [a: bool, b: u8,] {
            tried += usize::from(a || b < u8::MAX);
        });
        assert_eq!(tried, 2 * u8::EDGES.len() - 1);
    }

    #[test]
    fn what_does_not_hold_is_found() {
        let mean_is_between = || {
            crate::proofs!(@each [a: u32, b: u32,] assert!(a.wrapping_add(b) / 2 >= a.min(b)));
        };
        assert!(catch_unwind(mean_is_between).is_err());
    }
}
