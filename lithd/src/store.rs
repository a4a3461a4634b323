//! Devices that Xen's tools name in xenstore: the supervisor of `lithd xenstore`.
//!
//! Principle: what stands in the store and what runs are compared, again after each change, and brought in line one step at
//! a time ([`plan`]). So nothing is lost when the store restarts, and one device's keys never matter to another's.

mod devices;
mod keys;
mod permit;
mod place;
mod plan;
mod states;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use xenolith_abi::DomId;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use xenstore::{Client, Error, Event, Nodes};

use crate::process::Children;
use crate::report::tell;
use crate::stop::{StopSignal, TOLD};
use devices::Devices;
use permit::Permits;
use place::{Kind, Place};

/// How often to look for the end of processes, of which nobody tells, and for a store that was lost.
const INTERVAL: Duration = Duration::from_millis(200);

/// Tokens of the watches.
const DEVICES: &str = "devices";
const PERMITS: &str = "permits";
const RELEASES: &str = "releases";

/// Serves until it is stopped, by such processes.
///
/// # Errors
/// There is no store, or what this domain needs is missing.
pub fn run(disks: PathBuf, processes: Children) -> Result<()> {
    let signal = StopSignal::new().context("cannot listen to signals")?;
    let mut store = Client::open()?;
    let own = own_domain(&mut store)?;
    let permits = Permits::open()?;
    let devices = Devices::new(own, disks, devices::starter(processes));
    let mut supervisor = Supervisor { own, devices, permits };
    log::info!("serves the virtio disks that xenstore gives to domain {}", own.0);
    loop {
        match supervisor.serve(&mut store, &signal) {
            Err(error) if error.downcast_ref::<Error>().is_some_and(Error::is_loss) => {
                log::warn!("{}; tries again", tell(&error));
                let Some(found) = supervisor.find_store(&signal) else { return Ok(()) };
                store = found;
                log::info!("there is a xenstore again");
            }
            result => return result,
        }
    }
}

/// The number of this domain.
fn own_domain(store: &mut Client) -> Result<DomId> {
    let text = store.find_text("domid")?;
    // Where the store's daemon runs, its socket is no domain's.
    let text = text.unwrap_or_else(|| "0".to_owned());
    text.parse().map(DomId).with_context(|| format!("xenstore says that this is domain {text:?}"))
}

struct Supervisor {
    own: DomId,
    devices: Devices,
    permits: Permits,
}

impl Supervisor {
    /// Serves with one connection to the store, until that is lost or a signal comes.
    fn serve(&mut self, store: &mut Client, signal: &StopSignal) -> Result<()> {
        self.watch(store)?;
        // Whatever happened before the watches were there.
        self.look_at_all(store)?;
        loop {
            while let Some(event) = store.event()? {
                self.follow(store, &event)?;
            }
            self.devices.drain_events(Some(store))?;
            self.wait(store, signal)?;
            if signal.is_given() {
                log::info!("{TOLD}");
                return Ok(self.devices.stop(Some(store))?);
            }
        }
    }

    /// Asks to be told of all that matters.
    fn watch(&self, store: &mut Client) -> Result<(), Error> {
        for kind in Kind::ALL {
            store.watch(&kind.base(self.own), DEVICES)?;
        }
        if self.permits.are_ours() {
            store.watch(permit::BASE, PERMITS)?;
        }
        match store.watch("@releaseDomain", RELEASES) {
            // Not every domain is told of the end of others.
            Err(error) if !error.is_loss() => Ok(()),
            result => result,
        }
    }

    fn look_at_all(&mut self, store: &mut Client) -> Result<(), Error> {
        self.devices.look_at_all(store)?;
        self.permits.look_at_all(store)
    }

    /// Does what an event asks for. Only the loss of the store is an error.
    fn follow(&mut self, store: &mut Client, event: &Event) -> Result<(), Error> {
        let Event::Changed { path, token } = event else { return self.look_at_all(store) };
        match token.as_str() {
            DEVICES => match Place::containing(path, self.own) {
                Some(place) => self.devices.look_at(store, place),
                None => self.devices.look_at_all(store),
            },
            PERMITS => self.permits.follow(store, path),
            RELEASES => self.devices.look_for_ends(store),
            _ => Ok(()),
        }
    }

    /// Waits until the store or a process says something, or may have.
    fn wait(&self, store: &Client, signal: &StopSignal) -> Result<()> {
        // What came during a request is read already: the descriptor would not tell of it.
        if store.has_events() {
            return Ok(());
        }
        let mut fds: Vec<BorrowedFd<'_>> = self.devices.pipes().collect();
        fds.extend([store.fd(), signal.fd()]);
        let mut files: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let limit = self.devices.has_ending().then(|| Timespec::try_from(INTERVAL).ok()).flatten();
        match poll(&mut files, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for events"),
        }
    }

    /// Waits for a store to come back. The processes serve on meanwhile; `None` once they have ended, as a signal tells.
    fn find_store(&mut self, signal: &StopSignal) -> Option<Client> {
        loop {
            thread::sleep(INTERVAL);
            if signal.is_given() {
                // Without a store there is nothing that can be lost.
                let _ = self.devices.stop(None);
                return None;
            }
            // Without a store there is nothing that can be lost.
            let _ = self.devices.drain_events(None);
            if let Ok(store) = Client::open() {
                return Some(store);
            }
        }
    }
}

/// The devices below a path of guests, each with its devices.
fn places(store: &mut Client, kind: Kind, own: DomId) -> Result<Vec<Place>, Error> {
    let base = kind.base(own);
    let mut places = Vec::new();
    for guest in store.find_directory(&base)? {
        for device in store.find_directory(&format!("{base}/{guest}"))? {
            places.extend(Place::parse(kind, &guest, &device));
        }
    }
    Ok(places)
}

/// What a device's keys say, all of the same moment.
fn snapshot(store: &mut Client, path: &str) -> Result<BTreeMap<String, String>, Error> {
    store.transaction(|store| {
        let mut keys = BTreeMap::new();
        for name in store.find_directory(path)?.into_iter().take(keys::MANY) {
            match store.find_text(&format!("{path}/{name}")) {
                Ok(Some(value)) => drop(keys.insert(name, value)),
                // One that is no text is none that is looked for.
                Ok(None) | Err(Error::Value { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    })
}

#[cfg(test)]
mod tests;
