//! SVE: which domains have it, and what becomes of its registers.

use xenolith_isa::regs::{GuestRegs, Pstate};

use super::super::*;
use super::support::*;

/// ESR_EL2 of an SVE instruction that CPTR_EL2 traps: its class, and a length of four bytes.
const TRAPPED: u64 = 0x19 << 26 | 1 << 25;
/// ESR_EL1 of an undefined instruction.
const UNDEFINED: u64 = 1 << 25;
/// ID_AA64PFR0_EL1 and ID_AA64ZFR0_EL1.
const ID_AA64PFR0: (u8, u8, u8, u8, u8) = (3, 0, 0, 4, 0);
const ID_AA64ZFR0: (u8, u8, u8, u8, u8) = (3, 0, 0, 4, 4);

/// The control domain, which has no SVE, and two domains with vectors of 256 bits; they share two CPUs.
fn three() -> (Machine, Guest, [Guest; 2]) {
    let mut machine = Machine::new(2, 2048);
    sim::set_vector_granules(2);
    let control = Guest::boot(&mut machine, CONTROL);
    let first = Guest::boot(&mut machine, OTHER);
    let domain = machine.add(Plan { id: 2, ..OTHER });
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    assert!(domain.on(&machine.hv).start_vcpu(vcpu, ENTRY, 0));
    machine.settle();
    let second = Guest { domain, cpu: 0 };
    (machine, control, [first, second])
}

/// The vCPU on a CPU uses SVE; what its registers were before that.
fn uses(machine: &mut Machine, cpu: u16) -> GuestRegs {
    let before = *machine.regs(cpu);
    machine.trap(cpu, TRAPPED);
    before
}

/// Has this domain run, when another one's turn is over; on which CPU.
fn turn_to(machine: &mut Machine, guest: &Guest) -> u16 {
    const SLICE: u64 = 2_000_000;
    for _ in 0..20 {
        if let Some(cpu) = machine.cpu_of(&guest.domain, 0) {
            sim::on_cpu(CpuId(cpu));
            return cpu;
        }
        sim::advance(SLICE);
        machine.settle();
    }
    panic!("it never has its turn");
}

#[test]
fn each_domain_has_registers_of_its_own_from_its_first_use_on() {
    let (mut machine, _, guests) = three();
    for (guest, vectors) in guests.iter().zip([0xa5, 0x5a]) {
        let cpu = turn_to(&mut machine, guest);
        assert_eq!(sim::guest::registers().vector_granules, 0, "it traps until it is used");
        let before = uses(&mut machine, cpu);
        assert_eq!(machine.regs(cpu).pc, before.pc, "the instruction is made again");
        let registers = sim::guest::registers();
        assert_eq!((registers.vector_granules, registers.vectors), (2, 0), "nothing of the other's is left");
        sim::guest::change_registers(|registers| registers.vectors = vectors);
    }
    for _ in 0..3 {
        for (guest, vectors) in guests.iter().zip([0xa5, 0x5a]) {
            turn_to(&mut machine, guest);
            let registers = sim::guest::registers();
            assert_eq!((registers.vector_granules, registers.vectors), (2, vectors));
        }
    }
    // A vCPU that is reset has used nothing.
    let [first, _] = &guests;
    let cpu = turn_to(&mut machine, first);
    assert_eq!(machine.firmware(cpu, [0xc400_000e, ENTRY, 0, 0]), None);
    machine.settle();
    first.domain.on(&machine.hv).resume_after_shutdown().unwrap();
    turn_to(&mut machine, first);
    assert_eq!((sim::guest::registers().vector_granules, sim::guest::registers().vectors), (0, 0));
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn it_is_undefined_without_it() {
    let (mut machine, control, guests) = three();
    let [first, _] = &guests;
    let cpu = turn_to(&mut machine, first);
    assert_eq!(machine.read_register(cpu, ID_AA64PFR0) >> 32 & 0xf, 1);
    assert_ne!(machine.read_register(cpu, ID_AA64ZFR0), 0);
    uses(&mut machine, cpu);
    // To trap once more it has no reason: whatever does is no use of SVE that could be allowed.
    is_refused(&mut machine, cpu);
    let cpu = turn_to(&mut machine, &control);
    is_refused(&mut machine, cpu);
    assert_eq!(sim::guest::registers().vector_granules, 0);
    assert_eq!(machine.read_register(cpu, ID_AA64PFR0) >> 32 & 0xf, 0);
    assert_eq!(machine.read_register(cpu, ID_AA64ZFR0), 0);
}

/// What the vCPU on a CPU does is an undefined instruction for it.
fn is_refused(machine: &mut Machine, cpu: u16) {
    sim::on_cpu(CpuId(cpu));
    sim::guest::change_registers(|registers| registers.vbar = 0xffff_0000);
    let before = uses(machine, cpu);
    let (registers, after) = (sim::guest::registers(), *machine.regs(cpu));
    assert_eq!((registers.elr, registers.esr), (before.pc, UNDEFINED), "cpu{cpu}");
    assert_eq!((after.pc, after.pstate), (0xffff_0200, Pstate::EL1_ENTRY));
}
