//! Nothing that a guest writes, or that list registers come back with, harms the hypervisor.

use proptest::prelude::*;

use super::super::*;
use super::machine::*;

#[test]
fn every_offset_takes_every_size() {
    for mut machine in [Machine::v2(8, 988), Machine::v3(128, 988), Machine::v3(1, 0), Machine::v2(1, 33)] {
        for base in [DISTRIBUTOR, REDISTRIBUTORS, REDISTRIBUTORS + 0xfe_0000] {
            for offset in 0..0x2_0000 {
                for size in [0, 1, 2, 4, 8, 255] {
                    for value in [0, u64::MAX] {
                        let _ = machine.try_write(0, base + offset, size, value);
                    }
                    let _ = machine.try_read(0, base + offset, size);
                }
            }
        }
        machine.settle();
    }
}

#[test]
fn any_frame_and_offset_is_answered() {
    for mut machine in [Machine::v2(8, 988), Machine::v3(128, 988)] {
        for frame in [0, 1, 2, u8::MAX].map(Frame) {
            for offset in [0, 4, 0x1000, 0x1_0000, 0x100_0000, u64::MAX - 7] {
                for size in [0, 4, 8] {
                    let _ = machine.vgic.write(VcpuId(0), frame, offset, size, u64::MAX);
                    let _ = machine.vgic.read(VcpuId(0), frame, offset, size);
                }
            }
        }
        machine.settle();
    }
}

proptest! {
    #[test]
    fn any_access_is_answered(
        v2: bool,
        accesses in prop::collection::vec((0u16..3, 0u64..0x4_0000, 0u8..10, any::<u64>(), any::<bool>()), 0..100),
    ) {
        let mut machine = if v2 { Machine::v2(3, 50) } else { Machine::v3(3, 50) };
        for (vcpu, offset, size, value, store) in accesses {
            let address = DISTRIBUTOR.wrapping_add(offset);
            if store {
                machine.try_write(vcpu, address, size, value);
            } else {
                machine.try_read(vcpu, address, size);
            }
        }
        machine.settle();
    }

    #[test]
    fn any_input_is_answered(
        v2: bool,
        inputs in prop::collection::vec((any::<Option<u16>>(), 0u32..1100, 0u8..8, any::<u64>()), 0..100),
    ) {
        let mut machine = if v2 { Machine::v2(3, 50) } else { Machine::v3(3, 50) };
        for (vcpu, intid, operation, value) in inputs {
            // Whose registers these are is never the guest's to say; whose line a device model drives is its own.
            let (some, vcpu) = (VcpuId(vcpu.unwrap_or(0) % 3), vcpu.map(VcpuId));
            match operation {
                0 => machine.vgic.set_level(vcpu, Intid(intid), value & 1 != 0),
                1 => machine.vgic.pend(vcpu, Intid(intid)),
                2 => machine.vgic.send_sgi(some, SgiRegister::Sgi1R, value),
                3 => machine.vgic.deactivate(some, Intid(intid)),
                4 => machine.vgic.drop_unlisted(some, intid),
                5 => machine.vgic.back_by_hardware(vcpu, Intid(intid), Some(Intid(intid))),
                6 => {
                    machine.vgic.fill(some, 20, |_, _| ());
                    machine.vgic.fold(some, |_| ListRegister::from_ich(value));
                }
                _ => machine.vgic.set_online(some, value & 1 != 0),
            }
            while machine.vgic.take_line_change().is_some() {}
        }
    }
}
