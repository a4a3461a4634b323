//! Two domains that do anything: hypercalls, traps and device accesses in any order, with arguments of all kinds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenolith_sim::hostile;

fuzz_target!(|bytes: &[u8]| hostile::play(bytes));
