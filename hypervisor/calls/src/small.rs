//! The families of which a first domain uses one or two calls: platform, physical devices, options.

use xenolith_abi::physdev::{ManagePci, PciDevice, PciDeviceAdd, PhysdevOp};
use xenolith_abi::platform::{INTERFACE_VERSION, PlatformHeader, PlatformOp, SetTime64};
use xenolith_abi::vm_assist::{VmAssist, VmAssistOp};
use xenolith_abi::{Errno, GuestPtr};

use core::sync::atomic::Ordering;

use crate::caller::{Answer, Arguments, Caller, DONE};

/// `platform_op`. Arguments: a structure, whose head says what to do.
///
/// `EPERM`: the caller is not the control domain. `EACCES`: another version of the interface. `ENOSYS`: no such operation.
/// `settime64`: `EINVAL`: `mbz` is not zero, or the time is out of range.
pub fn platform_op(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    caller.require_control()?;
    let [argument, ..] = arguments;
    let place = GuestPtr::<PlatformHeader>::new(argument);
    let head = caller.read(place)?;
    if head.interface_version != INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    match PlatformOp::from_number(head.cmd) {
        Some(PlatformOp::SetTime64) => {
            let time = caller.read(Caller::element(place, 1)?.cast::<SetTime64>())?;
            if time.mbz != 0 {
                return Err(Errno::EINVAL);
            }
            let now = time.secs.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(time.nsecs.into()));
            let reset = now.and_then(|now| caller.domain().wall_clock_at_reset(now, time.system_time));
            caller.hv.set_wall_clock(reset.ok_or(Errno::EINVAL)?);
            DONE
        }
        None => Err(Errno::ENOSYS),
    }
}

/// `physdev_op`. Arguments: the operation, and a structure.
///
/// The hardware domain drives its devices itself, with nothing to be done for it here: that it found or lost a PCI device is
/// heard and not kept. A refusal would have Linux warn of each device that its interrupts may fail. `ENOSYS`: any other
/// operation, and any other domain, as by a Xen without PCI.
pub fn physdev_op(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, argument, ..] = arguments;
    caller.require_control().map_err(|_| Errno::ENOSYS)?;
    match u32::try_from(op).ok().and_then(PhysdevOp::from_number) {
        Some(PhysdevOp::PciDeviceAdd) => caller.read(GuestPtr::<PciDeviceAdd>::new(argument)).map(|_| ())?,
        Some(PhysdevOp::PciDeviceRemove) => caller.read(GuestPtr::<PciDevice>::new(argument)).map(|_| ())?,
        Some(PhysdevOp::ManagePciAdd | PhysdevOp::ManagePciRemove) => {
            caller.read(GuestPtr::<ManagePci>::new(argument)).map(|_| ())?;
        }
        Some(PhysdevOp::PciDeviceReset) | None => return Err(Errno::ENOSYS),
    }
    DONE
}

/// `vm_assist`. Arguments: on or off; which option. `ENOSYS`: neither on nor off. `EINVAL`: no such option.
pub fn vm_assist(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, option, ..] = arguments;
    let on = match u32::try_from(op).ok().and_then(VmAssistOp::from_number) {
        Some(VmAssistOp::Enable) => true,
        Some(VmAssistOp::Disable) => false,
        None => return Err(Errno::ENOSYS),
    };
    match u32::try_from(option).ok().and_then(VmAssist::from_number) {
        Some(VmAssist::RunstateUpdateFlag) => {
            caller.domain().runstate_update_flag.store(on, Ordering::Relaxed);
            DONE
        }
        None => Err(Errno::EINVAL),
    }
}
