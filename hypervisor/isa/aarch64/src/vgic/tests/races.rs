//! Random sequences in which vCPUs heed their kicks late; physical lines are changed at once, as they must be. Then the
//! order of events is anybody's guess, but nothing may be lost, listed twice or stuck.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::*;
use super::machine::*;

const VCPUS: u16 = 3;
/// Shared interrupts 32 to 39, the first four of them backed by hardware.
const SPIS: u16 = 8;
const BACKED: std::ops::Range<u32> = 32..36;

#[derive(Clone, Debug)]
enum Step {
    Fire(u32),
    Pend(u32),
    Line(u32, bool),
    /// A store to a register word of the shared interrupts.
    Word(u64, u8),
    Route(u64, u8),
    Send(u8),
    Acknowledge,
    End,
    Exit,
    Settle,
}

fn step() -> impl Strategy<Value = (u16, Step)> {
    let offset = prop_oneof![
        3 => Just(0x104u64), 1 => Just(0x184), 1 => Just(0x204), 1 => Just(0x284), 1 => Just(0xc08),
    ];
    let spi = || 32u32..40;
    let kind = prop_oneof![
        4 => BACKED.prop_map(Step::Fire),
        3 => spi().prop_map(Step::Pend),
        2 => (spi(), any::<bool>()).prop_map(|(intid, asserted)| Step::Line(intid, asserted)),
        3 => (offset, any::<u8>()).prop_map(|(offset, value)| Step::Word(offset, value)),
        1 => (32u64..40, 0u8..4).prop_map(|(intid, value)| Step::Route(intid, value)),
        2 => (0u8..8).prop_map(Step::Send),
        6 => Just(Step::Acknowledge),
        6 => Just(Step::End),
        2 => Just(Step::Exit),
        1 => Just(Step::Settle),
    ];
    (0..VCPUS, kind)
}

fn start() -> Machine {
    let mut machine = Machine::v3(VCPUS, SPIS);
    for intid in BACKED {
        machine.back((None, Intid(intid)), Intid(intid));
    }
    machine.write(0, DISTRIBUTOR + 0x104, 4, 0xff);
    for vcpu in 0..VCPUS {
        machine.write(0, REDISTRIBUTORS + u64::from(vcpu) * 0x2_0000 + 0x1_0100, 4, 0xffff);
    }
    machine.settle();
    machine
}

fn apply(machine: &mut Machine, vcpu: u16, step: Step) {
    match step {
        Step::Fire(intid) => {
            machine.fire((None, Intid(intid)));
        }
        Step::Pend(intid) if BACKED.contains(&intid) => {}
        Step::Pend(intid) => machine.vgic.pend(None, Intid(intid)),
        Step::Line(intid, _) if BACKED.contains(&intid) => {}
        Step::Line(intid, asserted) => machine.vgic.set_level(None, Intid(intid), asserted),
        Step::Word(offset, value) => machine.write(vcpu, DISTRIBUTOR + offset, 4, value.into()),
        Step::Route(intid, value) => machine.write(vcpu, DISTRIBUTOR + 0x6000 + 8 * intid, 8, value.into()),
        Step::Send(targets) => machine.vgic.send_sgi(VcpuId(vcpu), SgiRegister::Sgi1R, targets.into()),
        Step::Acknowledge => {
            machine.acknowledge(vcpu);
        }
        Step::End => {
            machine.end(vcpu);
        }
        Step::Exit => machine.sync(vcpu),
        Step::Settle => {
            machine.settle();
        }
    }
    machine.carry_out_line_changes();
}

/// Takes everything that is delivered until nothing is: what it was.
fn drain(machine: &mut Machine) -> BTreeSet<(u16, Intid)> {
    let mut taken = BTreeSet::new();
    for _ in 0..1000 {
        machine.settle();
        let mut idle = true;
        for vcpu in 0..VCPUS {
            while machine.end(vcpu).is_some() {}
            while let Some(intid) = machine.take(vcpu) {
                taken.insert((vcpu, intid));
                idle = false;
            }
            machine.sync(vcpu);
        }
        if idle {
            return taken;
        }
    }
    panic!("interrupts without end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_stuck(steps in prop::collection::vec(step(), 1..200)) {
        let mut machine = start();
        for (vcpu, step) in steps {
            apply(&mut machine, vcpu, step);
        }
        for intid in 36..40 {
            machine.vgic.set_level(None, Intid(intid), false);
        }
        machine.write(0, DISTRIBUTOR + 0x104, 4, 0xff);
        for intid in 32..40 {
            machine.write(0, DISTRIBUTOR + 0x6000 + 8 * intid, 8, 1);
        }
        drain(&mut machine);

        prop_assert!(machine.physical.values().all(|physical| physical.enabled && !physical.active));
        prop_assert_eq!(machine.read(0, DISTRIBUTOR + 0x204, 4), 0);
        prop_assert_eq!(machine.read(0, DISTRIBUTOR + 0x304, 4), 0);
        prop_assert!((0..VCPUS).all(|vcpu| !machine.vgic.deliverable(VcpuId(vcpu))));

        for intid in 32..40 {
            if BACKED.contains(&intid) {
                prop_assert!(machine.fire((None, Intid(intid))));
            } else {
                machine.vgic.pend(None, Intid(intid));
            }
        }
        machine.vgic.send_sgi(VcpuId(0), SgiRegister::Sgi1R, 0b111);
        let expected: BTreeSet<_> = (32..40).map(|n| (1, Intid(n))).chain((0..VCPUS).map(|v| (v, Intid(0)))).collect();
        prop_assert_eq!(drain(&mut machine), expected);
    }
}
