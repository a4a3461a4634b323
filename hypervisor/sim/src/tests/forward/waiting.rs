//! A guest that waits for its device model, in each way that it can, with each state that its slot can have.

use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{Domctl, DomctlOp, VERSION_4_20};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::ioreq::STATE_MASK;
use xenolith_abi::memory::{MemoryOp, Reservation};
use zerocopy::{Immutable, IntoBytes};

use super::super::super::{Machine, Plan, RAM_BASE};
use super::super::support::{CONTROL, Guest, SELF};
use super::model::*;
use xenolith_core::types::{DomId, VcpuId};

/// For what vCPU 0 waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Load,
    Store,
    /// The first register of two.
    Pair,
    /// That mappings of a page are dropped.
    Invalidation,
}

impl Wait {
    pub const ALL: [Wait; 4] = [Wait::Load, Wait::Store, Wait::Pair, Wait::Invalidation];
}

/// What a store stores.
const STORED: u64 = 0x1234_5678;
/// Where the other vCPU begins.
const SECOND_ENTRY: u64 = super::super::super::ENTRY + 0x2000;

/// A control domain; a guest whose vCPUs all wait; and a driver domain that is the guest's device model.
pub struct Waiting {
    pub control: Guest,
    pub model: Model,
    pub wait: Wait,
    pub vcpus: u16,
    /// Where the instruction is for which vCPU 0 waits.
    pub at: u64,
}

impl Waiting {
    /// A CPU for every vCPU. All vCPUs run.
    pub fn three(vcpus: u16) -> (Machine, Guest, Model) {
        let mut machine = Machine::new(2 + vcpus, 1024);
        let control = Guest::boot(&mut machine, CONTROL);
        let guest = Guest::boot(&mut machine, Plan { id: 1, vcpus, ..CONTROL });
        for vcpu in 1..vcpus {
            let vcpu = guest.domain.vcpu(VcpuId(vcpu)).expect("one of them");
            assert!(guest.domain.on(&machine.hv).start_vcpu(vcpu, SECOND_ENTRY, 0));
        }
        machine.settle();
        let driver = Guest::boot(&mut machine, Plan { id: 2, ..CONTROL });
        assert_eq!(guest.domain.allow_device_model(&driver.domain), Ok(()));
        let model = Model::attach(&mut machine, driver, guest);
        (machine, control, model)
    }

    /// vCPU 0 waits like this, the others for a load each.
    pub fn begin(wait: Wait, vcpus: u16) -> (Machine, Waiting) {
        let (mut machine, control, model) = Self::three(vcpus);
        for vcpu in 1..vcpus {
            let cpu = machine.cpu_of(&model.guest.domain, vcpu).expect("it runs");
            machine.load(cpu, REGISTER + 8, 4);
        }
        let (cpu, guest) = (model.guest.cpu, &model.guest);
        let mut at = machine.regs(cpu).pc;
        match wait {
            Wait::Load => drop(machine.load(cpu, REGISTER, 4)),
            Wait::Store => machine.store(cpu, REGISTER, 4, STORED),
            Wait::Pair => {
                // ldp x2, x3, [x1], #16
                at = place_instruction(&mut machine, guest, 0xa8c1_0c22);
                machine.regs(cpu).x[1] = REGISTER;
                undescribed(&mut machine, cpu, REGISTER, false);
            }
            Wait::Invalidation => {
                let (list, argument) = (guest.page(&machine, 2), guest.scratch(&machine));
                machine.poke(&guest.domain, list, &(RAM_BASE.0 + 20));
                let request = Reservation {
                    extent_start: list.into(),
                    nr_extents: 1,
                    domid: SELF,
                    ..Reservation::default()
                };
                machine.poke(&guest.domain, argument, &request);
                let arguments = [MemoryOp::DecreaseReservation.number().into(), argument, 0, 0, 0];
                assert_eq!(machine.hypercall(cpu, Hypercall::MemoryOp.number(), arguments), None);
            }
        }
        let waiting = Waiting { control, model, wait, vcpus, at };
        assert!(waiting.nobody_runs(&machine));
        (machine, waiting)
    }

    pub fn runs(&self, machine: &Machine, vcpu: u16) -> bool {
        machine.cpu_of(&self.model.guest.domain, vcpu).is_some()
    }

    pub fn nobody_runs(&self, machine: &Machine) -> bool {
        (0..self.vcpus).all(|vcpu| !self.runs(machine, vcpu))
    }

    /// Where a vCPU is that waits: at its access, or behind the call that took a page away.
    pub fn pc_of(&self, vcpu: u16) -> u64 {
        match (vcpu, self.wait) {
            (0, Wait::Invalidation) => self.at + 4,
            (0, _) => self.at,
            _ => SECOND_ENTRY,
        }
    }

    /// Leaves vCPU 0's slot in this state, without telling anybody.
    pub fn write_state(&self, machine: &Machine, state: u8) {
        let mut slot = self.model.slot(machine, 0);
        slot.flags = slot.flags & !STATE_MASK | state;
        self.model.write_slot(machine, 0, &slot);
    }

    /// vCPU 0 is behind its instruction, which has read `data`.
    pub fn assert_has(&self, machine: &Machine, data: u64) {
        let regs = machine.regs_of(&self.model.guest.domain, 0);
        assert_eq!(regs.pc, self.at + 4);
        match self.wait {
            Wait::Load => assert_eq!(regs.x[1], data & 0xffff_ffff),
            Wait::Store => assert_eq!(regs.x[1], STORED),
            Wait::Pair => assert_eq!((regs.x[2], regs.x[3], regs.x[1]), (data, data, REGISTER + 16)),
            Wait::Invalidation => assert_eq!(regs.x[0], 1, "one extent was done"),
        }
    }

    /// All vCPUs go on as if nothing were there, and so does the next access, at once.
    pub fn assert_goes_on(&self, machine: &mut Machine) {
        machine.settle();
        for vcpu in 0..self.vcpus {
            assert!(self.runs(machine, vcpu), "vCPU {vcpu}");
        }
        self.assert_has(machine, u64::MAX);
        for vcpu in 0..self.vcpus {
            let cpu = machine.cpu_of(&self.model.guest.domain, vcpu).expect("it runs");
            if vcpu > 0 {
                let regs = machine.regs(cpu);
                assert_eq!((regs.x[1], regs.pc), (0xffff_ffff, SECOND_ENTRY + 4), "vCPU {vcpu}");
            }
            assert_eq!(machine.load(cpu, REGISTER + 4, 4), 0xffff_ffff);
            assert!(self.runs(machine, vcpu), "vCPU {vcpu}");
        }
    }

    /// `domctl` for the guest or the driver domain, by the control domain.
    pub fn domctl(
        &self,
        machine: &mut Machine,
        op: DomctlOp,
        domain: u16,
        argument: &(impl IntoBytes + Immutable),
    ) {
        let interface_version = VERSION_4_20;
        let payload = Payload::of(argument);
        let request =
            Domctl { cmd: op.number(), interface_version, domain: DomId(domain), pad: [0; 3], payload };
        let at = self.control.scratch(machine);
        machine.poke(&self.control.domain, at, &request);
        assert_eq!(self.control.plain(machine, Hypercall::Domctl, [at, 0, 0, 0, 0]), 0, "{op:?}");
        machine.settle();
    }

    pub fn destroy(&self, machine: &mut Machine, domain: u16) {
        self.domctl(machine, DomctlOp::DestroyDomain, domain, &[0_u8; 0]);
    }

    /// The guest is destroyed: of it only the page is left that the device model has, and then nothing.
    pub fn assert_can_be_destroyed(&self, machine: &mut Machine) {
        self.destroy(machine, 1);
        let guest = machine.hv.domain(xenolith_core::types::DomId(1));
        assert!(guest.is_some_and(|guest| guest.is_dead()));
        self.model.let_go(machine);
        assert!(machine.hv.domain(xenolith_core::types::DomId(1)).is_none());
    }
}

/// Does `end` to a guest that waits, for every way of that, one vCPU and two, and every state of vCPU 0's slot. Then the
/// books agree.
pub fn in_every_state(end: impl Fn(&mut Machine, &Waiting, u8)) {
    for wait in Wait::ALL {
        for vcpus in [1, 2] {
            for state in 0..=STATE_MASK {
                let (mut machine, waiting) = Waiting::begin(wait, vcpus);
                waiting.write_state(&machine, state);
                end(&mut machine, &waiting, state);
                machine.settle();
                assert_eq!(machine.audit(), Ok(()), "{wait:?}, {vcpus} vCPUs, state {state}");
            }
        }
    }
}
