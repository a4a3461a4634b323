//! The calls to the hypervisor that the command line makes.
//!
//! They are behind one trait: what decides (the builder, the monitor, the commands) runs in tests over a fake that
//! answers as it is told.

#[cfg(test)]
pub mod fake;
mod real;

use std::time::Duration;

use backend::xen::slots::{Device, Slot};
use xenolith_abi::domctl::{CreateDomain, DomainInfo, VcpuGuestContext};
use xenolith_abi::hvm::HvmParam;
use xenolith_abi::sysctl::PhysInfo;

use xenstore::page::SharedPage;

pub use backend::Error;
pub use real::RealXen;

/// What a call answers.
pub type Result<T> = std::result::Result<T, Error>;

/// A domain's number.
pub type DomainId = u16;

/// The control domain, which is where the command line runs.
pub const CONTROL: DomainId = 0;

/// What is known of the hypervisor and its build.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Major and minor number of the interface: Xen's.
    pub number: (u16, u16),
    /// What follows them.
    pub extra: String,
    /// What it was built from.
    pub changeset: String,
    /// Its command line.
    pub command_line: String,
    /// What built it.
    pub compiler: String,
}

/// The hypervisor. Frames are guest physical addresses without their low 12 bits.
pub trait Xen {
    /// The version (major, minor) of the interface.
    ///
    /// # Errors
    /// As all calls: what the hypervisor or Linux answers.
    fn version_number(&self) -> Result<(u16, u16)>;

    /// All about the hypervisor's build.
    ///
    /// # Errors
    /// As all calls.
    fn version(&self) -> Result<Version>;

    /// Describes the machine.
    ///
    /// # Errors
    /// As all calls.
    fn machine(&self) -> Result<PhysInfo>;

    /// What the hypervisor has written to its console.
    ///
    /// # Errors
    /// As all calls.
    fn console(&self) -> Result<Vec<u8>>;

    /// Describes all domains, in the order of their numbers.
    ///
    /// # Errors
    /// As all calls.
    fn domains(&self) -> Result<Vec<DomainInfo>>;

    /// Describes a domain; `None` if there is none with this number.
    ///
    /// # Errors
    /// As all calls.
    fn domain(&self, domain: DomainId) -> Result<Option<DomainInfo>>;

    /// Makes a domain without memory, paused; returns its number and the wish as it was met.
    ///
    /// # Errors
    /// As all calls.
    fn create(&self, wish: &CreateDomain) -> Result<(DomainId, CreateDomain)>;

    /// Destroys a domain.
    ///
    /// # Errors
    /// As all calls.
    fn destroy(&self, domain: DomainId) -> Result<()>;

    /// Stops a domain until it is unpaused as often.
    ///
    /// # Errors
    /// As all calls.
    fn pause(&self, domain: DomainId) -> Result<()>;

    /// Takes one pause back.
    ///
    /// # Errors
    /// As all calls.
    fn unpause(&self, domain: DomainId) -> Result<()>;

    /// Sets how many vCPUs a domain has.
    ///
    /// # Errors
    /// As all calls.
    fn set_vcpus(&self, domain: DomainId, vcpus: u32) -> Result<()>;

    /// Sets how many KiB a domain may own.
    ///
    /// # Errors
    /// As all calls.
    fn set_max_memory(&self, domain: DomainId, kib: u64) -> Result<()>;

    /// Makes a domain's vCPUs AArch64.
    ///
    /// # Errors
    /// As all calls.
    fn set_64_bit(&self, domain: DomainId) -> Result<()>;

    /// Sets aside memory for a domain's translation tables.
    ///
    /// # Errors
    /// As all calls.
    fn set_paging_pool(&self, domain: DomainId, bytes: u64) -> Result<()>;

    /// Makes an event channel of a domain that the control domain may bind; returns the domain's port.
    ///
    /// # Errors
    /// As all calls.
    fn make_event_channel(&self, domain: DomainId) -> Result<u32>;

    /// Sets a parameter of a domain.
    ///
    /// # Errors
    /// As all calls.
    fn set_parameter(&self, domain: DomainId, parameter: HvmParam, value: u64) -> Result<()>;

    /// Puts fresh memory at frames, 2^`order` pages at each; returns at how many of them, from the first on.
    ///
    /// # Errors
    /// As all calls.
    fn populate(&self, domain: DomainId, order: u32, frames: &[u64]) -> Result<usize>;

    /// Copies bytes into a domain's memory, from the start of a frame on, and writes them back from the caches.
    ///
    /// # Errors
    /// As all calls.
    fn load(&self, domain: DomainId, frame: u64, bytes: &[u8]) -> Result<()>;

    /// Sets a vCPU's registers.
    ///
    /// # Errors
    /// As all calls.
    fn set_context(&self, domain: DomainId, vcpu: u32, context: &VcpuGuestContext) -> Result<()>;

    /// Maps a page of a domain.
    ///
    /// # Errors
    /// As all calls.
    fn map(&self, domain: DomainId, frame: u64) -> Result<Box<dyn SharedPage>>;

    /// Whether guests can have devices that other domains serve.
    ///
    /// # Errors
    /// As all calls.
    fn has_slots(&self) -> Result<bool>;

    /// Makes a device slot; returns its number.
    ///
    /// # Errors
    /// As all calls.
    fn create_slot(&self, device: &Device) -> Result<u32>;

    /// All device slots.
    ///
    /// # Errors
    /// As all calls.
    fn slots(&self) -> Result<Vec<Slot>>;

    /// Random bytes.
    fn random(&self, bytes: &mut [u8]);

    /// Lets time pass.
    fn wait(&self, time: Duration);
}
