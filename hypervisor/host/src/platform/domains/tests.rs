use alloc::string::ToString;

use dtoolkit::model::DeviceTreeNode;
use proptest::prelude::*;

use super::*;
use crate::platform::Platform;
use crate::platform::fixtures::domains::{boot_domain as domain, flag, host, module};
use crate::platform::fixtures::{cells, string};
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
    assert_eq!(read.modules().count(), 3);
}

#[test]
fn sve_is_a_flag_or_a_number_of_bits() {
    use crate::vector_length::VectorLength::{Granules, Longest};
    let vectors = |property| read_one(domain("d", [property])).unwrap().vectors;
    assert_eq!(read_one(domain("d", [])).unwrap().vectors, None);
    assert_eq!((vectors(flag("sve")), vectors(cells("sve", &[0]))), (Some(Longest), None));
    assert_eq!(vectors(cells("sve", &[256])), Some(Granules(2)));
    for wrong in [&[100][..], &[4096], &[128, 0]] {
        let complaint = complaint(domain("d", [cells("sve", wrong)]));
        assert!(complaint.contains("/chosen/d: `sve` is no"), "{complaint}");
    }
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
