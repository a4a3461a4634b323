//! A control domain that makes any `domctl` and `sysctl`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenolith_sim::toolstack;

fuzz_target!(|bytes: &[u8]| toolstack::play(bytes));
