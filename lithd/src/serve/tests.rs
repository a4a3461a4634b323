use super::*;
use backend::Bank;
use backend::xen::slots::{Device, Interrupt, Transport};
use xenolith_abi::{DomId, Intid};

fn slot(state: Option<SlotState>, device_id: u32) -> Slot {
    let device = Device {
        guest: DomId(1),
        backend: DomId(2),
        transport: Transport::VirtioMmio.number(),
        device_id,
        interrupt: Interrupt::Line { intid: Intid(33) }.into(),
        registers: Bank { base: 0x200_0000, size: 0x200 },
        ram: Vec::new(),
        config: Vec::new(),
    };
    Slot { number: 7, device, state, message: String::new() }
}

#[test]
fn a_slot_is_started_once() {
    let none = BTreeSet::new();
    let waiting = slot(Some(SlotState::Waiting), 2);
    assert_eq!(plan(&waiting, false, &none), Plan::Start);
    assert_eq!(plan(&waiting, true, &none), Plan::Nothing);
    assert_eq!(plan(&waiting, false, &BTreeSet::from([7])), Plan::Nothing);
}

#[test]
fn what_another_supervisor_left_is_not_started_again() {
    let none = BTreeSet::new();
    assert_eq!(plan(&slot(Some(SlotState::Ready), 2), false, &none), Plan::Abandoned);
    assert_eq!(plan(&slot(Some(SlotState::Ready), 2), true, &none), Plan::Nothing);
    for state in [Some(SlotState::Failed), Some(SlotState::Gone), None] {
        assert_eq!(plan(&slot(state, 2), false, &none), Plan::Nothing);
    }
}

#[test]
fn kinds_that_are_not_known_are_refused() {
    assert_eq!(plan(&slot(Some(SlotState::Waiting), 99), false, &BTreeSet::new()), Plan::Unknown);
}
