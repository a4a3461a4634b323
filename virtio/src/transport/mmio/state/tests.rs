//! What is saved comes back, and what is damaged is an error.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::core::queue::{QueueState, Setup};
use crate::core::state::SavedQueue;
use crate::devices::block::Block;
use crate::driver::{self, Driver, hostile};
use crate::storage::Inline;
use crate::transport::mmio::Transport;

fn queue() -> impl Strategy<Value = SavedQueue> {
    let setup = (any::<Option<u16>>(), any::<[u64; 3]>())
        .prop_map(|(size, [descriptors, driver, device])| Setup { size, descriptors, driver, device });
    (setup, any::<bool>(), any::<u16>()).prop_map(|(setup, ready, next)| SavedQueue {
        setup,
        ready,
        state: QueueState { next },
    })
}

prop_compose! {
    fn state()(
        [status, generation, device_features_sel, driver_features_sel, queue_sel] in any::<[u32; 5]>(),
        features in any::<u64>(),
        interrupt_status in 0..4u32,
        queues in prop::collection::vec(queue(), 0..5),
        device in prop::collection::vec(any::<u8>(), 0..20),
    ) -> MmioState {
        MmioState {
            control: ControlState { status, features, generation, queues, device },
            device_features_sel,
            driver_features_sel,
            queue_sel,
            interrupt_status,
        }
    }
}

fn disk() -> Block {
    Block::new(Box::new(Inline::new(hostile::disk())), 2, "state")
}

proptest! {
    #[test]
    fn bytes_hold_the_whole_state(state in state()) {
        prop_assert_eq!(MmioState::from_bytes(&state.to_bytes()), Ok(state));
    }

    #[test]
    fn damaged_bytes_are_an_error(state in state(), at in any::<prop::sample::Index>(), bits in 1..=u8::MAX) {
        let good = state.to_bytes();
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= bits;
        prop_assert!(MmioState::from_bytes(&bad).is_err());
        prop_assert!(MmioState::from_bytes(&good[..at.index(good.len())]).is_err());
        bad = good;
        bad.push(bits);
        prop_assert_eq!(MmioState::from_bytes(&bad), Err(StateError::Damaged));
    }

    /// Behind a checksum that is right, too.
    #[test]
    fn whatever_is_read_is_written_as_it_was(
        state in state(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut body = open(KIND, VERSION, &state.to_bytes()).unwrap().to_vec();
        for (at, value) in changes {
            let at = at.index(body.len());
            body[at] = value;
        }
        hostile::take_up(&body);
        let bytes = seal(KIND, VERSION, &body);
        if let Ok(state) = MmioState::from_bytes(&bytes) {
            prop_assert_eq!(state.to_bytes(), bytes);
        }
    }
}

proptest! {
    /// One word of a running disk's state changes: another disk takes it up, or refuses.
    #[test]
    fn a_running_disk_with_a_damaged_state_is_a_disk_or_an_error(
        at in any::<prop::sample::Index>(),
        value in prop_oneof![any::<u8>(), 0..4u8],
    ) {
        let guest = driver::guest();
        let mut mmio = driver::attach(disk(), &guest);
        Driver::new(&guest).start(&mut mmio, u64::MAX, 2, 16);
        let mut body = open(KIND, VERSION, &mmio.save().to_bytes()).unwrap().to_vec();
        let at = at.index(body.len());
        body[at] = value;
        hostile::take_up(&body);
    }
}

#[test]
fn what_is_not_a_state_of_this_version_is_told_apart() {
    let bytes = MmioState::default().to_bytes();
    let body = open(KIND, VERSION, &bytes).unwrap();
    assert_eq!(MmioState::from_bytes(&seal(KIND, 9, body)), Err(StateError::Version(9)));
    assert_eq!(MmioState::from_bytes(&seal(*b"vpci", VERSION, body)), Err(StateError::Kind));
    assert_eq!(MmioState::from_bytes(&[]), Err(StateError::Damaged));
    assert_eq!(MmioState::from_bytes(b"not a state at all"), Err(StateError::Kind));
}

/// The layout is what other versions read: it changes with [`VERSION`] only.
#[test]
fn the_layout_stays() {
    let queue = SavedQueue {
        setup: Setup { size: Some(0x1112), descriptors: 1, driver: 2, device: 3 },
        ready: true,
        state: QueueState { next: 0x1314 },
    };
    let control =
        ControlState { status: 0xf, features: 5, generation: 6, queues: vec![queue], device: vec![7] };
    let state = MmioState {
        control,
        device_features_sel: 8,
        driver_features_sel: 9,
        queue_sel: 10,
        interrupt_status: 3,
    };
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let expected = [
        words(&[8, 9, 10, 3]),
        words(&[5, 0, 0xf, 6, 1, 1]),
        words(&[1, 0, 2, 0, 3, 0, 0x1314_1112, 3]),
        vec![7],
    ];
    assert_eq!(open(KIND, 1, &state.to_bytes()), Ok(expected.concat().as_slice()));
}

#[test]
fn a_disk_that_was_saved_goes_on_in_another_process() {
    let guest = driver::guest();
    let mut mmio = driver::attach(disk(), &guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut mmio, u64::MAX, 2, 16);
    // The driver turns the cache off.
    mmio.write(0x120, 1, 0);
    let (header, data) = (driver.allocate(16), driver.allocate(513));
    driver.offer(1, &[(header, 16)], &[(data, 513)]);
    driver::kick(&mut mmio, 1);
    assert_eq!(driver.used(1), [(0, 513)]);
    let bytes = mmio.save().to_bytes();
    drop(mmio);
    let mut mmio: Transport<Block> = driver::attach(disk(), &guest);
    mmio.restore(&MmioState::from_bytes(&bytes).unwrap()).unwrap();
    assert_eq!(mmio.read(0x120, 1), 0, "still without a cache");
    driver.offer(1, &[(header, 16)], &[(data, 513)]);
    driver::kick(&mut mmio, 1);
    assert_eq!(driver.used(1), [(2, 513)]);
    assert_eq!(mmio.save().to_bytes(), {
        let mut again = driver::attach(disk(), &Arc::clone(&guest));
        again.restore(&mmio.save()).unwrap();
        again.save().to_bytes()
    });
}
