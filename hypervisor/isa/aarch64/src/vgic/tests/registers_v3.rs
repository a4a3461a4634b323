//! GICv3's registers, in the order and with the widths that Linux's driver uses.

use super::super::*;
use super::machine::*;
use machine_model::Region;

const SGI_FRAME: u64 = 0x1_0000;

fn redistributor(vcpu: u64) -> u64 {
    REDISTRIBUTORS + vcpu * 0x2_0000
}

fn fresh(vcpus: u16, spis: u16) -> Machine {
    Machine::new(config_v3(vcpus, spis), 4)
}

#[test]
fn distributor_describes_itself() {
    let mut machine = fresh(4, 100);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0xffe8, 4) & 0xf0, 0x30);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x8, 4), 0x34c);
    let kind = machine.read(0, DISTRIBUTOR + 0x4, 4);
    assert_eq!(kind & 0x1f, 4, "100 interrupts are four blocks of 32");
    assert_eq!(kind >> 5 & 7, 3);
    assert_eq!(kind >> 19 & 0x1f, 9);
    assert_eq!(kind & (1 << 8 | 1 << 10 | 1 << 16 | 1 << 17 | 1 << 26), 0, "nothing that is not there");
    assert_eq!(machine.read(0, DISTRIBUTOR + 0xc, 4), 0, "GICD_TYPER2");
}

#[test]
fn control_keeps_groups_and_never_waits() {
    let mut machine = fresh(1, 32);
    machine.write(0, DISTRIBUTOR, 4, 0);
    assert_eq!(machine.read(0, DISTRIBUTOR, 4), 0x50);
    machine.write(0, DISTRIBUTOR, 4, 0x13);
    assert_eq!(machine.read(0, DISTRIBUTOR, 4), 0x53);
}

#[test]
fn a_system_for_the_secure_world_gets_group_1() {
    let mut machine = fresh(1, 64);
    let control = machine.read(0, DISTRIBUTOR, 4);
    machine.write(0, DISTRIBUTOR, 4, control | 4);
    assert_eq!(machine.read(0, DISTRIBUTOR, 4), 0x52);
    for group in [redistributor(0) + 0x1_0080, DISTRIBUTOR + 0x84] {
        machine.write(0, group, 4, 0);
        assert_eq!(machine.read(0, group, 4), u64::from(u32::MAX));
        machine.write(0, group + 0x80, 4, 1 << 20);
    }
    for intid in [Intid(20), Intid(52)] {
        machine.vgic.pend(Some(VcpuId(0)), intid);
        machine.settle();
        assert!(machine.cpus[0].lrs.iter().any(|register| register.intid == intid && register.group1));
        assert_eq!(machine.take(0), Some(intid));
        machine.sync(0);
    }
}

#[test]
fn redistributors_are_found_by_affinity() {
    for vcpus in [1_u16, 16, 17, 128] {
        let mut machine = fresh(vcpus, 32);
        for vcpu in 0..u64::from(vcpus) {
            let frame = redistributor(vcpu);
            assert_eq!(machine.read(0, frame + 0xffe8, 4) & 0xf0, 0x30);
            let kind = machine.read(0, frame + 8, 8);
            assert_eq!(kind >> 32, (vcpu >> 4) << 8 | vcpu & 0xf);
            assert_eq!(kind >> 8 & 0xffff, vcpu);
            assert_eq!(kind & 0x10 != 0, vcpu + 1 == u64::from(vcpus));
            assert_eq!(kind & 0x2f, 0, "no LPIs");
            assert_eq!(machine.read(0, frame + 8, 4), kind & 0xffff_ffff);
            assert_eq!(machine.read(0, frame + 0xc, 4), kind >> 32);
            machine.write(0, frame + 0x14, 4, 0);
            assert_eq!(machine.read(0, frame + 0x14, 4) & 4, 0, "ChildrenAsleep");
            assert_eq!(machine.read(0, frame, 4), 0);
        }
        if vcpus < 128 {
            assert_eq!(machine.read(0, redistributor(vcpus.into()) + 8, 8), 0, "nothing beyond the last");
        }
    }
}

const TWO_REGIONS: [Region; 2] = [Region::new(0x1000_0000, 0x4_0000), Region::new(0x2000_0000, 0x8_0000)];

#[test]
fn regions_are_filled_in_order() {
    let gic = gicv3(DISTRIBUTOR, &TWO_REGIONS);
    let mut machine = Machine::new(Config { gic, ..config_v3(3, 32) }, 4);
    assert_eq!(machine.read(0, 0x1000_0008, 8) & 0xff_ff10, 0);
    assert_eq!(machine.read(0, 0x1002_0008, 8) & 0xff_ff10, 0x110);
    assert_eq!(machine.read(0, 0x2000_0008, 8) & 0xff_ff10, 0x210);
    assert_eq!(machine.read(0, 0x2002_ffe8, 4), 0);
}

#[test]
fn linux_initialises_the_distributor() {
    let mut machine = fresh(2, 64);
    for bank in 1..3 {
        machine.write(0, DISTRIBUTOR + 0x080 + 4 * bank, 4, 0xffff_ffff);
        machine.write(0, DISTRIBUTOR + 0x380 + 4 * bank, 4, 0xffff_ffff);
        machine.write(0, DISTRIBUTOR + 0x180 + 4 * bank, 4, 0xffff_ffff);
        assert_eq!(machine.read(0, DISTRIBUTOR + 0x080 + 4 * bank, 4), 0xffff_ffff);
        assert_eq!(machine.read(0, DISTRIBUTOR + 0x100 + 4 * bank, 4), 0);
    }
    for intid in (32..96).step_by(4) {
        machine.write(0, DISTRIBUTOR + 0x400 + intid, 4, 0xa0a0_a0a7);
        assert_eq!(machine.read(0, DISTRIBUTOR + 0x400 + intid, 4), 0xa0a0_a0a0, "five bits are kept");
    }
    for intid in 32..96 {
        machine.write(0, DISTRIBUTOR + 0x6000 + 8 * intid, 8, 1);
        assert_eq!(machine.read(0, DISTRIBUTOR + 0x6000 + 8 * intid, 8), 1);
    }
    assert!(machine.settle() == VgicActions::default(), "nothing pends, nothing to do");
}

#[test]
fn private_interrupts_are_in_the_redistributor_only() {
    let mut machine = fresh(2, 32);
    let frame = redistributor(1) + SGI_FRAME;
    machine.write(0, frame + 0x100, 4, 0x0800_00ff);
    assert_eq!(machine.read(1, frame + 0x100, 4), 0x0800_00ff);
    assert_eq!(machine.read(1, frame + 0x180, 4), 0x0800_00ff);
    assert_eq!(machine.read(1, redistributor(0) + SGI_FRAME + 0x100, 4), 0);
    machine.write(1, frame + 0x180, 4, 0xff);
    assert_eq!(machine.read(1, frame + 0x100, 4), 0x0800_0000);
    for offset in [0x080, 0x100, 0x200, 0x300, 0x400, 0x41c, 0x800, 0x820, 0xc00, 0xc04, 0xf00, 0xf20] {
        machine.write(1, DISTRIBUTOR + offset, 4, 0xffff_ffff);
        assert_eq!(machine.read(1, DISTRIBUTOR + offset, 4), 0);
    }
    assert_eq!(machine.read(1, frame + 0x104, 4), 0, "no extended PPIs");
    machine.write(1, frame + 0x41b, 1, 0xff);
    assert_eq!(machine.read(1, frame + 0x418, 4), 0xf800_0000);
    assert_eq!(machine.read(1, frame + 0x420, 4), 0);
}

#[test]
fn triggers_have_two_bits_each() {
    let mut machine = fresh(1, 64);
    let frame = redistributor(0) + SGI_FRAME;
    assert_eq!(machine.read(0, frame + 0xc00, 4), 0xaaaa_aaaa, "SGIs are edges");
    machine.write(0, frame + 0xc00, 4, 0);
    assert_eq!(machine.read(0, frame + 0xc00, 4), 0xaaaa_aaaa);
    machine.write(0, frame + 0xc04, 4, 0xffff_ffff);
    assert_eq!(machine.read(0, frame + 0xc04, 4), 0xaaaa_aaaa);
    machine.write(0, DISTRIBUTOR + 0xc0c, 4, 0x8000_0002);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0xc0c, 4), 0x8000_0002);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0xc08, 4), 0);
}

#[test]
fn routes_take_halves_and_unknown_affinities() {
    let mut machine = fresh(2, 32);
    let route = DISTRIBUTOR + 0x6000 + 8 * 40;
    machine.write(0, route, 4, 0x8000_0001);
    machine.write(0, route + 4, 4, 0xffff_ff07);
    assert_eq!(machine.read(0, route, 8), 0x07_0000_0001, "no 1-of-N routing, eight bits of Aff3");
    assert_eq!(machine.read(0, route + 4, 4), 7);
    machine.write(0, DISTRIBUTOR, 4, 2);
    machine.write(0, DISTRIBUTOR + 0x104, 4, 1 << 8);
    machine.vgic.pend(None, Intid(40));
    machine.settle();
    assert!(!machine.vgic.deliverable(VcpuId(0)) && !machine.vgic.deliverable(VcpuId(1)));
    machine.write(0, route, 8, 1);
    machine.settle();
    assert_eq!(machine.take(1), Some(Intid(40)), "it waited for a target");
}

#[test]
fn pending_and_active_can_be_set_and_cleared() {
    let mut machine = fresh(1, 40);
    for (set, clear) in [(0x200, 0x280), (0x300, 0x380)] {
        machine.write(0, DISTRIBUTOR + set + 8, 4, 0xffff_ffff);
        assert_eq!(machine.read(0, DISTRIBUTOR + set + 8, 4), 0xff, "40 interrupts end here");
        machine.write(0, DISTRIBUTOR + clear + 8, 4, 0x0f);
        assert_eq!(machine.read(0, DISTRIBUTOR + clear + 8, 4), 0xf0);
    }
    machine.vgic.set_level(None, Intid(33), true);
    machine.write(0, DISTRIBUTOR + 0x284, 4, 2);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x204, 4), 2, "a line keeps its interrupt pending");
    machine.vgic.set_level(None, Intid(33), false);
    assert_eq!(machine.read(0, DISTRIBUTOR + 0x204, 4), 0);
}

#[test]
fn enabling_the_event_interrupt_is_reported() {
    let mut machine = fresh(2, 32);
    let enable = redistributor(1) + SGI_FRAME + 0x100;
    machine.write(0, enable, 4, 1 << 27);
    assert_eq!(machine.vgic.take_effects().event_ppi_enabled.0, 0);
    machine.write(0, enable, 4, 1 << 31);
    assert_eq!(machine.vgic.take_effects().event_ppi_enabled.0, 0b10);
    machine.write(0, enable, 4, 1 << 31);
    assert_eq!(machine.vgic.take_effects().event_ppi_enabled.0, 0, "it was enabled already");
}

#[test]
fn widths_are_the_registers_own() {
    let mut machine = fresh(1, 64);
    let mut read = |address, size| machine.try_read(0, address, size).unwrap();
    for size in [0, 1, 2, 3, 8, 16] {
        assert_eq!(read(DISTRIBUTOR, size), Err(Fault));
        assert_eq!(read(DISTRIBUTOR + 0x108, size), Err(Fault));
    }
    assert_eq!(read(DISTRIBUTOR + 0x106, 4), Err(Fault));
    assert!(read(DISTRIBUTOR + 0x421, 1).is_ok());
    assert_eq!(read(DISTRIBUTOR + 0x420, 2), Err(Fault));
    assert_eq!(read(DISTRIBUTOR + 0x420, 8), Err(Fault));
    assert_eq!(read(DISTRIBUTOR + 0x6104, 8), Err(Fault));
    assert_eq!(read(DISTRIBUTOR + 0x6100, 2), Err(Fault));
    assert!(read(REDISTRIBUTORS + 0x70, 8).is_ok(), "GICR_PROPBASER is reserved without LPIs");
    assert_eq!(read(REDISTRIBUTORS, 8), Err(Fault));
}

#[test]
fn the_frames_are_where_the_guest_finds_them() {
    let expected = [
        (Frame::DISTRIBUTOR, Ipa(DISTRIBUTOR), 0x1_0000),
        (Frame(1), Ipa(0x1000_0000), 0x4_0000),
        (Frame(2), Ipa(0x2000_0000), 0x8_0000),
    ];
    assert!(frames(&gicv3(DISTRIBUTOR, &TWO_REGIONS)).eq(expected));
    assert!(frames(&gicv2()).eq([(Frame::DISTRIBUTOR, Ipa(DISTRIBUTOR), 0x1000)]));
}

#[test]
fn impossible_configurations_are_refused() {
    let refused = |change: &dyn Fn(&mut Config)| {
        let mut config = config_v3(4, 64);
        change(&mut config);
        Vgic::new(config).err()
    };
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(refused(&|c| c.vcpus = 0), Some(ConfigError::Vcpus));
    assert_eq!(refused(&|c| c.vcpus = 129), Some(ConfigError::Vcpus));
    assert_eq!(refused(&|c| c.spis = 989), Some(ConfigError::Spis));
    assert_eq!(refused(&|c| c.event_ppi = Intid(32)), Some(ConfigError::EventPpi));
    assert_eq!(refused(&|c| c.priority_bits = 9), Some(ConfigError::PriorityBits));
    assert_eq!(
        refused(&|c| c.gic = gicv3(0x1000_0001, &[Region::new(0x2000_0000, 0x8_0000)])),
        Some(ConfigError::Window)
    );
    assert_eq!(
        refused(&|c| c.gic = gicv3(0x2001_0000, &[Region::new(0x2000_0000, 0x8_0000)])),
        Some(ConfigError::Window)
    );
    let top = !0xffff_u64;
    assert_eq!(refused(&|c| c.gic = gicv3(0x1000, &[Region::new(top, 0x8_0000)])), Some(ConfigError::Window));
    assert_eq!(
        refused(&|c| c.gic = gicv3(0x1000, &[Region::new(0x2000_0000, 0x7_ffff)])),
        Some(ConfigError::Vcpus)
    );
    assert_eq!(refused(&|c| c.gic = gicv3(0x1000, &[])), Some(ConfigError::Vcpus));
    assert_eq!(Vgic::new(config_v2(9, 32)).err(), Some(ConfigError::Vcpus));
}
