use alloc::string::ToString;

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use proptest::prelude::*;

use super::*;
use crate::domain_tree::{HardwareDomainSpec, hardware_domain};
use crate::platform::fixtures::domains::{device, first_page, flag, host, partial, slot};
use crate::platform::fixtures::{GICV3, cells, edited, string};
use crate::platform::{Platform, Trigger};
use xenolith_core::types::{DomId, Intid, Pa};

const D1: DomId = DomId(1);
const D2: DomId = DomId(2);
fn owners(host: &[u8]) -> Owners {
    Owners::new(host, &Platform::parse(host).unwrap()).unwrap()
}

fn claim(owners: &mut Owners, to: DomId, devices: &[DeviceTreeNode]) -> Result<Granted, PassthroughError> {
    let tree = partial(devices.to_vec());
    owners.claim(to, Fragment::read(&tree)?.devices())
}

fn complaint(owners: &mut Owners, to: DomId, devices: &[DeviceTreeNode]) -> String {
    claim(owners, to, devices).unwrap_err().to_string()
}

fn with(mut device: DeviceTreeNode, property: DeviceTreeProperty) -> DeviceTreeNode {
    device.add_property(property);
    device
}

fn without(mut device: DeviceTreeNode, property: &str) -> DeviceTreeNode {
    device.remove_property(property);
    device
}

/// What the first domain gets on a host.
fn first_domain(host: &[u8]) -> crate::domain_tree::HardwareDomainTree {
    let spec = HardwareDomainSpec {
        vcpus: 1,
        memory: &[(Ipa(0x5000_0000), 0x1000_0000)],
        arguments: "",
        initrd: None,
        xen_version: (4, 17),
        grant_window: (Ipa(0x4020_0000), 0x4_0000),
        extended_regions: &[],
        event_interrupt: Intid(31),
        static_shm: &[],
        hidden: &["/pl011@9000000"],
    };
    hardware_domain(host, &Platform::parse(host).unwrap(), &spec).unwrap()
}

#[test]
fn a_device_that_is_given_up_is_granted() {
    let mut owners = owners(&host(&first_page(), []));
    let granted = claim(&mut owners, D1, &[device(2)]).unwrap();
    let name = "/passthrough/virtio_mmio@a000400".to_string();
    let page = Region::new(Pa(0x0a00_0000), 0x1000).unwrap();
    let window = Window { machine: page, guest: Ipa(0x0a00_0000) };
    assert_eq!(granted.windows, [(name.clone(), window)]);
    assert_eq!(granted.interrupts, [(name, Interrupt { intid: Intid(50), trigger: Trigger::Edge })]);
}

#[test]
fn two_devices_in_one_page_go_to_one_domain() {
    let mut owners = owners(&host(&first_page(), []));
    assert_eq!(claim(&mut owners, D1, &[device(0), device(1)]).unwrap().interrupts.len(), 2);
    assert_eq!(
        complaint(&mut owners, D2, &[device(2)]),
        "partial device tree node /passthrough/virtio_mmio@a000400: the pages 0xa000000-0xa000fff cannot be its \
         own, being d1's by /passthrough/virtio_mmio@a000000"
    );
    owners.release(D1);
    assert!(claim(&mut owners, D2, &[device(2)]).is_ok());
}

#[test]
fn a_page_that_the_first_domain_uses_too_is_refused() {
    let mut owners = owners(&host(&[slot(0)], []));
    assert_eq!(
        complaint(&mut owners, D1, &[device(0)]),
        "partial device tree node /passthrough/virtio_mmio@a000000: the pages 0xa000000-0xa000fff cannot be its \
         own, being the first domain's by /virtio_mmio@a000200"
    );
}

#[test]
fn what_is_not_given_up_is_refused() {
    let mut owners = owners(&host(&[], []));
    assert!(complaint(&mut owners, D1, &[device(0)]).contains("the host's /virtio_mmio@a000000 belongs to"));
    let unknown = with(device(0), string("xen,path", "/virtio_mmio@1"));
    assert!(complaint(&mut owners, D1, &[unknown]).contains("/virtio_mmio@1, which the host's tree has not"));
}

#[test]
fn the_hypervisors_own_is_refused_whatever_the_host_says() {
    let host = host(&["pl011@9000000".to_string(), "intc@8000000".to_string()], []);
    let window = |start: u32| {
        let device = with(device(0), cells("xen,reg", &[0, start, 0, 0x1000, 0, start]));
        without(without(device, "xen,path"), "interrupts")
    };
    let uart = complaint(&mut owners(&host), D1, &[window(0x0900_0000)]);
    assert!(uart.contains("being the hypervisor's by /pl011@9000000"), "{uart}");
    let gic = complaint(&mut owners(&host), D1, &[window(0x080a_1000)]);
    assert!(gic.contains("being the hypervisor's by /intc@8000000"), "{gic}");
    let memory = complaint(&mut owners(&host), D1, &[window(0x5000_0000)]);
    assert!(memory.contains("0x50000000-0x50000fff, which is the machine's memory"), "{memory}");
    assert!(claim(&mut owners(&host), D1, &[window(0x0b00_0000)]).is_ok(), "nobody's");
}

#[test]
fn interrupts_are_those_of_the_hosts_device() {
    let mut owners = owners(&host(&first_page(), []));
    let other = with(device(0), cells("interrupts", &[0, 40, 1]));
    assert!(complaint(&mut owners, D1, &[other]).contains("interrupt 72, which is not one of the host's"));
    let private = with(device(0), cells("interrupts", &[1, 4, 1]));
    assert!(complaint(&mut owners, D1, &[private]).contains("names something else than a shared interrupt"));
    let silent = without(device(0), "interrupts");
    assert_eq!(claim(&mut owners, D1, &[silent]).unwrap().interrupts.len(), 1);
}

#[test]
fn an_interrupt_that_another_device_shares_is_refused() {
    let host = edited(GICV3, |root| {
        for name in first_page() {
            root.child_mut(&name).unwrap().add_property(flag("xen,passthrough"));
        }
        root.child_mut(&slot(9)).unwrap().add_property(cells("interrupts", &[0, 16, 1]));
    });
    let error = complaint(&mut owners(&host), D1, &[device(0)]);
    assert!(
        error.contains("interrupt 48 cannot be its own, being the first domain's by /virtio_mmio@a001200")
    );
}

#[test]
fn what_the_partial_tree_lacks_is_named() {
    let mut owners = owners(&host(&first_page(), []));
    let mut says = |device| complaint(&mut owners, D1, &[device]);
    assert!(says(without(device(0), "xen,force-assign-without-iommu")).contains("no IOMMU confines"));
    assert!(says(without(device(0), "xen,reg")).contains("`xen,reg` is missing"));
    assert!(says(with(device(0), string("xen,path", "virtio"))).contains("`xen,path` is not the full path"));
    let odd = cells("xen,reg", &[0, 0x0a00_0200, 0, 0x200, 0, 0x0a00_0200]);
    assert!(says(with(device(0), odd)).contains("not a multiple of 4 KiB"));
    assert!(says(with(device(0), cells("xen,reg", &[0, 0, 0, 0]))).contains("is no list of"));
    let wraps = cells("xen,reg", &[u32::MAX, 0xffff_f000, 0, 0x2000, 0, 0]);
    assert!(says(with(device(0), wraps)).contains("one that wraps"));
    let other = DeviceTree::new().to_dtb();
    assert_eq!(Fragment::read(&other).err(), Some(PassthroughError::NoPassthrough));
    assert!(Fragment::read(b"no tree").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_page_and_no_line_has_two_owners(
        given_up in prop::collection::btree_set(0u32..32, 0..32), wishes in prop::collection::vec((0u32..32, 1u16..4), 0..16),
    ) {
        let host = host(&given_up.iter().copied().map(slot).collect::<Vec<_>>(), []);
        let first = first_domain(&host);
        let mut owners = owners(&host);
        let mut pages: Vec<(u64, u16)> = Vec::new();
        for (number, to) in wishes {
            let page = u64::from(number / 8);
            let whole = (0..8).all(|slot| given_up.contains(&(number / 8 * 8 + slot)));
            let free = pages.iter().all(|&(taken, owner)| taken != page || owner == to);
            let granted = claim(&mut owners, DomId(to), &[device(number)]);
            prop_assert_eq!(granted.is_ok(), whole && free);
            if let Ok(granted) = granted {
                pages.push((page, to));
                let is_firsts = |window: &Window| first.mmio.iter().any(|own| own.overlaps(window.machine));
                prop_assert!(!granted.windows.iter().any(|(_, window)| is_firsts(window)));
                let is_firsts = |line: &Interrupt| first.interrupts.iter().any(|own| own.intid == line.intid);
                prop_assert!(!granted.interrupts.iter().any(|(_, line)| is_firsts(line)));
            }
        }
    }

    #[test]
    fn any_bytes_are_an_answer(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut tree = partial([device(0), device(1)]);
        let at = at.index(tree.len());
        tree[at] = byte;
        if let Ok(fragment) = Fragment::read(&tree) {
            let _ = owners(&host(&first_page(), [])).claim(D1, fragment.devices());
        }
    }
}
