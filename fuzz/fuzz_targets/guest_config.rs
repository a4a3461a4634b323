//! A guest's TOML file: read, and an error of it shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lith::config::GuestConfig;

fuzz_target!(|text: &str| {
    match GuestConfig::parse(Path::new("/guest.toml"), text) {
        Ok(config) => {
            assert!(config.memory != 0 && config.vcpus != 0 && !config.name.contains('/'));
            assert!(config.devices.disks.iter().all(|disk| disk.config.check().is_ok()));
        }
        Err(error) => assert!(error.to_string().starts_with("/guest.toml")),
    }
});
