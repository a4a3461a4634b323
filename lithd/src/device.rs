//! The process of one device.
//!
//! It opens everything, makes the ioreq server, gives its rights up, and only then looks at the image and at what the
//! guest says. It ends when its standard input does: with its slot, or with its supervisor.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use devicemodel::dm::DeviceModel;
use devicemodel::slots::{DeviceKind, Slot, Slots};
use devicemodel::xen::Privcmd;
use devicemodel::{Domain, Server};
use virtio::block::Block;
use virtio::mmio::Transport;
use virtio::queue::QueueError;

use crate::attend::{Duty, attend};
use crate::confine;
use crate::disk::Disk;
use crate::report::{Report, log, tell};

/// The guest can misuse its queues at any rate; the log hears of the first few times.
const COMPLAINTS: u32 = 10;

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
    let (server, slot) = (&mut server, &slot);
    let mut work = Work { server, transport: &mut transport, slot, broken: None, complaints: COMPLAINTS };
    attend(&mut work, std::io::stdin().as_fd())?;
    transport.quiesce();
    match transport.device().past_cache() >> 20 {
        0 => {}
        mib => log!("slot {number}: {mib} MiB went past the page cache"),
    }
    Ok(())
}

/// The guest's accesses and the device's queues.
struct Work<'a> {
    server: &'a mut Server,
    transport: &'a mut Transport<Block>,
    slot: &'a Slot,
    broken: Option<QueueError>,
    complaints: u32,
}

impl Work<'_> {
    /// Tells people that the guest misuses a queue.
    fn complain(&mut self) {
        if self.transport.error() == self.broken {
            return;
        }
        self.broken = self.transport.error();
        if let Some(error) = self.broken.filter(|_| self.complaints > 0) {
            self.complaints = self.complaints.saturating_sub(1);
            let (number, guest) = (self.slot.number, self.slot.device.guest);
            log!(
                "slot {number}: guest {guest} misuses a queue: {error}; the disk is off until the guest resets it"
            );
        }
    }
}

impl Duty for Work<'_> {
    fn look(&mut self) -> Result<bool> {
        // Both, each time. The vCPU has its answer before its requests are looked at.
        let busy = self.server.look(self.transport)?.is_some() | self.transport.look();
        if busy {
            self.complain();
        }
        Ok(busy)
    }

    fn listen(&mut self) -> Result<bool> {
        let more = self.transport.work();
        self.complain();
        if !more {
            self.server.release()?;
        }
        Ok(more)
    }

    fn hear(&mut self) -> Result<bool> {
        Ok(self.server.hear(self.transport)?.is_some())
    }

    fn events(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.server.fd(), self.transport.wake())
    }
}
