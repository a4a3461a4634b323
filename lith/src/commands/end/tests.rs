use std::path::Path;

use backend::xen::slots::{Device, SlotState};
use xenolith_abi::domctl::{DomainInfo, info_flag};

use super::*;
use crate::commands::devices::tests::device;
use crate::config::GuestConfig;
use crate::registry::tests::Folder;
use crate::xen::fake::FakeXen;
use crate::xen::{Devices, Domains};

const UUID: Uuid = Uuid::nil();

pub(in crate::commands) fn world(name: &str) -> (FakeXen, Registry, Folder) {
    let folder = Folder::new(name);
    let registry = Registry::open(Path::new(&folder.0)).unwrap();
    let xen = FakeXen::new();
    xen.create(&Default::default()).unwrap();
    (xen, registry, folder)
}

/// The record of a guest `web` in the domain that the world has.
pub(in crate::commands) fn web(more: &str) -> Record {
    let text = format!("name = \"web\"\nkernel = \"/k\"\nmemory = \"64M\"\n{more}");
    let config = GuestConfig::parse(Path::new("/x.toml"), &text).unwrap();
    Record { domain: DomId(7), uuid: UUID, ports: [2, 1], monitor: 1, restarts: 0, config }
}

fn flags(xen: &FakeXen, flags: u32) {
    xen.domains
        .borrow_mut()
        .insert(DomId(7), DomainInfo { domain: DomId(7), flags, ..DomainInfo::default() });
}

#[test]
fn a_guest_is_destroyed_once() {
    let (xen, registry, _folder) = world("destroy");
    destroy(&xen, &registry, "7", true).unwrap();
    assert_eq!(xen.calls.borrow()[1..], ["destroy 7"]);
    assert!(destroy(&xen, &registry, "7", true).is_err());
}

#[test]
fn a_domain_that_serves_others_or_cannot_be_made_again_is_destroyed_by_force_only() {
    let (xen, registry, _folder) = world("force");
    let refused = || destroy(&xen, &registry, "7", false).unwrap_err().to_string();
    assert!(refused().starts_with("domain-7 was not made by lith"), "{}", refused());
    let config = br#"{"image":"/a.img","format":"raw"}"#;
    let disk = Device { guest: DomId(8), backend: DomId(7), ..device(2, config) };
    xen.create_slot(&disk).unwrap();
    let words = "domain-7 serves others: with it, guest (8) loses its disk /a.img; shut them down first, or `lith destroy \
                 --force domain-7`";
    assert_eq!(refused(), words);
    registry.write(&web("")).unwrap();
    let mut named = xen.domains.borrow()[&DomId(7)];
    named.handle = UUID.into_bytes();
    xen.domains.borrow_mut().insert(DomId(7), named);
    assert!(refused().starts_with("web serves others"), "{}", refused());
    let error = reset(&xen, &registry, "web", false).unwrap_err().to_string();
    assert!(error.ends_with("`lith reset --force web`"), "{error}");
    // What is lost already is not lost by this.
    xen.slots.borrow_mut()[0].state = Some(SlotState::Gone);
    destroy(&xen, &registry, "web", false).unwrap();
    assert!(xen.domains.borrow().is_empty());
}

#[test]
fn the_record_of_a_guest_that_is_gone_can_be_removed() {
    let (xen, registry, _folder) = world("gone");
    registry.write(&Record { domain: DomId(99), ..web("") }).unwrap();
    destroy(&xen, &registry, "web", false).unwrap();
    assert!(registry.get("web").is_none());
    assert!(
        destroy(&xen, &registry, "web", false).unwrap_err().to_string().contains("no guest is called web")
    );
}

#[test]
fn the_way_out_is_told_once_and_is_that_of_the_command() {
    let (_, registry, _folder) = world("once");
    let error = request(&registry, "web", Command::Shutdown).unwrap_err().to_string();
    assert_eq!(error.matches("`lith destroy web`").count(), 1, "{error}");
    let (reboot, shutdown) = (way_out("web", Command::Reboot), way_out("web", Command::Shutdown));
    assert!(reboot.contains("`lith reset web`") && reboot.contains("`lith destroy web`"), "{reboot}");
    assert_eq!(shutdown, "`lith destroy web` ends it without asking it");
}

#[test]
fn a_guest_is_gone_when_its_domain_its_record_and_its_monitor_are() {
    let (xen, registry, _folder) = world("end");
    let guest = web("");
    registry.write(&guest).unwrap();
    let monitor = std::cell::RefCell::new(Some(registry.lock("web").unwrap()));
    let seen = || outcome(&xen, &registry, &guest).unwrap();
    assert_eq!(seen(), None, "it runs");
    flags(&xen, info_flag::SHUTDOWN);
    assert_eq!(seen(), None, "it is off, and its monitor has not seen that yet");
    flags(&xen, info_flag::SHUTDOWN | info_flag::DYING);
    assert_eq!(seen(), None, "its backends have its pages still");
    xen.domains.borrow_mut().clear();
    assert_eq!(seen(), None, "its monitor is about to end, or makes it anew");
    registry.remove("web");
    assert_eq!(seen(), None, "its monitor has the name still");
    drop(monitor.take());
    assert_eq!(seen(), Some(Outcome::Gone));
    assert!(registry.lock("web").is_ok(), "the name is free for the next");
}

#[test]
fn a_file_may_say_that_a_guest_is_not_gone_at_its_end() {
    let (xen, registry, _folder) = world("kept");
    let guest = web("on_poweroff = \"preserve\"\n");
    registry.write(&guest).unwrap();
    flags(&xen, info_flag::SHUTDOWN);
    assert_eq!(outcome(&xen, &registry, &guest).unwrap(), Some(Outcome::Preserved));
    registry.write(&Record { domain: DomId(8), uuid: Uuid::from_bytes([1; 16]), ..web("") }).unwrap();
    xen.domains.borrow_mut().clear();
    assert_eq!(outcome(&xen, &registry, &guest).unwrap(), Some(Outcome::Restarted));
}

#[test]
fn a_guest_that_does_not_end_is_given_up_with_the_next_step() {
    let (xen, registry, _folder) = world("hangs");
    let guest = web("");
    registry.write(&guest).unwrap();
    let _monitor = registry.lock("web").unwrap();
    flags(&xen, info_flag::BLOCKED);
    let says = || await_end(&xen, &registry, &guest, Duration::from_secs(5)).unwrap_err().to_string();
    let hangs = says();
    assert_eq!(xen.time.get().as_secs(), 5);
    for words in ["is idle still after 5 s", "`lith reset web`", "`lith destroy web`"] {
        assert!(hangs.contains(words), "{hangs}");
    }
    xen.create_slot(&device(2, br#"{"image":"/a.img","format":"raw"}"#)).unwrap();
    xen.slot_becomes.replace(Some((SlotState::Gone, String::new())));
    assert!(says().contains("after 5 s (disk /a.img gone);"), "the likely reason: {}", says());
    flags(&xen, info_flag::DYING);
    assert!(says().contains("others still use pages of its domain 7"), "{}", says());
}
