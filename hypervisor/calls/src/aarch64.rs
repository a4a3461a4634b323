//! What hypercalls say of the machine in the words of one architecture: Xen's interface for Arm.
//!
//! The rest of the crate calls what is here by names that no architecture has for itself.

use xenolith_abi::Errno;
use xenolith_abi::domctl::{ArchDomainConfig, BindPtIrq, GIC_NATIVE, GicVersion, PT_IRQ_SPI, VUART_VPL011};
use xenolith_abi::version::feature;

use xenolith_core::types::Intid;
use xenolith_domain::arch::ArchRequest;
use xenolith_domain::domain::Domain;

/// What `XENVER_get_features` says of the architecture: the guest's firmware has SMCCC 1.1.
pub const FEATURES: u32 = feature::ARM_SMCCC_SUPPORTED;

/// What `createdomain` asks of the architecture's part of a domain (`xen_arch_domainconfig`). `EINVAL`: an unknown version
/// of the GIC, or a TEE mediator.
pub fn requested(wanted: &ArchDomainConfig) -> Result<ArchRequest, Errno> {
    let gic = match wanted.gic_version {
        GIC_NATIVE => None,
        number => Some(GicVersion::from_number(number).ok_or(Errno::EINVAL)?),
    };
    if wanted.tee_type != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(ArchRequest { gic, spis: wanted.nr_spis, vector_granules: wanted.sve_vl })
}

/// Writes what the domain has got of it into the request, as `createdomain` gives it back.
pub fn tell_granted(domain: &Domain, wanted: &mut ArchDomainConfig) {
    wanted.gic_version = domain.arch.info().gic_version;
    // The guest reads the frequency from its own register.
    wanted.clock_frequency = 0;
}

/// What `physinfo` says of the CPUs: the length of SVE's vectors.
pub fn capabilities() -> u32 {
    xenolith_arch::vector_granules().into()
}

/// A shared interrupt (SPI) under the number that it has in the machine. `EOPNOTSUPP`: another kind. `EINVAL`: two numbers.
pub fn shared_interrupt(asked: &BindPtIrq) -> Result<Intid, Errno> {
    if asked.irq_type != PT_IRQ_SPI {
        return Err(Errno::EOPNOTSUPP);
    }
    if asked.machine_irq != Intid(asked.spi.into()) { Err(Errno::EINVAL) } else { Ok(asked.machine_irq) }
}

/// Whether a number means the kind of UART that the hypervisor emulates.
pub fn is_emulated_uart(kind: u32) -> bool {
    kind == VUART_VPL011
}
