//! The guests that the documentation shows are guests that `lith` takes.

use std::path::{Path, PathBuf};

use lith::config::{Action, Backend, Boot, GuestConfig};
use virtio::config::Format;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The examples, each with its file's name.
fn examples() -> Vec<(String, GuestConfig)> {
    let folder = root().join("examples/guests");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let guests = files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
    let read = |file: PathBuf| {
        let guest = GuestConfig::read(&file).unwrap_or_else(|error| panic!("{error}"));
        (file.file_name().unwrap().to_str().unwrap().to_owned(), guest)
    };
    guests.map(read).collect()
}

#[test]
fn each_example_is_a_guest_and_listed() {
    let table = std::fs::read_to_string(root().join("examples/guests/README.md")).unwrap();
    let examples = examples();
    for (file, _) in &examples {
        assert!(table.contains(&format!("| [{file}]({file}) |")), "{file} is not in the table");
    }
    assert_eq!(table.matches(".toml](").count(), examples.len(), "the table has what there is not");
}

#[test]
fn each_feature_has_an_example() {
    let guests: Vec<GuestConfig> = examples().into_iter().map(|(_, guest)| guest).collect();
    let has = |what: &str, feature: &dyn Fn(&GuestConfig) -> bool| {
        assert!(guests.iter().any(feature), "no example has {what}");
    };
    has("a ramdisk", &|guest| matches!(&guest.boot, Boot::Files { ramdisk: Some(_), .. }));
    has("a kernel of its own", &|guest| matches!(guest.boot, Boot::Disk { .. }));
    has("a command line", &|guest| !guest.cmdline.is_empty());
    has("a start with the machine", &|guest| guest.autostart);
    has("several vCPUs", &|guest| guest.vcpus > 1);
    for action in [Action::Destroy, Action::Restart, Action::Preserve] {
        has("that action after a poweroff", &|guest| guest.on_poweroff == action);
        has("that action after a reboot", &|guest| guest.on_reboot == action);
        has("that action after a crash", &|guest| guest.on_crash == action);
    }
    let disks = || guests.iter().flat_map(|guest| &guest.devices.disks);
    assert!(disks().any(|disk| disk.config.format() == Format::Raw));
    assert!(disks().any(|disk| disk.config.format() == Format::Qcow2 && disk.config.backing.len() > 1));
    assert!(disks().any(|disk| disk.config.read_only) && disks().any(|disk| !disk.config.serial.is_empty()));
    assert!(disks().any(|disk| matches!(disk.backend, Backend::Name(_))));
    assert!(disks().any(|disk| matches!(disk.backend, Backend::Number(number) if number.0 != 0)));
}

#[test]
fn the_file_in_the_manual_is_a_guest() {
    let manual = std::fs::read_to_string(root().join("docs/lith.md")).unwrap();
    let (_, from) = manual.split_once("```toml\n").unwrap();
    let (text, _) = from.split_once("```").unwrap();
    GuestConfig::parse(Path::new("docs/lith.md"), text).unwrap();
}
