use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use xenolith_core::types::{Ipa, Pa};
use xenolith_host::platform::fixtures::{GICV2, GICV3};

const GIB: u64 = 1 << 30;

fn platform(tree: &[u8]) -> Platform {
    Platform::parse(tree).unwrap()
}

fn request<'r>(platform: &'r Platform, windows: &'r [(String, Window)]) -> Request<'r> {
    Request { platform, windows, uart: true, static_shm: &[], address_bits: 40 }
}

fn window(node: &str, machine: u64, guest: u64) -> (String, Window) {
    let machine = platform::Region::new(Pa(machine), 0x1000).unwrap();
    (node.to_string(), Window { machine, guest: Ipa(guest) })
}

/// All places of a layout, which must be apart.
fn all(layout: &Layout) -> Vec<Region> {
    let mut all = layout.banks.clone();
    all.extend(layout.controller.regions());
    all.push(layout.grant_window);
    all.extend(layout.uart.map(|uart| uart.registers));
    all.extend(&layout.extended_regions);
    all
}

fn apart(places: &[Region]) -> bool {
    places
        .iter()
        .enumerate()
        .all(|(index, place)| !places[..index].iter().any(|other| other.overlaps(*place)))
}

#[test]
fn a_plain_domain_has_the_map_of_a_guest() {
    let platform = platform(GICV3);
    let layout = standard(&request(&platform, &[]), 128 << 20).unwrap();
    assert_eq!(layout.banks, [Region::new(GIB, 128 << 20)]);
    assert_eq!(layout.grant_window, Region::new(0x3800_0000, 16 << 20));
    assert_eq!(layout.uart, Some(Uart::GUEST));
    assert_eq!(layout.event_interrupt, Intid(31));
    assert_eq!(layout.extended_regions[0], Region::new(0x4800_0000, 0xb800_0000));
    assert!(apart(&all(&layout)));
}

#[test]
fn a_directly_mapped_domain_has_the_machines_devices() {
    for tree in [GICV2, GICV3] {
        let platform = platform(tree);
        let banks = vec![Region::new(0x6000_0000, 256 << 20)];
        let pci = platform::Region::new(Pa(0x10_0000_0000), 0x10_0000_0000).unwrap();
        let windows = [window("/passthrough/disk", 0x0a00_0000, 0x0a00_0000)];
        let layout = direct(&request(&platform, &windows), banks.clone(), Intid(31), &[pci]).unwrap();
        assert_eq!(layout.banks, banks);
        let uart = Uart { registers: Region::new(0x0900_0000, 0x1000), interrupt: Intid(33) };
        assert_eq!((layout.uart, layout.timer.r#virtual), (Some(uart), Intid(27)));
        assert!(layout.controller.regions().any(|region| region == Region::new(0x0800_0000, 0x1_0000)));
        assert!(apart(&all(&layout)));
        assert_eq!(
            layout.extended_regions,
            [Region::new(0x8000_0000, 0xf_8000_0000), Region::new(0x20_0000_0000, 0xe0_0000_0000)]
        );
    }
}

#[test]
fn what_moves_gets_out_of_the_way() {
    let platform = platform(GICV3);
    let windows = [window("/passthrough/a", 0x3800_0000, 0x3800_0000)];
    let banks = || vec![Region::new(0x6000_0000, 256 << 20)];
    let layout = direct(&request(&platform, &windows), banks(), Intid(31), &[]).unwrap();
    assert_eq!(layout.grant_window, Region::new(0x0100_0000, 16 << 20));
    // What does not move is refused, by the names of both.
    let error = standard(&request(&platform, &windows), GIB).unwrap_err().to_string();
    assert_eq!(
        error,
        "the partial device tree's /passthrough/a and the grant table's window would both be at guest address \
         0x38000000"
    );
    let on_uart = [window("/passthrough/a", 0x0a00_0000, 0x2200_0000)];
    let error = standard(&request(&platform, &on_uart), GIB).unwrap_err().to_string();
    assert!(error.contains("`vpl011` and the partial device tree's /passthrough/a"), "{error}");
    let high = [window("/passthrough/a", 0x0a00_0000, 1 << 40)];
    let error = standard(&request(&platform, &high), GIB).unwrap_err().to_string();
    assert_eq!(error, "the partial device tree's /passthrough/a is beyond the 40 bits of a guest address");
}

#[test]
fn devices_may_share_a_page_but_not_an_address() {
    let platform = platform(GICV3);
    let same = [window("/a", 0x0a00_0000, 0x0a00_0000), window("/b", 0x0a00_0000, 0x0a00_0000)];
    assert!(standard(&request(&platform, &same), GIB).is_ok());
    let other = [window("/a", 0x0a00_0000, 0x0a00_0000), window("/b", 0x0a00_1000, 0x0a00_0000)];
    assert!(standard(&request(&platform, &other), GIB).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn everything_is_apart_and_within_reach(
        bytes in 1u64..20, guest in 0u64..0x100_0000, bits in 32u32..49, direct_map in any::<bool>(), start in 0u64..8,
    ) {
        let platform = platform(GICV3);
        let windows = [window("/passthrough/a", guest << 12, guest << 12)];
        let request = Request { address_bits: bits, ..request(&platform, &windows) };
        let layout = if direct_map {
            direct(&request, vec![Region::new(GIB + (start << 27), bytes << 21)], Intid(31), &[])
        } else {
            standard(&request, bytes * GIB / 4)
        };
        if let Ok(layout) = layout {
            let mut places = all(&layout);
            places.push(Region::new(guest << 12, 0x1000));
            prop_assert!(apart(&places), "{places:x?}");
            prop_assert!(places.iter().all(|place| place.end().unwrap() <= 1 << bits));
            let extended = &layout.extended_regions;
            prop_assert!(extended.iter().all(|region| region.start % SECTION == 0 && region.size % SECTION == 0));
            prop_assert!(extended.windows(2).all(|pair| pair[0].end().unwrap() <= pair[1].start));
        }
    }
}
