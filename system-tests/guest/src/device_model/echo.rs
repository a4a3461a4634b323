//! A device that is memory, and tells which access it saw last.

use std::process::ExitCode;
use xenolith_abi::DomId;

use anyhow::Result;
use backend::{Mmio, StalePages, xen::Server};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{FACTS, FACTS_SIZE, MEMORY, MEMORY_SIZE, OVER, destroy_all, model};

/// What the guest reads when it may end.
const ENOUGH: u64 = 0x600d_600d_600d_600d;

struct Echo {
    memory: Vec<u8>,
    address: u64,
    kind: u64,
    count: u64,
    last: bool,
}

impl Echo {
    /// Notes an access to the memory; returns the bytes that it is to.
    fn note(&mut self, address: u64, size: u8, write: bool) -> &mut [u8] {
        (self.address, self.kind) = (address, u64::from(size) | u64::from(write) << 8);
        self.count += 1;
        let start = usize::try_from(address - MEMORY).unwrap_or(usize::MAX);
        self.memory.get_mut(start..start.saturating_add(size.into())).unwrap_or_default()
    }

    fn fact(&self, address: u64) -> u64 {
        match address {
            FACTS => self.address,
            0x0a00_1008 => self.kind,
            0x0a00_1010 => self.count,
            OVER if self.last => ENOUGH,
            _ => 0,
        }
    }
}

impl Mmio for Echo {
    fn read(&mut self, address: u64, size: u8) -> u64 {
        if address >= FACTS {
            return self.fact(address);
        }
        // Bits above the size are for the hypervisor to drop.
        let mut bytes = [0xee; 8];
        let found = self.note(address, size, false);
        bytes[..found.len()].copy_from_slice(found);
        u64::from_le_bytes(bytes)
    }

    fn write(&mut self, address: u64, size: u8, value: u64) {
        if address < FACTS {
            let bytes = self.note(address, size, true);
            bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
        }
    }

    fn invalidate(&mut self, _: &StalePages) {}
}

/// Serves the device for ever. `last`: the guest may end.
pub fn run(guest: DomId, last: bool) -> ExitCode {
    match serve(guest, last) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("echo-model: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(guest: DomId, last: bool) -> Result<()> {
    let model = model(guest)?;
    destroy_all(&model);
    let mut echo = Echo { memory: vec![0; MEMORY_SIZE.try_into()?], address: 0, kind: 0, count: 0, last };
    let mut server = Server::create(model)?;
    server.map_mmio(MEMORY..=MEMORY + MEMORY_SIZE - 1)?;
    server.map_mmio(FACTS..=FACTS + FACTS_SIZE - 1)?;
    println!("echo-model: serves guest {}", guest.0);
    loop {
        let fd = server.fd();
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        server.serve_ready(&mut echo)?;
    }
}
