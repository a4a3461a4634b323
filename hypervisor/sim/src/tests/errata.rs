//! CPUs with errata: what the hypervisor does about each row of the table keeps one domain from another. And what guests are
//! told of branch prediction.

use super::super::*;
use super::destroy::destroy;
use super::support::*;
use sim::context::Registers;
use sim::errata::{Defects, Harm, come_up, harm};
use xenolith_host::errata::{self, ERRATA, Remedy};
use xenolith_isa::psci::ARCH_WORKAROUNDS;
use xenolith_isa::regime::STAGE1_ON;
use xenolith_isa::sysreg::ids::samples;

const SPECULATIVE_AT: Defects = Defects { speculative_at: true, early_tlbi: false };
const EARLY_TLBI: Defects = Defects { speculative_at: false, early_tlbi: true };

/// MIDR_EL1 of a CPU with each erratum that is worked around, its number, and what is wrong with it.
const ROWS: &[(u32, u64, Defects)] = &[
    (1_530_924, 0x410f_d034, SPECULATIVE_AT),
    (1_530_923, 0x412f_d050, SPECULATIVE_AT),
    (1_319_537, 0x411f_d070, SPECULATIVE_AT),
    (1_319_367, 0x410f_d083, SPECULATIVE_AT),
    (1_165_522, 0x414f_d0b1, SPECULATIVE_AT),
    (1_165_522, 0x412f_d0c0, SPECULATIVE_AT),
    (1_286_807, 0x413f_d0b0, EARLY_TLBI),
    (2_441_007, 0x412f_d050, EARLY_TLBI),
    (2_441_009, 0x411f_d461, EARLY_TLBI),
    (4_193_800, 0x414f_d0b1, EARLY_TLBI),
    (4_193_801, 0x411f_d0e0, EARLY_TLBI),
    (4_193_798, 0x411f_d0d1, EARLY_TLBI),
    (4_193_791, 0x411f_d412, EARLY_TLBI),
    (4_193_793, 0x410f_d423, EARLY_TLBI),
    (4_193_794, 0x410f_d4b2, EARLY_TLBI),
    (4_193_788, 0x412f_d471, EARLY_TLBI),
    (4_193_791, 0x411f_d442, EARLY_TLBI),
    (4_193_792, 0x410f_d4c2, EARLY_TLBI),
    (4_193_788, 0x412f_d481, EARLY_TLBI),
    (4_193_786, 0x411f_d4e2, EARLY_TLBI),
    (4_118_414, 0x410f_d823, EARLY_TLBI),
    (4_193_781, 0x410f_d851, EARLY_TLBI),
    (4_193_800, 0x414f_d0c1, EARLY_TLBI),
    (4_193_789, 0x410f_d493, EARLY_TLBI),
    (4_193_790, 0x411f_d402, EARLY_TLBI),
    (4_193_787, 0x410f_d4f2, EARLY_TLBI),
    (4_193_784, 0x410f_d842, EARLY_TLBI),
    (4_193_784, 0x410f_d832, EARLY_TLBI),
    (4_193_780, 0x410f_d900, EARLY_TLBI),
    (4_193_780, 0x410f_d8c0, EARLY_TLBI),
    (4_193_789, 0x6d0f_d490, EARLY_TLBI),
    (1029, 0x4e0f_0100, EARLY_TLBI),
];

/// A CPU that has none: Cortex-A35.
const SOUND: u64 = 0x410f_d040;

const CPU_ON: u64 = 0xc400_0003;

/// What a vCPU of three translates by: tables of its own. The second one has its stage 1 off.
fn translate_by(vcpu: u64, registers: &mut Registers) {
    let own = vcpu + 1;
    registers.sctlr = registers.sctlr & !STAGE1_ON | u64::from(vcpu != 1);
    (registers.ttbr0, registers.ttbr1) = (own << 48 | 0x4_0000, own << 12);
    (registers.tcr, registers.mair) = (own << 32 | 0x19, own);
}

/// What becomes of two domains that take turns on a CPU, and of the translations of the one that ends beside the other.
fn harm_on(midr: u64, defects: Defects) -> Harm {
    let mut machine = Machine::new(1, 1024);
    come_up(midr, defects);
    let first = Guest::boot(&mut machine, Plan { vcpus: 2, ..CONTROL });
    sim::guest::change_registers(|registers| translate_by(0, registers));
    assert_eq!(machine.firmware(0, [CPU_ON, 1, ENTRY, 0]), Some(0));
    machine.wait(0);
    assert_eq!(machine.running(0), Some((DomId(0), VcpuId(1))));
    sim::guest::change_registers(|registers| translate_by(1, registers));
    machine.wait(0);
    let second = machine.boot(OTHER);
    assert_eq!(machine.running(0), Some((DomId(1), VcpuId(0))));
    sim::guest::change_registers(|registers| translate_by(2, registers));
    machine.wait(0);
    for vcpu in [0, 1, 0, 2, 1, 2, 2, 0] {
        let (domain, number) = if vcpu == 2 { (&second, 0) } else { (&first.domain, vcpu as u16) };
        machine.hv.wake(domain.vcpu(VcpuId(number)).unwrap().unit);
        machine.settle();
        assert_eq!(machine.running(0), Some((domain.id, VcpuId(number))));
        let mut wanted = sim::guest::registers();
        translate_by(vcpu, &mut wanted);
        assert_eq!(sim::guest::registers(), wanted, "vCPU {vcpu} of three");
        machine.wait(0);
    }
    machine.hv.wake(first.domain.vcpus[0].unit);
    machine.settle();
    destroy(&mut machine, &second);
    assert_eq!(machine.running(0), Some((DomId(0), VcpuId(0))));
    let mut wanted = sim::guest::registers();
    translate_by(0, &mut wanted);
    assert_eq!(sim::guest::registers(), wanted);
    harm()
}

#[test]
fn what_is_worked_around_harms_nobody() {
    for &(number, midr, defects) in ROWS {
        assert_eq!(harm_on(midr, defects), Harm::default(), "erratum {number} on {midr:#x}");
        assert_ne!(harm_on(SOUND, defects), Harm::default(), "the model does not show {defects:?}");
    }
}

#[test]
fn each_row_that_is_worked_around_is_tried() {
    for (index, erratum) in ERRATA.iter().enumerate() {
        let defects = match erratum.remedy {
            Remedy::HoldWalks => SPECULATIVE_AT,
            Remedy::RepeatTlbi => EARLY_TLBI,
            Remedy::Warning(_) => continue,
        };
        let tries = |&(number, midr, with): &(u32, u64, Defects)| {
            number == erratum.number && with == defects && errata::of(midr).any(|(found, _)| found == index)
        };
        assert!(ROWS.iter().any(tries), "no row tries {erratum:?}");
    }
}

#[test]
fn guests_are_told_what_is_done_about_branch_prediction() {
    const ARCH_FEATURES: u64 = 0x8000_0001;
    const NOT_SUPPORTED: u64 = u64::MAX;
    let (mut machine, guest) = Guest::alone();
    let mut told = |midr, answers: [i32; 3]| {
        let place = |function| ARCH_WORKAROUNDS.iter().position(|&one| one == function).unwrap();
        sim::predict_branches(midr, &samples::CORTEX_A57, |function| answers[place(function)]);
        ARCH_WORKAROUNDS.map(|function| {
            machine
                .firmware(guest.cpu, [ARCH_FEATURES, function.into(), 0, 0])
                .expect("it is answered at once")
        })
    };
    const A57: u64 = 0x411f_d070;
    assert_eq!(told(A57, [-1, -1, -1]), [NOT_SUPPORTED; 3]);
    assert_eq!(told(A57, [0, 1, -1]), [0, 1, 0]);
    assert_eq!(told(SOUND, [-1, -1, -1]), [1, NOT_SUPPORTED, 1]);
    let before = *machine.regs(guest.cpu);
    machine.firmware(guest.cpu, [ARCH_WORKAROUNDS[0].into(), 5, 6, 7]);
    assert_eq!(machine.regs(guest.cpu).x[4..], before.x[4..], "the exit is the workaround");
}
