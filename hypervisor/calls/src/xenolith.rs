//! `xenolith_op`, our own calls: device slots, and who may be a guest's device model (docs/abi.md has them one by one).

use xenolith_abi::Errno;
use xenolith_abi::event::Virq;
use xenolith_abi::xenolith::{DeviceModel, FEATURE_SLOTS, Slot, SlotNumber, SlotReport, XenolithOp};

use xenolith_core::types::DomId;

use crate::caller::{Answer, Arguments, Caller, DONE, Reply, value};

/// What there is. A slot is of no use to a backend that can have no ioreq server.
const FEATURES: u64 = if cfg!(feature = "ioreq") { FEATURE_SLOTS } else { 0 };

/// Arguments: what to do; its argument; in a continuation how far it has come. `ENOSYS`: no such operation.
///
/// - `features`: a set of bits.
/// - `create_slot`, `destroy_slot`, `allow_device_model`, `forbid_device_model`: `EPERM`: the caller is not the control domain.
///   Others: those of [`Hypervisor::create_slot`], [`Hypervisor::destroy_slot`] and [`Domain::allow_device_model`]; `ESRCH`: no
///   such domain.
/// - `next_slot`: `ENOENT`: there is none with so high a number, for the backend that asks.
/// - `report_slot`: `ENOENT`: the caller serves no such slot. `EINVAL`: a state that does not exist, or a text that is too long.
///
/// [`Hypervisor::create_slot`]: xenolith_domain::hypervisor::Hypervisor::create_slot
/// [`Hypervisor::destroy_slot`]: xenolith_domain::hypervisor::Hypervisor::destroy_slot
/// [`Domain::allow_device_model`]: xenolith_domain::domain::Domain::allow_device_model
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, argument, progress, ..] = arguments;
    match XenolithOp::from_number(op).ok_or(Errno::ENOSYS)? {
        XenolithOp::Features => value(FEATURES),
        XenolithOp::CreateSlot => create_slot(caller, argument),
        XenolithOp::DestroySlot => {
            caller.require_control()?;
            let request: SlotNumber = caller.read(argument)?;
            done_or_again(arguments, caller.hv.destroy_slot(request.number, progress)?)
        }
        XenolithOp::NextSlot => next_slot(caller, argument),
        XenolithOp::ReportSlot => {
            let report: SlotReport = caller.read(argument)?;
            caller.hv.slots.lock().report(caller.domain().id, &report)?;
            caller.hv.raise_virq_of(DomId::CONTROL, Virq::DeviceSlots);
            DONE
        }
        XenolithOp::AllowDeviceModel => {
            let (guest, backend) = parties(caller, argument)?;
            let guest = caller.hv.live_domain(guest).ok_or(Errno::ESRCH)?;
            let backend = caller.hv.live_domain(backend).ok_or(Errno::ESRCH)?;
            guest.allow_device_model(&backend)?;
            DONE
        }
        XenolithOp::ForbidDeviceModel => forbid(caller, arguments),
    }
}

fn parties(caller: &Caller<'_>, argument: u64) -> Result<(DomId, DomId), Errno> {
    caller.require_control()?;
    let request: DeviceModel = caller.read(argument)?;
    Ok((request.guest, request.backend))
}

/// Done, or a continuation of what was done in part.
fn done_or_again([op, argument, ..]: Arguments, rest: Option<u64>) -> Answer {
    rest.map_or(DONE, |progress| Ok(Reply::Continue([op, argument, progress, 0, 0])))
}

fn create_slot(caller: &Caller<'_>, argument: u64) -> Answer {
    caller.require_control()?;
    let mut request: Slot = caller.read(argument)?;
    // There is to be no slot whose number cannot be told.
    caller.write(argument, &request)?;
    request.number = caller.hv.create_slot(&request)?;
    caller.write(argument, &request)?;
    DONE
}

fn next_slot(caller: &Caller<'_>, argument: u64) -> Answer {
    let request: Slot = caller.read(argument)?;
    let own = (!caller.domain().is_control).then_some(caller.domain().id);
    let found = caller.hv.slots.lock().next(request.number, own).copied().ok_or(Errno::ENOENT)?;
    caller.write(argument, &found)?;
    DONE
}

/// First nothing new can be begun, then what stands is taken away, a server or a part of the backend's addresses at a time.
fn forbid(caller: &Caller<'_>, arguments: Arguments) -> Answer {
    let [_, argument, progress, ..] = arguments;
    let (guest, backend) = parties(caller, argument)?;
    let guest = caller.hv.domain(guest).ok_or(Errno::ESRCH)?;
    if guest.on(caller.hv).forbid_device_model(backend) {
        return done_or_again(arguments, Some(progress));
    }
    let backend = caller.hv.domain(backend);
    done_or_again(
        arguments,
        backend.and_then(|backend| backend.on(caller.hv).unmap_foreign_of(guest.id, progress)),
    )
}
