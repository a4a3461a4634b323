//! What a monitor does: it serves its guest and who asks for it, and acts on the guest's ends.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use backend::xen::Evtchn;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;

use super::attached::{Attached, PERIOD};
use super::client::{Client, Input};
use super::command::{Answer, Command};
use super::devices::{Lost, Watched};
use super::ending::{End, State};
use super::hub::Tail;
use super::life;
use crate::builder::Built;
use crate::config::{Action, GuestConfig};
use crate::output::{explain, say};
use crate::registry::{Record, Registry};
use crate::xen::{Control, Domains, RealXen, Xen};
use xenolith_abi::domctl::info_flag;

/// Connections at once.
const MAX_CLIENTS: usize = 32;
/// A guest that crashes earlier than this is started again only after a pause.
const EARLY: Duration = Duration::from_secs(10);
/// The pause before a guest that crashed early is started again.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a guest's kernel may take to take a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the guest's devices have their backends.
const LOOK: Duration = Duration::from_secs(1);
/// How long the last bytes of the console may take to reach the clients.
const DRAIN: Duration = Duration::from_millis(500);

/// What looks after one guest.
pub(super) struct Monitor {
    pub(super) xen: RealXen,
    events: Evtchn,
    registry: Registry,
    pub(super) config: GuestConfig,
    pub(super) guest: Attached,
    devices: Watched,
    listener: UnixListener,
    clients: Vec<Client>,
    backlog: Tail,
    started: Instant,
    restarts: u32,
    /// Whether the guest has ended and is kept.
    is_preserved: bool,
    /// Whether the guest has suspended itself.
    is_suspended: bool,
    /// Whether the guest's next end is its last, whatever its file says: the machine is to end.
    is_retired: bool,
    _lock: crate::registry::Lock,
}

impl Monitor {
    /// Begins to look after a guest: one that was just built, or one of which an earlier monitor has kept its restarts and its
    /// store. A guest that was taken over keeps its record, whatever fails.
    pub(super) fn start(
        xen: RealXen,
        events: Evtchn,
        registry: Registry,
        config: GuestConfig,
        built: Built,
        kept: Option<(u32, Vec<u8>)>,
        lock: crate::registry::Lock,
    ) -> std::result::Result<Monitor, (RealXen, anyhow::Error)> {
        let parts = || -> Result<(Attached, Watched, UnixListener)> {
            let devices = Watched::of(&xen, built.domain)?;
            let store = kept.as_ref().map(|(_, store)| store.as_slice());
            let guest = Attached::new(&xen, &events, &config, built, store)?;
            let socket = registry.socket(&config.name);
            let listener = UnixListener::bind(&socket)
                .with_context(|| format!("cannot listen at {}", socket.display()))?;
            listener.set_nonblocking(true)?;
            Ok((guest, devices, listener))
        };
        let (guest, devices, listener) = match parts() {
            Ok(parts) => parts,
            Err(error) => return Err((xen, error)),
        };
        let is_fresh = kept.is_none();
        let mut monitor = Monitor {
            xen,
            events,
            registry,
            config,
            guest,
            devices,
            listener,
            clients: Vec::new(),
            backlog: Tail::backlog(),
            started: Instant::now(),
            restarts: kept.map_or(0, |(restarts, _)| restarts),
            is_preserved: false,
            is_suspended: false,
            is_retired: false,
            _lock: lock,
        };
        match monitor.record() {
            Ok(()) => Ok(monitor),
            Err(error) => {
                if is_fresh {
                    monitor.registry.remove(&monitor.config.name);
                }
                Err((monitor.xen, error))
            }
        }
    }

    /// Writes down what a later monitor needs.
    fn record(&mut self) -> Result<()> {
        self.keep_store();
        let built = self.guest.built;
        self.registry.write(&Record {
            domain: built.domain,
            uuid: built.handle,
            ports: [built.console_port.0, built.store_port.0],
            monitor: std::process::id(),
            restarts: self.restarts,
            config: self.config.clone(),
        })
    }

    /// Keeps the state of the guest's store, if it has changed. Without it a later monitor has the console only.
    fn keep_store(&mut self) {
        if let Some(state) = self.guest.unsaved_state()
            && let Err(error) = self.registry.write_store(&self.config.name, &state)
        {
            say(&format!("{}: {}", self.config.name, explain(&error)));
        }
    }

    /// Serves until the guest is gone for good.
    pub(super) fn run(&mut self) -> Result<()> {
        let mut looked = Instant::now();
        let mut looked_at_devices = looked;
        let mut is_busy = false;
        loop {
            self.sleep(if is_busy { Duration::ZERO } else { PERIOD })?;
            let mut ports = Vec::new();
            if self.events.pending(&mut ports).is_err() {
                self.events.reset()?;
            }
            // Served before the ports are unmasked: what the guest says from there on signals anew.
            is_busy = self.serve();
            self.events.unmask(&ports)?;
            self.accept();
            if self.serve_clients() {
                return Ok(());
            }
            if looked.elapsed() >= PERIOD {
                looked = Instant::now();
                if !self.check_guest()? {
                    return Ok(());
                }
            }
            if looked_at_devices.elapsed() >= LOOK {
                looked_at_devices = Instant::now();
                self.check_devices()?;
            }
        }
    }

    /// Waits until there is something to do.
    fn sleep(&self, most: Duration) -> Result<()> {
        let mut files = vec![
            PollFd::from_borrowed_fd(self.events.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
        ];
        // A client whose input has no room is not waited for: its file would be readable all the time.
        let room = self.guest.wants_input();
        for client in &self.clients {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !client.is_console() || room != 0);
            flags.set(PollFlags::OUT, client.has_output());
            files.push(PollFd::from_borrowed_fd(client.stream().as_fd(), flags));
        }
        let most = Timespec { tv_sec: 0, tv_nsec: most.subsec_nanos().into() };
        match poll(&mut files, Some(&most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for events"),
        }
    }

    fn serve(&mut self) -> bool {
        let mut output = Vec::new();
        let is_busy = self.guest.serve(&self.events, &mut output);
        self.keep_store();
        if !output.is_empty() {
            self.backlog.push(&output);
            self.clients.iter_mut().for_each(|client| client.print(&output));
        }
        if let Some(how) = self.guest.newly_broken() {
            self.say(&format!("the guest has broken the protocol of its store: {how}"));
        }
        is_busy
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) if self.clients.len() < MAX_CLIENTS => {
                    if stream.set_nonblocking(true).is_ok() {
                        self.clients.push(Client::new(stream));
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Does what clients ask for. Returns whether that was the guest's end.
    fn serve_clients(&mut self) -> bool {
        let mut is_end = false;
        for mut client in std::mem::take(&mut self.clients) {
            if !is_end {
                is_end = self.serve_client(&mut client);
            }
            client.flush();
            if !client.is_gone() {
                self.clients.push(client);
            }
        }
        self.serve();
        is_end
    }

    fn serve_client(&mut self, client: &mut Client) -> bool {
        match client.receive(self.guest.wants_input()) {
            Input::Nothing => self.answer_waiting(client),
            Input::Typed(bytes) => self.guest.type_in(&bytes),
            Input::Command(Command::Console) => client.connect(&self.backlog.to_vec()),
            Input::Command(Command::Destroy) => {
                let answer = self.destroy();
                let is_end = answer == Answer::Done;
                client.answer(&answer);
                return is_end;
            }
            Input::Command(Command::Retire) => {
                self.is_retired = true;
                client.answer(&Answer::of(&self.retire()));
            }
            Input::Command(Command::Reset) => {
                self.say("is reset");
                let result = self.restart(End::Reboot);
                client.answer(&Answer::of(&result));
                // Of a guest that could not be started again nothing is left.
                return result.is_err();
            }
            Input::Command(command @ (Command::Shutdown | Command::Reboot)) => {
                match self.request_shutdown(command) {
                    Ok(()) => client.wait_until(Instant::now() + PATIENCE),
                    refused => client.answer(&Answer::of(&refused)),
                }
            }
        }
        false
    }

    /// Answers a client that waits for the guest to take a request, if there is an answer.
    fn answer_waiting(&mut self, client: &mut Client) {
        let Some(deadline) = client.deadline() else { return };
        if self.is_preserved || self.guest.has_taken_request() {
            client.answer(&Answer::Done);
        } else if Instant::now() >= deadline {
            self.guest.withdraw_request();
            let seconds = PATIENCE.as_secs();
            client.answer(&Answer::Refused(format!(
                "its kernel has not taken the request in {seconds} s: it hangs, or is on its way down already"
            )));
        }
    }

    /// Asks the guest to turn itself off because the machine is to end.
    fn retire(&mut self) -> Result<()> {
        if self.is_preserved {
            // Looked at once more, it is destroyed like one that ends now.
            self.is_preserved = false;
            return Ok(());
        }
        self.guest.request_shutdown(Command::Retire)?;
        let domain = self.guest.built.domain;
        let Some(info) = self.xen.domain(domain)? else { return Ok(()) };
        // A guest that listens has run: what it has written is worth that it goes on for its end.
        if info.flags & info_flag::PAUSED != 0 {
            self.xen.control(domain, Control::Unpause)?;
        }
        if State::of(Some(&info)) == State::Suspended {
            self.xen.control(domain, Control::Resume)?;
        }
        Ok(())
    }

    fn request_shutdown(&mut self, command: Command) -> Result<()> {
        let name = &self.config.name;
        if self.is_preserved {
            bail!("it has ended already and is preserved: `lith destroy {name}` removes it");
        }
        let info = self.xen.domain(self.guest.built.domain)?;
        if State::of(info.as_ref()) == State::Suspended {
            bail!("it has suspended itself: `lith resume {name}` lets it hear");
        }
        if info.is_some_and(|info| info.flags & info_flag::PAUSED != 0) {
            bail!("it is paused: `lith unpause {name}` lets it hear");
        }
        self.guest.request_shutdown(command)
    }

    fn destroy(&mut self) -> Answer {
        match self.xen.control(self.guest.built.domain, Control::Destroy) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Refused(error.to_string()),
        }
    }

    /// Asks for the guest's state, and acts if it has ended. Returns whether there is a guest still.
    fn check_guest(&mut self) -> Result<bool> {
        let state = State::of(self.xen.domain(self.guest.built.domain)?.as_ref());
        match state {
            State::Alive => {
                if std::mem::take(&mut self.is_suspended) {
                    self.say("goes on");
                }
                Ok(true)
            }
            State::Suspended => {
                if !std::mem::replace(&mut self.is_suspended, true) {
                    self.serve();
                    self.say(&format!("has suspended itself: `lith resume {}` wakes it", self.config.name));
                }
                Ok(true)
            }
            State::Gone => {
                self.say("has been destroyed");
                Ok(false)
            }
            State::Ended(_) if self.is_preserved => Ok(true),
            State::Ended(end) => {
                // The last that it printed, before its pages are let go.
                self.serve();
                self.act(end)
            }
        }
    }

    /// Tells of devices that have lost their backends.
    fn check_devices(&mut self) -> Result<()> {
        for Lost { label, message } in self.devices.newly_lost(&self.xen)? {
            let name = self.config.name.clone();
            self.say(&format!(
                "has lost the backend of its {label} ({message}); requests to it that were on their way never end, and \
                 `lith reset {name}` gives it a new one"
            ));
        }
        Ok(())
    }

    fn act(&mut self, end: End) -> Result<bool> {
        let action = if self.is_retired { Action::Destroy } else { end.action(&self.config) };
        let words = end.words();
        match action {
            Action::Preserve => {
                self.is_preserved = true;
                self.say(&format!("{words}; it is preserved until `lith destroy {}`", self.config.name));
                Ok(true)
            }
            Action::Destroy => {
                self.say(&words);
                self.xen.control(self.guest.built.domain, Control::Destroy)?;
                Ok(false)
            }
            Action::Restart => {
                self.say(&format!("{words}; it is started again"));
                self.restart(end)?;
                Ok(true)
            }
        }
    }

    /// Starts the guest again, from its files as they are now.
    fn restart(&mut self, end: End) -> Result<()> {
        let old = self.guest.built.domain;
        // First: a domain that was destroyed stays until its pages are mapped nowhere, and ours are among them.
        self.guest.release(&self.events);
        if !life::destroy(&self.xen, old)? {
            self.say(&format!(
                "others still have pages of its old domain {}; going on without waiting",
                old.0
            ));
        }
        if end != End::Reboot && self.started.elapsed() < EARLY {
            self.xen.wait(PAUSE);
        }
        let built = life::make(&self.xen, &self.registry, &self.config, &mut |_| ());
        // Whoever ends this process, or has asked for the restart, says the rest.
        let built = built.inspect_err(|_| self.say("cannot be started again"))?;
        let guest = Attached::new(&self.xen, &self.events, &self.config, built, None);
        self.guest = guest.inspect_err(|_| drop(self.xen.control(built.domain, Control::Destroy)))?;
        let devices = Watched::of(&self.xen, built.domain);
        self.devices = devices.inspect_err(|_| drop(self.xen.control(built.domain, Control::Destroy)))?;
        self.restarts = self.restarts.saturating_add(1);
        self.started = Instant::now();
        self.is_preserved = false;
        self.is_suspended = false;
        // Before it runs: a guest that is not recorded would be nobody's if this process ended now.
        self.record()?;
        Ok(self.xen.control(built.domain, Control::Unpause)?)
    }

    /// Tells the log and those at the console about the guest.
    fn say(&mut self, what: &str) {
        let name = &self.config.name;
        say(&format!("{name} (domain {}): {what}", self.guest.built.domain.0));
        let line = format!("\r\n[lith: {name} {what}]\r\n");
        self.backlog.push(line.as_bytes());
        self.clients.iter_mut().for_each(|client| client.print(line.as_bytes()));
    }

    /// Undoes the start.
    pub(super) fn give_up(&self) {
        let _ = self.xen.control(self.guest.built.domain, Control::Destroy);
        self.registry.remove(&self.config.name);
    }

    /// Removes the guest's files, and lets the last of its output reach the clients.
    pub(super) fn close(mut self) {
        self.registry.remove(&self.config.name);
        self.guest.release(&self.events);
        // Whoever asked the guest to end has got that.
        self.clients
            .iter_mut()
            .filter(|client| client.deadline().is_some())
            .for_each(|client| client.answer(&Answer::Done));
        let begun = Instant::now();
        while begun.elapsed() < DRAIN && self.clients.iter().any(Client::has_output) {
            self.clients.iter_mut().for_each(Client::flush);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
