//! The kinds of devices that lithd serves: a line for each. What else a kind is stands in its own file in `virtio`.

use anyhow::{Context, Result};
use virtio::devices::{Kind, block};

/// The registry.
const KINDS: &[Kind] = &[block::kind::KIND];

/// The kind with virtio's number, if lithd serves it.
pub fn find(device_id: u32) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.device_id == device_id)
}

/// The kind with virtio's number.
///
/// # Errors
/// lithd serves no such devices.
pub fn get(device_id: u32) -> Result<&'static Kind> {
    find(device_id).with_context(|| format!("this lithd does not know virtio devices of kind {device_id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_kind() {
        for kind in KINDS {
            assert_eq!(KINDS.iter().filter(|other| other.device_id == kind.device_id).count(), 1);
            assert_eq!(get(kind.device_id).unwrap().name, kind.name);
        }
        assert!(get(0).is_err());
    }
}
