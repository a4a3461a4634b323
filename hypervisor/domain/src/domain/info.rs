//! What a domain and its vCPUs are doing, in the words of the toolstack.

use xenolith_abi::Gfn;
use xenolith_abi::domctl::{DomainInfo, SHUTDOWN_REASON_NONE, SHUTDOWN_REASON_SHIFT, VcpuInfo, info_flag};

use crate::vcpu::{Power, Vcpu};
use xenolith_arch as arch;
use xenolith_policy::sched::{RunState, Times};

use super::DomainRef;

/// Nanoseconds that a vCPU has run.
fn run_time(times: Option<Times>, now: u64) -> u64 {
    arch::nanoseconds(times.map_or(0, |times| times.total(RunState::Running, now)))
}

impl DomainRef<'_> {
    /// The domain as `getdomaininfo` describes it.
    pub fn info(self) -> DomainInfo {
        let now = arch::now();
        let (mut cpu_time, mut online, mut running, mut blocked) = (0_u64, 0, false, true);
        for vcpu in &self.vcpus {
            let times = self.hv.scheduler.times(vcpu.unit);
            cpu_time = cpu_time.saturating_add(run_time(times, now));
            if *vcpu.power.lock() == Power::On {
                online += 1;
                let state = times.map_or(RunState::Offline, |times| times.state);
                running |= state == RunState::Running;
                blocked &= state == RunState::Blocked;
            }
        }
        let reason = self.shutdown_reason().map_or(SHUTDOWN_REASON_NONE, |reason| reason.number());
        let flags = [
            (true, info_flag::HVM_GUEST | info_flag::HAP | reason << SHUTDOWN_REASON_SHIFT),
            (self.is_dead(), info_flag::DYING),
            (self.has_shut_down(), info_flag::SHUTDOWN),
            (self.is_paused(), info_flag::PAUSED),
            (blocked, info_flag::BLOCKED),
            (running, info_flag::RUNNING),
        ];
        let flags = flags.iter().filter(|(holds, _)| *holds).fold(0, |all, (_, flag)| all | flag);
        let memory = self.memory.lock();
        DomainInfo {
            domain: self.id,
            flags,
            tot_pages: memory.pages,
            max_pages: memory.max_pages,
            shared_info_frame: memory.shared_info_gfn.unwrap_or(Gfn(u64::MAX)),
            cpu_time,
            nr_online_vcpus: online,
            max_vcpu_id: u32::try_from(self.vcpus.len()).unwrap_or(u32::MAX).wrapping_sub(1),
            handle: *self.handle.lock(),
            gpaddr_bits: u8::try_from(self.hv.geometry.bits()).unwrap_or(u8::MAX),
            arch: self.arch.info(),
            ..DomainInfo::default()
        }
    }

    /// A vCPU as `getvcpuinfo` describes it.
    pub fn vcpu_info(self, vcpu: &Vcpu) -> VcpuInfo {
        let times = self.hv.scheduler.times(vcpu.unit);
        let is = |state| u8::from(times.is_some_and(|times| times.state == state));
        let last = vcpu.last_cpu.load(core::sync::atomic::Ordering::Relaxed);
        VcpuInfo {
            vcpu: vcpu.id.0.into(),
            online: u8::from(*vcpu.power.lock() == Power::On),
            blocked: is(RunState::Blocked),
            running: is(RunState::Running),
            cpu_time: run_time(times, arch::now()),
            cpu: self.hv.scheduler.running_on(vcpu.unit).map_or(last, |cpu| cpu.0).into(),
            ..VcpuInfo::default()
        }
    }
}
