//! Each call of Xen's headers once, and its answer: one line each, which can be compared with those of another hypervisor.

use std::fs::File;

use anyhow::{Result, bail};
use calls::probe::{self, Places};
use calls::{Call, answer_name};
use rustix::io::Errno;
use xenolith_abi::DomId;
use xenolith_abi::domctl::VERSION_4_17;

use crate::pages::{PAGE, Pages};
use crate::xen::{DOM0, hypercall, open};

/// The number of a domain that is made to be asked about.
const SCRATCH: u16 = 77;
/// An address at which no process has anything.
const NOWHERE: u64 = 0x10;

/// Memory of this process from which calls are made.
pub struct Caller {
    privcmd: File,
    pages: Pages,
    /// How many of them can be reached.
    count: usize,
}

impl Caller {
    /// `count` pages to call from.
    pub fn new(count: usize) -> Result<Self> {
        Ok(Self { privcmd: open("privcmd")?, pages: Pages::anonymous(count)?, count })
    }

    /// `count` pages to call from, and one behind them that nobody can read or write.
    pub fn with_an_end(count: usize) -> Result<Self> {
        let mut pages = Pages::anonymous(count + 1)?;
        pages.protect(count, 1, false, false)?;
        Ok(Self { privcmd: open("privcmd")?, pages, count })
    }

    /// The address of the first page.
    pub fn buffer(&self) -> u64 {
        self.pages.address()
    }

    /// Makes a call whose memory is within the pages. The answer is as the hypervisor gives it.
    pub fn make(&self, call: &Call) -> i64 {
        self.put(call);
        self.call(call)
    }

    /// Writes the call's memory, as far as it is within the pages.
    pub fn put(&self, call: &Call) {
        for (address, bytes) in &call.memory {
            let offset = usize::try_from(address.wrapping_sub(self.buffer())).unwrap_or(usize::MAX);
            let room = (self.count * PAGE).saturating_sub(offset);
            self.pages.put(offset, bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// Makes a call whose memory is written.
    pub fn call(&self, call: &Call) -> i64 {
        match hypercall(&self.privcmd, call.number, call.arguments) {
            Ok(value) => value.into(),
            Err(errno) => -i64::from(errno.raw_os_error()),
        }
    }

    /// What is in the pages.
    pub fn content(&self) -> Vec<u64> {
        self.pages.words(self.count)
    }

    /// The four bytes at an address, if that is within the pages.
    pub fn read32(&self, address: u64) -> Option<u32> {
        let offset = usize::try_from(address.checked_sub(self.buffer())?).ok()?;
        let bytes = (offset + 4 <= self.count * PAGE).then(|| self.pages.get(offset, 4))?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    }
}

/// Prints a line for each call: family, sub-operation, answer.
pub fn run() -> Result<()> {
    let caller = Caller::new(2)?;
    let buffer = caller.buffer();
    let mut places =
        Places { buffer, nowhere: NOWHERE, domain: DomId(SCRATCH), domctl_version: VERSION_4_17 };
    for call in probe::preparation(&places) {
        match caller.make(&call) {
            0 => {}
            // Not the control domain.
            error if error == -i64::from(Errno::PERM.raw_os_error()) => {
                places.domain = DOM0;
                break;
            }
            error => bail!("making a domain to ask about: {}", answer_name(error)),
        }
    }
    for probe in probe::all(&places) {
        // A call that ends the machine should be seen to.
        eprintln!("{}...", probe.sub.name);
        println!("{} {}", probe.sub.name, answer_name(caller.make(&probe.call)));
    }
    Ok(())
}
