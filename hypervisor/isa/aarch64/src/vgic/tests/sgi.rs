//! Interrupts between vCPUs, in both versions.

use proptest::prelude::*;

use super::super::*;
use super::machine::*;

/// A GICv3 on which every vCPU has all SGIs enabled.
fn v3(vcpus: u16) -> Machine {
    let mut machine = Machine::v3(vcpus, 32);
    for vcpu in 0..u64::from(vcpus) {
        machine.write(0, REDISTRIBUTORS + vcpu * 0x2_0000 + 0x1_0100, 4, 0xffff);
    }
    machine
}

/// The value that Linux writes for one cluster.
fn request(intid: u64, aff1: u64, list: u64) -> u64 {
    intid << 24 | aff1 << 16 | list
}

fn waiting(machine: &Machine) -> Vec<u16> {
    (0..machine.vgic.vcpus()).filter(|n| machine.vgic.deliverable(VcpuId(*n))).collect()
}

#[test]
fn v3_names_targets_by_cluster_and_list() {
    let mut machine = v3(40);
    machine.vgic.send_sgi(VcpuId(0), SgiRegister::Sgi1R, request(3, 1, 0x8001));
    assert_eq!(waiting(&machine), [16, 31]);
    machine.settle();
    assert_eq!(machine.take(16), Some(Intid(3)));
    assert_eq!(machine.take(31), Some(Intid(3)));
    machine.sync(16);
    machine.sync(31);
    machine.vgic.send_sgi(VcpuId(0), SgiRegister::Sgi1R, request(3, 2, 0xffff));
    assert_eq!(waiting(&machine), (32..40).collect::<Vec<_>>());
}

#[test]
fn v3_sends_to_all_others() {
    let mut machine = v3(5);
    machine.vgic.send_sgi(VcpuId(2), SgiRegister::Sgi1R, 1 << 40 | 7 << 24 | 0xffff);
    assert_eq!(waiting(&machine), [0, 1, 3, 4]);
}

#[test]
fn v3_ignores_affinities_that_no_vcpu_has() {
    let mut machine = v3(128);
    for value in [1 << 32 | 1, 1 << 48 | 1, 1 << 44 | 1, request(0, 8, 0xffff), request(0, 255, 0xffff)] {
        machine.vgic.send_sgi(VcpuId(0), SgiRegister::Sgi1R, value);
    }
    assert_eq!(waiting(&machine), []);
}

#[test]
fn v3_group_0_registers_reach_nobody() {
    let mut machine = v3(2);
    machine.write(0, REDISTRIBUTORS + 0x3_0080, 4, 0);
    for register in [SgiRegister::Sgi0R, SgiRegister::Asgi1R] {
        machine.vgic.send_sgi(VcpuId(0), register, request(0, 0, 2));
        assert_eq!(waiting(&machine), []);
    }
    machine.vgic.send_sgi(VcpuId(0), SgiRegister::Sgi1R, request(0, 0, 2));
    assert_eq!(waiting(&machine), [1]);
}

/// Every vCPU whose affinity and bit are named, and no other.
fn expected(vcpus: u16, sender: u16, value: u64) -> Vec<u16> {
    let all_others = value >> 40 & 1 != 0;
    (0..vcpus)
        .filter(|n| {
            let n64 = u64::from(*n);
            let cluster =
                (n64 >> 4) == (value >> 16 & 0xff) && value >> 32 & 0xff == 0 && value >> 48 & 0xff == 0;
            let named = cluster && value >> 44 & 0xf == 0 && value >> (n64 & 0xf) & 1 != 0;
            if all_others { *n != sender } else { named }
        })
        .collect()
}

#[test]
fn v3_reaches_exactly_whom_it_names_for_all_patterns_of_24_bits() {
    // Cluster and list, all 2^24 of them, in steps that are prime to each of their bits; INTIDs in turn.
    for vcpus in [1_u16, 2, 15, 16, 17, 31, 64, 127, 128] {
        let mut machine = v3(vcpus);
        for pattern in (0..1 << 24).step_by(4099) {
            let value = pattern | (pattern % 16) << 24;
            machine.vgic.send_sgi(VcpuId(0), SgiRegister::Sgi1R, value);
            assert_eq!(waiting(&machine), expected(vcpus, 0, value), "{value:#x}");
            for vcpu in 0..vcpus {
                machine.write(0, REDISTRIBUTORS + u64::from(vcpu) * 0x2_0000 + 0x1_0280, 4, 0xffff);
            }
        }
    }
}

proptest! {
    #[test]
    fn v3_never_reaches_beyond_the_vcpus(
        vcpus in 1u16..=128,
        sender in 0u16..128,
        values in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        let mut machine = v3(vcpus);
        for value in values {
            let sender = sender % vcpus;
            machine.vgic.send_sgi(VcpuId(sender), SgiRegister::Sgi1R, value);
            prop_assert_eq!(waiting(&machine), expected(vcpus, sender, value));
            let beyond = u128::MAX.checked_shl(vcpus.into()).unwrap_or(0);
            prop_assert_eq!(machine.vgic.take_effects().kick.0 & beyond, 0);
            for vcpu in 0..vcpus {
                machine.write(0, REDISTRIBUTORS + u64::from(vcpu) * 0x2_0000 + 0x1_0280, 4, 0xffff);
            }
        }
    }

    #[test]
    fn v2_never_reaches_beyond_the_vcpus(vcpus in 1u16..=8, sender in 0u16..8, value: u32) {
        let mut machine = Machine::v2(vcpus, 32);
        let sender = sender % vcpus;
        machine.write(sender, DISTRIBUTOR + 0xf00, 4, value.into());
        let expected: Vec<u16> = (0..vcpus).filter(|n| match value >> 24 & 3 {
            0 => value >> 16 >> n & 1 != 0,
            1 => *n != sender,
            2 => *n == sender,
            _ => false,
        }).collect();
        prop_assert_eq!(waiting(&machine), expected);
    }
}

#[test]
fn v2_keeps_one_pending_state_for_each_sender() {
    let mut machine = Machine::v2(4, 32);
    for sender in [3, 1] {
        machine.write(sender, DISTRIBUTOR + 0xf00, 4, 1 << 16 | 5);
    }
    assert_eq!(machine.read(0, DISTRIBUTOR + 0xf20 + 4, 4), 0b1010 << 8);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0xf10 + 5, 1), 0b1010);
    machine.settle();
    assert_eq!(machine.read(0, DISTRIBUTOR + 0xf10 + 5, 1), 0b1010, "also while a list register has it");
    assert_eq!(machine.acknowledge(0), Some((Intid(5), 1)));
    machine.end(0);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some((Intid(5), 3)), "maintenance brings the next sender");
    machine.end(0);
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
}

#[test]
fn v2_takes_back_what_one_sender_sent() {
    let mut machine = Machine::v2(4, 32);
    for sender in [2, 1] {
        machine.write(sender, DISTRIBUTOR + 0xf00, 4, 1 << 16);
    }
    machine.settle();
    machine.write(0, DISTRIBUTOR + 0xf10, 1, 0b10);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some((Intid(0), 2)), "though the other was listed already");
    machine.end(0);
    machine.settle();
    assert_eq!(machine.acknowledge(0), None);
    machine.write(0, DISTRIBUTOR + 0xf20, 1, 0b1000_1000);
    machine.settle();
    assert_eq!(machine.acknowledge(0), Some((Intid(0), 3)), "only senders that exist");
    machine.sync(0);
    machine.write(0, DISTRIBUTOR + 0x200, 4, 0xffff);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x200, 4), 0, "ISPENDR says nothing about the sender");
}
