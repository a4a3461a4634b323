//! Where the guest's half stands: `vcpu_info`, and the pages of the FIFO form.
//!
//! A frame is taken when its call succeeds, and handed back when it is refused or when the domain ends. A domain goes
//! from the 2-level form to the FIFO form with its first control block, and what was pending goes with it.

use xenolith_abi::Errno;
use xenolith_abi::event::fifo::QUEUES;

use super::fifo::Fifo;
use super::{EventActions, EventChannels, Form, Port, Refused, SharedFrame};
use xenolith_core::types::VcpuId;

impl<F: SharedFrame> EventChannels<F> {
    /// Moves a vCPU's `vcpu_info` to a frame of the guest, and tells the vCPU to look at everything.
    ///
    /// `ENOENT`: no such vCPU. `ENXIO`: the offset is misaligned or the structure would leave the page. `EINVAL`:
    /// registered before, or the domain ends.
    pub fn register_vcpu_info(
        &mut self,
        vcpu: VcpuId,
        frame: F,
        offset: u32,
    ) -> Result<EventActions, Refused<F>> {
        let frame = self.refuse_when_dying(frame)?;
        self.infos.register(vcpu, frame, offset)?;
        let mut effects = EventActions::default();
        effects.notify.insert(vcpu);
        Ok(effects)
    }

    /// Gives a vCPU its FIFO control block.
    ///
    /// `ENOENT`: no such vCPU. `EINVAL`: misaligned, leaves the page, given before, or the domain ends. `ENOMEM`: the
    /// queues that a reset has ended still hold frames. After an error the domain keeps its form.
    pub fn init_control(&mut self, vcpu: VcpuId, frame: F, offset: u32) -> Result<(), Refused<F>> {
        let frame = self.refuse_when_dying(frame)?;
        if let Form::Fifo(fifo) = &mut self.form {
            return fifo.set_control(vcpu, frame, offset);
        }
        let Some(mut fifo) = self.spare.take() else { return Err(Refused { errno: Errno::ENOMEM, frame }) };
        // The form changes only when nothing can fail any more.
        match fifo.set_control(vcpu, frame, offset) {
            Ok(()) => {
                self.switch_to(fifo);
                Ok(())
            }
            Err(refused) => {
                self.spare = Some(fifo);
                Err(refused)
            }
        }
    }

    /// Adds a page of FIFO event words, and delivers what happened to their ports before.
    ///
    /// `EOPNOTSUPP`: the domain is in the 2-level form. `ENOSPC`: it has all 128 pages. `EINVAL`: the
    /// domain ends.
    pub fn expand_array(&mut self, frame: F) -> Result<EventActions, Refused<F>> {
        let frame = self.refuse_when_dying(frame)?;
        let Form::Fifo(fifo) = &mut self.form else {
            return Err(Refused { errno: Errno::EOPNOTSUPP, frame });
        };
        let mut effects = EventActions::default();
        for port in fifo.add_page(frame)?.map(Port) {
            if self.take_kept_event(port) {
                effects |= self.set_pending(port);
            }
        }
        Ok(effects)
    }

    /// Sets the priority at which a port is queued from now on; 0 is the most urgent.
    ///
    /// `ENOSYS`: the domain is in the 2-level form. `EINVAL`: above 15, or the port is not in use or the
    /// hypervisor's own.
    pub fn set_priority(&mut self, port: Port, priority: u32) -> Result<(), Errno> {
        if matches!(self.form, Form::TwoLevel(_)) {
            return Err(Errno::ENOSYS);
        }
        let priority = u8::try_from(priority)
            .ok()
            .filter(|&priority| u32::from(priority) < QUEUES)
            .ok_or(Errno::EINVAL)?;
        self.guests_mut(port)?.fifo.priority = priority;
        Ok(())
    }

    /// Makes the FIFO form the domain's. Its array has no page yet, so that what is pending is kept for later.
    fn switch_to(&mut self, fifo: Fifo<F>) {
        let mut next = self.ports.next_used(Port(1));
        while let (Some(port), Form::TwoLevel(two_level)) = (next, &self.form) {
            if let Some(channel) = self.ports.get_mut(port) {
                channel.fifo.pending = two_level.is_pending(port);
            }
            next = self.ports.next_used(Port(port.0 + 1));
        }
        self.form = Form::Fifo(fifo);
    }

    /// Whether an event of this port was kept for want of its word; it is forgotten here.
    fn take_kept_event(&mut self, port: Port) -> bool {
        self.ports.get_mut(port).is_some_and(|channel| core::mem::take(&mut channel.fifo.pending))
    }

    fn refuse_when_dying(&self, frame: F) -> Result<F, Refused<F>> {
        if self.closing.is_dying() { Err(Refused { errno: Errno::EINVAL, frame }) } else { Ok(frame) }
    }
}
