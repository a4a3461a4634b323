use std::cell::RefCell;

use uuid::Uuid;
use xenolith_abi::domctl::DomainInfo;

use super::*;
use crate::commands::devices::tests::device;
use crate::commands::end::tests::{web, world};
use crate::registry::tests::Folder;
use crate::xen::Devices;
use crate::xen::fake::FakeXen;

/// A machine with the guests `db` and `web`, whose disk `db` serves.
fn two(name: &str) -> (FakeXen, Registry, Folder, Vec<Guest>) {
    let (xen, registry, folder) = world(name);
    let mut guests = Vec::new();
    for (name, number) in [("db", 3), ("web", 7)] {
        let domain = DomId(number);
        xen.domains.borrow_mut().insert(domain, DomainInfo { domain, ..DomainInfo::default() });
        let mut record = Record { domain, uuid: Uuid::nil(), ..web("") };
        record.config.name = name.into();
        registry.write(&record).unwrap();
        guests.push(Guest { record, is_asked: false, destroyed: None });
    }
    xen.create_slot(&backend::xen::slots::Device { backend: DomId(3), ..device(2, b"{}") }).unwrap();
    (xen, registry, folder, guests)
}

#[test]
fn a_guest_that_serves_another_is_asked_when_that_one_is_gone() {
    let (xen, registry, _folder, mut guests) = two("waves");
    let asked = RefCell::new(Vec::new());
    let retire = |guest: &Record| {
        asked.borrow_mut().push(guest.config.name.clone());
        Ok(())
    };
    for _ in 0..2 {
        step(&xen, &registry, &mut guests, &mut Vec::new(), &retire).unwrap();
        assert_eq!(*asked.borrow(), ["web"], "once, and db serves it still");
    }
    xen.domains.borrow_mut().remove(&DomId(7));
    xen.slots.borrow_mut().clear();
    registry.remove("web");
    step(&xen, &registry, &mut guests, &mut Vec::new(), &retire).unwrap();
    assert_eq!(*asked.borrow(), ["web", "db"]);
    assert_eq!(guests.len(), 1);
}

#[test]
fn guests_that_do_not_go_are_destroyed_and_named() {
    let (xen, registry, _folder, mut guests) = two("rest");
    let mut destroyed = Vec::new();
    step(&xen, &registry, &mut guests, &mut destroyed, &|_| Ok(())).unwrap();
    xen.calls.borrow_mut().clear();
    destroy_rest(&xen, &registry, guests, &mut destroyed, Duration::from_secs(60)).unwrap();
    assert_eq!(destroyed, ["guest web: it is not off after 60 s", "guest db: it is not off after 60 s"]);
    assert_eq!(*xen.calls.borrow(), ["destroy 7", "destroy 3"], "the one that is served goes first");
}

#[test]
fn guests_that_nobody_can_ask_are_not_waited_for() {
    let (xen, registry, _folder, _) = two("alone");
    xen.calls.borrow_mut().clear();
    let alone = |guest: &Record| ask(&registry, &guest.config.name, Command::Retire).map(drop);
    let most = Duration::from_secs(9);
    let error = end_all(&xen, &registry, most, &alone).unwrap_err().to_string();
    let (web, db) = (error.find("guest web: nobody looks after it"), error.find("guest db: nobody looks"));
    assert!(web.is_some() && web < db, "{error}");
    assert_eq!(*xen.calls.borrow(), ["destroy 7", "destroy 3"]);
    assert!(xen.time.get() < Duration::from_secs(1), "{:?}", xen.time);
    xen.domains.borrow_mut().clear();
    end_all(&xen, &registry, most, &alone).unwrap();
}

#[test]
fn guests_start_behind_those_that_serve_them() {
    let guest = |name: &str, backend: &str| {
        let text =
            format!("kernel = \"k\"\nmemory = \"64M\"\n[[disk]]\nimage = \"/a\"\nbackend = {backend}\n");
        GuestConfig::parse(Path::new(&format!("/{name}.toml")), &text).unwrap()
    };
    let names = |guests: Vec<GuestConfig>| -> Vec<String> {
        in_order(guests).into_iter().map(|guest| guest.name).collect()
    };
    let chain =
        vec![guest("app", "\"web\""), guest("web", "\"store\""), guest("mail", "1"), guest("store", "0")];
    assert_eq!(names(chain), ["mail", "store", "web", "app"]);
    assert_eq!(names(vec![guest("a", "\"b\""), guest("b", "\"a\"")]), ["a", "b"]);
}

#[test]
fn files_of_guests_are_found_by_name() {
    let folder = Folder::new("files");
    std::fs::create_dir_all(&folder.0).unwrap();
    for name in ["20-web.toml", "10-db.toml", "notes.txt"] {
        std::fs::write(folder.0.join(name), "").unwrap();
    }
    let found = files(&folder.0).unwrap();
    assert_eq!(found, ["10-db.toml", "20-web.toml"].map(|name| folder.0.join(name)));
    let error = files(&folder.0.join("none")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the folder "), "{error}");
}
