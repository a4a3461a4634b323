//! Devices: those of the machine that the calling domain passes on to another, and who may emulate some.

use xenolith_abi::domctl::{
    BindPtIrq, Domctl, IomemPermission, IrqPermission, MEMORY_MAPPING_PAGES, MemoryMapping, PT_IRQ_SPI,
    SetTarget, VUART_INIT, VUART_VPL011, VuartOp,
};
use xenolith_abi::{Errno, Intid};

use crate::caller::Caller;
use xenolith_core::types::Mfn;
use xenolith_domain::domain::{Domain, DomainRef};

use super::Outcome;

/// Lets the header's domain be the device model of another. `ESRCH`: there is no such guest, or one of them is dying. `EINVAL`: they are the same.
/// `ENOSPC`: the guest has too many.
pub fn set_target(caller: &Caller<'_>, domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let asked: SetTarget = request.payload.get();
    let guest = caller.hv.live_domain(asked.target).ok_or(Errno::ESRCH)?;
    guest.allow_device_model(domain)?;
    Ok(Outcome::Done)
}

/// `EPERM`: the interrupt is not the caller's. `ENOSPC`: too many.
pub fn irq_permission(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    request: &Domctl,
) -> Result<Outcome, Errno> {
    let asked: IrqPermission = request.payload.get();
    domain.permit_interrupt(&caller.domain(), asked.pirq, asked.allow_access != 0)?;
    Ok(Outcome::Done)
}

/// `EINVAL`: the range is empty or wraps. `EPERM`: the frames are not the caller's devices. `ENOSPC`: too many ranges.
pub fn iomem_permission(caller: &Caller<'_>, domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let asked: IomemPermission = request.payload.get();
    domain.permit_frames(&caller.domain(), Mfn(asked.first_mfn), asked.nr_mfns, asked.allow_access != 0)?;
    Ok(Outcome::Done)
}

/// `E2BIG`: more than 64 frames. `EINVAL`: the range is empty or wraps. `EPERM`: no permission. `EEXIST`: something else
/// is mapped there.
pub fn memory_mapping(caller: &Caller<'_>, domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let asked: MemoryMapping = request.payload.get();
    let (gfn, mfn) = (asked.first_gfn, Mfn(asked.first_mfn));
    match asked.nr_mfns {
        0 => return Err(Errno::EINVAL),
        pages if pages > MEMORY_MAPPING_PAGES => return Err(Errno::E2BIG),
        pages if asked.add_mapping != 0 => domain.map_device(&caller.domain(), gfn, mfn, pages)?,
        pages => domain.unmap_device(gfn, mfn, pages)?,
    }
    Ok(Outcome::Done)
}

/// A shared interrupt under the number that it has in the machine. `EOPNOTSUPP`: another kind. `EINVAL`: two numbers.
fn shared_interrupt(request: &Domctl) -> Result<Intid, Errno> {
    let asked: BindPtIrq = request.payload.get();
    if asked.irq_type != PT_IRQ_SPI {
        return Err(Errno::EOPNOTSUPP);
    }
    if asked.machine_irq != Intid(asked.spi.into()) { Err(Errno::EINVAL) } else { Ok(asked.machine_irq) }
}

/// `EPERM`: no permission. `EINVAL`: the guest has no such interrupt. `EBUSY`: another domain has it, or the caller itself
/// without having permitted it to the guest, as `xl` finds it with `irqs=` on a machine whose devices are all in use.
pub fn bind_interrupt(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    request: &Domctl,
) -> Result<Outcome, Errno> {
    let intid = shared_interrupt(request)?;
    domain.bind_interrupt(&caller.domain(), intid)?;
    Ok(Outcome::Done)
}

/// `EINVAL`: the guest does not have it. `EBUSY`: it is handling one.
pub fn unbind_interrupt(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    request: &Domctl,
) -> Result<Outcome, Errno> {
    let intid = shared_interrupt(request)?;
    domain.unbind_interrupt(&caller.domain(), intid)?;
    Ok(Outcome::Done)
}

/// Makes an emulated UART whose other end another domain has; the port is told. `EINVAL`: another command, padding that is not
/// zero, no such page, the domain has a UART already, or no such interrupt. `EOPNOTSUPP`: another kind of UART. `ENOSPC`,
/// `ENOMEM`: no port.
pub fn make_uart(domain: DomainRef<'_>, request: &mut Domctl) -> Result<Outcome, Errno> {
    let mut asked: VuartOp = request.payload.get();
    if asked.cmd != VUART_INIT || asked.pad != 0 {
        return Err(Errno::EINVAL);
    }
    if asked.kind != VUART_VPL011 {
        return Err(Errno::EOPNOTSUPP);
    }
    asked.evtchn = domain.make_uart(asked.gfn, asked.console_domid)?.0;
    request.payload.set(&asked);
    Ok(Outcome::Answered)
}
