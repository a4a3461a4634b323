//! The devices of this domain: what the store has of them, and a process for each.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use virtio::devices::Kind as DeviceKind;
use xenstore::{Client, DomId, Error, Nodes};

use super::keys::{self, Keys};
use super::place::{Kind, Place};
use super::plan::{Held, Seen, Stage, Step, plan};
use super::{places, snapshot, states};
use crate::job::Job;
use crate::process::{Child, ChildEvent, Children};
use crate::report::tell;
use crate::stop::TOLD;

/// The most steps that are taken with a device at one look: a plan that never comes to rest must not hold up the
/// others.
const STEPS: usize = 8;
/// How often to look whether processes have ended that were told to.
const PAUSE: Duration = Duration::from_millis(10);
/// What is said of a device whose process went with another lithd.
const ABANDONED: &str = "gone: lithd ended and was started anew";

/// How a device's process is started.
pub type Start = Box<dyn Fn(&Job) -> io::Result<Child>>;

/// Starts this program.
pub fn starter(processes: Children) -> Start {
    Box::new(move |job| {
        let text = job.to_text().map_err(io::Error::other)?;
        processes.start(&["--job", &text])
    })
}

/// A device that was taken up.
struct Device {
    child: Option<Child>,
    stage: Stage,
    /// What was last said of it.
    text: String,
}

/// All devices.
pub struct Devices {
    own: DomId,
    disks: PathBuf,
    start: Start,
    devices: BTreeMap<Place, Device>,
}

impl Devices {
    /// None yet, for domain `own`. In the folder `disks` are the files for generic devices.
    pub fn new(own: DomId, disks: PathBuf, start: Start) -> Devices {
        Devices { own, disks, start, devices: BTreeMap::new() }
    }

    /// Brings all devices in line that the store has, or that were taken up.
    ///
    /// # Errors
    /// The store is lost.
    pub fn look_at_all(&mut self, store: &mut Client) -> Result<(), Error> {
        let mut all: Vec<Place> = self.devices.keys().copied().collect();
        for kind in Kind::ALL {
            match places(store, kind, self.own) {
                Ok(places) => all.extend(places),
                Err(error) if error.is_loss() => return Err(error),
                Err(error) => log::warn!("{error}"),
            }
        }
        all.sort();
        all.dedup();
        all.into_iter().try_for_each(|place| self.look_at(store, place))
    }

    /// Brings a device in line.
    ///
    /// # Errors
    /// The store is lost.
    pub fn look_at(&mut self, store: &mut Client, place: Place) -> Result<(), Error> {
        match self.bring_in_line(store, place) {
            Err(error) if !error.is_loss() => {
                log::warn!("{place}: {error}");
                Ok(())
            }
            result => result,
        }
    }

    fn bring_in_line(&mut self, store: &mut Client, place: Place) -> Result<(), Error> {
        let path = place.path(self.own);
        for _ in 0..STEPS {
            // Anew for each step: the last one, or the tools meanwhile, may have changed them.
            let keys = snapshot(store, &path)?;
            let seen = keys.get("state").map(|state| Seen {
                state: states::number(state),
                is_marked: keys.contains_key(states::MARK),
            });
            let device = self.devices.get_mut(&place);
            let held =
                device.as_ref().map(|device| Held { stage: device.stage, runs: device.child.is_some() });
            let text = device.as_ref().map_or(ABANDONED, |device| device.text.as_str());
            match plan(seen, held) {
                Step::Nothing => return Ok(()),
                Step::Start => self.take_up(store, place, &keys)?,
                Step::Announce => states::announce(store, &path, text)?,
                Step::Refuse => states::refuse(store, &path)?,
                Step::Abandon => states::abandon(store, &path, text)?,
                Step::Stop => {
                    if let Some(child) = device.and_then(|device| device.child.as_mut()) {
                        child.stop();
                    }
                    return Ok(());
                }
                // The tools do the rest, of which a watch tells.
                Step::Close => return states::close(store, &path, self.own != DomId(0)),
                Step::Forget => drop(self.devices.remove(&place)),
            }
        }
        Ok(())
    }

    /// Starts a process for a device, or notes why there is none.
    fn take_up(&mut self, store: &mut Client, place: Place, keys: &Keys) -> Result<(), Error> {
        let name = match place.kind {
            Kind::Disk => None,
            // In other domains than the tools' own it cannot be read.
            Kind::Generic => match store.find_text(&format!("/local/domain/{}/name", place.guest.0)) {
                Err(error) if error.is_loss() => return Err(error),
                name => name.ok().flatten(),
            },
        };
        let job = keys::job(&place, keys, |kind| self.described(kind, name.as_deref(), place.device));
        let child = job.and_then(|job| (self.start)(&job).context("cannot start a process"));
        let device = match child {
            Ok(child) => {
                log::info!("{place}: process {}", child.id());
                Device { child: Some(child), stage: Stage::Starting, text: String::new() }
            }
            Err(error) => {
                let text = tell(&error);
                log::info!("{place}: {text}");
                Device { child: None, stage: Stage::Failed, text }
            }
        };
        self.devices.insert(place, device);
        Ok(())
    }

    /// The configuration in a file, for a device whose keys have none: the guest's own file, or one for all.
    fn described(&self, kind: &DeviceKind, guest: Option<&str>, device: u32) -> Result<Vec<u8>> {
        let plain = |name: &&str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        // A guest's name becomes part of a path: it must not lead out of the folder.
        let own = guest.filter(plain).map(|name| format!("{name}.{device}.json"));
        let names: Vec<String> = own.into_iter().chain([format!("{device}.json")]).collect();
        for name in &names {
            let path = self.disks.join(name);
            match fs::read(&path) {
                Ok(bytes) => {
                    let checked = (kind.check)(&bytes).map_err(anyhow::Error::from_boxed);
                    return checked.map(|()| bytes).with_context(|| path.display().to_string());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
        Err(anyhow!("{} has no {}, which would name its image", self.disks.display(), names.join(" and no ")))
    }

    /// Tells the processes to end whose guests have.
    ///
    /// # Errors
    /// The store is lost.
    pub fn look_for_ends(&mut self, store: &mut Client) -> Result<(), Error> {
        for (place, device) in &mut self.devices {
            let Some(child) = device.child.as_mut().filter(|child| !child.is_ending()) else { continue };
            match store.is_introduced(place.guest) {
                Ok(true) => {}
                Ok(false) => {
                    device.stage = Stage::Gone;
                    device.text = "gone: its guest has ended".to_owned();
                    child.stop();
                }
                Err(error) if error.is_loss() => return Err(error),
                Err(error) => log::warn!("{place}: {error}"),
            }
        }
        Ok(())
    }

    /// Ends all processes in order, and says so of each device that one served, if there is a store.
    ///
    /// # Errors
    /// The store is lost. The processes have ended all the same.
    pub fn stop(&mut self, mut store: Option<&mut Client>) -> Result<(), Error> {
        for device in self.devices.values_mut().filter(|device| device.child.is_some()) {
            (device.stage, device.text) = (Stage::Gone, format!("gone: {TOLD}"));
            device.child.iter_mut().for_each(Child::stop);
        }
        let mut result = Ok(());
        // One that does not end is killed after a while (`Child::drain_events`).
        while self.children().next().is_some() {
            result = result.and(self.drain_events(store.as_deref_mut()));
            thread::sleep(PAUSE);
        }
        result
    }

    /// Hears what the processes say, and passes it on if there is a store.
    ///
    /// # Errors
    /// The store is lost.
    pub fn drain_events(&mut self, store: Option<&mut Client>) -> Result<(), Error> {
        let mut changed = Vec::new();
        for (place, device) in &mut self.devices {
            let events = device.child.as_mut().map(Child::drain_events).unwrap_or_default();
            if !events.is_empty() {
                changed.push(*place);
            }
            events.into_iter().for_each(|event| device.note(place, event));
        }
        let Some(store) = store else { return Ok(()) };
        changed.into_iter().try_for_each(|place| self.look_at(store, place))
    }

    /// The processes' pipes, to wait on.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.children().filter_map(Child::pipe)
    }

    /// Whether a process is at its end, of which nothing tells.
    pub fn has_ending(&self) -> bool {
        self.children().any(Child::is_ending)
    }

    /// The number of devices that are taken up.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    fn children(&self) -> impl Iterator<Item = &Child> {
        self.devices.values().filter_map(|device| device.child.as_ref())
    }
}

impl Device {
    fn note(&mut self, place: &Place, event: ChildEvent) {
        let (stage, text) = match event {
            ChildEvent::Ready(text) => (Stage::Serving, text),
            ChildEvent::Failed(text) => (Stage::Failed, format!("failed: {text}")),
            ChildEvent::Gone(text) => (Stage::Gone, format!("gone: {text}")),
            ChildEvent::Ended => {
                self.child = None;
                return;
            }
        };
        log::info!("{place}: {text}");
        (self.stage, self.text) = (stage, text);
    }
}
