//! Serves the counter to a guest: `register-model GUEST ADDRESS INTERRUPT`, in a domain that may be the guest's device
//! model. It works on Xen and on Xenolith.

#![forbid(unsafe_code)]

use std::sync::Arc;

use anyhow::{Context, Result};
use backend::xen::{DeviceModel, Line, Privcmd, Server};
use backend::{DomId, Intid};
use register_model::{Counter, SIZE};
use rustix::event::{PollFd, PollFlags, poll};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [guest, address, interrupt] = arguments.as_slice() else {
        anyhow::bail!("usage: register-model GUEST ADDRESS INTERRUPT");
    };
    let digits = address.strip_prefix("0x").context("ADDRESS is hexadecimal, with 0x")?;
    let base = u64::from_str_radix(digits, 16)?;
    let model = DeviceModel::new(Arc::new(Privcmd::open()?), DomId(guest.parse()?));
    let line = Arc::new(Line::new(model.clone(), Intid(interrupt.parse()?)));
    let mut counter = Counter::new(base, line);
    let mut server = Server::create(model)?;
    server.map_mmio(base..=base.checked_add(SIZE - 1).context("no such addresses")?)?;
    loop {
        poll(&mut [PollFd::from_borrowed_fd(server.fd(), PollFlags::IN)], None)?;
        server.serve_ready(&mut counter)?;
    }
}
