//! Its queue in a storm of lies (`virtio::driver::storm`).

use entropy_device::Entropy;
use virtio::driver::storm::{Granted, Random, Subject, asked, offset, play};

/// What a plain run does of the 10^8 that `cargo xtask test --queues 100000000` plays.
const SHARE: u64 = 20_000;
/// What the source gives.
const BYTE: u8 = 0x5a;
/// The most bytes that are filled at once.
const MOST: u64 = 4096;

struct Source;

impl Subject for Source {
    type Device = Entropy;

    fn device(&mut self) -> Entropy {
        Entropy::new(Box::new(|bytes| bytes.fill(BYTE)))
    }

    fn request(&mut self, random: &mut Random) -> (Vec<Vec<u8>>, Vec<u32>) {
        let readable = if random.once_in(8) { vec![vec![0; 16]] } else { Vec::new() };
        let count = random.of(&[1, 1, 2, 5]);
        let writable = (0..count).map(|_| random.below(1200) as u32).collect();
        (readable, writable)
    }

    fn may_refuse(&self, _: &Granted) -> bool {
        false
    }

    fn judge(&mut self, chain: &Granted, _: &[u8], after: &[u8], written: u32) {
        let parts: Option<Vec<_>> = chain
            .writable
            .iter()
            .map(|part| Some((offset(part.address, part.len)?, part.len as usize)))
            .collect();
        let Some(parts) = parts else { return };
        assert_eq!(u64::from(written), chain.room().min(MOST));
        let filled = parts.iter().flat_map(|&(at, len)| &after[at..at + len]).take(written as usize);
        assert!(filled.copied().all(|byte| byte == BYTE), "{written} bytes of {chain:x?}");
    }
}

#[test]
fn a_queue_of_an_entropy_device_holds_in_a_storm() {
    let (executions, seed) = asked(SHARE);
    let sum = play("the queue of an entropy device", Source, executions, seed);
    assert_eq!(sum.executions, executions);
    assert!(executions < SHARE || sum.completed > executions / 2 && sum.resets > executions / 50, "{sum:?}");
}
