//! A saved virtio device: whatever stands in its bytes, taking it up is an error or a device like any other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use virtio::driver::hostile;

fuzz_target!(|bytes: &[u8]| hostile::take_up(bytes));
