//! The machine's CPUs and memory. It is one node, and no CPU has a place in it: as Xen says it where it knows no topology, each
//! is core 0 of socket 0. What that makes of a socket depends on the version.

use xenolith_abi::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::sysctl::{
    AvailHeap, CpuIdle, CpuTopo, CpuTopoInfo, GetCpuInfo, NodeMemory, NumaInfo, PhysInfo, capability,
};

use crate::caller::Caller;
use crate::guest;
use xenolith_arch as arch;
use xenolith_core::types::{CpuId, PAGE_SIZE};
use xenolith_host::command_line::XenVersion;

/// The distance of the node to itself, as Xen says it where it knows nothing of nodes.
const LOCAL: u32 = 20;

/// Tells the number of CPUs, the frequency of the counter, and how much memory there is, and is free and not
/// promised to a domain.
pub fn describe(caller: &Caller<'_>, payload: &mut Payload) {
    let cpus = u32::from(caller.hv.cpus());
    let free_pages = available_frames(caller);
    let frames = &caller.hv.frames;
    payload.set(&PhysInfo {
        threads_per_core: 1,
        cores_per_socket: match caller.hv.options.xen_version {
            XenVersion::V4_17 => 1,
            XenVersion::V4_20 => cpus,
        },
        nr_cpus: cpus,
        max_cpu_id: cpus.saturating_sub(1),
        nr_nodes: 1,
        max_node_id: 0,
        cpu_khz: u32::try_from(arch::frequency() / 1000).unwrap_or(u32::MAX),
        capabilities: capability::HVM | capability::HAP | capability::GNTTAB_V1,
        arch_capabilities: guest::capabilities(),
        total_pages: frames.total(),
        free_pages,
        max_mfn: frames.last().0,
        ..PhysInfo::default()
    });
}

/// Tells for each CPU how long it had nothing to run, in nanoseconds.
pub fn idle_times(caller: &Caller<'_>, payload: &mut Payload) -> Result<(), Errno> {
    let mut asked: GetCpuInfo = payload.get();
    let count = asked.max_cpus.min(caller.hv.cpus().into());
    let now = arch::now();
    for cpu in 0..count {
        let ticks = caller.hv.scheduler.idle_time(CpuId(cpu as u16), now).unwrap_or(0);
        let idle = CpuIdle { idletime: arch::nanoseconds(ticks) };
        caller.write_element(asked.info, cpu.into(), &idle)?;
    }
    asked.nr_cpus = count;
    payload.set(&asked);
    Ok(())
}

/// Tells how much memory is free. `EINVAL`: a node other than 0. The widths of addresses are not looked at.
pub fn free_memory(caller: &Caller<'_>, payload: &mut Payload) -> Result<(), Errno> {
    let mut asked: AvailHeap = payload.get();
    if asked.node > 0 {
        return Err(Errno::EINVAL);
    }
    asked.avail_bytes = bytes(available_frames(caller));
    payload.set(&asked);
    Ok(())
}

/// Tells each CPU's core, socket and node; without an array, the number of CPUs.
pub fn cpus(caller: &Caller<'_>, payload: &mut Payload) -> Result<(), Errno> {
    let mut asked: CpuTopoInfo = payload.get();
    let all = u32::from(caller.hv.cpus());
    if asked.cputopo.is_null() {
        asked.num_cpus = all;
    } else {
        asked.num_cpus = asked.num_cpus.min(all);
        for cpu in 0..asked.num_cpus {
            caller.write_element(asked.cputopo, cpu.into(), &CpuTopo { core: 0, socket: 0, node: 0 })?;
        }
    }
    payload.set(&asked);
    Ok(())
}

/// Tells the memory of the node and its distance to itself; without arrays, the number of nodes.
pub fn nodes(caller: &Caller<'_>, payload: &mut Payload) -> Result<(), Errno> {
    let mut asked: NumaInfo = payload.get();
    if asked.meminfo.is_null() && asked.distance.is_null() {
        asked.num_nodes = 1;
    } else {
        asked.num_nodes = asked.num_nodes.min(1);
        if asked.num_nodes > 0 && !asked.meminfo.is_null() {
            let frames = &caller.hv.frames;
            let memory =
                NodeMemory { memsize: bytes(frames.total()), memfree: bytes(available_frames(caller)) };
            caller.write(asked.meminfo, &memory)?;
        }
        if asked.num_nodes > 0 && !asked.distance.is_null() {
            caller.write(asked.distance, &LOCAL)?;
        }
    }
    payload.set(&asked);
    Ok(())
}

/// Frames that are free and not promised to a domain. What was promised to those that are over, and that nobody refers to any more,
/// is so no longer.
fn available_frames(caller: &Caller<'_>) -> u64 {
    caller.hv.reap();
    caller.hv.frames.available_frames()
}

fn bytes(pages: u64) -> u64 {
    pages.saturating_mul(PAGE_SIZE)
}
