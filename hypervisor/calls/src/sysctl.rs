//! `sysctl`: the machine as the control domain sees it.
//!
//! As with `domctl`, the structure is copied in once and back whole, and its padding means nothing.

mod console;
mod domains;
mod machine;
mod pool;

use xenolith_abi::Errno;
use xenolith_abi::sysctl::{INTERFACE_VERSION, Sysctl, SysctlOp};

use xenolith_host::command_line::XenVersion;

use crate::caller::{Answer, Arguments, Caller, DONE, Reply};

/// Arguments: the structure; in a continuation how far it has come.
///
/// `EPERM`: the caller is not the control domain. `EACCES`: another version of the interface. `ENOSYS`, `EOPNOTSUPP`: an
/// operation that Xen does not have, or was built without. Others: those of the operation, which its function lists.
pub fn call(caller: &mut Caller<'_>, arguments: Arguments) -> Answer {
    let [address, progress, ..] = arguments;
    caller.require_control()?;
    let mut request: Sysctl = caller.read(address)?;
    if request.interface_version != INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    let payload = &mut request.payload;
    match SysctlOp::from_number(request.cmd).ok_or(Errno::ENOSYS)? {
        SysctlOp::ReadConsole => console::read(caller, payload)?,
        SysctlOp::DebugKeys => return console::press_keys(caller, payload).map(|()| Reply::Value(0)),
        SysctlOp::GetDomainInfoList => {
            if let Some(progress) = domains::list(caller, payload, progress)? {
                return Ok(Reply::Continue([address, progress, 0, 0, 0]));
            }
        }
        SysctlOp::PhysInfo => machine::describe(caller, payload),
        SysctlOp::GetCpuInfo => machine::idle_times(caller, payload)?,
        SysctlOp::AvailHeap => machine::free_memory(caller, payload)?,
        SysctlOp::CpuTopoInfo => machine::cpus(caller, payload)?,
        SysctlOp::NumaInfo => machine::nodes(caller, payload)?,
        SysctlOp::SchedId => pool::scheduler(payload),
        SysctlOp::CpuPoolOp => pool::pools(caller, payload)?,
        SysctlOp::SchedulerOp => pool::parameters(payload)?,
        // As Xen 4.20 without overlays. Xen 4.17 does not know the number.
        SysctlOp::DtOverlay if caller.hv.options.xen_version == XenVersion::V4_20 => {
            return Err(Errno::EOPNOTSUPP);
        }
        SysctlOp::CoverageOp => return Err(Errno::EOPNOTSUPP),
        SysctlOp::DtOverlay
        | SysctlOp::CpuHotplug
        | SysctlOp::PmOp
        | SysctlOp::TbufOp
        | SysctlOp::PerfcOp
        | SysctlOp::GetPmStat
        | SysctlOp::PageOfflineOp
        | SysctlOp::LockprofOp
        | SysctlOp::PciTopoInfo
        | SysctlOp::LivepatchOp => return Err(Errno::ENOSYS),
    }
    caller.write(address, &request)?;
    DONE
}
