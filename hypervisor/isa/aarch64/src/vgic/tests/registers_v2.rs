//! GICv2's registers, as Linux's driver uses them.

use super::super::*;
use super::machine::*;

#[test]
fn distributor_describes_itself() {
    let mut machine = Machine::new(config_v2(3, 64), 4);
    assert_eq!(machine.read(0, DISTRIBUTOR + 4, 4), 2 | 2 << 5);
    assert_eq!(machine.read(0, DISTRIBUTOR + 8, 4), 0x43b);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0xfe8, 4) >> 4 & 0xf, 2);
    assert_eq!(machine.read(0, DISTRIBUTOR, 4), 0);
    machine.write(0, DISTRIBUTOR, 4, 1);
    assert_eq!(machine.read(0, DISTRIBUTOR, 4), 1);
    assert_eq!(machine.try_read(0, DISTRIBUTOR + 0x1000, 4), None, "the CPU interface");
}

#[test]
fn a_cpu_finds_its_own_target_mask() {
    let mut machine = Machine::new(config_v2(8, 32), 4);
    for vcpu in 0..8_u16 {
        let own = 1 << vcpu;
        for intid in (0..32).step_by(4) {
            assert_eq!(machine.read(vcpu, DISTRIBUTOR + 0x800 + intid, 4), own * 0x0101_0101);
        }
        machine.write(vcpu, DISTRIBUTOR + 0x800, 4, 0);
        assert_eq!(machine.read(vcpu, DISTRIBUTOR + 0x800, 1), own);
    }
}

#[test]
fn targets_are_bytes_and_the_lowest_gets_the_interrupt() {
    let mut machine = Machine::v2(3, 40);
    machine.write(0, DISTRIBUTOR + 0x820, 4, 0xff06_0002);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x820, 4), 0x0706_0002, "only vCPUs that exist");
    machine.write(0, DISTRIBUTOR + 0x822, 1, 4);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x820, 4), 0x0704_0002);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x844, 4), 0x0101_0101);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x848, 4), 0, "beyond 40 interrupts");
    machine.write(0, DISTRIBUTOR + 0x104, 4, 0xf);
    for (intid, target) in [(32, Some(1)), (33, None), (34, Some(2)), (35, Some(0))] {
        machine.vgic.pend(None, Intid(intid));
        machine.settle();
        for vcpu in 0..3 {
            assert_eq!(machine.take(vcpu), (Some(vcpu) == target).then_some(intid).map(Intid));
        }
    }
}

#[test]
fn private_interrupts_are_banked() {
    let mut machine = Machine::v2(2, 32);
    machine.write(0, DISTRIBUTOR + 0x100, 4, 1 << 27);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x100, 4), 1 << 27 | 0xffff);
    assert_eq!(machine.read(1, DISTRIBUTOR + 0x100, 4), 0xffff);
    machine.write(0, DISTRIBUTOR + 0x180, 4, 0xffff_0000);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x100, 4), 0xffff);
    machine.write(1, DISTRIBUTOR + 0x400, 4, 0xa0a0_a0a0);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x400, 4), 0);
    assert_eq!(machine.read(1, DISTRIBUTOR + 0x400, 4), 0xa0a0_a0a0);
}

#[test]
fn linux_gets_group_0() {
    let mut machine = Machine::v2(1, 32);
    machine.write(0, DISTRIBUTOR + 0x104, 4, 1);
    machine.vgic.pend(None, Intid(32));
    machine.settle();
    assert!(!machine.cpus[0].lrs[0].group1);
    assert_eq!(machine.take(0), Some(Intid(32)));
    machine.write(0, DISTRIBUTOR + 0x84, 4, 1);
    machine.vgic.pend(None, Intid(32));
    machine.settle();
    assert_eq!(machine.take(0), None, "Group 1 is not enabled");
    machine.write(0, DISTRIBUTOR, 4, 3);
    machine.settle();
    assert!(machine.cpus[0].lrs[0].group1);
    assert_eq!(machine.take(0), Some(Intid(32)));
}

#[test]
fn the_request_register_takes_words_only() {
    let mut machine = Machine::v2(2, 32);
    assert_eq!(machine.try_write(0, DISTRIBUTOR + 0xf00, 1, 0), Some(Err(Fault)));
    assert_eq!(machine.try_write(0, DISTRIBUTOR + 0xf10, 2, 0), Some(Err(Fault)));
    assert_eq!(machine.read(0, DISTRIBUTOR + 0xf00, 4), 0);
}
