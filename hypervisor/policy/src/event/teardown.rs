//! Closing all ports of a domain, a bounded number at a time, and handing back the guest's frames.
//!
//! The caller holds only this domain's lock during a step, does outside it what the step asks for, and comes back
//! until it is told that all is done. Steps may be made from several CPUs at once, and events may arrive between
//! them.

use super::fifo::Fifo;
use super::two_level::TwoLevel;
use super::{EventChannels, Form, Peer, Port, SharedFrame};

/// What the caller does after a step.
#[must_use]
#[derive(Debug)]
pub enum Closing<F> {
    /// Unlock, lock this domain's table, and call [`EventChannels::disconnect`] there; then make another step.
    Disconnect(Peer),
    /// Let go of a frame; then make another step.
    Release(F),
    /// The budget is used up: make another step at leisure.
    Again,
    /// Nothing is left.
    Done,
}

/// How far a closing has come.
pub(super) struct Progress<F> {
    /// The domain ends: no port is made and no event is delivered any more.
    dying: bool,
    /// Ports before this one were looked at.
    next: Port,
    /// Queues that are no longer in use, whose frames have yet to be handed back.
    retired: Option<Fifo<F>>,
}

impl<F> Default for Progress<F> {
    fn default() -> Self {
        Progress { dying: false, next: Port(1), retired: None }
    }
}

impl<F: SharedFrame> Progress<F> {
    /// How many frames of an ended FIFO form have yet to be handed back.
    pub(super) fn held_frames(&self) -> usize {
        self.retired.as_ref().map_or(0, Fifo::held_frames)
    }
}

impl<F> Progress<F> {
    /// Whether the domain ends.
    pub(super) fn is_dying(&self) -> bool {
        self.dying
    }
}

impl<F: SharedFrame> EventChannels<F> {
    /// One step towards a domain without any port of its guest, in the 2-level form. Ports of the hypervisor stay.
    /// `budget` counts the ports and frames that may still be dealt with.
    pub fn reset_step(&mut self, budget: &mut u32) -> Closing<F> {
        self.step(budget)
    }

    /// One step towards the end of the domain: no event is delivered any more, all ports are closed, all frames are
    /// handed back. `budget` counts the ports and frames that may still be dealt with.
    pub fn teardown_step(&mut self, budget: &mut u32) -> Closing<F> {
        if !self.closing.dying {
            self.closing.dying = true;
            // A reset that was not continued has left the hypervisor's ports behind it.
            self.closing.next = Port(1);
        }
        self.step(budget)
    }

    /// Gives a page of ports back, of a domain whose teardown is done. False when there is none left: to be asked until then.
    pub fn shrink(&mut self) -> bool {
        self.closing.dying && self.ports.shrink()
    }

    fn step(&mut self, budget: &mut u32) -> Closing<F> {
        let dying = self.closing.dying;
        while let Some(port) = self.ports.next_used(self.closing.next) {
            let Some(left) = budget.checked_sub(1) else { return Closing::Again };
            *budget = left;
            // Before the lock goes: another CPU's step must not come to this port too.
            self.closing.next = Port(port.0.saturating_add(1));
            if (dying || self.guests(port).is_ok())
                && let Some(peer) = self.free(port)
            {
                return Closing::Disconnect(peer);
            }
        }
        if *budget == 0 {
            return Closing::Again;
        }
        if let Some(frame) = self.next_frame() {
            *budget -= 1;
            return Closing::Release(frame);
        }
        self.closing.next = Port(1);
        Closing::Done
    }

    /// A frame that is no longer in use.
    fn next_frame(&mut self) -> Option<F> {
        if let Some(frame) = self.next_retired() {
            return Some(frame);
        }
        // Only now, with all ports of the guest closed: which of them are pending stands in the form's words.
        if matches!(self.form, Form::Fifo(_)) {
            let two_level = Form::TwoLevel(TwoLevel::new(self.shared_info));
            if let Form::Fifo(fifo) = core::mem::replace(&mut self.form, two_level) {
                self.closing.retired = Some(fifo);
            }
            if let Some(frame) = self.next_retired() {
                return Some(frame);
            }
        }
        // A reset is about ports: the vCPUs keep their `vcpu_info`.
        if self.closing.dying { self.infos.take_frame() } else { None }
    }

    /// A frame of the queues that have ended. After the last the queues are there for the next time.
    fn next_retired(&mut self) -> Option<F> {
        let mut fifo = self.closing.retired.take()?;
        let frame = fifo.take_frame();
        match frame {
            Some(_) => self.closing.retired = Some(fifo),
            None => self.spare = Some(fifo.renewed()),
        }
        frame
    }
}
