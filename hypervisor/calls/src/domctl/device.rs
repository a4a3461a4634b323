//! Devices: those of the machine that the calling domain passes on to another, and who may emulate some.

use xenolith_abi::Errno;
use xenolith_abi::domctl::{
    BindPtIrq, Domctl, IomemPermission, IrqPermission, MEMORY_MAPPING_PAGES, MemoryMapping, SetTarget,
    VUART_INIT, VuartOp,
};

use crate::caller::Caller;
use crate::guest;
use xenolith_core::types::Mfn;
use xenolith_domain::domain::{Domain, DomainRef};

use super::Outcome;

/// Lets the header's domain be the device model of another. `ESRCH`: there is no such guest, or one of them is dying.
/// `EINVAL`: they are the same. `ENOSPC`: the guest has too many.
pub fn set_target(caller: &Caller<'_>, domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let asked: SetTarget = request.payload.get();
    let guest = caller.hv.live_domain(asked.target).ok_or(Errno::ESRCH)?;
    guest.allow_device_model(domain)?;
    Ok(Outcome::Done)
}

/// Permits a domain an interrupt of the caller's, or takes the permission back. `EPERM`: the interrupt is not the caller's.
/// `EBUSY`: the domain has it. `ENOSPC`: too many.
pub fn irq_permission(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    request: &Domctl,
) -> Result<Outcome, Errno> {
    let asked: IrqPermission = request.payload.get();
    domain.permit_interrupt(&caller.domain(), asked.pirq, asked.allow_access != 0)?;
    Ok(Outcome::Done)
}

/// Permits a domain registers of the caller's devices, or takes the permission back. `EINVAL`: the range is empty or wraps.
/// `EPERM`: the frames are not the caller's devices. `ENOSPC`, `ENOMEM`: too many ranges, or no memory.
pub fn iomem_permission(caller: &Caller<'_>, domain: &Domain, request: &Domctl) -> Result<Outcome, Errno> {
    let asked: IomemPermission = request.payload.get();
    domain.permit_frames(&caller.domain(), Mfn(asked.first_mfn), asked.nr_mfns, asked.allow_access != 0)?;
    Ok(Outcome::Done)
}

/// Maps permitted registers, or unmaps them. `E2BIG`: more than 64 frames. `EINVAL`: the range is empty or wraps. `EPERM`: no
/// permission. `EEXIST`: something else is mapped there.
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

/// Gives a permitted interrupt to a domain. `EPERM`: no permission. `EINVAL`: the guest has no such interrupt. `EBUSY`: another
/// domain has it, or the caller itself without having permitted it to the guest, as `xl` finds it with `irqs=` on a machine
/// whose devices are all in use.
pub fn bind_interrupt(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    request: &Domctl,
) -> Result<Outcome, Errno> {
    let intid = guest::shared_interrupt(&request.payload.get::<BindPtIrq>())?;
    domain.bind_interrupt(&caller.domain(), intid)?;
    Ok(Outcome::Done)
}

/// Takes an interrupt back. `EINVAL`: the guest does not have it. `EBUSY`: it is handling one.
pub fn unbind_interrupt(
    caller: &Caller<'_>,
    domain: DomainRef<'_>,
    request: &Domctl,
) -> Result<Outcome, Errno> {
    let intid = guest::shared_interrupt(&request.payload.get::<BindPtIrq>())?;
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
    if !guest::is_emulated_uart(asked.kind) {
        return Err(Errno::EOPNOTSUPP);
    }
    asked.evtchn = domain.make_uart(asked.gfn, asked.console_domid)?;
    request.payload.set(&asked);
    Ok(Outcome::Answered)
}
