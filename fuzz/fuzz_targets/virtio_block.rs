//! A driver that does anything to its disk: registers, queues and memory in any order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use virtio::driver::hostile;

fuzz_target!(|bytes: &[u8]| hostile::play(bytes));
