//! Random sequences, side by side on the controller with its list registers and on the architecture's rules.

use proptest::prelude::*;

use super::super::*;
use super::machine::*;
use super::reference::{Id, Reference};

const SPIS: u16 = 40;
const VCPUS: u16 = 3;

/// One step. INTIDs, vCPUs and words are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// Words that do one thing to each of their interrupts: a register's offset for bank 0, and the bank.
    Word {
        offset: u64,
        bank: u64,
        value: u32,
    },
    Priority {
        intid: u64,
        value: u8,
    },
    Route {
        intid: u64,
        value: u8,
    },
    Control(u8),
    Line {
        intid: u32,
        asserted: bool,
    },
    Pend {
        intid: u32,
    },
    Fire {
        intid: u32,
    },
    Fall {
        intid: u32,
    },
    Send {
        intid: u8,
        targets: u8,
    },
    Acknowledge,
    End,
    Exit,
}

fn step() -> impl Strategy<Value = (u16, Step)> {
    // Mostly few bits, so that sequences meet the same interrupts again.
    let word = prop_oneof![3 => (0u32..32).prop_map(|n| 1 << n), 1 => any::<u32>()];
    let offset = prop_oneof![
        1 => Just(0x080), 4 => Just(0x100), 1 => Just(0x180), 2 => Just(0x200), 1 => Just(0x280),
        1 => Just(0x300), 1 => Just(0x380), 1 => Just(0xc00), 1 => Just(0xc04),
    ];
    let intid = || prop_oneof![3 => Just(27u32), 3 => Just(33), 2 => Just(34), 2 => 16u32..72];
    let kind = prop_oneof![
        6 => (offset, 0u64..3, word).prop_map(|(offset, bank, value)| Step::Word { offset, bank, value }),
        1 => (0u64..72, any::<u8>()).prop_map(|(intid, value)| Step::Priority { intid, value }),
        1 => (32u64..72, 0u8..5).prop_map(|(intid, value)| Step::Route { intid, value }),
        1 => (0u8..4).prop_map(Step::Control),
        3 => (intid(), any::<bool>()).prop_map(|(intid, asserted)| Step::Line { intid, asserted }),
        4 => intid().prop_map(|intid| Step::Pend { intid }),
        4 => intid().prop_map(|intid| Step::Fire { intid }),
        2 => Just(Step::Fall { intid: 27 }),
        3 => (0u8..16, 0u8..8).prop_map(|(intid, targets)| Step::Send { intid, targets }),
        8 => Just(Step::Acknowledge),
        8 => Just(Step::End),
        2 => Just(Step::Exit),
    ];
    (0..VCPUS, kind)
}

struct Pair {
    v2: bool,
    machine: Machine,
    reference: Reference,
}

impl Pair {
    fn new(v2: bool, list_registers: usize) -> Self {
        let config = if v2 { config_v2(VCPUS, SPIS) } else { config_v3(VCPUS, SPIS) };
        let mut pair = Pair {
            v2,
            machine: Machine::new(config, list_registers),
            reference: Reference::new(v2, VCPUS, SPIS),
        };
        let timers = (0..VCPUS).map(|vcpu| (Some(vcpu), 27));
        for id in timers.chain([(None, 33), (None, 40)]) {
            pair.machine.back((id.0.map(VcpuId), Intid(id.1)), Intid(id.1));
            pair.reference.get(id).unwrap().hardware = true;
        }
        pair.apply(0, Step::Control(3));
        pair.apply(0, Step::Word { offset: 0x100, bank: 1, value: u32::MAX });
        for vcpu in 0..VCPUS {
            pair.apply(vcpu, Step::Word { offset: 0x100, bank: 0, value: u32::MAX });
        }
        pair
    }

    /// The address of a register with private and shared parts, as `vcpu` finds it.
    fn address(&self, vcpu: u16, private: bool, offset: u64) -> u64 {
        if private && !self.v2 {
            REDISTRIBUTORS + u64::from(vcpu) * 0x2_0000 + 0x1_0000 + offset
        } else {
            DISTRIBUTOR + offset
        }
    }

    fn apply(&mut self, vcpu: u16, step: Step) {
        match step {
            Step::Word { offset: offset @ 0xc00.., bank, value } => {
                self.set_triggers(vcpu, offset, bank, value)
            }
            Step::Word { offset, bank, value } => self.set_word(vcpu, offset, bank, value),
            Step::Priority { intid, value } => {
                let address = self.address(vcpu, intid < 32, 0x400 + intid);
                self.machine.write(vcpu, address, 1, value.into());
                if let Some(interrupt) = self.reference.get(id(vcpu, intid as u32)) {
                    interrupt.priority = value & 0xf8;
                }
            }
            Step::Route { intid, value } => {
                let target = if self.v2 {
                    self.machine.write(vcpu, DISTRIBUTOR + 0x800 + intid, 1, value.into());
                    (0..VCPUS).find(|n| value >> n & 1 != 0)
                } else {
                    self.machine.write(vcpu, DISTRIBUTOR + 0x6000 + 8 * intid, 8, value.into());
                    Some(value.into()).filter(|n| *n < VCPUS)
                };
                if let Some(interrupt) = self.reference.get((None, intid as u32)) {
                    interrupt.target = target;
                }
            }
            Step::Control(groups) => {
                self.machine.write(vcpu, DISTRIBUTOR, 4, groups.into());
                self.reference.groups = groups;
            }
            Step::Line { intid, asserted } => {
                let id = id(vcpu, intid);
                let Some(interrupt) = self.reference.get(id).filter(|i| !i.hardware) else { return };
                interrupt.line = asserted;
                interrupt.latched |= asserted && interrupt.edge;
                self.machine.vgic.set_level(Some(VcpuId(vcpu)), Intid(intid), asserted);
                if !asserted {
                    // Nobody is called out for a line that falls; the next exit takes it back.
                    (0..VCPUS).for_each(|n| self.machine.sync(n));
                }
            }
            Step::Pend { intid } => {
                let Some(interrupt) = self.reference.get(id(vcpu, intid)).filter(|i| !i.hardware) else {
                    return;
                };
                interrupt.latched = true;
                self.machine.vgic.pend(Some(VcpuId(vcpu)), Intid(intid));
            }
            Step::Fire { intid } => {
                let id = id(vcpu, intid);
                let line = (id.0.map(VcpuId), Intid(id.1));
                if self.machine.physical.contains_key(&line) {
                    let fired = self.machine.fire(line);
                    let interrupt = self.reference.get(id).unwrap();
                    interrupt.wire = true;
                    interrupt.latched |= fired;
                }
            }
            Step::Fall { intid } => {
                self.machine.fall((Some(VcpuId(vcpu)), Intid(intid)));
                self.reference.get(id(vcpu, intid)).unwrap().wire = false;
            }
            Step::Send { intid, targets } => self.send(vcpu, intid, targets),
            Step::Acknowledge => {
                let Some((intid, source)) = self.machine.acknowledge(vcpu) else { return };
                assert_eq!(self.reference.highest_pending(vcpu), Some(intid.0));
                let interrupt = self.reference.get(id(vcpu, intid.0)).unwrap();
                interrupt.active = true;
                interrupt.latched = false;
                interrupt.commanded = false;
                if self.v2 && intid < Intid::FIRST_PRIVATE {
                    assert!(interrupt.senders.remove(&source), "vCPU {source} had sent SGI {intid}");
                }
            }
            // Which of several active interrupts without a register the guest has dropped is known only if it must
            // drop them in order, so not among those that it made active itself.
            Step::End if self.any_forced() && !self.machine.would_end_listed(vcpu) => {}
            Step::End => {
                if let Some(intid) = self.machine.end(vcpu) {
                    self.reference.get(id(vcpu, intid.0)).unwrap().active = false;
                }
            }
            Step::Exit => {
                self.machine.sync(vcpu);
                let deliverable = self.machine.cpus[usize::from(vcpu)].deliverable;
                assert_eq!(deliverable, self.reference.highest_pending(vcpu).is_some());
            }
        }
    }

    /// Whether an interrupt has a handler that runs.
    fn has_handler(&self, id: Id) -> bool {
        (0..VCPUS).any(|vcpu| {
            let running = &self.machine.cpus[usize::from(vcpu)].running;
            id.0.is_none_or(|owner| owner == vcpu) && running.iter().any(|(_, intid, _)| intid.0 == id.1)
        })
    }

    /// Whether the guest made an interrupt active that none of its CPUs acknowledged.
    fn any_forced(&self) -> bool {
        self.reference.iter().any(|(id, interrupt)| interrupt.active && !self.has_handler(id))
    }

    fn set_word(&mut self, vcpu: u16, offset: u64, bank: u64, mut value: u32) {
        if offset == 0x380 {
            // Deactivated behind its handler's back, an interrupt would be ended twice.
            for n in 0..32 {
                if self.has_handler(id(vcpu, bank as u32 * 32 + n)) {
                    value &= !(1 << n);
                }
            }
        }
        let v2_sgi = |intid| self.v2 && intid < 16;
        for n in (0..32).filter(|n| value >> n & 1 != 0 || offset == 0x080) {
            let intid = bank as u32 * 32 + n;
            let fixed = v2_sgi(intid);
            let Some(interrupt) = self.reference.get(id(vcpu, intid)) else { continue };
            match offset {
                0x080 if self.v2 => interrupt.group1 = value >> n & 1 != 0,
                0x100 => interrupt.enabled = true,
                0x180 => interrupt.enabled = false,
                0x200 if !fixed => (interrupt.latched, interrupt.commanded) = (true, true),
                0x280 if !fixed => (interrupt.latched, interrupt.commanded) = (false, false),
                0x300 => interrupt.active = true,
                0x380 => interrupt.active = false,
                _ => {}
            }
        }
        let address = self.address(vcpu, bank == 0, offset + 4 * bank);
        self.machine.write(vcpu, address, 4, value.into());
    }

    fn set_triggers(&mut self, vcpu: u16, offset: u64, bank: u64, value: u32) {
        let first = bank as u32 * 32 + (offset as u32 - 0xc00) / 4 * 16;
        for n in 0..16 {
            if let Some(interrupt) = self.reference.get(id(vcpu, first + n)).filter(|_| first + n >= 16) {
                interrupt.edge = value >> (2 * n + 1) & 1 != 0;
            }
        }
        let address = self.address(vcpu, bank == 0, offset + 8 * bank);
        self.machine.write(vcpu, address, 4, value.into());
    }

    fn send(&mut self, vcpu: u16, intid: u8, targets: u8) {
        for target in (0..VCPUS).filter(|n| targets >> n & 1 != 0) {
            let interrupt = self.reference.get((Some(target), intid.into())).unwrap();
            if self.v2 {
                interrupt.senders.insert(vcpu as u8);
            } else {
                interrupt.latched = true;
            }
        }
        let (intid, targets) = (u64::from(intid), u64::from(targets));
        if self.v2 {
            self.machine.write(vcpu, DISTRIBUTOR + 0xf00, 4, targets << 16 | intid);
        } else {
            self.machine.vgic.send_sgi(VcpuId(vcpu), SgiRegister::Sgi1R, intid << 24 | targets);
        }
    }

    /// After everything that was asked for is done, each vCPU is shown what the architecture says, and physical
    /// interrupts are active exactly while their virtual ones are pending or active.
    fn check(&mut self) {
        self.machine.settle();
        // A private line that has fallen is seen at the vCPU's next exit.
        for vcpu in 0..VCPUS {
            let timer = self.reference.get((Some(vcpu), 27)).unwrap();
            if timer.is_stale() {
                timer.latched = false;
                self.machine.sync(vcpu);
            }
        }
        self.machine.settle();
        for vcpu in 0..VCPUS {
            assert_eq!(
                self.machine.highest_pending(vcpu),
                self.reference.highest_pending(vcpu).map(Intid),
                "on {vcpu}"
            );
            assert!(
                self.machine.vgic.deliverable(VcpuId(vcpu)) || self.reference.highest_pending(vcpu).is_none()
            );
        }
        for (id, interrupt) in self.reference.iter().filter(|(_, interrupt)| interrupt.hardware) {
            let physical = self.machine.physical[&(id.0.map(VcpuId), Intid(id.1))];
            assert_eq!(physical.active, interrupt.active || interrupt.pending(), "{id:?} {interrupt:?}");
            assert_eq!(physical.enabled, interrupt.enabled);
        }
    }

    /// Enables everything and lets all vCPUs work until nothing is left.
    fn drain(&mut self) {
        for vcpu in 0..VCPUS {
            for bank in 0..3 {
                self.apply(vcpu, Step::Word { offset: 0x380, bank, value: u32::MAX });
            }
        }
        self.check();
        for vcpu in 0..VCPUS {
            while self.machine.cpus[usize::from(vcpu)].running.last().is_some() {
                self.apply(vcpu, Step::End);
                self.check();
            }
        }
        for intid in 16..32 + u32::from(SPIS) {
            for vcpu in 0..VCPUS {
                self.apply(vcpu, Step::Line { intid, asserted: false });
            }
        }
        for intid in 32..32 + u64::from(SPIS) {
            self.apply(0, Step::Route { intid, value: 1 });
        }
        self.apply(0, Step::Control(3));
        for vcpu in 0..VCPUS {
            for bank in 0..3 {
                self.apply(vcpu, Step::Word { offset: 0x100, bank, value: u32::MAX });
            }
        }
        self.check();
        for vcpu in 0..VCPUS {
            while self.machine.highest_pending(vcpu).is_some() {
                self.apply(vcpu, Step::Acknowledge);
                self.apply(vcpu, Step::End);
                self.check();
            }
            self.machine.sync(vcpu);
        }
        assert!(self.reference.iter().all(|(_, interrupt)| !interrupt.pending() && !interrupt.active));
        assert!(self.machine.physical.values().all(|physical| !physical.active));
        assert!((0..VCPUS).all(|vcpu| self.machine.cpus[usize::from(vcpu)].fill == Fill::default()));
    }
}

fn id(vcpu: u16, intid: u32) -> Id {
    (Some(vcpu).filter(|_| intid < 32), intid)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn follows_the_architecture(
        v2: bool,
        list_registers in 2usize..6,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut pair = Pair::new(v2, list_registers);
        for (vcpu, step) in steps {
            pair.apply(vcpu, step);
            pair.check();
        }
        pair.drain();
    }
}
