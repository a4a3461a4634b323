//! Names of functions as a back-trace shows them.

/// The readable form of a linker's name: demangled, without the hash.
pub fn readable(mangled: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(mangled))
}

/// A name without the generic arguments after its parts: `a::B<C>::d::<E>` becomes `a::B::d`. The angle brackets that
/// open a part (`<T as Trait>::f`) stay.
pub fn without_arguments(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut skipped: u32 = 0;
    let mut before = ' ';
    for c in name.chars() {
        match c {
            // `->` in a function type closes nothing.
            '>' if before == '-' && skipped > 0 => {}
            '<' if skipped > 0 || opens_arguments(&short) => {
                skipped += 1;
                if skipped == 1 && short.ends_with("::") {
                    short.truncate(short.len() - 2);
                }
            }
            '>' if skipped > 0 => skipped -= 1,
            _ if skipped > 0 => {}
            _ => short.push(c),
        }
        before = c;
    }
    short
}

/// Whether a `<` after this text opens generic arguments rather than a path's first part.
fn opens_arguments(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '}')) || ends_turbofish(text)
}

fn ends_turbofish(text: &str) -> bool {
    let Some(head) = text.strip_suffix("::") else { return false };
    head.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '}' | '>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_hash() {
        assert_eq!(
            readable("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"),
            "core::fmt::Write::write_fmt"
        );
        assert_eq!(readable("plain_c_name"), "plain_c_name");
    }

    #[test]
    fn generic_arguments_go_and_paths_stay() {
        let cases = [
            ("a::B<C<D>, E>::f", "a::B::f"),
            ("a::f::<fn(u8) -> u8>", "a::f"),
            ("<a::B<C> as d::Trait<E>>::f", "<a::B as d::Trait>::f"),
            ("<&T as core::fmt::Debug>::fmt", "<&T as core::fmt::Debug>::fmt"),
            ("a::f::{closure#0}", "a::f::{closure#0}"),
            ("plain", "plain"),
        ];
        for (long, short) in cases {
            assert_eq!(without_arguments(long), short);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_short_name_is_never_longer(name in "[a-c<>:{} -]{0,30}") {
            proptest::prop_assert!(without_arguments(&name).len() <= name.len());
        }
    }
}
