//! The registry of device kinds.
//!
//! A kind is its section of a guest's file: a type that reads it ([`Section`]) and says what the builder needs
//! ([`Device`]), in a file of its own, and one line in [`kinds!`] below. Everything else goes over the registry.

use std::fmt::Debug;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::MAX_DEVICES;
use super::backend::Backend;
use super::disk::Disk;
use super::error::ConfigError;
use super::reader::Table;

/// How a kind of device is described.
pub(super) trait Section: Device + Sized {
    /// The key of its tables in a guest's file.
    const KEY: &'static str;
    /// The keys in such a table.
    const KEYS: &'static [&'static str];
    /// What several of them are called.
    const PLURAL: &'static str;
    /// What it is: virtio's number for it (virtio 1.2, section 5).
    const DEVICE_ID: u32;

    /// What tells one apart from others of its kind, by its slot's configuration, which anybody may have written.
    fn subject(_config: &[u8]) -> Option<String> {
        None
    }

    /// Reads one, for a guest with so many vCPUs.
    fn read(table: &Table<'_>, vcpus: u16) -> Result<Self, ConfigError>;
}

/// A device of any kind, as the builder sees it.
pub trait Device: Debug {
    /// What it is: virtio's number for it (virtio 1.2, section 5).
    fn device_id(&self) -> u32;

    /// What it is called in messages: its kind and what tells it apart, such as `disk /a.img`.
    fn label(&self) -> String;

    /// What its kind is called in messages, one and several.
    fn nouns(&self) -> (&'static str, &'static str);

    /// Who serves it.
    fn backend(&self) -> &Backend;

    /// What the backend is to know of it, as a slot carries it.
    ///
    /// # Errors
    ///
    /// A value is out of its range.
    fn to_blob(&self) -> Result<Vec<u8>>;
}

/// Declares the kinds, each by the name of its list in records and its section's type.
macro_rules! kinds {
    ($($(#[$doc:meta])* $list:ident: $section:ty,)*) => {
        /// A guest's devices, of each kind in the order in which the guest finds them.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Devices {
            $($(#[$doc])* #[serde(default)] pub $list: Vec<$section>,)*
        }

        impl Devices {
            /// The keys of all kinds.
            pub(super) const KEYS: &'static [&'static str] = &[$(<$section>::KEY,)*];

            /// Reads the sections of all kinds.
            pub(super) fn read(root: &Table<'_>, vcpus: u16) -> Result<Devices, ConfigError> {
                let mut left = MAX_DEVICES;
                Ok(Devices { $($list: read_all::<$section>(root, vcpus, &mut left)?,)* })
            }

            /// What a kind is called, by virtio's number for it; `None` if it has no section.
            pub fn kind_name(device_id: u32) -> Option<&'static str> {
                let kinds = [$((<$section>::DEVICE_ID, <$section>::KEY),)*];
                kinds.into_iter().find(|(id, _)| *id == device_id).map(|(_, name)| name)
            }

            /// What a device is called in messages, by what its slot says of it.
            pub fn label_of(device_id: u32, config: &[u8]) -> String {
                $(if device_id == <$section>::DEVICE_ID {
                    let kind = <$section>::KEY;
                    return <$section>::subject(config)
                        .map_or_else(|| kind.to_owned(), |subject| format!("{kind} {subject}"));
                })*
                format!("virtio device {device_id}")
            }

            /// All of them, kind by kind: a device's place in this order is its place in the guest.
            pub fn iter(&self) -> impl Iterator<Item = &dyn Device> {
                std::iter::empty()$(.chain(self.$list.iter().map(|device| device as &dyn Device)))*
            }
        }
    };
}

kinds! {
    /// Disks.
    disks: Disk,
}

/// Reads all sections of a kind, of which there may be as many as places are `left`.
fn read_all<S: Section>(root: &Table<'_>, vcpus: u16, left: &mut usize) -> Result<Vec<S>, ConfigError> {
    let tables = root.tables(S::KEY, S::KEYS)?;
    let Some(rest) = left.checked_sub(tables.len()) else {
        return Err(root.bad(S::KEY, format!("there may be {left} of them at most")));
    };
    *left = rest;
    tables.iter().map(|table| S::read(table, vcpus)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use virtio::config::DiskConfig;
    use xenolith_abi::DomId;

    use super::*;
    use crate::config::reader;

    /// A second kind, as `docs/how-to/add-a-virtio-device-kind.md` adds it.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Entropy {
        backend: Backend,
    }

    impl Section for Entropy {
        const KEY: &'static str = "entropy";
        const KEYS: &'static [&'static str] = &["backend"];
        const PLURAL: &'static str = "entropy devices";
        const DEVICE_ID: u32 = 4;

        fn read(table: &Table<'_>, _vcpus: u16) -> Result<Entropy, ConfigError> {
            Ok(Entropy { backend: Backend::read(table)? })
        }
    }

    impl Device for Entropy {
        fn device_id(&self) -> u32 {
            Entropy::DEVICE_ID
        }

        fn label(&self) -> String {
            "entropy device".into()
        }

        fn nouns(&self) -> (&'static str, &'static str) {
            (Entropy::KEY, Entropy::PLURAL)
        }

        fn backend(&self) -> &Backend {
            &self.backend
        }

        fn to_blob(&self) -> anyhow::Result<Vec<u8>> {
            Ok(b"{}".to_vec())
        }
    }

    kinds! {
        /// Disks.
        disks: Disk,
        /// Entropy devices.
        sources: Entropy,
    }

    fn read(text: &str) -> Result<Devices, ConfigError> {
        let (source, root) = reader::parse(Path::new("web.toml"), text)?;
        Devices::read(&Table::root(&source, &root, Devices::KEYS)?, 2)
    }

    #[test]
    fn a_kind_of_its_own_line_is_read_and_found_beside_the_others() {
        let text = "[[entropy]]\nbackend = 3\n[[disk]]\nimage = \"/a.img\"\n[[entropy]]\n";
        let devices = read(text).unwrap();
        let labels: Vec<_> = devices.iter().map(|device| (device.device_id(), device.label())).collect();
        let source = (4, "entropy device".to_owned());
        assert_eq!(labels, [(DiskConfig::DEVICE_ID, "disk /a.img".into()), source.clone(), source]);
        let backends: Vec<_> = devices.sources.iter().map(|source| source.backend.clone()).collect();
        assert_eq!(backends, [3, 0].map(|number| Backend::Number(DomId(number))));
        assert_eq!(Devices::kind_name(4), Some("entropy"));
        assert_eq!(Devices::kind_name(DiskConfig::DEVICE_ID), Some("disk"));
        assert_eq!(Devices::kind_name(99), None);
        let disk = DiskConfig::new("/a.img", virtio::config::Format::Raw).to_blob().unwrap();
        let label = |id, config: &[u8]| Devices::label_of(id, config);
        assert_eq!(label(DiskConfig::DEVICE_ID, &disk), "disk /a.img");
        assert_eq!(label(DiskConfig::DEVICE_ID, b"nonsense"), "disk");
        assert_eq!((label(4, b"{}"), label(99, b"{}")), ("entropy".into(), "virtio device 99".into()));
    }

    #[test]
    fn all_kinds_share_the_places() {
        let text = "[[disk]]\nimage = \"/a.img\"\n".repeat(MAX_DEVICES - 1);
        assert!(read(&format!("{text}[[entropy]]\n")).is_ok());
        let error = read(&format!("{text}[[entropy]]\n[[entropy]]\n")).unwrap_err();
        assert!(error.to_string().ends_with("entropy: there may be 1 of them at most"), "{error}");
    }
}
