//! `lith info`.

use anyhow::Result;
use serde::Serialize;

use super::disks::{GuestDisk, all_disks, as_table};
use super::domains::{Domain, all, find};
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
    record: Option<Record>,
}

/// Describes a guest.
pub fn guest(xen: &dyn Xen, registry: &Registry, who: &str, json: bool) -> Result<()> {
    let domain = find(xen, registry, who)?;
    let mut disks = all_disks(xen, &all(xen, registry)?)?;
    disks.retain(|disk| disk.guest_domain == domain.domain);
    let record = registry.get(&domain.name);
    let guest = Guest { domain, disks, record };
    if json { print_json(&guest) } else { print(&as_text(&guest, registry)) }
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
    ];
    if let Some(Record { config, monitor, restarts, .. }) = &guest.record {
        let ramdisk = config.ramdisk.as_ref().map(|path| path.display().to_string());
        lines.extend([
            ("Kernel", config.kernel.display().to_string()),
            ("Ramdisk", ramdisk.unwrap_or_default()),
            ("Command line", config.cmdline.clone()),
            ("Restarts", restarts.to_string()),
            ("Monitor", format!("process {monitor}, log {}", registry.log(&config.name).display())),
        ]);
    }
    let mut text = facts(&lines);
    if !guest.disks.is_empty() {
        text += "\n";
        text += &as_table(&guest.disks);
    }
    text
}
