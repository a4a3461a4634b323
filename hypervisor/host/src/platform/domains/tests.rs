use alloc::string::ToString;

use dtoolkit::model::DeviceTreeNode;
use proptest::prelude::*;

use super::*;
use crate::platform::Platform;
use crate::platform::fixtures::domains::{
    boot_domain as domain, event_end, first_shared_memory, flag, host, module, shared_memory,
};
use crate::platform::fixtures::{cells, node, string, without};
use xenolith_core::types::Pa;

fn read_all(domains: impl IntoIterator<Item = DeviceTreeNode>) -> Vec<Result<BootDomain, PlatformError>> {
    let tree = host(&[], domains);
    Platform::parse(&tree).unwrap().boot_domains
}

fn read_one(domain: DeviceTreeNode) -> Result<BootDomain, PlatformError> {
    read_all([domain]).remove(0)
}

fn complaint(domain: DeviceTreeNode) -> String {
    read_one(domain).unwrap_err().to_string()
}

#[test]
fn a_plain_domain_has_what_its_node_says() {
    let read = read_one(domain("domU1", [])).unwrap();
    assert_eq!((read.path.as_str(), read.memory, read.vcpus), ("/chosen/domU1", 128 << 20, 2));
    assert_eq!((read.direct_map, read.uart, read.enhanced), (false, false, Enhanced::Disabled));
    assert_eq!((read.shared_interrupts, read.grant_frames, read.maptrack_frames), (None, None, None));
    assert_eq!(read.kernel.region, Region::new(Pa(0x5000_0000), 0x10_0000).unwrap());
    assert_eq!(read.kernel.arguments.as_deref(), Some("console=ttyAMA0"));
    assert_eq!((read.ramdisk, read.device_tree, read.ignored), (None, None, Vec::new()));
}

#[test]
fn everything_that_is_understood_is_read() {
    let mut full = domain(
        "driver",
        [
            cells("memory", &[0x2_0000]),
            flag("vpl011"),
            flag("direct-map"),
            string("xen,enhanced", "no-xenstore"),
            cells("nr_spis", &[64]),
            cells("max_grant_frames", &[8]),
            cells("max_maptrack_frames", &[16]),
            cells("domain-cpupool", &[5]),
        ],
    );
    full.add_child(module("multiboot,ramdisk", 0x5200_0000, 0x1000));
    full.add_child(module("multiboot,device-tree", 0x5300_0000, 0x1000));
    let read = read_one(full).unwrap();
    assert_eq!((read.memory, read.direct_map, read.uart), (128 << 20, true, true));
    assert_eq!(read.enhanced, Enhanced::NoXenstore);
    assert_eq!(
        (read.shared_interrupts, read.grant_frames, read.maptrack_frames),
        (Some(64), Some(8), Some(16))
    );
    assert_eq!(read.ignored, ["domain-cpupool"]);
    assert!(!read.trap_unmapped);
    assert_eq!(read.modules().count(), 3);
}

#[test]
fn sve_is_a_flag_or_a_number_of_bits() {
    use crate::vector_length::VectorLength::{Granules, Longest};
    let vectors = |property| read_one(domain("d", [property])).unwrap().vectors;
    assert_eq!(read_one(domain("d", [])).unwrap().vectors, None);
    assert!(read_one(domain("d", [flag("sve")])).unwrap().ignored.is_empty());
    assert_eq!((vectors(flag("sve")), vectors(cells("sve", &[0]))), (Some(Longest), None));
    assert_eq!(vectors(cells("sve", &[256])), Some(Granules(2)));
    for wrong in [&[100][..], &[4096], &[128, 0]] {
        let complaint = complaint(domain("d", [cells("sve", wrong)]));
        assert!(complaint.contains("/chosen/d: `sve` is no"), "{complaint}");
    }
}

#[test]
fn what_is_not_known_is_named() {
    let mut strange = domain(
        "d",
        [
            string("passthrough", "enabled"),
            cells("trap-unmapped-accesses", &[1]),
            string("xen,sci_type", "scmi_smc"),
            string("status", "okay"),
            cells("phandle", &[0x9000]),
        ],
    );
    strange.add_child(node("scmi-channel", [string("compatible", "vendor,channel")]));
    strange.add_child(node("off", [string("status", "disabled")]));
    let read = read_one(strange).unwrap();
    assert_eq!(read.ignored, ["passthrough", "xen,sci_type", "scmi-channel"]);
    assert!(read.trap_unmapped);
    let off = read_one(domain("d", [cells("trap-unmapped-accesses", &[0])])).unwrap();
    assert!(!off.trap_unmapped);
    let wrong = complaint(domain("d", [cells("trap-unmapped-accesses", &[2])]));
    assert!(wrong.ends_with("`trap-unmapped-accesses` is neither 0 nor 1"), "{wrong}");
    let many = (0..40).map(|index| flag(&format!("unknown-{index}")));
    assert_eq!(read_one(domain("d", many)).unwrap().ignored.len(), MAX_IGNORED);
}

/// A machine whose boot loader has left no kernel for a first domain.
fn without_first(domains: impl IntoIterator<Item = DeviceTreeNode>) -> Platform {
    let tree = without(&host(&[], domains), "chosen", "module@0x46000000");
    Platform::parse(&tree).unwrap()
}

fn capable(name: &str, bits: u32) -> DeviceTreeNode {
    domain(name, [cells("capabilities", &[bits])])
}

#[test]
fn domains_may_be_there_without_a_first_one() {
    let platform = without_first([domain("a", []), domain("b", [])]);
    assert_eq!((platform.kernel(), &platform.control, platform.boot_domains.len()), (None, &None, 2));
}

#[test]
fn capabilities_make_one_the_control_domain() {
    for (bits, role) in [(1, Role::Control), (5, Role::Control), (3, Role::Hardware), (7, Role::Hardware)] {
        let platform = without_first([domain("a", []), capable("c", bits), domain("b", [])]);
        let control = platform.control.as_ref().unwrap();
        assert_eq!((control.path.as_str(), control.role), ("/chosen/c", role));
        let others: Vec<&str> =
            platform.boot_domains.iter().flatten().map(|other| other.path.as_str()).collect();
        assert_eq!(others, ["/chosen/a", "/chosen/b"], "domains 1 and 2");
        // Its modules are there as long as those of the others.
        assert_eq!(platform.sound_boot_domains().count(), 3);
        let is_hardware = role == Role::Hardware;
        assert_eq!(platform.kernel().is_some() && platform.hardware().is_some(), is_hardware);
        assert_eq!(platform.ramdisk().is_some(), !is_hardware, "the module under /chosen is no node's");
    }
    let guest = without_first([capable("a", 0)]);
    assert_eq!(guest.boot_domains[0].as_ref().unwrap().role, Role::Guest);
}

#[test]
fn capabilities_that_cannot_be_had_are_named() {
    let says = |bits| {
        let error = without_first([capable("d", bits)]).boot_domains.remove(0).unwrap_err().to_string();
        error.strip_prefix("device tree node /chosen/d: `capabilities` ").unwrap().to_string()
    };
    assert!(says(2).starts_with("is that of a hardware domain without control"));
    assert!(says(6).starts_with("is that of a hardware domain without control"));
    assert!(says(4).starts_with("is that of a domain for xenstore alone"));
    assert!(says(8).starts_with("has bits beside") && says(9).starts_with("has bits beside"));
    let there =
        "device tree node /chosen/d: `capabilities` makes it the control domain, and there is one already";
    assert_eq!(complaint(capable("d", 1)), there, "the first domain is");
    let mut two = without_first([capable("c", 1), capable("d", 3)]);
    assert_eq!(two.boot_domains.remove(0).unwrap_err().to_string(), there);
}

#[test]
fn the_control_domain_has_its_own_part_in_what_is_shared() {
    let shared = || shared_memory("a", 0x6000_0000, 0x6000_0000, 0x1000);
    let mut control = capable("c", 1);
    control.add_child(shared());
    control.add_child(event_end(1, 5, 2));
    let mut other = domain("d", []);
    other.add_child(shared());
    other.add_child(event_end(2, 6, 1));
    let platform = without_first([other.clone(), control]);
    assert_eq!(platform.first_errors, []);
    let ends = &platform.first_shared.events;
    assert_eq!((ends[0].remote, ends[0].remote_port, platform.first_shared.memory.len()), (DomId(1), 6, 1));
    let ends = &platform.boot_domains[0].as_ref().unwrap().shared.events;
    assert_eq!((ends[0].remote, ends[0].remote_port), (DomId::CONTROL, 5));
    assert_eq!(platform.common_memory().count(), 2);
    // What /chosen itself has is nobody's when there is no first domain.
    let nobodys =
        without_first([first_shared_memory("x", 0x6000_0000, 0x6000_0000, 0x1000), domain("d", [])]);
    assert_eq!((nobodys.first_errors.len(), nobodys.common_memory().count()), (1, 0));
}

#[test]
fn enhanced_has_four_ways_to_be_said() {
    let says = |value: &str| read_one(domain("d", [string("xen,enhanced", value)])).unwrap().enhanced;
    let empty = flag("xen,enhanced");
    assert_eq!(read_one(domain("d", [empty])).unwrap().enhanced, Enhanced::Enabled);
    assert_eq!(says(""), Enhanced::Enabled);
    assert_eq!(says("enabled"), Enhanced::Enabled);
    assert_eq!(says("no-xenstore"), Enhanced::NoXenstore);
    assert_eq!(says("disabled"), Enhanced::Disabled);
    let wrong = complaint(domain("d", [string("xen,enhanced", "yes")]));
    assert_eq!(
        wrong,
        "device tree node /chosen/d: `xen,enhanced` is none of \"enabled\", \"no-xenstore\" and \"disabled\""
    );
}

#[test]
fn what_is_wrong_is_named_with_its_node() {
    let with = |property| complaint(domain("d", [property]));
    let problem = "device tree node /chosen/d: `memory` is not a number of KiB, as one or two cells";
    assert_eq!(with(cells("memory", &[0, 0])), problem);
    assert_eq!(with(cells("memory", &[u32::MAX, u32::MAX])), problem);
    assert_eq!(with(cells("memory", &[0, 0, 1])), problem);
    assert_eq!(with(string("memory", "128M1")), problem);
    assert_eq!(with(cells("cpus", &[0])), "device tree node /chosen/d: `cpus` is zero");
    assert!(with(cells("nr_spis", &[1, 2])).contains("`nr_spis` is not a number of one cell"));
    assert!(with(cells("xen,static-mem", &[1, 2])).contains("/chosen/d: `xen,static-mem` is not supported"));
    let mut bare = domain("d", []);
    bare.remove_child("module@50000000").unwrap();
    assert!(complaint(bare).starts_with("device tree node /chosen/d has no kernel"));
    let mut twice = domain("d", []);
    twice.add_child(module("multiboot,kernel", 0x5400_0000, 0x1000));
    assert!(complaint(twice).contains("/chosen/d/module@54000000: `compatible` is that of a second module"));
    let mut outside = domain("d", []);
    outside.add_child(module("multiboot,ramdisk", 0x1000_0000, 0x1000));
    assert!(complaint(outside).contains("module@10000000 (ramdisk) at 0x10000000-0x10000fff does not lie"));
}

#[test]
fn a_wrong_domain_leaves_the_others_as_they_are() {
    let read = read_all([domain("a", []), domain("b", [cells("cpus", &[0])]), domain("c", [])]);
    let kinds: Vec<bool> = read.iter().map(Result::is_ok).collect();
    assert_eq!(kinds, [true, false, true]);
    let off = domain("d", [string("status", "disabled")]);
    assert_eq!(read_all([off]), []);
}

#[test]
fn domains_share_a_file_or_keep_apart() {
    assert!(read_all([domain("a", []), domain("b", [])]).iter().all(Result::is_ok));
    let mut part = domain("b", []);
    part.add_child(module("multiboot,ramdisk", 0x500f_f000, 0x2000));
    let error = read_all([domain("a", []), part]).remove(1).unwrap_err().to_string();
    assert!(error.contains("/chosen/b/module@500ff000") && error.contains("overlap"));
    let mut on_the_first = domain("a", []);
    on_the_first.add_child(module("multiboot,ramdisk", 0x4600_0000, 0x2000));
    assert!(complaint(on_the_first).contains("overlap"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_the_node_says_is_an_answer(
        values in prop::collection::vec((0usize..9, prop::collection::vec(any::<u32>(), 0..4)), 0..8),
    ) {
        const NAMES: [&str; 9] = [
            "memory", "cpus", "nr_spis", "xen,enhanced", "max_grant_frames", "#address-cells", "#size-cells",
            "vpl011", "status",
        ];
        let properties: Vec<_> = values.iter().map(|(name, value)| cells(NAMES[*name], value)).collect();
        for read in read_all([domain("d", properties)]).into_iter().flatten() {
            prop_assert!(read.memory > 0 && read.vcpus > 0);
        }
    }
}
