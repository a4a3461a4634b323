//! Corners of delivery that random sequences found and seldom visit.

use super::super::*;
use super::machine::*;

const UART: Intid = Intid(33);

/// One vCPU with two list registers; shared interrupts enabled and edge-triggered.
fn edges() -> Machine {
    let mut machine = Machine::new(config_v3(1, 32), 2);
    machine.write(0, DISTRIBUTOR, 4, 2);
    machine.write(0, DISTRIBUTOR + 0x104, 4, 0xffff_ffff);
    machine.write(0, DISTRIBUTOR + 0xc08, 4, 0xaaaa_aaaa);
    machine.write(0, DISTRIBUTOR + 0xc0c, 4, 0xaaaa_aaaa);
    machine
}

#[test]
fn what_was_active_without_a_register_kicks_when_it_may_come() {
    let mut machine = edges();
    machine.vgic.pend(None, Intid(34));
    machine.write(0, DISTRIBUTOR + 0x304, 4, 0b111);
    machine.settle();
    assert_eq!(machine.highest_pending(0), None);
    machine.write(0, DISTRIBUTOR + 0x384, 4, 0b100);
    machine.settle();
    assert_eq!(machine.highest_pending(0), Some(Intid(34)));
}

#[test]
fn pending_and_active_does_not_overtake_what_waits() {
    let mut machine = edges();
    machine.vgic.pend(None, Intid(40));
    machine.settle();
    machine.acknowledge(0);
    for intid in [40, 32, 35] {
        machine.vgic.pend(None, Intid(intid));
    }
    machine.settle();
    machine.end(0);
    let order: Vec<_> = std::iter::from_fn(|| {
        machine.settle();
        machine.take(0)
    })
    .collect();
    assert_eq!(order, [32, 35, 40].map(Intid));
}

#[test]
fn hardware_that_came_again_and_was_dropped_is_deactivated() {
    let mut machine = edges();
    machine.back((None, UART), Intid(77));
    machine.fire((None, UART));
    machine.settle();
    machine.take(0);
    assert!(machine.fire((None, UART)), "the list register deactivated it, nobody has looked yet");
    machine.write(0, DISTRIBUTOR + 0x284, 4, 2);
    machine.settle();
    assert_eq!(machine.take(0), None);
    assert!(!machine.physical[&(None, UART)].active);
}

#[test]
fn hardware_that_the_guest_makes_pending_is_active_with_it() {
    for listed in [false, true] {
        let mut machine = edges();
        machine.back((None, UART), Intid(77));
        if listed {
            machine.fire((None, UART));
            machine.settle();
            machine.take(0);
        }
        machine.write(0, DISTRIBUTOR + 0x204, 4, 2);
        machine.settle();
        assert!(machine.physical[&(None, UART)].active);
        assert_eq!(machine.take(0), Some(UART));
        assert!(!machine.physical[&(None, UART)].active);
    }
}

#[test]
fn what_a_vcpu_has_in_hand_is_told() {
    let mut machine = edges();
    machine.write(0, DISTRIBUTOR + 0x184, 4, 1 << 3);
    for intid in [34, 35, 36] {
        machine.vgic.pend(None, Intid(intid));
    }
    let told = |machine: &Machine| machine.vgic.in_hand(VcpuId(0)).collect::<Vec<_>>();
    assert_eq!(
        told(&machine),
        [(Intid(34), "waits"), (Intid(36), "waits")],
        "a disabled one is sent to nobody"
    );
    machine.settle();
    machine.acknowledge(0);
    machine.sync(0);
    machine.vgic.pend(None, Intid(34));
    assert_eq!(told(&machine), [(Intid(34), "waits, and is served"), (Intid(36), "waits")]);
}
