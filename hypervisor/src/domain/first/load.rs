//! Bringing kernel, ramdisk and device tree into the first domain's memory.

use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::image::{GunzipError, Kernel, Placement, Request, place};
use crate::platform::Platform;
use crate::types::Ipa;

use super::{FirstError, Modules};

/// Room for the device tree: what the machine's own takes and what is added to it.
const TREE_ROOM: u64 = 2 << 20;

/// Where everything will be.
pub struct Plan<'a> {
    kernel: Kernel<'a>,
    ramdisk: Option<&'a [u8]>,
    placement: Placement,
    bank: (Ipa, u64),
}

/// The kernel's command line.
pub fn arguments(platform: &Platform) -> &str {
    match platform.kernel().and_then(|kernel| kernel.arguments.as_deref()) {
        Some(arguments) => arguments,
        None => &platform.domain_arguments,
    }
}

fn path(module: Option<&crate::platform::Module>) -> alloc::string::String {
    module.map(|module| module.path.clone()).unwrap_or_default()
}

impl<'a> Plan<'a> {
    /// Looks at the kernel and finds room in the first bank.
    pub fn new(platform: &Platform, modules: &Modules<'a>, banks: &[(Ipa, u64)]) -> Result<Self, FirstError> {
        let kernel = Kernel::probe(modules.kernel)
            .map_err(|error| FirstError::Kernel { module: path(platform.kernel()), error })?;
        let bank = *banks.first().ok_or(FirstError::NoHypervisorMemory)?;
        let request = Request {
            bank,
            text_offset: kernel.header.text_offset,
            kernel_size: kernel.memory_size(),
            device_tree_size: TREE_ROOM,
            initrd_size: modules.ramdisk.map_or(0, |ramdisk| ramdisk.len() as u64),
        };
        let placement = place(&request).map_err(FirstError::Placement)?;
        Ok(Plan { kernel, ramdisk: modules.ramdisk, placement, bank })
    }

    /// Where the ramdisk will be.
    pub fn initrd(&self) -> Option<(Ipa, u64)> {
        Some((self.placement.initrd?, self.ramdisk?.len() as u64))
    }

    /// Copies everything into the domain's memory.
    pub fn load(&self, hv: &Hypervisor, domain: &Domain, tree: &[u8]) -> Result<Placement, FirstError> {
        let mut next = self.placement.kernel;
        let limit = self.bank.1.saturating_sub(next.0.saturating_sub(self.bank.0.0));
        let unpacked = self.kernel.unpack(limit, &mut |piece| {
            domain.load_memory(hv, next, piece)?;
            next = Ipa(next.0.saturating_add(piece.len() as u64));
            Ok(())
        });
        unpacked.map_err(|error| match error {
            GunzipError::Sink(errno) => FirstError::Call(errno),
            GunzipError::BadHeader => FirstError::Unpack(GunzipError::BadHeader),
            GunzipError::Truncated => FirstError::Unpack(GunzipError::Truncated),
            GunzipError::Damaged => FirstError::Unpack(GunzipError::Damaged),
            GunzipError::BadChecksum => FirstError::Unpack(GunzipError::BadChecksum),
            GunzipError::BadLength => FirstError::Unpack(GunzipError::BadLength),
            GunzipError::TooLarge { limit } => FirstError::Unpack(GunzipError::TooLarge { limit }),
        })?;
        if let (Some(at), Some(ramdisk)) = (self.placement.initrd, self.ramdisk) {
            domain.load_memory(hv, at, ramdisk).map_err(FirstError::Call)?;
        }
        domain.load_memory(hv, self.placement.device_tree, tree).map_err(FirstError::Call)?;
        crate::arch::sync_instructions();
        Ok(self.placement)
    }
}
