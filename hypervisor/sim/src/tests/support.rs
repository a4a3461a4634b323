//! A guest's side of hypercalls.

use xenolith_memory::arc::Arc;

use xenolith_abi::hypercall::Hypercall;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::super::{Machine, Plan};
use xenolith_arch::sim;
use xenolith_core::types::{DomId, PAGE_SIZE};
use xenolith_domain::domain::Domain;
use xenolith_isa::trap;

/// `DOMID_SELF`.
pub const SELF: DomId = DomId::SELF;
/// The control domain: one vCPU, 64 pages, guest frames of its own.
pub const CONTROL: Plan = Plan { id: 0, vcpus: 1, pages: 64, direct_mapped: false };
/// Another domain of that kind.
pub const OTHER: Plan = Plan { id: 1, ..CONTROL };

/// A domain whose vCPU 0 a CPU plays.
#[derive(Clone)]
pub struct Guest {
    pub domain: Arc<Domain>,
    pub cpu: u16,
}

impl Guest {
    /// Boots a domain of its own CPU.
    pub fn boot(machine: &mut Machine, plan: Plan) -> Guest {
        let domain = machine.boot(plan);
        let cpu = machine.cpu_of(&domain, 0).expect("an idle CPU has taken it");
        Guest { domain, cpu }
    }

    /// A machine with one CPU on which the control domain runs.
    pub fn alone() -> (Machine, Guest) {
        Self::alone_as(CONTROL)
    }

    pub fn alone_as(plan: Plan) -> (Machine, Guest) {
        let mut machine = Machine::new(1, 1024);
        let guest = Guest::boot(&mut machine, plan);
        (machine, guest)
    }

    /// Two CPUs, a domain on each: the control domain and another one.
    pub fn two() -> (Machine, Guest, Guest) {
        let mut machine = Machine::new(2, 1024);
        let first = Guest::boot(&mut machine, CONTROL);
        let second = Guest::boot(&mut machine, OTHER);
        (machine, first, second)
    }

    /// The first byte of a page of its RAM.
    pub fn page(&self, machine: &Machine, number: u64) -> u64 {
        machine.ram_of(&self.domain).base().0 + number * PAGE_SIZE
    }

    /// Where arguments are put: page 1.
    pub fn scratch(&self, machine: &Machine) -> u64 {
        self.page(machine, 1)
    }

    /// `op` with a structure as its argument, which comes back as the call left it.
    pub fn call<T: FromBytes + IntoBytes + Immutable>(
        &self,
        machine: &mut Machine,
        call: Hypercall,
        op: u64,
        argument: &mut T,
    ) -> i64 {
        let at = self.scratch(machine);
        machine.poke(&self.domain, at, argument);
        let result = machine.hypercall(self.cpu, call.number(), [op, at, 0, 0, 0]);
        *argument = machine.peek(&self.domain, at);
        result.expect("the call returns at once")
    }

    /// `grant_table_op` with one element.
    pub fn grant_op<T: FromBytes + IntoBytes + Immutable>(
        &self,
        machine: &mut Machine,
        op: u64,
        argument: &mut T,
    ) -> i64 {
        let at = self.scratch(machine);
        machine.poke(&self.domain, at, argument);
        let result = machine.hypercall(self.cpu, Hypercall::GrantTableOp.number(), [op, at, 1, 0, 0]);
        *argument = machine.peek(&self.domain, at);
        result.expect("the call returns at once")
    }

    /// A call while an interrupt waits whenever one is looked for: its result, and in how many rounds it was made.
    pub fn call_in_rounds(&self, machine: &mut Machine, call: Hypercall, arguments: [u64; 5]) -> (i64, u32) {
        const HVC: u64 = 0x16 << 26 | 1 << 25 | trap::IMMEDIATE_XEN as u64;
        let at = machine.regs(self.cpu).pc;
        let regs = machine.regs(self.cpu);
        regs.x[16] = call.number();
        regs.x[..5].copy_from_slice(&arguments);
        sim::pause_every(Some(1));
        let mut rounds = 0;
        while machine.regs(self.cpu).pc == at {
            rounds += 1;
            machine.regs(self.cpu).pc = at.wrapping_add(4);
            machine.trap(self.cpu, HVC);
        }
        sim::pause_every(None);
        (machine.regs(self.cpu).x[0] as i64, rounds)
    }

    /// A call whose arguments are all in registers.
    pub fn plain(&self, machine: &mut Machine, call: Hypercall, arguments: [u64; 5]) -> i64 {
        machine.hypercall(self.cpu, call.number(), arguments).expect("the call returns at once")
    }
}

/// The number of an error as a call returns it.
pub fn error(errno: xenolith_abi::Errno) -> i64 {
    errno.to_register() as i64
}
