//! Who may be a guest's device model: what the control domain tells the hypervisor of backends in other domains.
//!
//! Xen lets a domain serve a guest that is privileged, or that is the guest's one helper. Xenolith lets each domain serve
//! that the control domain names. xl does not know that call, but it notes for itself which domain has a guest's devices,
//! where nobody else can write: whoever stands there is allowed, for as long as he stands there.

use std::collections::BTreeMap;
use std::sync::Arc;
use xenolith_abi::DomId;

use anyhow::Result;
use backend::xen::Privcmd;
use backend::xen::slots::{FEATURE_SLOTS, Slots};
use rustix::io::Errno;
use xenstore::{Client, Error, Nodes};

use super::place::{Kind, Place};

/// Where the tools keep their own notes.
pub const BASE: &str = "/libxl";

/// The calls to the hypervisor.
pub trait Permissions {
    /// Lets `backend` be the device model of `guest`.
    ///
    /// # Errors
    /// The hypervisor refuses.
    fn allow(&self, guest: DomId, backend: DomId) -> Result<(), backend::Error>;

    /// Withdraws that permission.
    ///
    /// # Errors
    /// The hypervisor refuses.
    fn forbid(&self, guest: DomId, backend: DomId) -> Result<(), backend::Error>;
}

impl Permissions for Slots {
    fn allow(&self, guest: DomId, backend: DomId) -> Result<(), backend::Error> {
        Slots::allow(self, guest, backend)
    }

    fn forbid(&self, guest: DomId, backend: DomId) -> Result<(), backend::Error> {
        Slots::forbid(self, guest, backend)
    }
}

/// The permissions that were given.
pub struct Permits {
    calls: Option<Box<dyn Permissions>>,
    given: BTreeMap<Place, DomId>,
}

impl Permits {
    /// None yet; and none ever on a hypervisor that does not have such permissions.
    ///
    /// # Errors
    /// Hypercalls cannot be made here, and so no device can be served either.
    pub fn open() -> Result<Permits> {
        let slots = Slots::new(Arc::new(Privcmd::open()?));
        let has_them = slots.features()? & FEATURE_SLOTS != 0;
        Ok(Permits::new(has_them.then(|| Box::new(slots) as Box<dyn Permissions>)))
    }

    pub(super) fn new(calls: Option<Box<dyn Permissions>>) -> Permits {
        Permits { calls, given: BTreeMap::new() }
    }

    /// Whether there is anything to look after.
    pub fn are_ours(&self) -> bool {
        self.calls.is_some()
    }

    /// Brings all permissions in line with the tools' notes.
    ///
    /// # Errors
    /// The store is lost.
    pub fn look_at_all(&mut self, store: &mut Client) -> Result<(), Error> {
        if !self.are_ours() {
            return Ok(());
        }
        match noted(store) {
            Ok(places) => {
                let all: Vec<Place> = self.given.keys().copied().chain(places).collect();
                all.into_iter().try_for_each(|place| self.look_at(store, place))
            }
            // Not the tools' domain.
            Err(error) if error.errno() == Some(Errno::ACCESS) => Ok(()),
            Err(error) if error.is_loss() => Err(error),
            Err(error) => {
                log::warn!("{error}");
                Ok(())
            }
        }
    }

    /// The tools changed a note.
    ///
    /// # Errors
    /// The store is lost.
    pub fn follow(&mut self, store: &mut Client, path: &str) -> Result<(), Error> {
        let mut names = path.strip_prefix(BASE).unwrap_or_default().split('/').skip(1);
        let [guest, area, kind, device] = [names.next(), names.next(), names.next(), names.next()];
        match (guest, area, kind.map(Kind::from_name), device) {
            (Some(guest), Some("device"), Some(Some(kind)), Some(device)) => {
                Place::parse(kind, guest, device).map_or(Ok(()), |place| self.look_at(store, place))
            }
            // Something above was taken away.
            (_, None | Some("device"), None | Some(Some(_)), None) => self.look_at_all(store),
            _ => Ok(()),
        }
    }

    fn look_at(&mut self, store: &mut Client, place: Place) -> Result<(), Error> {
        let Place { kind, guest, device } = place;
        let note = format!("{BASE}/{}/device/{}/{device}/backend", guest.0, kind.name());
        let backend = match store.find_text(&note) {
            Ok(path) => path.and_then(|path| backend(&path, place)),
            Err(error) if error.is_loss() => return Err(error),
            Err(error) => {
                log::warn!("{place}: {error}");
                None
            }
        };
        let before = self.given.get(&place).copied();
        if before == backend {
            return Ok(());
        }
        // One permission is for all devices of the guest that a domain serves: it is given with the first of them and
        // taken back with the last. So this one is not counted while that is asked.
        self.given.remove(&place);
        if let Some(before) = before
            && !self.needs(guest, before)
        {
            self.tell(place, before, false);
        }
        if let Some(backend) = backend {
            if !self.needs(guest, backend) {
                self.tell(place, backend, true);
            }
            self.given.insert(place, backend);
        }
        Ok(())
    }

    /// Whether a device of `guest` is served by `backend`.
    fn needs(&self, guest: DomId, backend: DomId) -> bool {
        self.given.iter().any(|(place, &by)| place.guest == guest && by == backend)
    }

    fn tell(&self, place: Place, backend: DomId, allow: bool) {
        let Some(calls) = &self.calls else { return };
        let told = if allow { calls.allow(place.guest, backend) } else { calls.forbid(place.guest, backend) };
        match told {
            Ok(()) if allow => log::info!("{place}: domain {} may serve it", backend.0),
            Ok(()) => {}
            // It went with its guest.
            Err(error) if !allow && error.errno() == Some(Errno::SRCH) => {}
            Err(error) => log::warn!("{place}: {error}"),
        }
    }
}

/// The devices that the tools have notes of.
fn noted(store: &mut Client) -> Result<Vec<Place>, Error> {
    let mut places = Vec::new();
    for guest in store.find_directory(BASE)? {
        for kind in Kind::ALL {
            for device in store.find_directory(&format!("{BASE}/{guest}/device/{}", kind.name()))? {
                places.extend(Place::parse(kind, &guest, &device));
            }
        }
    }
    Ok(places)
}

/// The domain that a backend's path names, if that is the path of `place` in a domain that needs a permission.
fn backend(path: &str, place: Place) -> Option<DomId> {
    let number = path.strip_prefix("/local/domain/")?.split('/').next()?;
    let domain = number.parse().map(DomId).ok()?;
    let fits = place.path(domain) == path && domain != DomId::CONTROL && domain != place.guest;
    fits.then_some(domain)
}
