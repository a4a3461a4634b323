//! Delivery through list registers, case by case.

use super::super::list_register::{ListState, Origin};
use super::super::*;
use super::machine::*;

const TIMER: Intid = Intid(27);
const UART: Intid = Intid(33);

/// GICv3 with all shared interrupts enabled and edge-triggered.
fn edges(vcpus: u16) -> Machine {
    let mut machine = Machine::v3(vcpus, 64);
    for bank in 1..3 {
        machine.write(0, DISTRIBUTOR + 0x100 + 4 * bank, 4, 0xffff_ffff);
    }
    for word in 2..6 {
        machine.write(0, DISTRIBUTOR + 0xc00 + 4 * word, 4, 0xaaaa_aaaa);
    }
    machine
}

/// The same, level-sensitive.
fn levels(vcpus: u16) -> Machine {
    let mut machine = edges(vcpus);
    for word in 2..6 {
        machine.write(0, DISTRIBUTOR + 0xc00 + 4 * word, 4, 0);
    }
    machine
}

#[test]
fn an_edge_is_delivered_once() {
    let mut machine = edges(1);
    machine.vgic.set_level(None, UART, true);
    assert!(machine.vgic.deliverable(VcpuId(0)));
    assert_eq!(machine.settle().kick.0, 1);
    assert_eq!(machine.take(0), Some(UART));
    machine.sync(0);
    assert_eq!(machine.take(0), None);
    assert!(!machine.vgic.deliverable(VcpuId(0)));
    machine.vgic.set_level(None, UART, true);
    machine.settle();
    assert_eq!(machine.take(0), Some(UART), "asserted again without a release: an edge all the same");
}

#[test]
fn a_level_that_no_line_holds_asks_for_no_maintenance() {
    let mut machine = levels(1);
    machine.vgic.pend(None, UART);
    machine.settle();
    assert_eq!(machine.cpus[0].lrs[0].origin, Origin::Software { eoi_maintenance: false, source: 0 });
    machine.acknowledge(0);
    machine.vgic.set_level(None, UART, true);
    assert_eq!(machine.settle().kick.0, 1, "the register has to be filled anew");
    assert_eq!(machine.cpus[0].lrs[0].origin, Origin::Software { eoi_maintenance: true, source: 0 });
    machine.end(0);
    machine.settle();
    assert_eq!(machine.take(0), Some(UART), "the line holds it");
    machine.vgic.set_level(None, UART, false);
    machine.settle();
    assert_eq!(machine.take(0), None);
}

#[test]
fn an_edge_during_the_handler_is_pending_and_active() {
    let mut machine = edges(1);
    machine.vgic.pend(None, UART);
    machine.settle();
    machine.acknowledge(0);
    machine.vgic.pend(None, UART);
    assert!(!machine.vgic.deliverable(VcpuId(0)) || machine.vgic.in_flight(None, UART));
    machine.settle();
    assert_eq!(machine.cpus[0].lrs[0].state, ListState::PendingActive);
    machine.end(0);
    assert_eq!(machine.take(0), Some(UART), "with no way out of the guest between");
}

#[test]
fn a_level_comes_back_while_it_is_asserted() {
    let mut machine = levels(1);
    machine.vgic.set_level(None, UART, true);
    machine.settle();
    assert_eq!(machine.cpus[0].lrs[0].origin, Origin::Software { eoi_maintenance: true, source: 0 });
    for _ in 0..3 {
        assert_eq!(machine.take(0), Some(UART));
        machine.settle();
    }
    machine.acknowledge(0);
    machine.vgic.set_level(None, UART, false);
    machine.end(0);
    machine.settle();
    assert_eq!(machine.take(0), None);
}

#[test]
fn a_level_that_falls_in_time_is_taken_back() {
    let mut machine = levels(1);
    machine.vgic.set_level(None, UART, true);
    machine.settle();
    machine.vgic.set_level(None, UART, false);
    machine.sync(0);
    assert_eq!(machine.take(0), None);
}

#[test]
fn hardware_is_deactivated_by_the_list_register() {
    let mut machine = edges(1);
    machine.back((None, UART), Intid(77));
    let physical = machine.physical[&(None, UART)];
    assert!(physical.enabled && physical.edge && physical.target == Some(VcpuId(0)));
    assert!(machine.fire((None, UART)));
    machine.settle();
    assert_eq!(machine.cpus[0].lrs[0].origin, Origin::Hardware(Intid(77)));
    assert!(!machine.fire((None, UART)), "active until the guest is done");
    assert_eq!(machine.take(0), Some(UART));
    assert!(machine.fire((None, UART)));
    machine.settle();
    assert_eq!(machine.take(0), Some(UART));
}

#[test]
fn private_hardware_belongs_to_each_vcpu() {
    let mut machine = Machine::v3(2, 32);
    for vcpu in 0..2 {
        machine.back((Some(VcpuId(vcpu)), TIMER), TIMER);
        machine.write(vcpu, REDISTRIBUTORS + u64::from(vcpu) * 0x2_0000 + 0x1_0100, 4, 1 << TIMER.0);
    }
    machine.settle();
    assert!(machine.fire((Some(VcpuId(1)), TIMER)));
    assert!(
        machine.vgic.in_flight(Some(VcpuId(1)), TIMER) && !machine.vgic.in_flight(Some(VcpuId(0)), TIMER)
    );
    assert_eq!(machine.settle().kick.0, 0b10);
    assert_eq!(machine.take(0), None);
    assert_eq!(machine.take(1), Some(TIMER));
    machine.sync(1);
    assert!(!machine.vgic.in_flight(Some(VcpuId(1)), TIMER));
}

#[test]
fn the_guest_drives_physical_lines() {
    let mut machine = Machine::v3(2, 32);
    machine.back((None, UART), Intid(77));
    assert!(!machine.physical[&(None, UART)].enabled);
    machine.write(0, DISTRIBUTOR + 0x104, 4, 0xffff_ffff);
    machine.write(0, DISTRIBUTOR + 0xc08, 4, 0xaaaa_aaaa);
    machine.write(0, DISTRIBUTOR + 0x6000 + 8 * u64::from(UART.0), 8, 1);
    machine.settle();
    let physical = machine.physical[&(None, UART)];
    assert!(physical.enabled && physical.edge && physical.target == Some(VcpuId(1)));
    machine.write(0, DISTRIBUTOR + 0x184, 4, 0xffff_ffff);
    machine.settle();
    assert!(!machine.physical[&(None, UART)].enabled);
}

#[test]
fn lines_follow_a_vcpu_that_moves() {
    let mut machine = Machine::v3(2, 64);
    for (intid, target) in [(UART, 0), (Intid(34), 1), (Intid(70), 1)] {
        machine.back((None, intid), intid);
        machine.write(0, DISTRIBUTOR + 0x6000 + 8 * u64::from(intid.0), 8, target);
    }
    machine.settle();
    machine.vgic.reroute(VcpuId(1));
    let changes: Vec<_> = std::iter::from_fn(|| machine.vgic.take_line_change())
        .map(|c| (c.intid, c.target, c.enabled))
        .collect();
    assert_eq!(changes, [(Intid(34), Some(VcpuId(1)), None), (Intid(70), Some(VcpuId(1)), None)]);
}

#[test]
fn hardware_whose_interrupt_is_dropped_is_deactivated() {
    for listed in [false, true] {
        let mut machine = edges(1);
        machine.back((None, UART), Intid(77));
        machine.fire((None, UART));
        if listed {
            machine.settle();
        }
        machine.write(0, DISTRIBUTOR + 0x284, 4, 2);
        machine.settle();
        assert_eq!(machine.take(0), None);
        assert!(!machine.physical[&(None, UART)].active);
    }
    let mut machine = edges(1);
    machine.back((None, UART), Intid(77));
    machine.fire((None, UART));
    machine.settle();
    machine.acknowledge(0);
    machine.write(0, DISTRIBUTOR + 0x384, 4, 2);
    machine.settle();
    assert!(!machine.physical[&(None, UART)].active);
}

#[test]
fn what_is_disabled_stays_pending_and_leaves_the_list_register() {
    let mut machine = edges(1);
    machine.vgic.pend(None, UART);
    machine.settle();
    machine.write(0, DISTRIBUTOR + 0x184, 4, 2);
    assert_eq!(machine.vgic.take_effects().kick.0, 1, "it is in a list register");
    machine.sync(0);
    assert_eq!(machine.take(0), None);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x204, 4), 2);
    machine.write(0, DISTRIBUTOR + 0x104, 4, 2);
    machine.settle();
    assert_eq!(machine.take(0), Some(UART));
}

#[test]
fn a_new_target_gets_what_the_old_one_had_listed() {
    let mut machine = edges(2);
    let route = DISTRIBUTOR + 0x6000 + 8 * u64::from(UART.0);
    machine.vgic.pend(None, UART);
    machine.settle();
    machine.write(1, route, 8, 1);
    machine.settle();
    assert_eq!(machine.take(0), None);
    assert_eq!(machine.take(1), Some(UART));

    // Active on the old target: the new one waits until that is done.
    machine.vgic.pend(None, UART);
    machine.settle();
    machine.acknowledge(1);
    machine.write(0, route, 8, 0);
    machine.vgic.pend(None, UART);
    machine.settle();
    assert_eq!(machine.take(0), None);
    machine.end(1);
    machine.settle();
    assert_eq!(machine.take(0), Some(UART));
}

#[test]
fn priority_decides_then_the_lower_number() {
    let mut machine = edges(1);
    for intid in 32..42 {
        machine.write(0, DISTRIBUTOR + 0x400 + intid, 1, 0xa0);
    }
    machine.write(0, DISTRIBUTOR + 0x400 + 41, 1, 0x20);
    for intid in (32..42).rev() {
        machine.vgic.pend(None, Intid(intid));
    }
    machine.settle();
    assert!(machine.cpus[0].fill.no_pending);
    let order: Vec<Intid> = std::iter::from_fn(|| {
        let taken = machine.take(0);
        machine.settle();
        taken
    })
    .collect();
    assert_eq!(order, [41, 32, 33, 34, 35, 36, 37, 38, 39, 40].map(Intid));
    assert!(!machine.cpus[0].fill.no_pending);
}

#[test]
fn more_nested_handlers_than_list_registers() {
    let mut machine = edges(1);
    for (n, intid) in (32..40_u64).enumerate() {
        machine.write(0, DISTRIBUTOR + 0x400 + intid, 1, 0xf0 - 0x10 * n as u64);
    }
    for intid in 32..40 {
        machine.vgic.pend(None, Intid(intid));
        machine.settle();
        assert_eq!(machine.acknowledge(0), Some((Intid(intid), 0)), "each preempts the one before");
    }
    machine.sync(0);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x304, 4), 0xff);
    for intid in (32..40).rev() {
        assert_eq!(machine.end(0), Some(Intid(intid)));
        machine.settle();
    }
    machine.sync(0);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x304, 4), 0);
}

#[test]
fn deactivation_by_name() {
    let mut machine = edges(1);
    machine.back((None, UART), Intid(77));
    machine.fire((None, UART));
    machine.settle();
    machine.acknowledge(0);
    machine.sync(0);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x304, 4), 2);
    let cpu = machine.cpus[0].clone();
    assert_eq!(machine.vgic.listed(VcpuId(0)), cpu.fill.used);
    machine.vgic.fold(VcpuId(0), |index| cpu.lrs[index]);
    assert_eq!(machine.vgic.listed(VcpuId(0)), 0);
    machine.cpus[0].fill = Fill::default();
    machine.vgic.deactivate(VcpuId(0), UART);
    machine.settle();
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x304, 4), 0);
    assert!(!machine.physical[&(None, UART)].active);
}

#[test]
fn a_reader_of_the_active_state_learns_the_truth() {
    let mut machine = edges(2);
    machine.vgic.pend(None, UART);
    machine.settle();
    machine.acknowledge(0);
    machine.sync(0);
    machine.end(0);
    // vCPU 0 runs on with no reason to leave the guest; vCPU 1 waits in synchronize_irq.
    assert_eq!(machine.read(1, DISTRIBUTOR + 0x304, 4), 2);
    assert_eq!(machine.settle().kick.0, 1);
    assert_eq!(machine.read(1, DISTRIBUTOR + 0x304, 4), 0);
}

#[test]
fn groups_and_power_hold_interrupts_back() {
    let mut machine = edges(1);
    machine.vgic.pend(None, UART);
    machine.settle();
    machine.write(0, DISTRIBUTOR, 4, 0);
    machine.settle();
    assert_eq!(machine.take(0), None);
    assert!(!machine.vgic.deliverable(VcpuId(0)));
    machine.write(0, DISTRIBUTOR, 4, 2);
    machine.settle();
    machine.vgic.set_online(VcpuId(0), false);
    machine.sync(0);
    assert_eq!(machine.take(0), None);
    assert!(!machine.vgic.deliverable(VcpuId(0)));
    machine.vgic.pend(None, Intid(34));
    assert_eq!(machine.vgic.take_effects().kick.0, 0);
    machine.vgic.set_online(VcpuId(0), true);
    machine.sync(0);
    assert_eq!(machine.take(0), Some(UART));
    assert_eq!(machine.take(0), Some(Intid(34)));
}

#[test]
fn a_second_fill_changes_nothing() {
    let mut machine = edges(1);
    machine.vgic.pend(None, UART);
    assert_eq!(machine.vgic.fill(VcpuId(0), 4, |_, _| ()).used, 1);
    machine.vgic.pend(None, Intid(34));
    let again = machine.vgic.fill(VcpuId(0), 4, |index, _| panic!("register {index} is written"));
    assert_eq!(again.used, 1);
}
