//! Kinds of devices, a file for each.
//!
//! A kind is a [`Device`] and a [`Kind`], which tells a daemon how it comes to be: its configuration is opened while the
//! process still may open files, and started when it has given that up.

pub mod block;

use crate::core::device::Device;

/// Why a kind has no device to give, for people.
pub type KindError = Box<dyn std::error::Error + Send + Sync>;

/// A device that was opened, or why not.
pub type OpenResult = Result<Box<dyn Opened>, KindError>;

/// What a daemon has to know of a kind of device to serve it.
pub struct Kind {
    /// Virtio's number for it (virtio 1.2, 5).
    pub device_id: u32,
    /// What people call such a device.
    pub name: &'static str,
    /// Whether a configuration, as it stands in a device slot, can be used, as far as no file says otherwise.
    pub check: fn(&[u8]) -> Result<(), KindError>,
    /// Opens what a configuration names.
    pub open: fn(&[u8]) -> OpenResult,
}

/// A device whose files are open, and nothing more: what they hold is looked at by [`Opened::start`].
pub trait Opened {
    /// Makes the device, with `queues` queues if that is not the configuration's to say. Returns it with a description for
    /// people.
    ///
    /// # Errors
    /// What was opened cannot be used; the message says why.
    fn start(self: Box<Self>, queues: Option<u16>) -> Result<(Box<dyn Device>, String), KindError>;
}
