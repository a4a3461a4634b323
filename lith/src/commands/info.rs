//! `lith info`.

use anyhow::Result;
use serde::Serialize;
use virtio::config::DiskConfig;

use super::devices::{self, GuestDevice, all_devices};
use super::disks::{self, GuestDisk, all_disks};
use super::domains::{Domain, NO_MONITOR, all, find};
use crate::config::Boot;
use crate::output::{facts, print, print_json};
use crate::registry::{Record, Registry};
use crate::xen::{Version, Xen};

#[derive(Serialize)]
struct Machine {
    version: Version,
    cpus: u32,
    counter_khz: u32,
    memory_mib: u64,
    free_mib: u64,
    free_kib: u64,
    domains: usize,
}

/// Describes the machine.
pub fn machine(xen: &dyn Xen, json: bool) -> Result<()> {
    let info = xen.machine()?;
    let machine = Machine {
        version: xen.version()?,
        cpus: info.nr_cpus,
        counter_khz: info.cpu_khz,
        memory_mib: info.total_pages >> 8,
        free_mib: info.free_pages >> 8,
        free_kib: info.free_pages.saturating_mul(4),
        domains: xen.domains()?.len(),
    };
    if json {
        return print_json(&machine);
    }
    let (major, minor) = machine.version.number;
    let version = &machine.version;
    print(&facts(&[
        ("Interface", format!("Xen {major}.{minor}{}", version.extra)),
        ("Build", version.changeset.clone()),
        ("Compiler", version.compiler.clone()),
        ("Options", version.command_line.clone()),
        ("CPUs", machine.cpus.to_string()),
        ("Counter", format!("{} kHz", machine.counter_khz)),
        ("Memory", format!("{} MiB, {} MiB free", machine.memory_mib, machine.free_mib)),
        ("Domains", machine.domains.to_string()),
    ]))
}

#[derive(Serialize)]
struct Guest {
    #[serde(flatten)]
    domain: Domain,
    disks: Vec<GuestDisk>,
    /// Those that are no disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<GuestDevice>,
    record: Option<Record>,
}

/// Describes a guest.
pub fn guest(xen: &dyn Xen, registry: &Registry, who: &str, json: bool) -> Result<()> {
    let guest = ask(xen, registry, who)?;
    if json { print_json(&guest) } else { print(&as_text(&guest, registry)) }
}

fn ask(xen: &dyn Xen, registry: &Registry, who: &str) -> Result<Guest> {
    let domain = find(xen, registry, who)?;
    let domains = all(xen, registry)?;
    let mut disks = all_disks(xen, &domains)?;
    disks.retain(|disk| disk.guest_domain == domain.domain);
    let mut devices = all_devices(xen, &domains)?;
    devices
        .retain(|device| device.guest_domain == domain.domain && device.device_id != DiskConfig::DEVICE_ID);
    let record = registry.get(&domain.name);
    Ok(Guest { domain, disks, devices, record })
}

fn as_text(guest: &Guest, registry: &Registry) -> String {
    let domain = &guest.domain;
    let mut lines = vec![
        ("Name", domain.name.clone()),
        ("Domain", domain.domain.0.to_string()),
        ("UUID", domain.uuid.to_string()),
        ("State", domain.state.to_owned()),
        ("vCPUs", domain.vcpus.to_string()),
        ("Memory", format!("{} MiB", domain.memory_mib)),
        ("Trouble", trouble(domain, guest.record.is_some())),
    ];
    if let Some(Record { config, monitor, restarts, .. }) = &guest.record {
        let (kernel, ramdisk) = match &config.boot {
            Boot::Files { kernel, ramdisk } => (kernel.display().to_string(), ramdisk.as_ref()),
            Boot::Disk { boot_entry: Some(entry) } => {
                (format!("of its first disk, by the entry `{entry}`"), None)
            }
            Boot::Disk { boot_entry: None } => ("of its first disk, as its boot loader has it".into(), None),
        };
        lines.extend([
            ("Kernel", kernel),
            ("Ramdisk", ramdisk.map(|path| path.display().to_string()).unwrap_or_default()),
            ("Command line", config.cmdline.clone()),
            ("Restarts", restarts.to_string()),
            ("Monitor", format!("process {monitor}, log {}", registry.log(&config.name).display())),
        ]);
    }
    let mut text = facts(&lines);
    if !guest.disks.is_empty() {
        text += "\n";
        text += &disks::as_table(&guest.disks);
    }
    if !guest.devices.is_empty() {
        text += "\n";
        text += &devices::as_table(&guest.devices);
    }
    text
}

/// What is not as it should be, and what to do about it, if lith can do something.
fn trouble(domain: &Domain, is_ours: bool) -> String {
    let name = &domain.name;
    let advice = |note: &String| match note.as_str() {
        note if !is_ours => note.to_owned(),
        NO_MONITOR => format!("{note}: `lith attach {name}` starts one"),
        _ => format!("{note}: `lith reset {name}` gives it a new one"),
    };
    domain.notes.iter().map(advice).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use backend::xen::slots::SlotState;
    use xenolith_abi::DomId;
    use xenolith_abi::domctl::DomainInfo;

    use super::*;
    use crate::commands::devices::tests::device;
    use crate::registry::tests::Folder;
    use crate::xen::Devices;
    use crate::xen::fake::FakeXen;

    #[test]
    fn a_guest_is_shown_with_its_devices_of_every_kind() {
        let folder = Folder::new("info");
        let registry = Registry::open(&folder.0).unwrap();
        let xen = FakeXen::new();
        let info = DomainInfo { domain: DomId(7), tot_pages: 256, ..DomainInfo::default() };
        xen.domains.borrow_mut().insert(DomId(7), info);
        xen.create_slot(&device(DiskConfig::DEVICE_ID, br#"{"image":"/a.img"}"#)).unwrap();
        let guest = ask(&xen, &registry, "7").unwrap();
        assert!(
            serde_json::to_value(&guest).unwrap().get("devices").is_none(),
            "disks have a list of their own"
        );
        xen.create_slot(&device(99, b"{}")).unwrap();
        xen.slots.borrow_mut()[0].state = Some(SlotState::Gone);
        let guest = ask(&xen, &registry, "7").unwrap();
        let text = as_text(&guest, &registry);
        assert!(text.contains("Trouble  disk /a.img gone\n"), "{text}");
        let ours = trouble(&guest.domain, true);
        assert_eq!(ours, "disk /a.img gone: `lith reset domain-7` gives it a new one");
        let (_, tables) = text.split_once("\n\n").unwrap();
        assert_eq!(
            tables,
            "GUEST     BACKEND  IMAGE   FORMAT  ACCESS       STATE  MESSAGE\n\
             domain-7  (0)      /a.img  raw     read, write  gone\n\
             \n\
             GUEST     BACKEND  KIND              STATE    MESSAGE\n\
             domain-7  (0)      virtio device 99  waiting\n"
        );
    }
}
