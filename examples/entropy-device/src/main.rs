//! Serves an entropy device to a guest: `entropy-device SLOT`, in the domain that the slot names as its backend.
//!
//! The steps of any backend: the slot says what the guest has; the guest's memory and its line are Xen's way to reach it; a
//! transport puts registers in front of the device; a server takes the guest's accesses to them.

#![forbid(unsafe_code)]

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use backend::VirtioMmio;
use backend::xen::slots::{Interrupt, SlotState, Slots, Transport as SlotTransport};
use backend::xen::{DeviceModel, Domain, Line, Privcmd, Server};
use entropy_device::{DEVICE_ID, Entropy};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::rand::{GetRandomFlags, getrandom};
use virtio::transport::mmio::Transport;

fn main() -> Result<()> {
    let number = std::env::args().nth(1).context("usage: entropy-device SLOT")?.parse()?;
    let privcmd = Arc::new(Privcmd::open()?);
    let slots = Slots::new(Arc::clone(&privcmd));
    let device = slots.get(number)?.context("there is no such slot")?.device;
    ensure!(device.device_id == DEVICE_ID, "the slot is for another kind of device");
    ensure!(device.transport == SlotTransport::VirtioMmio.number(), "the slot is for another transport");
    let Some(Interrupt::Line { intid }) = device.interrupt.get() else { bail!("the slot has no line") };

    let model = DeviceModel::new(privcmd, device.guest);
    let memory = Arc::new(Domain::attach(model.clone(), &device.ram)?);
    let line = Arc::new(Line::new(model.clone(), intid));
    let transport = Transport::new(Entropy::new(Box::new(from_kernel)), memory, line)?;
    let registers = device.registers;
    let mut mmio = VirtioMmio::new(registers.base, transport);
    let mut server = Server::create(model)?;
    let last = registers.base.checked_add(registers.size.saturating_sub(1)).context("no such addresses")?;
    server.map_mmio(registers.base..=last)?;
    slots.report(number, SlotState::Ready, "serves random bytes")?;
    loop {
        // The vCPU has its answer first; what it asked for is done after that.
        server.serve_ready(&mut mmio)?;
        if !mmio.transport.poll_until_idle() {
            poll(&mut [PollFd::from_borrowed_fd(server.fd(), PollFlags::IN)], None)?;
        }
    }
}

/// Random bytes of this domain's kernel. What it does not give stays zero.
fn from_kernel(bytes: &mut [u8]) {
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(count) => done = done.saturating_add(count),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
