//! Domains that start with the machine, and share static memory and event channels from then on: one asks, the other
//! answers, in the memory that Linux finds in its device tree.

use anyhow::{Result, ensure};
use system_tests::assets::STATIC_SHM;
use system_tests::harness::{Lab, Scenario};
use system_tests::setup::Setup;
use system_tests::shell::READY;
use testbed::kernel::Series;
use testbed::qemu::{BootDomain, SharedMemory, StaticPort, StaticShared};

/// Linux opens ports that are there from the start since 6.5.
const SERIES: Series = Series::V6_12;
/// Where the memory is in the machine when its node says so: free RAM, above all that is loaded.
const MACHINE: u64 = 0x7800_0000;
/// Where a domain has it: no RAM, and no device.
const GUEST: u64 = 0x7000_0000;
/// A block of 2 MiB, and a page behind it.
const SIZE: u64 = 0x20_1000;

/// The scenarios of this file.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("static-shm/memory-of-nobody-anywhere", anywhere),
        Scenario::new("static-shm/memory-of-an-owner-at-its-address", at_its_address),
        Scenario::new("static-shm/wrong-nodes-are-named", wrong_nodes),
    ]
}

/// A domain that plays a role by the first memory and the port that it has in static_shared.
fn domain(lab: &Lab, name: &str, role: &str, static_shared: StaticShared) -> Result<BootDomain> {
    let memory = static_shared.memory.first().map_or("nothing", |memory| &memory.id);
    let port = static_shared.ports.first().map_or(0, |end| end.port);
    let bootargs = format!("console=ttyAMA0 quiet run={STATIC_SHM} role={role} memory={memory} port={port}");
    Ok(BootDomain {
        name: name.into(),
        kernel: lab.assets.kernel(SERIES)?.image(),
        ramdisk: Some(lab.assets.initramfs(SERIES)),
        bootargs,
        memory_mib: 128,
        vcpus: 1,
        vpl011: true,
        static_shared,
        ..BootDomain::default()
    })
}

fn frames(machine: Option<u64>, guest: u64) -> SharedMemory {
    SharedMemory { id: "frames".into(), machine, guest, size: SIZE, role: None }
}

/// A machine with room for three systems.
fn machine(lab: &Lab) -> Result<Setup> {
    let mut setup = lab.linux(SERIES)?;
    setup.memory_mib = 2048;
    Ok(setup)
}

/// Without a machine address and an owner. The domains have the memory at different places.
fn anywhere(lab: &Lab) -> Result<()> {
    let mut setup = machine(lab)?;
    let ends = [(10, 0x7001, 0x7002, GUEST), (1023, 0x7002, 0x7001, GUEST + 0x1000)];
    for (role, (port, phandle, peer, guest)) in ["asks", "answers"].into_iter().zip(ends) {
        let ports = vec![StaticPort { port, phandle, peer }];
        let static_shared = StaticShared { memory: vec![frames(None, guest)], ports };
        setup.domains.push(domain(lab, role, role, static_shared)?);
    }
    let mut machine = lab.start(&setup)?;
    for _ in 0..setup.domains.len() {
        machine.expect("static-shm: ")?;
        let role = machine.expect(" ended with ")?;
        let status = machine.expect(" .")?;
        ensure!(status == "0", "the domain that {role} ended with {status}");
    }
    Ok(())
}

/// With machine addresses, for each of two domains another. It is the first domain's own, which asks both.
fn at_its_address(lab: &Lab) -> Result<()> {
    let mut setup = machine(lab)?;
    let ends = [("one", MACHINE, 60, 0x7001, 0x7002), ("two", MACHINE + 2 * SIZE, 61, 0x7003, 0x7004)];
    for (name, at, port, phandle, peer) in ends {
        let memory = |guest, role: &str| SharedMemory {
            id: name.into(),
            role: Some(role.into()),
            ..frames(Some(at), guest)
        };
        setup.static_shared.memory.push(memory(at, "owner"));
        setup.static_shared.ports.push(StaticPort { port, phandle, peer });
        let ports = vec![StaticPort { port: 10, phandle: peer, peer: phandle }];
        let static_shared = StaticShared { memory: vec![memory(GUEST, "borrower")], ports };
        setup.domains.push(domain(lab, name, "answers", static_shared)?);
    }
    let mut machine = lab.start(&setup)?;
    let mut shell = machine.shell()?;
    for (name, _, port, ..) in ends {
        let outcome = shell.run(&format!("guest-tests static-shm asks {name} {port}"))?;
        ensure!(outcome.status == 0, "asking {name}:\n{}", outcome.output);
    }
    shell.last("poweroff -f")?;
    machine.wait_for_end()?;
    Ok(())
}

/// Each wrong node is named with what is wrong in it, and costs its domain; the first domain does without its own.
fn wrong_nodes(lab: &Lab) -> Result<()> {
    // Registers of the UART.
    const NO_RAM: u64 = 0x900_0000;
    let mut setup = machine(lab)?;
    setup.static_shared.memory.push(SharedMemory { id: "uart".into(), ..frames(Some(NO_RAM), NO_RAM) });
    setup.static_shared.ports.push(StaticPort { port: 60, phandle: 0x7001, peer: 0x7fff });
    let owner = |machine| SharedMemory { role: Some("owner".into()), ..frames(machine, GUEST) };
    let port = |port, phandle, peer| StaticShared {
        ports: vec![StaticPort { port, phandle, peer }],
        ..StaticShared::default()
    };
    let memory = |memory| StaticShared { memory: vec![memory], ..StaticShared::default() };
    let half = SharedMemory { id: "half".into(), size: 0x800, ..frames(None, GUEST) };
    let uart = SharedMemory { id: "uart".into(), ..frames(Some(NO_RAM), GUEST) };
    // Each with what the error names, besides the domain's node.
    let nodes: [(_, _, &[&str]); 6] = [
        ("sound", memory(owner(None)), &[]),
        ("second-owner", memory(owner(None)), &["/chosen/sound/shared-memory@70000000", "`role`"]),
        ("other-place", memory(frames(Some(MACHINE), GUEST)), &["/chosen/sound/", "`xen,shared-mem`"]),
        ("no-whole-pages", memory(half), &["shared-memory@70000000", "`xen,shared-mem`", "4 KiB"]),
        ("no-port", port(0, 0x7002, 0x7003), &["evtchn@0", "`xen,evtchn`"]),
        ("not-free", memory(uart), &["shared-memory@70000000", "`xen,shared-mem`", "0x9000000"]),
    ];
    let mut errors: Vec<(String, &[&str])> = vec![
        ("first domain".into(), &["/chosen/shared-memory@9000000", "`xen,shared-mem`"]),
        ("first domain".into(), &["/chosen/evtchn@3c", "`xen,evtchn`"]),
    ];
    for (name, static_shared, names) in nodes {
        if !names.is_empty() {
            errors.push((format!("/chosen/{name}"), names));
        }
        setup.domains.push(domain(lab, name, "answers", static_shared)?);
    }
    let mut machine = lab.start(&setup)?;
    let said = machine.expect(READY)?;
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("error: ")).collect();
    for (node, names) in &errors {
        let is_it = |line: &&str| line.contains(node) && names.iter().all(|name| line.contains(name));
        ensure!(lines.iter().any(is_it), "no error names {node} and {names:?}");
    }
    ensure!(lines.len() == errors.len(), "more is wrong:\n{}", lines.join("\n"));
    ensure!(said.contains("d1 (/chosen/sound): 128 MiB"), "the sound domain is not started");
    Ok(())
}
