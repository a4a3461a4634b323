use alloc::string::ToString;

use dtoolkit::Property;
use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use proptest::prelude::*;

use super::*;
use crate::platform::domains::BootDomain;
use crate::platform::fixtures::domains::{
    boot_domain, compatible, event_end, first_shared_memory, flag, host, shared_memory,
};
use crate::platform::fixtures::{cells, node, string};
use crate::platform::{Platform, fixtures};

fn with(mut parent: DeviceTreeNode, children: impl IntoIterator<Item = DeviceTreeNode>) -> DeviceTreeNode {
    children.into_iter().for_each(|child| parent.add_child(child));
    parent
}

fn domain(name: &str, children: impl IntoIterator<Item = DeviceTreeNode>) -> DeviceTreeNode {
    with(boot_domain(name, []), children)
}

fn parse(nodes: impl IntoIterator<Item = DeviceTreeNode>) -> Platform {
    Platform::parse(&host(&[], nodes)).unwrap()
}

/// What is wrong with the only domain that has these children.
fn complaint(children: impl IntoIterator<Item = DeviceTreeNode>) -> String {
    parse([domain("d", children)]).boot_domains.remove(0).unwrap_err().to_string()
}

/// The domain is sound, or what is wrong with it.
fn verdict(platform: &Platform, number: usize) -> String {
    let domain: &Result<BootDomain, PlatformError> = &platform.boot_domains[number - 1];
    domain.as_ref().map_or_else(ToString::to_string, |_| "sound".into())
}

fn set(mut node: DeviceTreeNode, property: DeviceTreeProperty) -> DeviceTreeNode {
    node.remove_property((&property).name());
    node.add_property(property);
    node
}

#[test]
fn what_two_domains_and_the_first_have_in_common_is_read() {
    let platform = parse([
        event_end(1, 10, 2),
        set(first_shared_memory("a", 0x6000_0000, 0x6000_0000, 0x20_0000), string("role", "owner")),
        domain("one", [event_end(2, 11, 1), shared_memory("a", 0x6000_0000, 0x7000_0000, 0x20_0000)]),
    ]);
    assert_eq!(platform.first_errors, []);
    let first = &platform.first_shared;
    let one = &platform.boot_domains[0].as_ref().unwrap().shared;
    let region = Region::new(Pa(0x6000_0000), 0x20_0000);
    for (shared, guest, is_owner, path) in [
        (first, 0x6000_0000, true, "/chosen/shm@60000000"),
        (one, 0x7000_0000, false, "/chosen/one/shm@70000000"),
    ] {
        let (path, id, size, guest) = (path.into(), "a".into(), 0x20_0000, Ipa(guest));
        assert_eq!(shared.memory, [StaticShmNode { path, id, machine: region, guest, size, is_owner }]);
    }
    let end = |shared: &StaticShared| {
        let end = &shared.events[0];
        (end.port, end.remote, end.remote_port)
    };
    assert_eq!((end(first), end(one)), ((10, DomId(1), 11), (11, DomId::CONTROL, 10)));
}

#[test]
fn the_machine_address_may_be_left_out() {
    let anywhere = set(shared_memory("a", 0, 0, 0x1000), cells("xen,shared-mem", &[0x7000_0000, 0x3000]));
    let platform = parse([domain("d", [anywhere.clone()])]);
    let memory = &platform.boot_domains[0].as_ref().unwrap().shared.memory[0];
    assert_eq!((memory.machine, memory.guest, memory.size), (None, Ipa(0x7000_0000), 0x3000));
    let direct = with(boot_domain("d", [flag("direct-map")]), [anywhere]);
    assert!(verdict(&parse([direct]), 1).contains("directly mapped"));
}

#[test]
fn each_complaint_names_node_and_property() {
    let memory = || shared_memory("a", 0x6000_0000, 0x7000_0000, 0x1000);
    let nodes = [
        (set(memory(), string("xen,shm-id", "")), "xen,shm-id"),
        (set(memory(), string("xen,shm-id", "sixteen-letters!")), "xen,shm-id"),
        (set(memory(), cells("xen,shm-id", &[1])), "xen,shm-id"),
        (set(memory(), string("role", "lodger")), "role"),
        (set(memory(), cells("xen,shared-mem", &[])), "xen,shared-mem"),
        (set(memory(), cells("xen,shared-mem", &[1])), "xen,shared-mem"),
        (set(memory(), cells("xen,shared-mem", &[0, 0, 0, 0])), "xen,shared-mem"),
        (set(memory(), cells("xen,shared-mem", &[0x6000_0000, 0x7000_0000, 0])), "xen,shared-mem"),
        (set(memory(), cells("xen,shared-mem", &[0x6000_0000, 0x7000_0000, 0x800])), "xen,shared-mem"),
        (set(memory(), cells("xen,shared-mem", &[0x6000_0800, 0x7000_0000, 0x1000])), "xen,shared-mem"),
        (set(memory(), cells("xen,shared-mem", &[0x6000_0000, 0x7000_0004, 0x1000])), "xen,shared-mem"),
    ];
    for (node, property) in nodes {
        let said = complaint([node]);
        assert!(said.contains("node /chosen/d/shm@70000000") && said.contains(property), "{said}");
    }
    let ends = [
        (set(event_end(1, 5, 2), cells("xen,evtchn", &[5])), "xen,evtchn"),
        (set(event_end(1, 5, 2), cells("xen,evtchn", &[5, 2, 6, 3])), "xen,evtchn"),
        (event_end(1, 0, 2), "xen,evtchn"),
        (event_end(1, 4096, 2), "xen,evtchn"),
        (event_end(1, 5, 99), "xen,evtchn"),
        (event_end(1, 5, 1), "xen,evtchn"),
    ];
    for (node, property) in ends {
        let said = complaint([node]);
        assert!(said.contains("/chosen/d/evtchn@1") && said.contains(property), "{said}");
    }
    let mut nameless = event_end(1, 5, 2);
    nameless.remove_property("phandle");
    assert!(complaint([nameless]).contains("phandle"));
}

#[test]
fn a_range_that_wraps_is_refused() {
    let wide = |cells_of: [u32; 6]| {
        let mut domain = boot_domain("d", []);
        for name in ["#address-cells", "#size-cells"] {
            domain.remove_property(name);
            domain.add_property(cells(name, &[2]));
        }
        domain.remove_child("module@50000000");
        let kernel = node(
            "module@50000000",
            [
                compatible(&["multiboot,kernel", "multiboot,module"]),
                cells("reg", &[0, 0x5000_0000, 0, 0x10_0000]),
            ],
        );
        let memory = set(shared_memory("a", 0, 0x7000_0000, 0), cells("xen,shared-mem", &cells_of));
        verdict(&parse([with(domain, [kernel, memory])]), 1)
    };
    assert_eq!(wide([0, 0x6000_0000, 0, 0x7000_0000, 0, 0x1000]), "sound");
    for place in [
        [u32::MAX, 0xffff_f000, 0, 0x7000_0000, 0, 0x1000],
        [0, 0x6000_0000, u32::MAX, 0xffff_f000, 0, 0x1000],
        [0, 0x6000_0000, 0, 0x7000_0000, u32::MAX, 0xffff_f000],
    ] {
        assert!(wide(place).contains("ends behind the address space"), "{place:x?}");
    }
}

#[test]
fn the_later_domain_is_wrong_when_two_do_not_fit() {
    let at = |machine, size| shared_memory("a", machine, 0x7000_0000, size);
    let owner = |node| set(node, string("role", "owner"));
    let other_name = shared_memory("b", 0x6000_1000, 0x7000_0000, 0x2000);
    let same_domain = shared_memory("a", 0x6000_0000, 0x7100_0000, 0x2000);
    let cases = [
        (vec![at(0x6000_0000, 0x1000)], "differs in machine address or size"),
        (vec![at(0x6000_1000, 0x2000)], "differs in machine address or size"),
        (vec![owner(at(0x6000_0000, 0x2000))], "`role` is \"owner\" in two"),
        (vec![other_name], "same machine addresses"),
        (vec![at(0x6000_0000, 0x2000), same_domain], "is the same in one domain"),
    ];
    for (nodes, words) in cases {
        let first = domain("one", [owner(at(0x6000_0000, 0x2000))]);
        let fits = domain("three", [at(0x6000_0000, 0x2000)]);
        let platform = parse([first, domain("two", nodes), fits]);
        assert_eq!((verdict(&platform, 1), verdict(&platform, 3)), ("sound".into(), "sound".into()));
        let said = verdict(&platform, 2);
        assert!(said.contains(words) && said.contains("/chosen/two/shm@7"), "{said}");
    }
}

#[test]
fn the_first_domain_does_without_what_is_wrong() {
    let platform = parse([
        first_shared_memory("a", 0x6000_0000, 0x7000_0000, 0x1000),
        first_shared_memory("b", 0x6000_2000, 0x6000_2000, 0x1000),
        first_shared_memory("c", 0x6000_4000, 0x6000_4000, 0x800),
        event_end(1, 5, 9),
        domain("d", [shared_memory("b", 0x6000_2000, 0x7000_0000, 0x1000)]),
    ]);
    let kept: Vec<&str> = platform.first_shared.memory.iter().map(|memory| memory.id.as_str()).collect();
    assert_eq!((kept.as_slice(), platform.first_shared.events.len()), (["b"].as_slice(), 0));
    assert_eq!(platform.first_errors.len(), 3);
    assert_eq!(verdict(&platform, 1), "sound");
}

#[test]
fn two_ends_name_each_other_and_are_in_two_domains() {
    let cases = [
        (domain("one", [event_end(1, 5, 2), event_end(2, 6, 1)]), "names a node of the same domain"),
        (domain("one", [event_end(1, 5, 3), event_end(2, 5, 3)]), "is the same port of one domain"),
        (domain("one", [event_end(1, 5, 4)]), "does not name each other"),
        (domain("one", [event_end(3, 5, 4)]), "`phandle` is the same"),
    ];
    for (one, words) in cases {
        let two = domain("two", [event_end(3, 7, 1), set(event_end(4, 8, 3), cells("xen,evtchn", &[8, 3]))]);
        let said = verdict(&parse([one, two]), 1);
        assert!(said.contains(words), "{said}");
    }
}

/// A domain that is wrong for another reason leaves the other end as it is: a port that waits.
#[test]
fn an_end_outlives_the_other_ones_domain() {
    let broken = set(domain("two", [event_end(2, 6, 1)]), cells("cpus", &[0]));
    let platform = parse([domain("one", [event_end(1, 5, 2)]), broken]);
    let end = &platform.boot_domains[0].as_ref().unwrap().shared.events[0];
    assert_eq!((end.remote, end.remote_port), (DomId(2), 6));
    assert!(platform.boot_domains[1].is_err());
}

#[test]
fn what_is_disabled_does_not_count() {
    let off = |node| set(node, string("status", "disabled"));
    let platform = parse([domain(
        "d",
        [off(event_end(1, 0, 0)), off(set(shared_memory("a", 0, 0, 1), string("role", "?")))],
    )]);
    assert_eq!(platform.boot_domains[0].as_ref().unwrap().shared, StaticShared::default());
}

#[test]
fn too_many_nodes_are_refused() {
    let ends: Vec<DeviceTreeNode> = (1..=65).map(|number| event_end(number, number, 100 + number)).collect();
    assert!(complaint(ends).contains("too many"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the numbers are: no panic, and what is accepted is whole pages that do not wrap, each name once in a
    /// domain, at most one owner, and every end with another one that means it.
    #[test]
    fn what_is_accepted_fits_together(
        nodes in prop::collection::vec((0u32..3, 0u32..3, 0u32..4, 0u32..4, 0u32..3, any::<bool>()), 0..8),
        ends in prop::collection::vec((0u32..3, 1u32..5, 0u32..4, 1u32..5), 0..6),
    ) {
        let mut places: Vec<Vec<DeviceTreeNode>> = vec![Vec::new(), Vec::new(), Vec::new()];
        for (index, (to, name, machine, guest, pages, owner)) in nodes.into_iter().enumerate() {
            let name = ["a", "b", "c"][name as usize];
            let (machine, guest) = (0x6000_0000 + machine * 0x1000, 0x6000_0000 + guest * 0x1000);
            let make = if to == 0 { first_shared_memory } else { shared_memory };
            let mut node = make(name, machine, guest, pages * 0x1000);
            if owner {
                node.add_property(string("role", "owner"));
            }
            places[to as usize].push(fixtures::renamed(node, &format!("shm@{index}")));
        }
        for (index, (to, phandle, port, peer)) in ends.into_iter().enumerate() {
            places[to as usize].push(fixtures::renamed(event_end(phandle, port, peer), &format!("evtchn@{index}")));
        }
        let two = places.pop().unwrap_or_default();
        let one = places.pop().unwrap_or_default();
        let zero = places.pop().unwrap_or_default();
        let platform = parse(zero.into_iter().chain([domain("one", one), domain("two", two)]));
        let parties: Vec<&StaticShared> = core::iter::once(&platform.first_shared)
            .chain(platform.sound_boot_domains().map(|domain| &domain.shared))
            .collect();
        let memory: Vec<&StaticShmNode> = parties.iter().flat_map(|shared| &shared.memory).collect();
        for (index, this) in memory.iter().enumerate() {
            prop_assert!(this.size > 0 && this.size % PAGE_SIZE == 0);
            for other in &memory[..index] {
                let is_same = this.id == other.id;
                prop_assert_eq!(is_same, this.machine == other.machine, "{:?} {:?}", this, other);
                prop_assert!(is_same || !this.machine.unwrap().overlaps(other.machine.unwrap()));
                prop_assert!(!(is_same && this.is_owner && other.is_owner));
            }
        }
        for shared in parties {
            for (index, end) in shared.events.iter().enumerate() {
                prop_assert!(end.remote != DomId::INVALID && end.remote_port > 0);
                prop_assert!(shared.events[..index].iter().all(|other| other.port != end.port));
            }
        }
    }
}
