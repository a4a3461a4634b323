//! `event_channel_op`.

use xenolith_domain::Arc;

use xenolith_abi::Errno;
use xenolith_abi::event::{
    AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, EventOp, ExpandArray, InitControl,
    PortArgument, Reset, SetPriority, Status, fifo,
};

use xenolith_core::types::{DomId, VcpuId};
use xenolith_domain::domain::Domain;
use xenolith_policy::event::Port;

use crate::caller::{Answer, Arguments, Caller, DONE, Reply};

/// Ports closed before a reset looks for an interrupt.
const RESET_STEP: u32 = 256;

/// Arguments: what to do; its argument. `ENOSYS`: no such operation.
///
/// - `alloc_unbound`: `EPERM`, `ESRCH`: another domain's port, for others than the control domain; no such domain. `ENOSPC`: no
///   port is left. `ENOMEM`. `EINVAL`: the domain ends.
/// - `bind_interdomain`: `ESRCH`: no such domain. `EINVAL`: its port does not wait for the caller, or a domain ends. `ENOSPC`,
///   `ENOMEM`: no local port.
/// - `bind_virq`: `EINVAL`: no such VIRQ, or one of the domain on another vCPU than 0. `ENOENT`: no such vCPU. `EEXIST`: it has
///   a port. `ENOSPC`, `ENOMEM`. `bind_ipi`: the same, but for `EEXIST`.
/// - `close`, `send`, `unmask`: `EINVAL`: no such port, or not the caller's to use so.
/// - `status`: `EPERM`, `ESRCH` as above. `EINVAL`: no such port. `EACCES`: one of the hypervisor.
/// - `bind_vcpu`: `ENOENT`: no such vCPU. `EINVAL`: no such port, or one that stays with its vCPU.
/// - `reset`: `EPERM`, `ESRCH` as above.
/// - `init_control`, `expand_array`: `EINVAL`: not RAM of the domain's own, misaligned, or given before. `ENOENT`: no such
///   vCPU. `EOPNOTSUPP`: an array page without a control block. `ENOSPC`: all pages are there. `ENOMEM`.
/// - `set_priority`: `ENOSYS`: not in the FIFO form. `EINVAL`: no such port, or above 15.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [op, address, ..] = arguments;
    let op = u32::try_from(op).ok().and_then(EventOp::from_number).ok_or(Errno::ENOSYS)?;
    let domain = caller.domain();
    match op {
        EventOp::AllocUnbound => {
            let mut request: AllocUnbound = caller.read(address)?;
            let owner = caller.target(request.dom)?;
            let remote = peer_id(caller, request.remote_dom);
            request.port = owner.events.lock().alloc_unbound(remote)?;
            caller.write(address, &request)?;
        }
        EventOp::BindInterdomain => {
            let mut request: BindInterdomain = caller.read(address)?;
            let remote = other(caller, request.remote_dom)?;
            request.local_port = domain.bind_interdomain(&remote, request.remote_port)?;
            caller.write(address, &request)?;
        }
        EventOp::BindVirq => {
            let mut request: BindVirq = caller.read(address)?;
            request.port = domain.events.lock().bind_virq(request.virq, vcpu(request.vcpu)?)?;
            caller.write(address, &request)?;
        }
        EventOp::BindIpi => {
            let mut request: BindIpi = caller.read(address)?;
            request.port = domain.events.lock().bind_ipi(vcpu(request.vcpu)?)?;
            caller.write(address, &request)?;
        }
        EventOp::Close => domain.close_port(port(caller, address)?)?,
        EventOp::Send => domain.send_event(port(caller, address)?)?,
        EventOp::Unmask => {
            let port = port(caller, address)?;
            let effects = domain.events.lock().unmask(port)?;
            domain.follow_events(effects);
        }
        EventOp::Status => {
            let mut request: Status = caller.read(address)?;
            caller.target(request.dom)?.events.lock().status(&mut request)?;
            caller.write(address, &request)?;
        }
        EventOp::BindVcpu => {
            let request: BindVcpu = caller.read(address)?;
            domain.events.lock().bind_vcpu(request.port, vcpu(request.vcpu)?)?;
        }
        EventOp::Reset => {
            let request: Reset = caller.read(address)?;
            let target = caller.target(request.dom)?;
            // Ports that are closed are gone, so the continuation needs no more than the arguments again.
            while !target.on(caller.hv).reset_events(RESET_STEP) {
                if caller.should_pause() {
                    return Ok(Reply::Continue(arguments));
                }
            }
        }
        EventOp::InitControl => {
            let mut request: InitControl = caller.read(address)?;
            domain.init_event_control(vcpu(request.vcpu)?, request.control_gfn, request.offset)?;
            request.link_bits = fifo::LINK_BITS as u8;
            caller.write(address, &request)?;
        }
        EventOp::ExpandArray => {
            let request: ExpandArray = caller.read(address)?;
            domain.expand_event_array(request.array_gfn)?;
        }
        EventOp::SetPriority => {
            let request: SetPriority = caller.read(address)?;
            domain.events.lock().set_priority(request.port, request.priority)?;
        }
        // Physical interrupts reach domains through their interrupt controller.
        EventOp::BindPirq => return Err(Errno::ENOSYS),
    }
    DONE
}

fn port(caller: &Caller<'_>, address: u64) -> Result<Port, Errno> {
    caller.read::<PortArgument>(address).map(|argument| argument.port)
}

fn vcpu(number: u32) -> Result<VcpuId, Errno> {
    u16::try_from(number).map(VcpuId).map_err(|_| Errno::ENOENT)
}

/// The domain that a number means as the other side of a channel, whether or not it exists.
fn peer_id(caller: &Caller<'_>, id: DomId) -> DomId {
    match id {
        DomId::SELF => caller.domain().id,
        id => id,
    }
}

/// The domain that a number means as the other side of a channel.
fn other(caller: &Caller<'_>, id: DomId) -> Result<Arc<Domain>, Errno> {
    caller.hv.domain(peer_id(caller, id)).ok_or(Errno::ESRCH)
}
