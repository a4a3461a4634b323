use crate::mock::Hypervisor;
use crate::xen::Mapping;
use crate::xen::server::{RequestLoop, Served};
use crate::{Mmio, StalePages};
use proptest::prelude::*;
use std::sync::Arc;
use xenolith_abi::Port;
use xenolith_abi::ioreq::{READ, RequestType, STATE_MASK, Slot, State};

/// Remembers what it is asked.
#[derive(Default)]
struct Device {
    asked: Vec<(char, u64, u8, u64)>,
    stale: Option<StalePages>,
    value: u64,
}

impl Mmio for Device {
    fn read(&mut self, address: u64, size: u8) -> u64 {
        self.asked.push(('r', address, size, 0));
        self.value
    }

    fn write(&mut self, address: u64, size: u8, value: u64) {
        self.asked.push(('w', address, size, value));
    }

    fn invalidate(&mut self, stale: &StalePages) {
        self.asked.push(('i', 0, 0, 0));
        self.stale = Some(stale.clone());
    }
}

#[test]
fn an_invalidation_says_which_pages_left_or_that_any_may_have() {
    let (hypervisor, mut requests) = Hypervisor::new(1).unwrap();
    let mut device = Device::default();
    let slot = |addr, count, data| {
        let (kind, flags) = (RequestType::Invalidate.number(), State::Ready.number());
        Slot { addr, data, count, size: 4, flags, kind, ..Slot::default() }
    };
    let some = StalePages { range: 0x4020_3000..0x4020_5000, classes: 2 };
    for (slot, expected) in [
        (slot(0x4020_3000, 2, 2), some),
        (slot(u64::MAX - 4095, 2, 2), StalePages { range: u64::MAX - 4095..u64::MAX, classes: 2 }),
        // Xen's, which counts one of them or none.
        (slot(0, 0, u64::MAX), StalePages::ALL),
        (slot(0, 1, u64::MAX), StalePages::ALL),
        (slot(0x4020_3000, 0, 2), StalePages::ALL),
    ] {
        hypervisor.put(0, &slot);
        hypervisor.send(0);
        assert_eq!(requests.serve_ready(&mut device).unwrap().invalidations, 1);
        assert_eq!(device.stale.take(), Some(expected), "{slot:x?}");
    }
}

#[test]
fn an_access_goes_to_the_device_and_back() {
    let (hypervisor, mut requests) = Hypervisor::new(4).unwrap();
    let mut device = Device { value: 0x1122_3344_5566_7788, ..Device::default() };
    assert_eq!(hypervisor.read(&mut requests, &mut device, 3, 0x200_0000, 4), Some(0x5566_7788));
    assert_eq!(hypervisor.read(&mut requests, &mut device, 0, 0x200_0001, 1), Some(0x88));
    assert_eq!(hypervisor.read(&mut requests, &mut device, 0, 0x200_0008, 8), Some(device.value));
    assert_eq!(hypervisor.write(&mut requests, &mut device, 1, 0x200_0050, 2, 0xabcd_1234), Some(()));
    assert_eq!(hypervisor.invalidate(&mut requests, &mut device, 1), Some(()));
    assert_eq!(
        device.asked,
        [
            ('r', 0x200_0000, 4, 0),
            ('r', 0x200_0001, 1, 0),
            ('r', 0x200_0008, 8, 0),
            ('w', 0x200_0050, 2, 0x1234),
            ('i', 0, 0, 0),
        ]
    );
}

fn ready() -> Slot {
    Slot {
        count: 1,
        size: 4,
        flags: State::Ready.number() | READ,
        kind: RequestType::Copy.number(),
        ..Slot::default()
    }
}

#[test]
fn only_a_ready_slot_is_served() {
    let (hypervisor, mut requests) = Hypervisor::new(1).unwrap();
    let mut device = Device::default();
    for state in 0..=STATE_MASK {
        let slot = Slot { flags: READ | state, data: 5, ..ready() };
        hypervisor.put(0, &slot);
        hypervisor.send(0);
        let served = requests.serve_ready(&mut device).unwrap();
        if state == State::Ready.number() {
            assert_eq!(served.accesses, 1);
            assert_eq!(hypervisor.take_notified(), [0]);
            assert_eq!(hypervisor.slot(0).unwrap().flags, READ | State::ResponseReady.number());
        } else {
            assert_eq!(served, Served { spurious: 1, ..Served::default() }, "{state}");
            assert!(hypervisor.take_notified().is_empty());
            assert_eq!(hypervisor.slot(0), Some(slot));
        }
    }
    assert_eq!(device.asked.len(), 1);
}

#[test]
fn garbage_is_answered_with_all_ones_and_reaches_no_device() {
    let (hypervisor, mut requests) = Hypervisor::new(1).unwrap();
    let mut device = Device::default();
    for garbage in [
        Slot { size: 0, ..ready() },
        Slot { size: 3, ..ready() },
        Slot { size: 16, ..ready() },
        Slot { count: 0, ..ready() },
        Slot { count: 2, ..ready() },
        Slot { kind: 99, ..ready() },
        Slot { kind: RequestType::Port.number(), ..ready() },
        Slot { flags: ready().flags | 1 << 4, ..ready() },
    ] {
        hypervisor.put(0, &garbage);
        hypervisor.send(0);
        let served = requests.serve_ready(&mut device).unwrap();
        assert_eq!(served, Served { garbage: 1, ..Served::default() }, "{garbage:?}");
        let answer = hypervisor.slot(0).unwrap();
        assert_eq!(answer.flags & STATE_MASK, State::ResponseReady.number());
        assert_eq!(answer.data, u64::MAX);
        assert_eq!(hypervisor.take_notified(), [0]);
    }
    assert_eq!(device.asked, []);
}

#[test]
fn events_of_no_vcpu_and_repeated_ones_are_counted_only() {
    let (hypervisor, mut requests) = Hypervisor::new(2).unwrap();
    let mut device = Device::default();
    hypervisor.put(1, &ready());
    for port in [7, u32::MAX] {
        hypervisor.send_port(Port(port));
    }
    hypervisor.send(1);
    hypervisor.send(1);
    let served = requests.serve_ready(&mut device).unwrap();
    assert_eq!((served.accesses, served.spurious), (1, 3));
    assert_eq!(hypervisor.take_notified(), [1]);
    assert_eq!(requests.serve_ready(&mut device).unwrap(), Served::default());
}

#[test]
fn a_look_serves_every_slot_and_needs_no_event() {
    let (hypervisor, mut requests) = Hypervisor::new(3).unwrap();
    let mut device = Device::default();
    assert!(!requests.poll_once(&mut device).unwrap().is_some());
    hypervisor.put(0, &ready());
    hypervisor.put(2, &ready());
    let served = requests.poll_once(&mut device).unwrap();
    assert_eq!(served, Served { accesses: 2, ..Served::default() });
    assert_eq!(hypervisor.take_notified(), [0, 2]);
    // The events come late, and find nothing.
    hypervisor.send(0);
    hypervisor.send(2);
    assert_eq!(requests.serve_ready(&mut device).unwrap(), Served { spurious: 2, ..Served::default() });
}

#[test]
fn events_that_are_held_back_come_when_they_are_armed_again() {
    let (hypervisor, mut requests) = Hypervisor::new(2).unwrap();
    let mut device = Device::default();
    for vcpu in [0, 1] {
        hypervisor.put(vcpu, &ready());
    }
    hypervisor.send(0);
    assert_eq!(requests.drain_events(&mut device).unwrap().accesses, 1);
    hypervisor.put(0, &ready());
    hypervisor.send(0);
    hypervisor.send(1);
    assert_eq!(requests.drain_events(&mut device).unwrap().accesses, 1, "the other vCPU");
    assert_eq!(requests.drain_events(&mut device).unwrap(), Served::default());
    requests.arm_notifications().unwrap();
    assert_eq!(requests.drain_events(&mut device).unwrap().accesses, 1);
    assert_eq!(hypervisor.take_notified(), [0, 1, 0]);
}

#[test]
fn ports_and_slots_must_fit() {
    let page = || Arc::new(Mapping::anonymous(4096).unwrap());
    let (_, requests) = Hypervisor::new(128).unwrap();
    drop(requests);
    assert!(Hypervisor::new(129).is_err());
    struct None;
    impl crate::xen::server::Events for None {
        fn pending(&mut self, _: &mut Vec<Port>) -> Result<bool, crate::Error> {
            Ok(false)
        }
        fn unmask(&mut self, _: &[Port]) -> Result<(), crate::Error> {
            Ok(())
        }
        fn notify(&mut self, _: Port) -> Result<(), crate::Error> {
            Ok(())
        }
    }
    assert!(RequestLoop::new(page(), [4, 5, 4].map(Port).to_vec(), None).is_err());
}

proptest! {
    #[test]
    fn any_slot_is_answered_or_left_alone(
        addr: u64, data: u64, count in 0u32..3, size in 0u32..10, vp_eport: u32, pad: u16, flags: u8, kind in 0u8..10,
    ) {
        let (hypervisor, mut requests) = Hypervisor::new(1).unwrap();
        let slot = Slot { addr, data, count, size, vp_eport, pad, flags, kind };
        hypervisor.put(0, &slot);
        hypervisor.send(0);
        let served = requests.serve_ready(&mut Device { value: 1, ..Device::default() }).unwrap();
        let after = hypervisor.slot(0).unwrap();
        if flags & STATE_MASK == State::Ready.number() {
            prop_assert_eq!(served.spurious, 0);
            prop_assert_eq!(after.flags, flags & !STATE_MASK | State::ResponseReady.number());
            prop_assert_eq!(Slot { data, flags, ..after }, slot);
            let read = flags & READ != 0 && kind != RequestType::Invalidate.number();
            let right = if read { after.data == 1 || after.data == u64::MAX } else { after.data == data };
            prop_assert!(right);
        } else {
            prop_assert_eq!(served.spurious, 1);
            prop_assert_eq!(after, slot);
        }
    }
}
