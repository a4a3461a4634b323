//! A device model with next to nothing in it: three registers, the guest of which is `bench/src/bin/forward.rs`.
//!
//! The guest reads VALUE as often as TIMES says and writes to TICKS how long that took. After each such round there are
//! more servers and more ranges, so that it shows whether their number counts. `bench-model GUEST` is run in the control
//! domain; the hypervisor's debug key `E`, which it presses before and after each round, tells what EL2 did of it. Without a
//! guest it presses the key once.

use std::sync::Arc;

use anyhow::{Context, Result};
use backend::xen::dm::DeviceModel;
use backend::xen::{Argument, Buffer, Privcmd};
use backend::{Mmio, StalePages, xen::Server};
use rustix::event::{PollFd, PollFlags, poll};
use xenolith_abi::DomId;
use xenolith_abi::control::Payload;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::sysctl::{DebugKeys, INTERFACE_VERSION, Sysctl, SysctlOp};

/// Where the registers are, 64 bits each.
const REGISTERS: u64 = 0x0200_0000;
const TIMES: u64 = REGISTERS;
const TICKS: u64 = REGISTERS + 16;
const LAST: u64 = REGISTERS + 23;
/// Where the ranges are that nobody accesses, and how far apart.
const FURTHER: u64 = 0x0210_0000;
const APART: u64 = 16;
/// Reads of a round.
const READS: u64 = 1000;
/// Of each round: servers, and ranges of all of them together.
const ROUNDS: [(usize, u64); 4] = [(1, 1), (1, 250), (8, 250), (8, 2000)];

/// The registers.
#[derive(Default)]
struct Registers {
    times: u64,
    ticks: Option<u64>,
}

impl Mmio for Registers {
    fn read(&mut self, address: u64, _size: u8) -> u64 {
        if address == TIMES { self.times } else { 1 }
    }

    fn write(&mut self, address: u64, _size: u8, value: u64) {
        if address == TICKS {
            self.ticks = Some(value);
        }
    }

    fn invalidate(&mut self, _: &StalePages) {}
}

fn main() -> Result<()> {
    let privcmd = Arc::new(Privcmd::open()?);
    let Some(guest) = std::env::args().nth(1) else { return show_accounts(&privcmd) };
    let guest = guest.parse().map(DomId).context("usage: bench-model [NUMBER OF A GUEST]")?;
    let model = DeviceModel::new(Arc::clone(&privcmd), guest);
    let mut first = Server::create(model.clone())?;
    let mut further: Vec<Server> = Vec::new();
    let mut ranges = 1;
    let mut registers = Registers::default();
    for (servers, all_ranges) in ROUNDS {
        while further.len() + 1 < servers {
            further.push(Server::create(model.clone())?);
        }
        while ranges < all_ranges {
            let base = FURTHER + ranges * APART;
            // Those of the later rounds go to the others in turn, so that neighbours belong to different servers and none has
            // more than it may.
            let turn = usize::try_from(ranges)?.checked_rem(further.len());
            let server = turn.and_then(|turn| further.get(turn)).unwrap_or(&first);
            server.map_mmio(base..=base + 7)?;
            ranges += 1;
        }
        if registers.times == 0 {
            first.map_mmio(REGISTERS..=LAST)?;
        }
        registers.times = READS;
        show_accounts(&privcmd)?;
        let ticks = serve(&mut first, &mut registers)?;
        show_accounts(&privcmd)?;
        println!("bench: forwarded {servers} servers {ranges} ranges {ticks} in {READS}");
    }
    registers.times = 0;
    // The guest ends with this answer, and the server with the guest.
    serve_once(&mut first, &mut registers)
}

/// Serves until a round is done; returns the ticks of all its reads.
fn serve(server: &mut Server, registers: &mut Registers) -> Result<u64> {
    loop {
        serve_once(server, registers)?;
        if let Some(ticks) = registers.ticks.take() {
            return Ok(ticks);
        }
    }
}

/// Waits for an access, and serves it.
fn serve_once(server: &mut Server, registers: &mut Registers) -> Result<()> {
    poll(&mut [PollFd::from_borrowed_fd(server.fd(), PollFlags::IN)], None)?;
    server.serve_ready(registers)?;
    Ok(())
}

/// Has the hypervisor write what EL2 has cost so far.
fn show_accounts(privcmd: &Privcmd) -> Result<()> {
    let call = |keys| {
        let payload = Payload::of(&DebugKeys { keys, nr_keys: 1, pad: 0 });
        Sysctl { cmd: SysctlOp::DebugKeys.number(), interface_version: INTERFACE_VERSION, payload }
    };
    let mut buffer = Buffer::with_array(b"E", call)?;
    privcmd.hypercall(Hypercall::Sysctl.number(), &mut [Argument::Buffer(&mut buffer)])?;
    Ok(())
}
