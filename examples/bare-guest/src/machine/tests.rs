//! Trees as guests get them, whole and damaged.

use alloc::string::ToString;
use alloc::vec::Vec;
use std::prelude::rust_2024::*;

use machine_model::gic::Gic as ModelGic;
use machine_model::tree::{Hypervisor, Pl011, Spec, Timer, build};
use machine_model::{Region as Bank, layout};
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn tree(gic: ModelGic, is_xen: bool, has_uart: bool) -> Vec<u8> {
    let memory = [Bank::new(0x4000_0000, 64 * MIB), Bank::new(0x2_0000_0000, 32 * MIB)];
    build(&Spec {
        version: (4, 17),
        vcpus: 2,
        memory: &memory,
        arguments: "ticks=3 quiet",
        initrd: None,
        seed: &[1; 16],
        kaslr_seed: None,
        stdout: None,
        gic,
        timer: Timer::guest(Some(62_500_000)),
        hypervisor: is_xen.then_some(Hypervisor {
            grant_window: layout::GRANT_WINDOW,
            extended_regions: &[],
            event_ppi: layout::EVENTS,
        }),
        virtio: &[],
        static_shm: &[],
        uart: has_uart.then_some(Pl011::GUEST),
        partial: None,
    })
    .unwrap()
}

#[test]
fn a_guests_machine_is_read() {
    let tree = tree(ModelGic::GUEST_V3, true, false);
    let machine = Machine::read(&tree).unwrap();
    assert_eq!((machine.model, machine.xen), ("XENVM-4.17", Some("xen,xen-4.17")));
    assert_eq!(machine.memory.as_slice(), [0x4000_0000..0x4400_0000, 0x2_0000_0000..0x2_0200_0000]);
    assert_eq!(
        machine.gic,
        Gic::V3 { distributor: 0x300_1000..0x301_1000, redistributors: 0x302_0000..0x402_0000 }
    );
    assert_eq!((machine.timer, &machine.uart, machine.conduit), (Intid(27), &None, Conduit::Hvc));
    assert_eq!(
        (machine.number("ticks"), machine.number("tick"), machine.number("quiet")),
        (Some(3), None, None)
    );
}

#[test]
fn other_parts_are_found_too() {
    let tree = tree(ModelGic::GUEST_V2, false, true);
    let machine = Machine::read(&tree).unwrap();
    assert_eq!(machine.gic, Gic::V2 { distributor: 0x300_1000..0x300_2000, cpu: 0x300_2000..0x300_4000 });
    assert_eq!((machine.uart.clone(), machine.xen), (Some(0x2200_0000..0x2200_1000), None));
}

#[test]
fn what_a_tree_does_not_say_is_named() {
    assert_eq!(Machine::read(b"no tree at all").unwrap_err(), Missing::Tree);
    let whole = tree(ModelGic::GUEST_V3, true, true);
    for (node, missing) in
        [("memory", Missing::Memory), ("arm,gic-v3", Missing::Gic), ("arm,armv8-timer", Missing::Timer)]
    {
        let other = node.replace(char::is_alphabetic, "x");
        let mut damaged = whole.clone();
        let places: Vec<usize> =
            (0..whole.len() - node.len()).filter(|&at| whole[at..].starts_with(node.as_bytes())).collect();
        for at in places {
            damaged[at..at + node.len()].copy_from_slice(other.as_bytes());
        }
        let error = Machine::read(&damaged).unwrap_err();
        assert_eq!(error, missing);
        assert!(error.to_string().contains("device tree"));
    }
}

proptest! {
    #[test]
    fn no_damage_makes_it_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut tree = tree(ModelGic::GUEST_V3, true, true);
        for (place, byte) in damage {
            let place = place.index(tree.len());
            tree[place] = byte;
        }
        if let Ok(machine) = Machine::read(&tree) {
            prop_assert!(machine.memory.iter().all(|bank| bank.start < bank.end));
        }
    }
}
