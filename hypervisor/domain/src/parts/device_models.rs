//! The domains that may be a guest's device model.

use arrayvec::ArrayVec;

use xenolith_core::types::DomId;

/// Device models that one domain may have, the control domain not counted.
pub const DEVICE_MODELS: usize = 16;

/// The domains that may be a guest's device model.
pub type DeviceModels = ArrayVec<Permission, DEVICE_MODELS>;

/// That a domain may be a guest's device model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The domain.
    pub to: DomId,
    /// Whether it was given for itself; if not, it stands as long as a slot carries it.
    pub stays: bool,
}
