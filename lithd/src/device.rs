//! The process of one device.
//!
//! It opens everything, makes the ioreq server, gives its rights up, and only then looks at the image and at what the
//! guest says. It ends when its standard input does: with its slot, or with its supervisor.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use devicemodel::dm::DeviceModel;
use devicemodel::slots::{DeviceKind, Slot, Slots};
use devicemodel::xen::Privcmd;
use devicemodel::{Domain, Server};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use virtio::block::Block;
use virtio::mmio::Transport;

use crate::confine;
use crate::disk::Disk;
use crate::pace::Pace;
use crate::report::{Report, log, tell};

/// The guest can misuse its queues at any rate; the log hears of the first few times.
const COMPLAINTS: u32 = 10;
/// A busy guest is served for so long before the sign to stop is looked for.
const TURN: Duration = Duration::from_millis(10);

/// Serves slot `number` until standard input ends.
///
/// # Errors
/// It cannot be served, or no more; the supervisor was told why.
pub fn run(number: u32) -> Result<()> {
    let result = serve(number);
    if let Err(error) = &result {
        Report::Failed(tell(error)).send();
    }
    result.with_context(|| format!("slot {number}"))
}

fn serve(number: u32) -> Result<()> {
    let privcmd = Arc::new(Privcmd::open()?);
    let slot =
        Slots::new(Arc::clone(&privcmd)).get(number)?.ok_or_else(|| anyhow!("there is no such slot"))?;
    let device = &slot.device;
    if DeviceKind::from_number(device.kind) != Some(DeviceKind::VirtioMmioBlock) {
        bail!("this lithd does not know devices of kind {}", device.kind);
    }
    let disk = Disk::open(device)?;
    let model = DeviceModel::new(Arc::clone(&privcmd), device.guest);
    let guest = Arc::new(Domain::attach(model.clone(), &device.ram)?);
    let mut server = Server::create(model)?;

    let mut lacks = Vec::new();
    if let Err(error) = privcmd.restrict(device.guest) {
        lacks.push(format!("privcmd not restricted ({error})"));
    }
    confine::give_up_root()?;
    lacks.extend(confine::leave_file_system()?.map(str::to_owned));
    let (mut transport, text) = disk.start(device, guest)?;
    confine::filter_system_calls()?;
    if !lacks.is_empty() {
        log!("slot {number}: confined with less than usual: {}", lacks.join(", "));
    }

    let registers = device.registers;
    let last = registers.base.checked_add(registers.size).and_then(|end| end.checked_sub(1));
    server.map_mmio(
        registers.base..=last.ok_or_else(|| anyhow!("its registers end past the address space"))?,
    )?;
    Report::Ready(format!("{text} to guest {}", device.guest)).send();
    attend(&mut server, &mut transport, std::io::stdin().as_fd(), &slot)?;
    transport.quiesce();
    match transport.device().past_cache() >> 20 {
        0 => {}
        mib => log!("slot {number}: {mib} MiB went past the page cache"),
    }
    Ok(())
}

/// Answers the guest and serves the queues until `stop` is readable or closed.
fn attend(
    server: &mut Server,
    transport: &mut Transport<Block>,
    stop: BorrowedFd<'_>,
    slot: &Slot,
) -> Result<()> {
    let mut broken = None;
    let mut complaints = COMPLAINTS;
    let mut pace = Pace::new();
    loop {
        let quiet = look(server, transport, &mut pace)?;
        // While the guest is busy nothing is waited for: it is only seen whether to stop.
        let more = !quiet || transport.work();
        if !more {
            server.release()?;
        }
        let waits_for_image = transport.is_waiting();
        if wait(server, transport, stop, more)? {
            return Ok(());
        }
        if waits_for_image {
            // How long that took says nothing of the guest.
            pace.restart();
        }
        // The vCPU has its answer before its requests are looked at.
        if server.hear(transport)?.is_some() {
            pace.busy();
        }
        if transport.error() != broken {
            broken = transport.error();
            if let Some(error) = broken.filter(|_| complaints > 0) {
                complaints = complaints.saturating_sub(1);
                let (number, guest) = (slot.number, slot.device.guest);
                log!(
                    "slot {number}: guest {guest} misuses a queue: {error}; the disk is off until the guest resets it"
                );
            }
        }
    }
}

/// Serves the guest without an event, until there is nothing to do for as long as `pace` says, or only for the image.
/// Returns whether that is why it ended: it does so after a while in any case.
fn look(server: &mut Server, transport: &mut Transport<Block>, pace: &mut Pace) -> Result<bool> {
    let begun = Instant::now();
    loop {
        // Both, each time.
        let busy = server.look(transport)?.is_some() | transport.look();
        if busy {
            pace.busy();
        } else if pace.is_over() {
            return Ok(true);
        }
        if begun.elapsed() >= TURN {
            return Ok(false);
        }
        std::hint::spin_loop();
    }
}

/// Waits for something to do, unless there is `more` already. Returns whether to stop.
fn wait(server: &Server, transport: &Transport<Block>, stop: BorrowedFd<'_>, more: bool) -> Result<bool> {
    let server = PollFd::from_borrowed_fd(server.fd(), PollFlags::IN);
    let mut files = [
        PollFd::from_borrowed_fd(stop, PollFlags::IN),
        server.clone(),
        // Where nothing is to be waited for, the same once more.
        transport.wake().map_or(server, |wake| PollFd::from_borrowed_fd(wake, PollFlags::IN)),
    ];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut files, more.then_some(&at_once)) {
        // A ring whose thread is asked to look for completions ends the wait like a signal.
        Ok(_) | Err(Errno::INTR) => Ok(files.first().is_some_and(|stop| !stop.revents().is_empty())),
        Err(error) => Err(error).context("cannot wait for events"),
    }
}
