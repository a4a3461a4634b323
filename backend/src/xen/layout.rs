//! Where the RAM of a guest is that Xen's toolstack made (Xen, `public/arch-arm.h`).
//!
//! A backend that finds its devices in xenstore is not told. The addresses are fixed, so the highest one that is in use
//! says how much RAM there is, as long as the guest has not run.

use xenolith_abi::DomId;
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::memory::{MemoryDomain, MemoryOp};

use crate::xen::{Argument, Buffer, PAGE_SIZE, Privcmd};
use crate::{Bank, Error};

/// The banks that RAM fills, one after the other.
const RAM: [Bank; 2] =
    [Bank { base: 0x4000_0000, size: 0xc000_0000 }, Bank { base: 0x2_0000_0000, size: 0xfe_0000_0000 }];

/// The banks of RAM of a guest that has not run.
///
/// # Errors
/// The hypervisor does not say, or the guest has no RAM where it is looked for.
pub fn banks(privcmd: &Privcmd, domain: DomId) -> Result<Vec<Bank>, Error> {
    let mut buffer = Buffer::of(&MemoryDomain { domid: domain })?;
    let mut arguments =
        [Argument::Value(MemoryOp::MaximumGpfn.number().into()), Argument::Buffer(&mut buffer)];
    let highest = privcmd
        .hypercall(Hypercall::MemoryOp.number(), &mut arguments)
        .map_err(|source| Error::domain(domain, "ask for its highest page", source))?;
    let banks = up_to(highest);
    if banks.is_empty() {
        return Err(Error::unfit(format!(
            "domain {}: no RAM at its usual addresses, only up to frame {highest:#x}",
            domain.0
        )));
    }
    Ok(banks)
}

/// The parts of the banks up to a frame.
fn up_to(highest: u64) -> Vec<Bank> {
    let end = highest.saturating_add(1).saturating_mul(PAGE_SIZE as u64);
    let part = |bank: &Bank| Bank { base: bank.base, size: end.saturating_sub(bank.base).min(bank.size) };
    RAM.iter().map(part).filter(|bank| bank.size > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_below_the_highest_frame() {
        assert_eq!(up_to(0x47fff), [Bank { base: 0x4000_0000, size: 128 << 20 }]);
        assert_eq!(up_to(0x39003), []);
        assert_eq!(up_to(0x40000), [Bank { base: 0x4000_0000, size: 0x1000 }]);
        // Between the banks, and at their ends.
        assert_eq!(up_to(0x1f_ffff), [RAM[0]]);
        assert_eq!(up_to(0x20_0000), [RAM[0], Bank { base: 0x2_0000_0000, size: 0x1000 }]);
        assert_eq!(up_to(u64::MAX), RAM);
    }
}
