//! The supervisor: a process for each device slot that this domain serves.
//!
//! Principle: a slot is started once. A process that ends is reported and not replaced: the guest's driver would talk
//! to a device that knows nothing of it. Who made the slot decides what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use backend::xen::Privcmd;
use backend::xen::slots::{FEATURE_SLOTS, Slot, SlotState, Slots, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::kinds;

use crate::process::{Child, ChildEvent, Children};
use crate::report::tell;
use crate::stop::{StopSignal, TOLD};

/// How often to look for changes that nobody announces.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often to look whether processes have ended that were told to.
const PAUSE: Duration = Duration::from_millis(10);

/// Serves until it is stopped, by such processes.
///
/// # Errors
/// This is no domain of Xenolith's, or a device file is missing.
pub fn run(processes: Children) -> Result<()> {
    let slots = Slots::new(Arc::new(Privcmd::open()?));
    ensure!(
        slots.features()? & FEATURE_SLOTS != 0,
        "the hypervisor has no device slots: it is not Xenolith, or one without them"
    );
    let signal = StopSignal::new().context("cannot listen to signals")?;
    let watch = Watch::new()?;
    log::info!("serves the device slots of this domain");
    let (children, settled) = (BTreeMap::new(), BTreeSet::new());
    let mut supervisor = Supervisor { slots, processes, children, settled };
    loop {
        if let Err(error) = supervisor.reconcile() {
            log::warn!("{}; tries again at the next change", tell(&error));
        }
        supervisor.wait(&watch, &signal)?;
        supervisor.drain_events();
        if signal.is_given() {
            log::info!("{TOLD}");
            supervisor.stop();
            return Ok(());
        }
        // Before the slots are listed again: a change after this signals anew.
        watch.drain()?;
    }
}

/// What to do about a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// It is looked after, or not ours.
    Nothing,
    /// Start a process.
    Start,
    /// Its process went with the supervisor before this one.
    Abandoned,
    /// It is of a kind that nobody here serves.
    Unknown,
}

/// What to do about `slot`, which has a process if `running`; `settled` holds what needs no more looking at.
fn plan(slot: &Slot, running: bool, settled: &BTreeSet<u32>) -> Plan {
    if running || settled.contains(&slot.number) {
        return Plan::Nothing;
    }
    match slot.state {
        Some(SlotState::Waiting) if kinds::find(slot.device.device_id).is_none() => Plan::Unknown,
        Some(SlotState::Waiting) => Plan::Start,
        Some(SlotState::Ready) => Plan::Abandoned,
        _ => Plan::Nothing,
    }
}

struct Supervisor {
    slots: Slots,
    processes: Children,
    children: BTreeMap<u32, Child>,
    /// Slots that have had their process, or that another domain serves.
    settled: BTreeSet<u32>,
}

impl Supervisor {
    /// Brings processes and slots in line.
    fn reconcile(&mut self) -> Result<()> {
        let slots = self.slots.list().context("cannot list the device slots")?;
        let there: BTreeSet<u32> = slots.iter().map(|slot| slot.number).collect();
        self.settled.retain(|number| there.contains(number));
        for (number, child) in &mut self.children {
            if !there.contains(number) {
                child.stop();
            }
        }
        for slot in &slots {
            let number = slot.number;
            match plan(slot, self.children.contains_key(&number), &self.settled) {
                Plan::Nothing => {}
                Plan::Start => self.start(slot),
                Plan::Abandoned => self.settle(number, SlotState::Gone, "lithd ended and was started anew"),
                Plan::Unknown => {
                    let kind = slot.device.device_id;
                    let text = format!("this lithd does not know virtio devices of kind {kind}");
                    self.settle(number, SlotState::Failed, &text);
                }
            }
        }
        Ok(())
    }

    /// Starts a process for a slot.
    fn start(&mut self, slot: &Slot) {
        // Only who serves a slot may report on it: so this also tells whose it is.
        if self.slots.report(slot.number, SlotState::Waiting, "starting").is_err() {
            self.settled.insert(slot.number);
            return;
        }
        match self.processes.start(&["--slot", &slot.number.to_string()]) {
            Ok(child) => {
                log::info!("slot {}: process {} for guest {}", slot.number, child.id(), slot.device.guest.0);
                self.children.insert(slot.number, child);
            }
            Err(error) => {
                self.settle(slot.number, SlotState::Failed, &format!("cannot start a process: {error}"))
            }
        }
    }

    /// Reports on a slot for the last time.
    fn settle(&mut self, number: u32, state: SlotState, text: &str) {
        self.settled.insert(number);
        self.report(number, state, text);
    }

    fn report(&self, number: u32, state: SlotState, text: &str) {
        match self.slots.report(number, state, text) {
            Ok(()) => log::info!("slot {number}: {text}"),
            // It is another domain's, or gone.
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            Err(error) => log::warn!("slot {number}: {text}; and it cannot be reported: {error}"),
        }
    }

    /// Waits until slots change or a process says something.
    fn wait(&self, watch: &Watch, signal: &StopSignal) -> Result<()> {
        let mut fds: Vec<BorrowedFd<'_>> = self.children.values().filter_map(Child::pipe).collect();
        fds.extend(watch.fd());
        fds.push(signal.fd());
        let mut files: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        // Without the interrupt, and while processes come to their end, there is only looking.
        let ends = self.children.values().any(Child::is_ending);
        let limit = (watch.fd().is_none() || ends).then(|| Timespec::try_from(INTERVAL).ok()).flatten();
        match poll(&mut files, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for events"),
        }
    }

    /// Ends all processes in order, and says so of each slot that one served.
    fn stop(&mut self) {
        let served: Vec<u32> = self.children.keys().copied().collect();
        self.children.values_mut().for_each(Child::stop);
        // One that does not end is killed after a while (`Child::drain_events`).
        while !self.children.is_empty() {
            self.drain_events();
            std::thread::sleep(PAUSE);
        }
        // Of a slot on which its process has reported for the last time there is nothing more to say.
        let slots = self.slots.list().unwrap_or_default();
        for slot in slots.iter().filter(|slot| served.contains(&slot.number)) {
            match slot.state {
                Some(SlotState::Ready) => self.report(slot.number, SlotState::Gone, TOLD),
                Some(SlotState::Waiting) => self.report(slot.number, SlotState::Failed, TOLD),
                _ => (),
            }
        }
    }

    /// Hears what the processes say, and passes it on.
    fn drain_events(&mut self) {
        let mut events = Vec::new();
        for (&number, child) in &mut self.children {
            events.extend(child.drain_events().into_iter().map(|event| (number, event)));
        }
        for (number, event) in events {
            match event {
                ChildEvent::Ready(text) => self.report(number, SlotState::Ready, &text),
                ChildEvent::Failed(text) => self.settle(number, SlotState::Failed, &text),
                ChildEvent::Gone(text) => self.settle(number, SlotState::Gone, &text),
                ChildEvent::Ended => {
                    self.children.remove(&number);
                    self.settled.insert(number);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
