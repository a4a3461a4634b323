//! Where a device's keys are.

use std::fmt;
use xenolith_abi::DomId;

/// What kind of keys a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A disk (`disk=` with `specification=virtio`), whose keys name its image.
    Disk,
    /// A device of any virtio kind (`virtio=`), whose keys name registers and interrupt only.
    Generic,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 2] = [Kind::Disk, Kind::Generic];

    /// The name in paths.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Disk => "virtio_disk",
            Kind::Generic => "virtio",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The path below which a backend's domain has its devices.
    pub fn base(self, own: DomId) -> String {
        format!("/local/domain/{}/backend/{}", own.0, self.name())
    }
}

/// A device of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// What keys it has.
    pub kind: Kind,
    /// The guest's domain.
    pub guest: DomId,
    /// Its number among the guest's.
    pub device: u32,
}

impl Place {
    /// The device with these names in its path; `None` if they are no numbers as the tools write them.
    pub fn parse(kind: Kind, guest: &str, device: &str) -> Option<Place> {
        let place = Place { kind, guest: guest.parse().map(DomId).ok()?, device: device.parse().ok()? };
        // "05" and "+5" are numbers as well, and would be a second name for the same device.
        let is_written_so = place.guest.0.to_string() == guest && place.device.to_string() == device;
        is_written_so.then_some(place)
    }

    /// The device that a path leads to, or to a key of it, in the backend's domain.
    pub fn containing(path: &str, own: DomId) -> Option<Place> {
        Kind::ALL.into_iter().find_map(|kind| {
            let names = path.strip_prefix(&kind.base(own))?.strip_prefix('/')?;
            let mut names = names.split('/');
            Place::parse(kind, names.next()?, names.next()?)
        })
    }

    /// Where its keys are.
    pub fn path(&self, own: DomId) -> String {
        format!("{}/{}/{}", self.kind.base(own), self.guest.0, self.device)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.guest.0, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_a_device() {
        let disk = Place { kind: Kind::Disk, guest: DomId(5), device: 51712 };
        assert_eq!(disk.path(DomId(2)), "/local/domain/2/backend/virtio_disk/5/51712");
        let found = |rest: &str| Place::containing(&format!("/local/domain/2/backend/{rest}"), DomId(2));
        assert_eq!(found("virtio_disk/5/51712"), Some(disk));
        assert_eq!(found("virtio_disk/5/51712/state"), Some(disk));
        let generic = Place { kind: Kind::Generic, guest: DomId(5), device: 0 };
        assert_eq!(found("virtio/5/0"), Some(generic));
        for other in [
            "",
            "vbd/5/51712",
            "virtio_disk",
            "virtio_disk/5",
            "virtio_disk/5/",
            "virtio_disk/05/1",
            "virtio_disk/+5/1",
            "virtio_disk/70000/1",
            "virtio_disk/5/x",
            "virtio_disk//1",
            "virtio_diskette/5/1",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
        assert_eq!(Place::containing("/local/domain/3/backend/virtio/5/0", DomId(2)), None);
    }
}
