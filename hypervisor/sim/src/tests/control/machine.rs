//! What the machine is.

use xenolith_abi::control::Bitmap;
use xenolith_abi::sysctl::{
    AvailHeap, CpuPoolOp, CpuTopo, CpuTopoInfo, GetCpuInfo, GetDomainInfoList, NodeMemory, NumaInfo,
    PhysInfo, SchedId, SystemSchedulerOp,
};
use xenolith_abi::{Errno, GuestPtr};

use super::*;
use xenolith_host::command_line::{Options, XenVersion};

#[test]
fn the_machine_is_described() {
    for version in VERSIONS {
        let (mut machine, tools) = Toolstack::new(version);
        let mut info = PhysInfo { pad: 7, hw_cap: [9; 8], ..PhysInfo::default() };
        assert_eq!(tools.sysctl(&mut machine, SysctlOp::PhysInfo, &mut info), 0);
        assert_eq!((info.nr_cpus, info.max_cpu_id, info.nr_nodes), (2, 1, 1));
        assert_eq!((info.cores_per_socket, info.threads_per_core), (1, 1));
        assert_eq!(info.capabilities, 0x109);
        assert_eq!((info.total_pages, info.free_pages), (4096, machine.hv.frames.available_frames()));
        assert_eq!((info.pad, info.hw_cap, info.scrub_pages), (0, [0; 8], 0));
        let mut id = SchedId::default();
        assert_eq!(tools.sysctl(&mut machine, SysctlOp::SchedId, &mut id), 0);
        assert_eq!(id.sched_id, 6);
        let mut heap = AvailHeap { node: -1, ..AvailHeap::default() };
        assert_eq!(tools.sysctl(&mut machine, SysctlOp::AvailHeap, &mut heap), 0);
        assert_eq!(heap.avail_bytes, info.free_pages * 4096);
        heap.node = 1;
        assert_eq!(tools.sysctl(&mut machine, SysctlOp::AvailHeap, &mut heap), error(Errno::EINVAL));
    }
}

/// Xen counted no other CPU into a socket at first, and later all of them.
#[test]
fn a_socket_has_as_many_cores_as_in_that_version_of_xen() {
    for (xen_version, cores) in [(XenVersion::V4_17, 1), (XenVersion::V4_20, 2)] {
        let mut machine = Machine::with_options(2, 1024, Options { xen_version, ..Options::default() });
        let tools = Toolstack { guest: Guest::boot(&mut machine, CONTROL), version: VERSION_4_17 };
        let mut info = PhysInfo::default();
        assert_eq!(tools.sysctl(&mut machine, SysctlOp::PhysInfo, &mut info), 0);
        assert_eq!(info.cores_per_socket, cores);
    }
}

#[test]
fn cpus_and_nodes_are_listed() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let buffer = tools.buffer(&machine);
    let mut cpus = CpuTopoInfo { num_cpus: 77, cputopo: GuestPtr::NULL, ..CpuTopoInfo::default() };
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::CpuTopoInfo, &mut cpus), 0);
    assert_eq!(cpus.num_cpus, 2);
    machine.poke(&tools.guest.domain, buffer, &[0xff_u8; 64]);
    (cpus.num_cpus, cpus.cputopo) = (1, buffer.into());
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::CpuTopoInfo, &mut cpus), 0);
    assert_eq!(cpus.num_cpus, 1);
    let listed: [CpuTopo; 2] = machine.peek(&tools.guest.domain, buffer);
    assert_eq!((listed[0], listed[1].core), (CpuTopo { core: 0, socket: 0, node: 0 }, u32::MAX));
    cpus.num_cpus = 2;
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::CpuTopoInfo, &mut cpus), 0);
    assert_eq!(machine.peek::<CpuTopo>(&tools.guest.domain, buffer + 12), listed[0]);

    let mut nodes = NumaInfo { num_nodes: 9, ..NumaInfo::default() };
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::NumaInfo, &mut nodes), 0);
    assert_eq!(nodes.num_nodes, 1);
    (nodes.num_nodes, nodes.meminfo, nodes.distance) = (4, buffer.into(), (buffer + 64).into());
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::NumaInfo, &mut nodes), 0);
    let memory: NodeMemory = machine.peek(&tools.guest.domain, buffer);
    assert_eq!(nodes.num_nodes, 1);
    assert_eq!((memory.memsize, machine.peek::<u32>(&tools.guest.domain, buffer + 64)), (4096 * 4096, 20));

    sim::advance(5_000_000);
    let mut idle = GetCpuInfo { max_cpus: 8, info: buffer.into(), ..GetCpuInfo::default() };
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::GetCpuInfo, &mut idle), 0);
    assert_eq!(idle.nr_cpus, 2);
    let times: [u64; 2] = machine.peek(&tools.guest.domain, buffer);
    let (busy, idle) = (times[usize::from(tools.guest.cpu)], times[usize::from(1 - tools.guest.cpu)]);
    assert!(idle >= xenolith_arch::nanoseconds(5_000_000) && busy < idle, "{times:?}");
}

#[test]
fn there_is_one_pool() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let buffer = tools.buffer(&machine);
    let cpumap = Bitmap { bitmap: buffer.into(), nr_bits: 16, pad: 1 };
    let mut pool = CpuPoolOp { op: 3, cpumap, ..CpuPoolOp::default() };
    machine.poke(&tools.guest.domain, buffer, &[0xff_u8; 3]);
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::CpuPoolOp, &mut pool), 0);
    assert_eq!((pool.cpupool_id, pool.sched_id, pool.n_dom), (0, 6, 1));
    assert_eq!(machine.peek::<[u8; 3]>(&tools.guest.domain, buffer), [3, 0, 0xff]);
    pool.cpupool_id = 1;
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::CpuPoolOp, &mut pool), error(Errno::ENOENT));
    pool.op = 7;
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::CpuPoolOp, &mut pool), 0);
    assert_eq!(machine.peek::<[u8; 2]>(&tools.guest.domain, buffer), [0, 0]);
    pool.op = 1;
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::CpuPoolOp, &mut pool), error(Errno::ENOSYS));
    let mut scheduler = SystemSchedulerOp { sched_id: 6, cmd: 1, ..SystemSchedulerOp::default() };
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::SchedulerOp, &mut scheduler), 0);
    assert_eq!(scheduler.credit2.ratelimit_us, 1000);
    scheduler.sched_id = 5;
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::SchedulerOp, &mut scheduler), error(Errno::EINVAL));
}

#[test]
fn domains_are_listed_in_order() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    for id in [9, 3] {
        tools.domctl_for(&mut machine, 1, id, &mut CreateDomainV15::from(plan()));
    }
    let buffer = tools.buffer(&machine);
    let mut list = |first_domain, max_domains| {
        let mut call = GetDomainInfoList {
            first_domain,
            max_domains,
            buffer: buffer.into(),
            num_domains: 99,
            ..GetDomainInfoList::default()
        };
        assert_eq!(tools.sysctl(&mut machine, SysctlOp::GetDomainInfoList, &mut call), 0);
        let infos: [DomainInfo; 4] = machine.peek(&tools.guest.domain, buffer);
        infos.iter().take(call.num_domains as usize).map(|info| info.domain).collect::<Vec<_>>()
    };
    assert_eq!(list(DomId(0), 1024), [0, 3, 9].map(DomId));
    assert_eq!(list(DomId(1), 0x7fef), [3, 9].map(DomId));
    assert_eq!(list(DomId(4), 1), [DomId(9)]);
    assert_eq!(list(DomId(0), 2), [0, 3].map(DomId));
    assert_eq!(list(DomId(10), 9), []);
    assert_eq!(list(DomId(0xffff), 9), []);
    assert_eq!(list(DomId(0), 0), []);
    sim::pause_every(Some(1));
    assert_eq!(list(DomId(0), 1024), [0, 3, 9].map(DomId), "in pieces");
    assert_eq!(list(DomId(1), 1), [DomId(3)]);
    sim::pause_every(None);
    let mut call =
        GetDomainInfoList { max_domains: 1, buffer: GuestPtr::new(8), ..GetDomainInfoList::default() };
    let result = tools.sysctl(&mut machine, SysctlOp::GetDomainInfoList, &mut call);
    assert_eq!(result, error(Errno::EFAULT));
}

#[test]
fn what_the_machine_lacks() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_20);
    assert_eq!(tools.sysctl(&mut machine, SysctlOp::CoverageOp, &mut 0_u64), error(Errno::EOPNOTSUPP));
    let unknown =
        [SysctlOp::TbufOp, SysctlOp::PerfcOp, SysctlOp::LivepatchOp, SysctlOp::PmOp, SysctlOp::CpuHotplug];
    for op in unknown {
        assert_eq!(tools.sysctl(&mut machine, op, &mut 0_u64), error(Errno::ENOSYS), "{op:?}");
    }
    let at = tools.guest.scratch(&machine);
    for (cmd, interface_version, errno) in
        [(99, 0x15, Errno::ENOSYS), (3, 0x14, Errno::EACCES), (3, 0x17, Errno::EACCES)]
    {
        let request = Sysctl { cmd, interface_version, ..Sysctl::default() };
        machine.poke(&tools.guest.domain, at, &request);
        let result = tools.guest.plain(&mut machine, Hypercall::Sysctl, [at, 0, 0, 0, 0]);
        assert_eq!(result, error(errno));
    }
}
