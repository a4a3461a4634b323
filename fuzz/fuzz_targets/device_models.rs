//! A driver domain that makes any `dm_op` and any of our own calls, and writes anything into its ioreq pages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenolith_sim::device_models;

fuzz_target!(|bytes: &[u8]| device_models::play(bytes));
