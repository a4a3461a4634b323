//! Our ends of a guest's console and store.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use backend::xen::Evtchn;
use machine_model::layout;

use super::command::Command;
use crate::builder::Built;
use crate::config::GuestConfig;
use crate::console::ConsoleRing;
use crate::xen::{Result as XenResult, Xen};
use xenolith_abi::{DomId, Gfn, Port};
use xenstore::page::SharedPage;
use xenstore::server::{GuestStore, RingConnection};

/// What a guest watches to be told to end.
const SHUTDOWN: &str = "control/shutdown";
/// Input that waits for the guest; more is not taken from those who type.
const INPUT: usize = 4096;

/// Event channels of this domain.
pub trait Events {
    /// Binds a domain's port; returns ours.
    ///
    /// # Errors
    /// It is not ours to bind.
    fn bind(&self, domain: DomId, port: Port) -> XenResult<Port>;

    /// Signals the other end. That it has none any more is found out elsewhere.
    fn notify(&self, port: Port);

    /// Closes a port.
    fn unbind(&self, port: Port);
}

impl Events for Evtchn {
    fn bind(&self, domain: DomId, port: Port) -> XenResult<Port> {
        self.bind_interdomain(domain, port)
    }

    fn notify(&self, port: Port) {
        let _ = Evtchn::notify(self, port);
    }

    fn unbind(&self, port: Port) {
        let _ = Evtchn::unbind(self, port);
    }
}

/// A guest, connected.
pub struct Attached {
    /// Which it is.
    pub built: Built,
    /// The console's page and the store's; none after the guest was let go.
    pages: Option<[Box<dyn SharedPage>; 2]>,
    ring: ConsoleRing,
    console_port: Port,
    connection: RingConnection,
    store_port: Port,
    input: Vec<u8>,
    said_broken: bool,
    /// Something has gone through the store's page since its state was taken.
    is_unsaved: bool,
}

impl Attached {
    /// Connects to a guest that was just built, or, with what an earlier monitor has kept, to one that runs.
    ///
    /// # Errors
    ///
    /// Its pages cannot be mapped, or its event channels not bound.
    pub fn new(
        xen: &dyn Xen,
        events: &dyn Events,
        config: &GuestConfig,
        built: Built,
        kept: Option<&[u8]>,
    ) -> Result<Attached> {
        let page = |frame: Gfn| xen.map(built.domain, frame);
        let console = page(layout::CONSOLE_PAGE).context("cannot reach the guest's console")?;
        let store = page(layout::STORE_PAGE).context("cannot reach the guest's store")?;
        let console_port = events.bind(built.domain, built.console_port)?;
        let store_port =
            events.bind(built.domain, built.store_port).inspect_err(|_| events.unbind(console_port))?;
        let (ring, connection) = match kept {
            None => (ConsoleRing::default(), RingConnection::new(nodes(config, &built))),
            Some(kept) => {
                let nothing = GuestStore::new(built.domain, []);
                (ConsoleRing::resume(&*console), RingConnection::resume(nothing, kept, &*store))
            }
        };
        if kept.is_some() {
            // What the guest was to be told may have been lost with the monitor that was to tell it.
            events.notify(console_port);
            events.notify(store_port);
        }
        Ok(Attached {
            built,
            pages: Some([console, store]),
            ring,
            console_port,
            connection,
            store_port,
            input: Vec::new(),
            said_broken: false,
            is_unsaved: true,
        })
    }

    /// Lets the guest go: a domain that was destroyed stays until nobody maps its pages any more.
    pub fn release(&mut self, events: &dyn Events) {
        if self.pages.take().is_some() {
            events.unbind(self.console_port);
            events.unbind(self.store_port);
        }
    }

    /// Adds what the guest has printed to `output`, gives it what was typed, answers its store's requests. Returns
    /// whether there is more to do at once.
    pub fn serve(&mut self, events: &dyn Events, output: &mut Vec<u8>) -> bool {
        let Some([console, store]) = &self.pages else { return false };
        let printed = self.ring.drain(&**console, output);
        let typed = self.ring.feed(&**console, &self.input);
        self.input.drain(..typed);
        // Also for what it printed: the guest may wait for room in its ring.
        if printed || typed != 0 {
            events.notify(self.console_port);
        }
        let served = self.connection.serve(&**store);
        if served.notify {
            events.notify(self.store_port);
            self.is_unsaved = true;
        }
        printed || served.more
    }

    /// Bytes that may be typed now.
    pub fn wants_input(&self) -> usize {
        INPUT.saturating_sub(self.input.len())
    }

    /// Takes what was typed.
    pub fn type_in(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// What a later monitor needs to go on with the guest's store, if it has changed since this was asked last.
    pub fn unsaved_state(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.is_unsaved).then(|| self.connection.save())
    }

    /// How the guest has broken its store's protocol; once.
    pub fn newly_broken(&mut self) -> Option<&'static str> {
        let broken = self.connection.broken().filter(|_| !self.said_broken);
        self.said_broken |= broken.is_some();
        broken
    }

    /// Asks the guest to end.
    ///
    /// # Errors
    ///
    /// It does not listen for that.
    pub fn request_shutdown(&mut self, command: Command) -> Result<()> {
        let Some(request) = command.shutdown_request() else { return Ok(()) };
        if let Some(how) = self.connection.broken() {
            bail!("its connection to its store is broken: {how}");
        }
        if !self.connection.store().is_watched(SHUTDOWN) {
            bail!("it does not listen: it has not come up yet, or its kernel has no driver for xenbus");
        }
        if self.connection.set(SHUTDOWN, request).is_err() {
            bail!("it has filled its store");
        }
        self.is_unsaved = true;
        Ok(())
    }

    /// Whether the guest's kernel has taken the last request to end. It says so by emptying the node in which that stands
    /// (Xen, `docs/misc/xenstore-paths.pandoc`, `~/control/shutdown`).
    pub fn has_taken_request(&self) -> bool {
        self.connection.store().get(SHUTDOWN).is_none_or(<[u8]>::is_empty)
    }

    /// Takes back a request that the guest has not taken: it would be done when nobody expects it any more.
    pub fn withdraw_request(&mut self) {
        // A store that is too full for a shorter value than the one that stands there is none.
        let _ = self.connection.set(SHUTDOWN, "");
        self.is_unsaved = true;
    }
}

/// What a guest's drivers look for when they start.
fn nodes(config: &GuestConfig, built: &Built) -> GuestStore {
    let domain = built.domain.0.to_string();
    let memory = (config.memory >> 10).to_string();
    let uuid = format!("/vm/{}", built.handle);
    let mut nodes: Vec<(String, &str)> = vec![
        ("name".into(), &config.name),
        ("domid".into(), &domain),
        ("vm".into(), &uuid),
        (SHUTDOWN.into(), ""),
        ("device".into(), ""),
        ("data".into(), ""),
        ("memory/static-max".into(), &memory),
        ("memory/target".into(), &memory),
    ];
    nodes.extend((0..config.vcpus).map(|vcpu| (format!("cpu/{vcpu}/availability"), "online")));
    GuestStore::new(built.domain, nodes.iter().map(|(name, value)| (name.as_str(), *value)))
}

/// How long a monitor sleeps if nothing happens: so late it sees at most that its guest has ended.
pub const PERIOD: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GuestConfig;
    use crate::xen::Domains;
    use crate::xen::fake::FakeXen;
    use std::cell::RefCell;
    use std::path::Path;

    #[derive(Default)]
    pub struct FakeEvents {
        pub calls: RefCell<Vec<String>>,
    }

    impl Events for FakeEvents {
        fn bind(&self, domain: DomId, port: Port) -> XenResult<Port> {
            self.calls.borrow_mut().push(format!("bind {}:{}", domain.0, port.0));
            Ok(Port(port.0 + 40))
        }

        fn notify(&self, port: Port) {
            self.calls.borrow_mut().push(format!("notify {}", port.0));
        }

        fn unbind(&self, port: Port) {
            self.calls.borrow_mut().push(format!("unbind {}", port.0));
        }
    }

    #[test]
    fn a_guest_is_connected_served_and_let_go() {
        let (xen, events) = (FakeXen::new(), FakeEvents::default());
        let config =
            GuestConfig::parse(Path::new("/web.toml"), "kernel = \"k\"\nmemory = \"64M\"\nvcpus = 2\n")
                .unwrap();
        let (domain, _) = xen.create(&Default::default()).unwrap();
        let built = Built { domain, console_port: Port(2), store_port: Port(1), handle: uuid::Uuid::nil() };
        let mut guest = Attached::new(&xen, &events, &config, built, None).unwrap();
        guest.type_in(b"root\n");
        let mut output = Vec::new();
        assert!(!guest.serve(&events, &mut output) && output.is_empty());
        let error = guest.request_shutdown(Command::Shutdown).unwrap_err().to_string();
        assert!(error.starts_with("it does not listen"), "{error}");
        assert!(guest.has_taken_request());
        guest.connection.set(SHUTDOWN, "poweroff").unwrap();
        assert!(!guest.has_taken_request(), "the guest has not emptied the node");
        guest.withdraw_request();
        assert!(guest.has_taken_request());
        assert_eq!(guest.newly_broken(), None);
        let kept = guest.unsaved_state().unwrap();
        assert_eq!(guest.unsaved_state(), None);
        guest.release(&events);
        guest.release(&events);
        let calls = events.calls.borrow();
        assert_eq!(*calls, ["bind 7:2", "bind 7:1", "notify 42", "unbind 42", "unbind 41"]);
        drop(calls);
        events.calls.borrow_mut().clear();
        let later = Attached::new(&xen, &events, &config, built, Some(&kept)).unwrap();
        assert_eq!(later.connection.broken(), None);
        assert_eq!(later.connection.store().get("cpu/1/availability"), Some(&b"online"[..]));
        assert_eq!(*events.calls.borrow(), ["bind 7:2", "bind 7:1", "notify 42", "notify 41"]);
    }

    #[test]
    fn a_guest_finds_what_its_drivers_look_for() {
        let config =
            GuestConfig::parse(Path::new("/web.toml"), "kernel = \"k\"\nmemory = \"64M\"\nvcpus = 2\n")
                .unwrap();
        let store = nodes(
            &config,
            &Built {
                domain: DomId(9),
                console_port: Port(2),
                store_port: Port(1),
                handle: uuid::Uuid::nil(),
            },
        );
        for (name, value) in [("domid", "9"), ("cpu/1/availability", "online"), ("memory/target", "65536")] {
            assert_eq!(store.get(name), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(store.get("cpu/2/availability"), None);
    }
}
