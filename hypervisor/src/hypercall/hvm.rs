//! `hvm_op`: the parameters by which a domain finds its store and its console.

use xenolith_abi::Errno;
use xenolith_abi::hvm::{HvmOp, HvmParam, HvmParamArgument};

use crate::types::DomId;

use super::{Answer, Arguments, Caller, DONE};

/// x0: what to do; x1: its argument.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, argument, ..] = arguments;
    let Some(op) = u32::try_from(op).ok().and_then(HvmOp::from_number) else { return Err(Errno::ENOSYS) };
    let request: HvmParamArgument = caller.read(argument)?;
    let domain = caller.target(request.domid)?;
    let own = DomId(request.domid) == DomId::SELF || domain.id == caller.domain().id;
    let parameter = HvmParam::from_number(request.index).ok_or(Errno::EINVAL)?;
    match op {
        HvmOp::SetParam if own => Err(Errno::EPERM),
        HvmOp::SetParam => {
            domain.parameters.lock().set(parameter, request.value);
            DONE
        }
        HvmOp::GetParam if own && parameter == HvmParam::MonitorRingPfn => Err(Errno::EPERM),
        HvmOp::GetParam => {
            let value = domain.parameters.lock().get(parameter);
            caller.write(argument, &HvmParamArgument { value, ..request })?;
            DONE
        }
    }
}
