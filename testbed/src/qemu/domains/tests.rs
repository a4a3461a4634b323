//! Trees and command lines of boots with several domains.

use std::fs;

use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};

use super::*;
use crate::process::line_of;
use crate::qemu::passthrough::tests::host;
use crate::qemu::static_shm::{SharedMemory, StaticPort};
use crate::qemu::tree::cells;

fn domain(dir: &Path) -> BootDomain {
    let file = |name: &str| {
        let path = dir.join(name);
        fs::write(&path, vec![0; 3 << 20]).unwrap();
        path
    };
    BootDomain {
        name: "driver".into(),
        kernel: file("kernel"),
        ramdisk: Some(file("ramdisk")),
        bootargs: "quiet".into(),
        memory_mib: 512,
        vcpus: 2,
        vpl011: true,
        direct_map: true,
        passthrough: vec![0],
        ..BootDomain::default()
    }
}

/// The command line, and the tree that it names.
fn command(
    dir: &Path,
    memory_mib: u64,
    domain: BootDomain,
    static_shared: &StaticShared,
) -> Result<(String, DeviceTree)> {
    let mut command = Command::new("qemu");
    let kernel = domain.kernel.clone();
    let first = (Some(kernel.as_path()), None, "console=hvc0");
    add_to(&mut command, host(), memory_mib, first, (&[domain], static_shared), dir)?;
    let tree = fs::read(dir.join("machine.dtb"))?;
    Ok((line_of(&command), DeviceTree::from_fdt(&Fdt::new(&tree).unwrap())))
}

#[test]
fn every_module_is_loaded_where_the_tree_says() {
    let dir = tempfile::tempdir().unwrap();
    let (line, tree) = command(dir.path(), 2048, domain(dir.path()), &StaticShared::default()).unwrap();
    let chosen = tree.find_node("/chosen").unwrap();
    let driver = chosen.child("driver").unwrap();
    let nodes: Vec<&DeviceTreeNode> = chosen
        .children()
        .chain(driver.children())
        .filter(|node| node.name().starts_with("module@"))
        .collect();
    assert_eq!(nodes.len(), 4);
    for node in nodes {
        let reg = cells(node, "reg").unwrap();
        assert!(line.contains(&format!("addr={:#x},force-raw=on", reg[1])), "{line}");
        assert!(reg[3] > 0);
    }
    let partial = fs::read(dir.path().join("passthrough-driver.dtb")).unwrap();
    assert!(DeviceTree::from_fdt(&Fdt::new(&partial).unwrap()).find_node("/passthrough").is_some());
}

#[test]
fn a_domain_has_the_properties_of_its_description() {
    let dir = tempfile::tempdir().unwrap();
    let (_, tree) = command(dir.path(), 2048, domain(dir.path()), &StaticShared::default()).unwrap();
    let driver = tree.find_node("/chosen/driver").unwrap();
    assert_eq!(cells(driver, "memory").unwrap(), [0, 512 * 1024]);
    assert_eq!(cells(driver, "cpus").unwrap(), [2]);
    assert_eq!(driver.property("compatible").unwrap().value(), b"xen,domain\0");
    assert!(driver.property("vpl011").is_some() && driver.property("direct-map").is_some());
    let kernel = driver.children().next().unwrap();
    assert_eq!(kernel.property("bootargs").unwrap().value(), b"quiet\0");
    assert_eq!(kernel.property("compatible").unwrap().value(), b"multiboot,kernel\0multiboot,module\0");
    let slots = |marked| {
        let is = |node: &&DeviceTreeNode| node.property("xen,passthrough").is_some() == marked;
        tree.root.children().filter(is).filter(|node| node.name().starts_with("virtio_mmio@")).count()
    };
    assert_eq!((slots(true), slots(false)), (8, 24));
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = |memory, domain| {
        let refused = command(dir.path(), memory, domain, &StaticShared::default()).map(|_| ());
        format!("{:#}", refused.unwrap_err())
    };
    assert!(refusal(48, domain(dir.path())).contains("--memory"));
    let unnamed = BootDomain { name: "a/b".into(), ..domain(dir.path()) };
    assert!(refusal(2048, unnamed).contains("a/b"));
    let absent = BootDomain { kernel: "/no/such/kernel".into(), ..domain(dir.path()) };
    assert!(refusal(2048, absent).contains("/no/such/kernel"));
}

#[test]
fn what_domains_share_stands_below_their_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let memory = |machine, role: Option<&str>| SharedMemory {
        id: "frames".into(),
        machine,
        guest: 0x7000_0000,
        size: 0x1000,
        role: role.map(Into::into),
    };
    let ends = |port, phandle, peer| vec![StaticPort { port, phandle, peer }];
    let of_first = StaticShared {
        memory: vec![memory(Some(0x1_7000_0000), Some("owner"))],
        ports: ends(60, 0x7002, 0x7001),
    };
    let its = StaticShared { memory: vec![memory(None, None)], ports: ends(10, 0x7001, 0x7002) };
    let domain = BootDomain { static_shared: its, xenstore: true, ..domain(dir.path()) };
    let (_, tree) = command(dir.path(), 2048, domain, &of_first).unwrap();
    let expected = [
        (
            "/chosen",
            [1, 0x7000_0000, 0, 0x7000_0000, 0, 0x1000].as_slice(),
            Some(b"owner\0".as_slice()),
            (60, 0x7002, 0x7001),
        ),
        ("/chosen/driver", &[0, 0x7000_0000, 0, 0x1000], None, (10, 0x7001, 0x7002)),
    ];
    for (path, numbers, role, (port, phandle, peer)) in expected {
        let node = tree.find_node(path).unwrap();
        let memory = node.child("shared-memory@70000000").unwrap();
        assert_eq!(memory.property("xen,shm-id").unwrap().value(), b"frames\0");
        assert_eq!(cells(memory, "xen,shared-mem").unwrap(), numbers);
        assert_eq!(memory.property("role").as_ref().map(Property::value), role);
        let end = node.child(&format!("evtchn@{port:x}")).unwrap();
        assert_eq!(cells(end, "xen,evtchn").unwrap(), [port, peer]);
        assert_eq!(cells(end, "phandle").unwrap(), [phandle]);
    }
    let driver = tree.find_node("/chosen/driver").unwrap();
    assert_eq!(driver.property("xen,enhanced").unwrap().value(), b"enabled\0");
}
