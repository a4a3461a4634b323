//! Domains: found by what people call them, listed, and their states in words.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use backend::xen::slots::SlotState;
use serde::Serialize;
use uuid::Uuid;
use xenolith_abi::domctl::{DomainInfo, info_flag};

use super::devices::slots;
use crate::config::{CONTROL_DOMAIN, Devices, NAMELESS};
use crate::output::{Align, print, print_json, table};
use crate::registry::{Record, Registry};
use crate::xen::Xen;
use xenolith_abi::DomId;

/// The note about a guest that nobody looks after.
pub const NO_MONITOR: &str = "no monitor";

/// A domain, with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// What it is called; domains that nobody has named are called by their number.
    pub name: String,
    /// Its number.
    pub domain: DomId,
    /// vCPUs that are on.
    pub vcpus: u32,
    /// MiB of memory.
    pub memory_mib: u64,
    /// Its state, in a word.
    pub state: &'static str,
    /// Seconds that its vCPUs have run, in tenths.
    #[serde(serialize_with = "tenths")]
    pub cpu_seconds: u64,
    /// What is not as it should be: devices that nobody serves, a monitor that is gone.
    pub notes: Vec<String>,
    /// Its UUID: numbers of domains are used again.
    pub uuid: Uuid,
}

fn tenths<S: serde::Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let text = seconds(*value);
    serializer.serialize_f64(text.parse().unwrap_or_default())
}

fn seconds(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// All domains.
pub fn all(xen: &dyn Xen, registry: &Registry) -> Result<Vec<Domain>> {
    let records: BTreeMap<(DomId, Uuid), Record> =
        registry.list()?.into_iter().map(|record| ((record.domain, record.uuid), record)).collect();
    let slots = slots(xen)?;
    let describe = |info: &DomainInfo| {
        let (domain, uuid) = (info.domain, Uuid::from_bytes(info.handle));
        let mut notes: Vec<String> = slots
            .iter()
            .filter(|slot| slot.device.guest == domain && slot.state == Some(SlotState::Gone))
            .map(|slot| format!("{} gone", Devices::label_of(slot.device.device_id, &slot.device.config)))
            .collect();
        if let Some(record) = records.get(&(domain, uuid))
            && registry.is_free(&record.config.name)
        {
            notes.push(NO_MONITOR.into());
        }
        // A record counts only for the very domain that it is about: numbers are used again.
        let name = match records.get(&(domain, uuid)) {
            Some(record) => record.config.name.clone(),
            None if domain == DomId::CONTROL => CONTROL_DOMAIN.into(),
            None => format!("{NAMELESS}{}", info.domain.0),
        };
        Domain {
            name,
            domain,
            vcpus: info.nr_online_vcpus,
            memory_mib: info.tot_pages >> 8,
            state: state(info.flags),
            cpu_seconds: info.cpu_time / 100_000_000,
            notes,
            uuid,
        }
    };
    Ok(xen.domains()?.iter().map(describe).collect())
}

/// A domain's state, in a word.
pub fn state(flags: u32) -> &'static str {
    use crate::monitor::{End, State};
    let is = |flag: u32| flags & flag != 0;
    match State::of_flags(flags) {
        State::Gone => "dying",
        State::Suspended => "suspended",
        State::Ended(End::Poweroff) => "off",
        State::Ended(End::Reboot) => "rebooting",
        State::Ended(End::Crash) => "crashed",
        State::Ended(End::Watchdog) => "hung",
        State::Ended(End::Other(_)) => "ended",
        State::Alive if is(info_flag::PAUSED) => "paused",
        State::Alive if is(info_flag::BLOCKED) => "idle",
        State::Alive => "running",
    }
}

/// The number of a domain, if that is how someone calls it.
fn number(who: &str) -> Option<DomId> {
    who.parse().ok().map(DomId)
}

/// The domain that someone means by a name or a number.
pub fn find(xen: &dyn Xen, registry: &Registry, who: &str) -> Result<Domain> {
    let domains = all(xen, registry)?;
    let number = number(who);
    let found =
        domains.iter().find(|domain| number.map_or(domain.name == who, |number| domain.domain == number));
    found.cloned().with_context(|| unknown(who, domains.iter().map(|domain| domain.name.as_str())))
}

/// The guest that someone means: one that has a monitor.
pub fn find_monitored(xen: &dyn Xen, registry: &Registry, who: &str) -> Result<Record> {
    let records = registry.list()?;
    let number = number(who);
    for record in &records {
        let is_meant = match number {
            None => record.config.name == who,
            // Numbers are used again: the record may be of a domain that is gone.
            Some(number) if number == record.domain => {
                let info = xen.domain(number)?;
                info.is_none_or(|info| Uuid::from_bytes(info.handle) == record.uuid)
            }
            Some(_) => false,
        };
        if is_meant {
            return Ok(record.clone());
        }
    }
    if who == CONTROL_DOMAIN || number == Some(DomId::CONTROL) {
        bail!("this is the control domain itself, not a guest");
    }
    let names = records.iter().map(|record| record.config.name.as_str());
    if let Ok(domain) = find(xen, registry, who) {
        bail!(
            "{} was not made by lith, which has neither its console nor a way to ask it; of lith's guests {}",
            domain.name,
            known(names)
        );
    }
    bail!("{}", unknown(who, names))
}

fn unknown<'a>(who: &str, names: impl Iterator<Item = &'a str>) -> String {
    format!("no guest is called {who}: {}", known(names))
}

fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "there is none".into() } else { format!("there are {}", names.join(", ")) }
}

/// `lith list`.
pub fn list(xen: &dyn Xen, registry: &Registry, json: bool) -> Result<()> {
    let domains = all(xen, registry)?;
    if json {
        return print_json(&domains);
    }
    print(&as_table(&domains))
}

fn as_table(domains: &[Domain]) -> String {
    let head = [
        ("NAME", Align::Left),
        ("ID", Align::Right),
        ("VCPUS", Align::Right),
        ("MEMORY", Align::Right),
        ("CPU TIME", Align::Right),
        ("STATE", Align::Left),
        ("NOTES", Align::Left),
    ];
    let row = |domain: &Domain| {
        vec![
            domain.name.clone(),
            domain.domain.0.to_string(),
            domain.vcpus.to_string(),
            format!("{} MiB", domain.memory_mib),
            format!("{} s", seconds(domain.cpu_seconds)),
            domain.state.to_owned(),
            domain.notes.join(", "),
        ]
    };
    table(&head, &domains.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::devices::tests::device;
    use crate::config::GuestConfig;
    use crate::registry::tests::Folder;
    use crate::xen::Devices as _;
    use crate::xen::fake::FakeXen;
    use std::path::Path;

    fn world(name: &str) -> (FakeXen, Registry, Folder) {
        let folder = Folder::new(name);
        let registry = Registry::open(&folder.0).unwrap();
        let xen = FakeXen::new();
        for (domain, handle) in [(0, 0), (3, 3), (4, 9)] {
            let info = DomainInfo {
                domain: DomId(domain),
                nr_online_vcpus: 2,
                tot_pages: 65540,
                cpu_time: 1_234_567_890,
                handle: [handle; 16],
                ..DomainInfo::default()
            };
            xen.domains.borrow_mut().insert(DomId(domain), info);
        }
        for (name, domain) in [("web", 3), ("old", 4)] {
            let text = format!("name = \"{name}\"\nkernel = \"/k\"\nmemory = \"64M\"\n");
            let config = GuestConfig::parse(Path::new("/x.toml"), &text).unwrap();
            let uuid = Uuid::from_bytes([3; 16]);
            registry
                .write(&Record {
                    domain: DomId(domain),
                    uuid,
                    ports: [2, 1],
                    monitor: 1,
                    restarts: 0,
                    config,
                })
                .unwrap();
        }
        (xen, registry, folder)
    }

    #[test]
    fn domains_have_the_names_that_are_theirs() {
        let (xen, registry, _folder) = world("names");
        let monitor = registry.lock("web").unwrap();
        assert_eq!(
            as_table(&all(&xen, &registry).unwrap()),
            "NAME      ID  VCPUS   MEMORY  CPU TIME  STATE    NOTES\n\
             control    0      2  256 MiB     1.2 s  running\n\
             web        3      2  256 MiB     1.2 s  running\n\
             domain-4   4      2  256 MiB     1.2 s  running\n"
        );
        drop(monitor);
        let config = br#"{"image":"/a.img","format":"raw"}"#;
        xen.create_slot(&backend::xen::slots::Device { guest: DomId(3), ..device(2, config) }).unwrap();
        xen.slots.borrow_mut()[0].state = Some(SlotState::Gone);
        assert_eq!(all(&xen, &registry).unwrap()[1].notes, ["disk /a.img gone", "no monitor"]);
        let json = serde_json::to_value(all(&xen, &registry).unwrap()).unwrap();
        assert_eq!(json[1]["cpu_seconds"], 1.2);
    }

    #[test]
    fn a_domain_is_found_by_name_and_number() {
        let (xen, registry, _folder) = world("find");
        assert_eq!(find(&xen, &registry, "web").unwrap().domain, DomId(3));
        assert_eq!(find(&xen, &registry, "4").unwrap().domain, DomId(4));
        assert_eq!(find(&xen, &registry, "domain-4").unwrap().domain, DomId(4));
        let error = find(&xen, &registry, "mail").unwrap_err().to_string();
        assert_eq!(error, "no guest is called mail: there are control, web, domain-4");
        for who in ["4", "domain-4"] {
            let error = find_monitored(&xen, &registry, who).unwrap_err().to_string();
            assert!(error.starts_with("domain-4 was not made by lith"), "{error}");
            assert!(error.ends_with("of lith's guests there are old, web"), "{error}");
        }
        let monitored = |who| find_monitored(&xen, &registry, who).map(|record| record.config.name);
        assert_eq!(monitored("3").unwrap(), "web");
        assert!(monitored("0").unwrap_err().to_string().contains("control domain itself"));
    }

    #[test]
    fn states_are_words() {
        let states = [0x20, 0x10, 0x8, 0x4, 0x1_0004, 0x2_000c, 0x3_0004, 0x5].map(state);
        let words = ["running", "idle", "paused", "off", "rebooting", "suspended", "crashed", "dying"];
        assert_eq!(states, words);
    }
}
