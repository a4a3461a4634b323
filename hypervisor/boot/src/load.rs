//! Bringing kernel, ramdisk and device tree into the memory of a domain that starts at boot.

use core::convert::Infallible;
use core::fmt;
use xenolith_memory::arc::Arc;

use machine_model::Region;
use xenolith_abi::Errno;

use xenolith_core::types::{Ipa, VcpuId};
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_host::image::{GunzipError, Kernel, KernelError, Placement, PlacementError, Request, place};

use xenolith_domain::domain::{Domain, DomainRef};

/// Room for the device tree: what the machine's own takes and what is added to it.
const TREE_ROOM: u64 = 2 << 20;

/// Where everything will be.
pub struct Plan<'a> {
    kernel: Kernel<'a>,
    ramdisk: Option<&'a [u8]>,
    placement: Placement,
    bank: (Ipa, u64),
}

/// Why a domain's files cannot be brought into its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The kernel module is no kernel.
    Kernel(KernelError),
    /// The kernel does not unpack.
    Unpack(GunzipError<Infallible>),
    /// The memory is too small for what is to be in it.
    Placement(PlacementError),
    /// The domain's memory cannot be written.
    Call(Errno),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Kernel(error) => write!(f, "it cannot be used: {error}"),
            LoadError::Unpack(error) => write!(f, "it does not unpack: {error}"),
            LoadError::Placement(error) => error.fmt(f),
            LoadError::Call(errno) => write!(f, "writing to the domain's memory failed: {errno:?}"),
        }
    }
}

impl<'a> Plan<'a> {
    /// Finds room in the first bank that has enough: low memory comes first, and may be no more than a small piece. If none
    /// has, the error is that of the largest.
    pub fn for_banks(
        kernel: &'a [u8],
        ramdisk: Option<&'a [u8]>,
        banks: &[(Ipa, u64)],
    ) -> Result<Self, LoadError> {
        let fitting = banks.iter().find_map(|&bank| Plan::new(kernel, ramdisk, bank).ok());
        let largest = || banks.iter().copied().max_by_key(|&(_, size)| size).unwrap_or_default();
        fitting.map_or_else(|| Plan::new(kernel, ramdisk, largest()), Ok)
    }

    /// Looks at the kernel and finds room in a bank of the domain's memory.
    pub fn new(kernel: &'a [u8], ramdisk: Option<&'a [u8]>, bank: (Ipa, u64)) -> Result<Self, LoadError> {
        let kernel = Kernel::probe(kernel).map_err(LoadError::Kernel)?;
        let request = Request {
            bank: Region::new(bank.0.0, bank.1),
            text_offset: kernel.header.text_offset,
            kernel_size: kernel.memory_size(),
            device_tree_size: TREE_ROOM,
            initrd_size: ramdisk.map_or(0, |ramdisk| ramdisk.len() as u64),
        };
        let placement = place(&request).map_err(LoadError::Placement)?;
        Ok(Plan { kernel, ramdisk, placement, bank })
    }

    /// Where the ramdisk will be.
    pub fn initrd(&self) -> Option<(Ipa, u64)> {
        Some((Ipa(self.placement.initrd?), self.ramdisk?.len() as u64))
    }

    /// Copies everything into the domain's memory.
    pub fn load(&self, domain: DomainRef<'_>, tree: &[u8]) -> Result<Placement, LoadError> {
        let mut next = Ipa(self.placement.kernel);
        let limit = self.bank.1.saturating_sub(next.0.saturating_sub(self.bank.0.0));
        let unpacked = self.kernel.unpack(limit, &mut |piece| {
            domain.load_memory(next, piece)?;
            next = Ipa(next.0.saturating_add(piece.len() as u64));
            Ok(())
        });
        unpacked.map_err(|error| {
            LoadError::Unpack(match error {
                GunzipError::Sink(errno) => return LoadError::Call(errno),
                GunzipError::BadHeader => GunzipError::BadHeader,
                GunzipError::Truncated => GunzipError::Truncated,
                GunzipError::Damaged => GunzipError::Damaged,
                GunzipError::BadChecksum => GunzipError::BadChecksum,
                GunzipError::BadLength => GunzipError::BadLength,
                GunzipError::TooLarge { limit } => GunzipError::TooLarge { limit },
            })
        })?;
        if let (Some(at), Some(ramdisk)) = (self.placement.initrd, self.ramdisk) {
            domain.load_memory(Ipa(at), ramdisk).map_err(LoadError::Call)?;
        }
        domain.load_memory(Ipa(self.placement.device_tree), tree).map_err(LoadError::Call)?;
        xenolith_arch::sync_instructions();
        Ok(self.placement)
    }
}

/// A domain that is complete and that everybody can find; its vCPUs are off.
#[must_use]
pub struct Ready {
    /// The domain.
    pub domain: Arc<Domain>,
    /// Where its files are.
    pub placement: Placement,
}

impl Ready {
    /// Lets the first vCPU start, as the boot protocol of Linux says.
    pub fn start(self, hv: &Hypervisor) -> Arc<Domain> {
        if let Some(boot) = self.domain.vcpu(VcpuId(0)) {
            self.domain.on(hv).start_vcpu(boot, self.placement.kernel, self.placement.device_tree);
        }
        self.domain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn files_go_into_the_first_bank_that_has_room() {
        let mut kernel = vec![0_u8; 0x3000];
        kernel[16..24].copy_from_slice(&(20 * MIB).to_le_bytes());
        kernel[24..32].copy_from_slice(&0xa_u64.to_le_bytes());
        kernel[56..60].copy_from_slice(b"ARM\x64");
        let banks = [(0x4000_0000, 2), (0x8000_0000, 64), (0x1_4000_0000, 1024)];
        let banks = banks.map(|(start, size)| (Ipa(start), size * MIB));
        let plan =
            |banks: &[(Ipa, u64)]| Plan::for_banks(&kernel, None, banks).map(|plan| plan.placement.kernel);
        assert_eq!(plan(&banks), Ok(0x8000_0000));
        assert_eq!(plan(&banks[..1]), Plan::new(&kernel, None, banks[0]).map(|_| 0));
        let small = [banks[0], (Ipa(0x8000_0000), 8 * MIB)];
        let error = plan(&small).unwrap_err().to_string();
        assert!(error.contains("8 MiB"), "{error}");
    }
}
