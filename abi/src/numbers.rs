//! How a family of numbers becomes an enum, so that a `match` over a family's calls is checked to be complete.

/// Declares an enum whose values are the ABI's numbers, with the way back from an untrusted number.
macro_rules! numbers {
    (
        $(#[$doc:meta])*
        $name:ident: $repr:ident {
            $($(#[$value_doc:meta])* $variant:ident = $value:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name {
            $($(#[$value_doc])* $variant = $value,)*
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The value with this number, if the ABI has one here.
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number {
                    $($value => Some($name::$variant),)*
                    _ => None,
                }
            }

            /// The number in the ABI.
            pub const fn number(self) -> $repr {
                self as $repr
            }
        }
    };
}

/// Checks a structure's size, alignment and field offsets: `assert_layout!(Type, size, align, { field: offset, … })`.
#[cfg(test)]
macro_rules! assert_layout {
    ($name:ty, $size:literal, $align:literal, { $($field:ident: $offset:literal),* $(,)? }) => {
        assert_eq!(size_of::<$name>(), $size, concat!("size of ", stringify!($name)));
        assert_eq!(align_of::<$name>(), $align, concat!("alignment of ", stringify!($name)));
        $(assert_eq!(
            core::mem::offset_of!($name, $field),
            $offset,
            concat!("offset of ", stringify!($name), "::", stringify!($field)),
        );)*
    };
}

#[cfg(test)]
mod tests {
    numbers! {
        /// Numbers with a gap.
        Sample: u32 {
            /// The first.
            First = 1,
            /// The last.
            Last = 9,
        }
    }

    #[test]
    fn a_number_and_its_value_belong_together() {
        for number in 0..12 {
            let value = Sample::from_number(number);
            assert_eq!(value.is_some(), number == 1 || number == 9);
            assert!(value.is_none_or(|value| value.number() == number));
        }
        assert_eq!(Sample::ALL, [Sample::First, Sample::Last]);
    }
}
