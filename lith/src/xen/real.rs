//! The hypervisor under this Linux, through its device files.

mod control;
mod memory;
mod system;

use std::sync::Arc;
use std::time::Duration;

use backend::xen::slots::{Device, FEATURE_SLOTS, Slot, Slots};
use backend::xen::{Argument, Buffer, Privcmd};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use xenolith_abi::domctl::{CreateDomain, DomainInfo, VcpuGuestContext};
use xenolith_abi::hvm::HvmParam;
use xenolith_abi::sysctl::PhysInfo;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{DomainId, Error, Result, Version, Xen};
use xenstore::page::SharedPage;

/// The hypervisor.
#[derive(Debug)]
pub struct RealXen {
    privcmd: Arc<Privcmd>,
    slots: Slots,
}

impl RealXen {
    /// Opens the way to it.
    ///
    /// # Errors
    /// Linux does not run on Xen, or the caller is not root.
    pub fn open() -> Result<RealXen> {
        let privcmd = Arc::new(Privcmd::open()?);
        let slots = Slots::new(Arc::clone(&privcmd));
        Ok(RealXen { privcmd, slots })
    }

    /// Makes a call with an operation's number and one structure; returns what it returns, and the structure as the
    /// hypervisor leaves it.
    fn call<T>(&self, hypercall: u64, op: u64, argument: &T) -> std::result::Result<(u64, T), Failed>
    where
        T: IntoBytes + FromBytes + Immutable,
    {
        let mut buffer = Buffer::of(argument)?;
        let mut arguments = [Argument::Value(op), Argument::Buffer(&mut buffer)];
        let answer = self.privcmd.hypercall(hypercall, &mut arguments)?;
        Ok((answer, buffer.read(0)?))
    }
}

/// Why a call did not work, before it is said what was to be done.
enum Failed {
    /// The hypervisor or Linux answered so.
    Answer(Errno),
    /// It was not made.
    Before(Error),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Failed {
        Failed::Answer(errno)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Before(error)
    }
}

impl Failed {
    /// The error of a call for one domain.
    fn of(self, domain: DomainId, action: &'static str) -> Error {
        match self {
            Failed::Answer(source) => Error::Domain { domain, action, source, advice: advice(source) },
            Failed::Before(error) => error,
        }
    }

    /// The error of a call for no domain in particular.
    fn call(self, action: &'static str) -> Error {
        match self {
            Failed::Answer(source) => Error::Call { action, source, advice: advice(source) },
            Failed::Before(error) => error,
        }
    }
}

/// What to do about an answer, as the end of a sentence.
fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => "; only the control domain may do that",
        Errno::SRCH => "; there is no such domain (any more): see `lith list`",
        Errno::NOMEM => "; the machine has too little free memory: see `lith info`",
        Errno::NOSYS | Errno::OPNOTSUPP => "; the hypervisor lacks this call",
        Errno::ACCESS => "; the hypervisor speaks another version of the interface",
        _ => "",
    }
}

impl Xen for RealXen {
    fn version_number(&self) -> Result<(u16, u16)> {
        self.ask_version_number()
    }

    fn version(&self) -> Result<Version> {
        self.ask_version()
    }

    fn machine(&self) -> Result<PhysInfo> {
        self.ask_machine()
    }

    fn console(&self) -> Result<Vec<u8>> {
        self.read_console()
    }

    fn domains(&self) -> Result<Vec<DomainInfo>> {
        self.list_domains()
    }

    fn domain(&self, domain: DomainId) -> Result<Option<DomainInfo>> {
        self.describe(domain)
    }

    fn create(&self, wish: &CreateDomain) -> Result<(DomainId, CreateDomain)> {
        self.create_domain(wish)
    }

    fn destroy(&self, domain: DomainId) -> Result<()> {
        self.destroy_domain(domain)
    }

    fn pause(&self, domain: DomainId) -> Result<()> {
        self.pause_domain(domain)
    }

    fn unpause(&self, domain: DomainId) -> Result<()> {
        self.unpause_domain(domain)
    }

    fn set_vcpus(&self, domain: DomainId, vcpus: u32) -> Result<()> {
        self.max_vcpus(domain, vcpus)
    }

    fn set_max_memory(&self, domain: DomainId, kib: u64) -> Result<()> {
        self.max_memory(domain, kib)
    }

    fn set_64_bit(&self, domain: DomainId) -> Result<()> {
        self.address_size(domain)
    }

    fn set_paging_pool(&self, domain: DomainId, bytes: u64) -> Result<()> {
        self.paging_pool(domain, bytes)
    }

    fn make_event_channel(&self, domain: DomainId) -> Result<u32> {
        self.alloc_unbound(domain)
    }

    fn set_parameter(&self, domain: DomainId, parameter: HvmParam, value: u64) -> Result<()> {
        self.hvm_set(domain, parameter, value)
    }

    fn populate(&self, domain: DomainId, order: u32, frames: &[u64]) -> Result<usize> {
        self.populate_frames(domain, order, frames)
    }

    fn load(&self, domain: DomainId, frame: u64, bytes: &[u8]) -> Result<()> {
        self.copy_in(domain, frame, bytes)
    }

    fn set_context(&self, domain: DomainId, vcpu: u32, context: &VcpuGuestContext) -> Result<()> {
        self.vcpu_context(domain, vcpu, context)
    }

    fn map(&self, domain: DomainId, frame: u64) -> Result<Box<dyn SharedPage>> {
        self.map_page(domain, frame)
    }

    fn has_slots(&self) -> Result<bool> {
        Ok(self.slots.features()? & FEATURE_SLOTS != 0)
    }

    fn create_slot(&self, device: &Device) -> Result<u32> {
        self.slots.create(device)
    }

    fn slots(&self) -> Result<Vec<Slot>> {
        self.slots.list()
    }

    fn random(&self, bytes: &mut [u8]) {
        // The kernel gives at least 256 bytes at once, more than is ever asked for here.
        let _ = getrandom(bytes, GetRandomFlags::empty());
    }

    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
