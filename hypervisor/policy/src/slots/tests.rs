//! The register against its rules.

use xenolith_abi::xenolith::SlotInterrupt;

use super::*;

fn slot(guest: u16, backend: u16, base: u64) -> Slot {
    let mut slot = Slot::new_zeroed();
    (slot.guest, slot.backend, slot.base, slot.size) = (DomId(guest), DomId(backend), base, 0x200);
    (slot.transport, slot.device_id) = (Transport::VirtioMmio.number(), 2);
    slot.interrupt = Interrupt::Line { intid: Intid(33) }.into();
    slot
}

fn report(number: u32, state: u32, message: &[u8]) -> SlotReport {
    let mut report =
        SlotReport { number, state, message_len: message.len() as u32, pad: 0, message: [0; MESSAGE_SIZE] };
    report.message[..message.len()].copy_from_slice(message);
    report
}

#[test]
fn numbers_rise_and_are_never_used_again() {
    let mut slots = Slots::default();
    assert_eq!(slots.create(&slot(1, 2, 0x1000)), Ok(1));
    assert_eq!(slots.create(&slot(1, 2, 0x2000)), Ok(2));
    assert_eq!(slots.destroy(2), Ok(Parties { guest: DomId(1), backend: DomId(2) }));
    assert_eq!(slots.destroy(2), Err(Errno::ENOENT));
    assert_eq!(slots.create(&slot(1, 2, 0x2000)), Ok(3));
}

#[test]
fn a_backend_finds_its_own_slots_in_order() {
    let mut slots = Slots::default();
    for (guest, backend) in [(1, 7), (2, 8), (3, 7)] {
        slots.create(&slot(guest, backend, 0x1000)).unwrap();
    }
    let guests = |backend| {
        let mut from = 0;
        core::iter::from_fn(|| {
            let found = slots.next(from, backend)?;
            from = found.number + 1;
            Some(found.guest)
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(guests(Some(DomId(7))), [1, 3].map(DomId));
    assert_eq!(guests(None), [1, 2, 3].map(DomId));
    assert!(guests(Some(DomId(9))).is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut slots = Slots::default();
    for transport in [0, 99] {
        assert_eq!(slots.create(&Slot { transport, ..slot(1, 2, 0x1000) }), Err(Errno::EINVAL));
    }
    assert_eq!(slots.create(&Slot { device_id: 0, ..slot(1, 2, 0x1000) }), Err(Errno::EINVAL));
    assert_eq!(slots.create(&Slot { size: 0, ..slot(1, 2, 0x1000) }), Err(Errno::EINVAL));
    assert_eq!(slots.create(&slot(1, 2, u64::MAX)), Err(Errno::EINVAL));
    let long = Slot { config_len: CONFIG_SIZE as u32 + 1, ..slot(1, 2, 0x1000) };
    assert_eq!(slots.create(&long), Err(Errno::EINVAL));
    slots.create(&slot(1, 2, 0x1000)).unwrap();
    assert_eq!(slots.create(&slot(1, 3, 0x11ff)), Err(Errno::EEXIST));
    assert!(slots.create(&slot(2, 3, 0x11ff)).is_ok(), "another guest has addresses of its own");
}

#[test]
fn what_is_not_served_is_told_from_what_does_not_exist() {
    let mut slots = Slots::default();
    let mut create =
        |transport, interrupt| slots.create(&Slot { transport, interrupt, ..slot(1, 2, 0x1000) });
    let (mmio, pci) = (Transport::VirtioMmio.number(), Transport::VirtioPci.number());
    let line = |intid| SlotInterrupt::from(Interrupt::Line { intid });
    let message = SlotInterrupt::from(Interrupt::Message { device: 8, events: 2 });
    assert_eq!(create(mmio, message), Err(Errno::EOPNOTSUPP));
    assert_eq!(create(pci, message), Err(Errno::EOPNOTSUPP));
    assert_eq!(create(pci, line(Intid(33))), Err(Errno::EOPNOTSUPP));
    for kind in [0, 3, u32::MAX] {
        assert_eq!(create(mmio, SlotInterrupt { kind, ..line(Intid(33)) }), Err(Errno::EINVAL));
    }
    assert_eq!(create(mmio, SlotInterrupt { pad: 1, ..line(Intid(33)) }), Err(Errno::EINVAL));
    for intid in [0, 31, 1020, u32::MAX] {
        assert_eq!(create(mmio, line(Intid(intid))), Err(Errno::EINVAL), "no shared interrupt: {intid}");
    }
    assert_eq!(create(mmio, line(Intid(32))), Ok(1));
}

#[test]
fn there_is_an_end() {
    let mut slots = Slots::default();
    let per_guest = SLOTS_PER_GUEST as u64;
    for device in 0..per_guest {
        slots.create(&slot(1, 2, device * 0x200)).unwrap();
    }
    assert_eq!(slots.create(&slot(1, 2, per_guest * 0x200)), Err(Errno::ENOSPC));
    let mut made = per_guest;
    for guest in 2.. {
        for device in 0..per_guest {
            match slots.create(&slot(guest, 2, device * 0x200)) {
                Ok(_) => made += 1,
                Err(errno) => {
                    assert_eq!((errno, made), (Errno::ENOSPC, MAX_SLOTS as u64));
                    return;
                }
            }
        }
    }
}

#[test]
fn only_the_backend_reports() {
    let mut slots = Slots::default();
    let number = slots.create(&slot(1, 2, 0x1000)).unwrap();
    let ready = report(number, SlotState::Ready.number(), b"served");
    assert_eq!(slots.report(DomId(1), &ready), Err(Errno::ENOENT));
    assert_eq!(slots.report(DomId(2), &report(number + 1, 1, b"")), Err(Errno::ENOENT));
    assert_eq!(slots.report(DomId(2), &report(number, 77, b"")), Err(Errno::EINVAL));
    let long = SlotReport { message_len: MESSAGE_SIZE as u32 + 1, ..ready };
    assert_eq!(slots.report(DomId(2), &long), Err(Errno::EINVAL));
    assert_eq!(slots.next(0, None).unwrap().state, SlotState::Waiting.number());
    assert_eq!(slots.report(DomId(2), &ready), Ok(()));
    let found = slots.next(0, None).unwrap();
    assert_eq!((found.state, &found.message[..6]), (SlotState::Ready.number(), &b"served"[..]));
}

#[test]
fn slots_end_with_their_guest_and_outlive_their_backend() {
    let mut slots = Slots::default();
    for (guest, backend) in [(1, 7), (2, 7), (1, 8)] {
        slots.create(&slot(guest, backend, 0x1000 * u64::from(backend))).unwrap();
    }
    let ended: Vec<_> = core::iter::from_fn(|| slots.take_of_guest(DomId(1))).collect();
    assert_eq!(ended.iter().map(|parties| parties.backend).collect::<Vec<_>>(), [DomId(7), DomId(8)]);
    assert!(slots.abandon(DomId(7)) && !slots.abandon(DomId(8)));
    let left = slots.next(0, None).unwrap();
    assert_eq!((left.guest, left.state), (DomId(2), SlotState::Gone.number()));
}

#[test]
fn the_last_slot_of_two_carries_their_permission() {
    let parties = |guest, backend| Parties { guest: DomId(guest), backend: DomId(backend) };
    let mut slots = Slots::default();
    let [first, second, other] = [(1, 7, 0x1000), (1, 7, 0x2000), (2, 7, 0x1000)]
        .map(|(guest, backend, base)| slots.create(&slot(guest, backend, base)).unwrap());
    assert_eq!(slots.find(first), Ok((parties(1, 7), false)));
    assert_eq!(slots.find(other), Ok((parties(2, 7), true)));
    assert_eq!(slots.find(99), Err(Errno::ENOENT));
    slots.destroy(first).unwrap();
    assert_eq!(slots.find(second), Ok((parties(1, 7), true)));
    // One that is made after the permission was taken back carries it alone.
    slots.revoke(parties(1, 7));
    assert_eq!(slots.find(second), Ok((parties(1, 7), false)));
    let third = slots.create(&slot(1, 7, 0x3000)).unwrap();
    assert_eq!(slots.find(third), Ok((parties(1, 7), true)));
    assert_eq!(slots.find(other), Ok((parties(2, 7), true)), "another guest");
}
