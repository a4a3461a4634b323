//! `hvm_op`: the parameters by which a domain finds its store and its console.

use xenolith_domain::Arc;

use xenolith_abi::Errno;
use xenolith_abi::hvm::{HvmOp, HvmParam, HvmParamArgument};

use xenolith_domain::domain::Domain;

use crate::caller::{Answer, Arguments, Caller, DONE};

/// Arguments: what to do; its argument. `ENOSYS`: no such operation.
///
/// - `set_param`: `EPERM`: another domain's, for others than the control domain; one's own, for everybody. `ESRCH`: no such
///   domain. `EINVAL`: no such parameter.
/// - `get_param`: the same, but one's own may be read, except for the ring of a monitor (`EPERM`).
/// - `guest_request_vm_event`: `EINVAL`: it has an argument.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, argument, ..] = arguments;
    match u32::try_from(op).ok().and_then(HvmOp::from_number).ok_or(Errno::ENOSYS)? {
        HvmOp::SetParam => set_parameter(caller, argument),
        HvmOp::GetParam => parameter(caller, argument),
        // Nobody watches a domain.
        HvmOp::GuestRequestVmEvent if argument == 0 => DONE,
        HvmOp::GuestRequestVmEvent => Err(Errno::EINVAL),
    }
}

/// What is asked for: the request, the domain, whether that is the caller, and the parameter.
type Asked = (HvmParamArgument, Arc<Domain>, bool, HvmParam);

fn asked(caller: &Caller<'_>, argument: u64) -> Result<Asked, Errno> {
    let request: HvmParamArgument = caller.read(argument)?;
    let domain = caller.target(request.domid)?;
    let own = domain.id == caller.domain().id;
    let parameter = HvmParam::from_number(request.index).ok_or(Errno::EINVAL)?;
    Ok((request, domain, own, parameter))
}

fn set_parameter(caller: &Caller<'_>, argument: u64) -> Answer {
    let (request, domain, own, parameter) = asked(caller, argument)?;
    if own {
        return Err(Errno::EPERM);
    }
    domain.parameters.lock().set(parameter, request.value);
    DONE
}

fn parameter(caller: &Caller<'_>, argument: u64) -> Answer {
    let (request, domain, own, parameter) = asked(caller, argument)?;
    if own && parameter == HvmParam::MonitorRingPfn {
        return Err(Errno::EPERM);
    }
    let value = domain.parameters.lock().get(parameter);
    caller.write(argument, &HvmParamArgument { value, ..request })?;
    DONE
}
