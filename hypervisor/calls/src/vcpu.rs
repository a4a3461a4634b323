//! `vcpu_op`: memory that a vCPU shares with the hypervisor.

use xenolith_abi::Errno;
use xenolith_abi::vcpu::{RegisterRunstateMemoryArea, RegisterVcpuInfo, VcpuOp};

use xenolith_core::types::VcpuId;

use crate::caller::{Answer, Arguments, Caller, DONE};

/// Arguments: what to do; the vCPU; the argument. `ENOENT`: no such vCPU. `EINVAL`: no such operation.
///
/// - `register_vcpu_info`: `ENXIO`: the structure is misaligned, or would leave its page. `EINVAL`: not RAM of the domain's own,
///   or registered before.
/// - `register_runstate_memory_area`: none. An address that leads nowhere is looked up again when the vCPU runs next.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, vcpu, argument, ..] = arguments;
    let domain = caller.domain();
    let id = u16::try_from(vcpu).map(VcpuId).ok().filter(|&id| domain.vcpu(id).is_some());
    let id = id.ok_or(Errno::ENOENT)?;
    match u32::try_from(op).ok().and_then(VcpuOp::from_number) {
        Some(VcpuOp::RegisterVcpuInfo) => {
            let request: RegisterVcpuInfo = caller.read(argument)?;
            domain.register_vcpu_info(id, request.gfn, request.offset)?;
            DONE
        }
        Some(VcpuOp::RegisterRunstateMemoryArea) => {
            let request: RegisterRunstateMemoryArea = caller.read(argument)?;
            let vcpu = domain.vcpu(id).ok_or(Errno::ENOENT)?;
            // Another vCPU's tables are not at hand: it is told when it runs next.
            let own = id == caller.vcpu.id;
            domain.register_runstate(vcpu, request.addr.address(), own);
            if own {
                caller.hv.write_runstate(caller.vcpu);
            }
            DONE
        }
        None => Err(Errno::EINVAL),
    }
}
