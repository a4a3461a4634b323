//! The process of one device.
//!
//! It opens everything, makes the ioreq server, gives its rights up, and only then looks at the image and at what the
//! guest says. It ends when its standard input does, with its slot or with its supervisor, or when a signal tells it to.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use backend::VirtioMmio;
use backend::xen::dm::DeviceModel;
use backend::xen::{Domain, Line, Privcmd, Server, layout};
use rustix::io::Errno;
use virtio::core::device::Device;
use virtio::transport::mmio::Transport;

use crate::complaints::Complaints;
use crate::confine::{self, Confinement};
use crate::event_loop::{EventLoop, run as run_loop};
use crate::job::Job;
use crate::kinds;
use crate::report::{Report, tell};
use crate::stop::{StopSignal, TOLD, is_ready};

/// The control domain may hear of the device at the same time as this domain, and let it serve the guest only then.
const PATIENCE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(50);

/// Serves a slot, or the job that a text describes, until standard input ends or a signal comes.
///
/// # Errors
/// It cannot be served, or no more; the supervisor was told why.
pub fn run(slot: Option<u32>, text: Option<&str>, allow_weak: bool) -> Result<()> {
    let result = serve(slot, text, Confinement::new(allow_weak));
    if let Err(error) = &result {
        Report::Failed(tell(error)).send();
    }
    match slot {
        Some(number) => result.with_context(|| format!("slot {number}")),
        None => result,
    }
}

fn serve(slot: Option<u32>, text: Option<&str>, mut confinement: Confinement) -> Result<()> {
    // First: from here on there is a server that ends in order.
    let signal = StopSignal::new().context("cannot listen to signals")?;
    let job = text.map(Job::from_text).transpose()?;
    let privcmd = Arc::new(Privcmd::open()?);
    let mut job = match (job, slot) {
        (Some(job), _) => job,
        (None, Some(number)) => Job::of_slot(&privcmd, number)?,
        (None, None) => bail!("there is nothing to serve"),
    };
    let last = job.last()?;
    let opened = (job.kind()?.open)(job.config.as_bytes()).map_err(anyhow::Error::from_boxed)?;
    let model = DeviceModel::new(Arc::clone(&privcmd), job.guest);
    let queues = prepare(&mut job, &model)?;
    let guest = Arc::new(Domain::attach(model.clone(), &job.banks())?);
    let line = Arc::new(Line::new(model.clone(), job.irq));
    let mut server = Server::create(model)?;

    // From here on rights go. First the calls for domains other than the guest, which the open file would still make.
    let restricted = privcmd.restrict(job.guest).map(|()| None::<&str>);
    confinement.note(restricted.context("privcmd serves other domains too"))?;
    // Takes CAP_SYS_RESOURCE, which goes with root.
    confine::allow_locked_memory();
    confinement.note(confine::give_up_root())?;
    // Before the image's header is read, and before there are other threads, which it would not hold for.
    confinement.note(confine::leave_file_system())?;
    let (mut device, text) = opened.start(queues).map_err(anyhow::Error::from_boxed)?;
    // A guest can have its device wait, for a reset say, while the loop that sees the sign to stop waits for that.
    device.set_end(Box::new(|| is_ready(std::io::stdin().as_fd())));
    let transport = Transport::new(device, guest, line).context("cannot make the device")?;
    let mut mmio = VirtioMmio::new(job.base, transport);
    // Only now: the ring and the threads of an engine are started by calls that the filter does not let through.
    confinement.note(confine::filter_system_calls().map(|()| None::<&str>))?;

    // Last of all: until the guest's accesses come here, nothing that it says does.
    server.map_mmio(job.base..=last)?;
    Report::Ready(format!("{}{text} to guest {}", confinement.weakness(), job.guest.0)).send();
    let (server, job) = (&mut server, &job);
    let kind = kinds::find(job.device_id).map_or("device", |kind| kind.name);
    let complaints = Complaints::new(job.guest, kind);
    let mut work = Work { server, mmio: &mut mmio, job, complaints };
    run_loop(&mut work, [std::io::stdin().as_fd(), signal.fd()])?;
    if signal.is_given() {
        mmio.transport.quiesce();
        // Of a device whose slot is gone nobody wants to hear it.
        Report::Failed(TOLD.into()).send();
    } else {
        // With the slot the guest is gone, or has the device no more: its end does not wait for what it had asked for.
        mmio.transport.abandon();
    }
    if let Some(summary) = mmio.transport.device().summary() {
        log::info!("{}: {summary}", job.name);
    }
    Ok(())
}

/// Finds out what the job does not say of the guest. Returns how many queues the device is to have, if that depends on the
/// guest.
fn prepare(job: &mut Job, model: &DeviceModel) -> Result<Option<u16>> {
    let begun = Instant::now();
    let vcpus = loop {
        match model.vcpus() {
            Err(error) if error.errno() == Some(Errno::PERM) && begun.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            result => break result?,
        }
    };
    if job.ram.is_empty() {
        let banks = layout::banks(model.privcmd(), job.guest)?;
        job.ram = banks.iter().map(|bank| (bank.base, bank.size)).collect();
    }
    Ok(job.queue_each.then(|| u16::try_from(vcpus).unwrap_or(u16::MAX)))
}

/// The guest's accesses and the device's queues.
struct Work<'a> {
    server: &'a mut Server,
    mmio: &'a mut VirtioMmio<Box<dyn Device>>,
    job: &'a Job,
    complaints: Complaints,
}

impl Work<'_> {
    /// Tells people what the guest does wrong.
    fn warn_ratelimited(&mut self) {
        let transport = &self.mmio.transport;
        if let Some(text) = self.complaints.next(transport.error(), transport.refused_features()) {
            log::warn!("{}: {text}", self.job.name);
        }
    }
}

impl EventLoop for Work<'_> {
    fn poll_once(&mut self) -> Result<bool> {
        // Both, each time. The vCPU has its answer before its requests are looked at.
        let busy = self.server.poll_once(self.mmio)?.is_some() | self.mmio.transport.poll_once();
        if busy {
            self.warn_ratelimited();
        }
        Ok(busy)
    }

    fn arm_notifications(&mut self) -> Result<bool> {
        let more = self.mmio.transport.poll_until_idle();
        self.warn_ratelimited();
        // With more to do at once there is no wait, and a masked event spares the hypervisor an interrupt.
        if !more {
            self.server.arm_notifications()?;
        }
        Ok(more)
    }

    fn drain_events(&mut self) -> Result<bool> {
        Ok(self.server.drain_events(self.mmio)?.is_some())
    }

    fn events(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.server.fd(), self.mmio.transport.wake())
    }
}
