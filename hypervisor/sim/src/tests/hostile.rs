//! Guests that do anything.

use proptest::prelude::*;

use super::super::hostile::play;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_that_domains_do_breaks_the_hypervisor(bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
        play(&bytes);
    }
}
