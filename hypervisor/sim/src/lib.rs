//! A whole machine for tests: the hypervisor on a model of the hardware ([`xenolith_arch::sim`]), domains made without a device tree, and guests that are
//! played by calling what their instructions would cause.
//!
//! A test says which CPU does what; [`Machine::settle`] then lets all interrupts come until none is left. The books can
//! be audited at any moment ([`Machine::audit`]).
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "stands for hardware, on the host"
)]

extern crate alloc;

mod audit;
#[cfg(feature = "ioreq")]
pub mod device_models;
mod guest_memory;
#[cfg(test)]
mod heap;
pub mod hostile;
mod instructions;
mod mmu;
mod stage2_spec;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod together;
pub mod toolstack;

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ops::Range;
use xenolith_memory::arc::Arc;

use machine_model::Region;
use machine_model::gic::{Gic, Redistributors};
use xenolith_arch::sim;
#[cfg(test)]
use xenolith_core::types::Ipa;
use xenolith_core::types::{CpuId, DomId, Gfn, Intid, Mfn, PAGE_SHIFT, VcpuId};
use xenolith_cpu::{self as run, Cpu, Event, Next};
use xenolith_domain::arch::ArchConfig;
use xenolith_domain::console::console;
use xenolith_domain::domain::Domain;
use xenolith_domain::hypervisor::{Hypervisor, Lines, VcpuRef};
use xenolith_domain::life::build::{DomainBuilder, DomainConfig, MORE_TABLES};
use xenolith_host::command_line::{self, Options};
use xenolith_isa::regs::GuestRegs;
use xenolith_memory::arena;
use xenolith_memory::frames::{Content, FrameRange, Kind};
use xenolith_policy::sched::{Policy, Scheduler};

pub use audit::Imbalance;
pub use stage2_spec::Breach;

/// Where the RAM of a domain begins that is not direct-mapped.
pub const RAM_BASE: Gfn = Gfn(0x4_0000);
/// Where a guest's instructions are, as far as its program counter tells.
pub const ENTRY: u64 = RAM_BASE.0 << PAGE_SHIFT;
/// The interrupt controller of domains.
pub const DISTRIBUTOR: u64 = 0x0300_1000;
/// Its redistributors.
pub const REDISTRIBUTORS: u64 = 0x0302_0000;
/// The private interrupt of events.
pub const EVENT_PPI: Intid = Intid(31);
/// The private interrupt of the emulated physical timer.
pub const PHYSICAL_TIMER: Intid = Intid(30);

/// Steps of about ten instructions that a CPU may work at EL2 without a look whether an interrupt waits: a hundred thousand
/// instructions.
pub const LONGEST_STAY: u64 = 10_000;

/// What a CPU played by a test holds.
struct Played {
    cpu: Cpu,
    regs: GuestRegs,
    next: Next,
}

impl Played {
    /// Something brings the CPU to EL2.
    fn event(&mut self, hv: &Hypervisor, event: Event) -> Next {
        let Played { cpu, regs, next } = self;
        let (done, longest) = sim::stay::during(|| as_hypervisor(|| run::step(hv, cpu, regs, event)));
        *next = done;
        #[cfg(test)]
        assert!(longest < LONGEST_STAY, "{longest} steps at EL2 without a look for interrupts");
        #[cfg(not(test))]
        let _ = longest;
        // A guest cannot mask the machine's own system errors: one that is still pending comes first.
        while *next == Next::Guest
            && let Some(error) = sim::take_system_error()
        {
            *next = run::step(hv, cpu, regs, Event::SystemError(error));
        }
        #[cfg(test)]
        assert_eq!(xenolith_core::sync::held_locks(), 0, "locks are held behind EL2");
        if *next == Next::Guest {
            sim::enter_guest(regs);
        }
        *next
    }
}

/// Does what the hypervisor does, whose allocations a test may have refused.
fn as_hypervisor<T>(act: impl FnOnce() -> T) -> T {
    #[cfg(test)]
    return heap::inside(act);
    #[cfg(not(test))]
    act()
}

/// A domain to be made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its number; 0 is the control domain's.
    pub id: u16,
    /// Its vCPUs.
    pub vcpus: u16,
    /// Its RAM in pages.
    pub pages: u64,
    /// Its guest frames have the machine frames' numbers.
    pub direct_mapped: bool,
}

/// The machine.
pub struct Machine {
    /// The hypervisor on it.
    pub hv: Hypervisor,
    cpus: Vec<Played>,
    /// Frames that domains have by the device tree's word ([`Machine::note_boot_mappings`]).
    from_start: RefCell<Vec<(DomId, Mfn)>>,
}

impl Machine {
    /// A machine with so many CPUs and frames of RAM, just switched on.
    pub fn new(cpus: u16, pages: u64) -> Self {
        Self::with_options(cpus, pages, Options::default())
    }

    /// The same, with a command line.
    pub fn with_options(cpus: u16, pages: u64, options: Options) -> Self {
        sim::power_on();
        let frames = arena::borrowed_frames(pages, &sim::Wipe);
        let policy = match options.scheduler {
            command_line::Scheduler::Fair => Policy::Fair,
            command_line::Scheduler::Pinned => Policy::Pinned,
        };
        let scheduler = Scheduler::new(policy, cpus, xenolith_arch::ticks(10_000_000));
        let lines = Lines {
            timer: sim::gic::TIMER,
            guest_timer: sim::gic::GUEST_TIMER,
            maintenance: sim::gic::MAINTENANCE,
            console: Some(sim::gic::CONSOLE),
        };
        let Some(geometry) = xenolith_isa::stage2::geometry(48) else {
            unreachable!("48 bits have a geometry")
        };
        let hv = Hypervisor::new(options, String::from("test"), frames, scheduler, geometry, lines);
        let mut played = Vec::new();
        for number in 0..cpus {
            sim::on_cpu(CpuId(number));
            if number > 0 {
                hv.count_cpu();
            }
            for line in [lines.timer, lines.guest_timer, lines.maintenance] {
                sim::gic::enable(line);
            }
            let cpu = Cpu::new(&hv.timers, CpuId(number));
            played.push(Played { cpu, regs: GuestRegs::default(), next: Next::Idle });
        }
        sim::gic::enable(sim::gic::CONSOLE);
        console().defer();
        let mut machine = Machine { hv, cpus: played, from_start: RefCell::default() };
        for cpu in 0..cpus {
            machine.event(cpu, Event::Start);
        }
        machine
    }

    /// Makes a domain. Its vCPUs are off.
    ///
    /// # Panics
    /// The machine has not memory enough.
    pub fn add(&mut self, plan: Plan) -> Arc<Domain> {
        let id = DomId(plan.id);
        let ram = self.ram_for(id, &plan);
        let config = DomainConfig {
            id,
            handle: [0; 16],
            is_control: id == DomId::CONTROL,
            direct_mapped: plan.direct_mapped,
            vcpus: plan.vcpus,
            ram: &ram,
            tables: MORE_TABLES,
            max_port: 4095,
            grant_frames: 4,
            maptrack_frames: 4,
            trap_unmapped: id == DomId::CONTROL,
            paused: false,
            arch: ArchConfig {
                gic: Gic::V3 {
                    distributor: Region::new(DISTRIBUTOR, 0x1_0000),
                    redistributors: Redistributors::one(Region::new(REDISTRIBUTORS, 0x100_0000)),
                },
                spis: 64,
                event_ppi: EVENT_PPI,
                guest_timer: sim::gic::GUEST_TIMER,
                physical_timer: PHYSICAL_TIMER,
                vector_granules: if id == DomId::CONTROL { 0 } else { xenolith_arch::vector_granules() },
            },
        };
        let domain = DomainBuilder::new(&self.hv, &config).expect("a sound config");
        domain.publish().expect("room for a domain")
    }

    fn ram_for(&self, id: DomId, plan: &Plan) -> Vec<(Gfn, FrameRange)> {
        if plan.direct_mapped {
            let area = self.hv.frames.alloc_contiguous(plan.pages, 0, id).expect("RAM");
            return area.iter().map(|&range| (Gfn(range.first.0), range)).collect();
        }
        let page = |number| {
            let mfn = self.hv.frames.alloc(0, id, Kind::Ram, Content::Zeroed).expect("RAM");
            (Gfn(RAM_BASE.0 + number), FrameRange { first: mfn, pages: 1 })
        };
        (0..plan.pages).map(page).collect()
    }

    /// Adds a domain and starts its first vCPU, which the first free CPU then runs.
    pub fn boot(&mut self, plan: Plan) -> Arc<Domain> {
        let domain = self.add(plan);
        let vcpu = domain.vcpu(VcpuId(0)).expect("a domain has a vCPU");
        assert!(domain.on(&self.hv).start_vcpu(vcpu, ENTRY, 0));
        self.settle();
        domain
    }

    /// What the CPU does now.
    pub fn next(&self, cpu: u16) -> Next {
        self.cpus[usize::from(cpu)].next
    }

    /// The vCPU that a CPU runs.
    pub fn running(&self, cpu: u16) -> Option<(DomId, VcpuId)> {
        let vcpu = self.cpus[usize::from(cpu)].cpu.running()?;
        Some((vcpu.domain.id, vcpu.id))
    }

    /// The CPU that runs a vCPU.
    pub fn cpu_of(&self, domain: &Domain, vcpu: u16) -> Option<u16> {
        (0..self.cpus.len() as u16).find(|&cpu| self.running(cpu) == Some((domain.id, VcpuId(vcpu))))
    }

    /// The registers of the vCPU that a CPU runs.
    pub fn regs(&mut self, cpu: u16) -> &mut GuestRegs {
        &mut self.cpus[usize::from(cpu)].regs
    }

    /// The registers of a vCPU, wherever they are.
    pub fn regs_of(&self, domain: &Domain, vcpu: u16) -> GuestRegs {
        match self.cpu_of(domain, vcpu) {
            Some(cpu) => self.cpus[usize::from(cpu)].regs,
            None => domain.vcpus[usize::from(vcpu)].saved.lock().regs,
        }
    }

    /// Something brings a CPU to EL2.
    pub fn event(&mut self, cpu: u16, event: Event) -> Next {
        sim::on_cpu(CpuId(cpu));
        self.cpus[usize::from(cpu)].event(&self.hv, event)
    }

    /// Lets all CPUs take their interrupts until none is pending.
    ///
    /// # Panics
    /// The interrupts never end.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            let mut quiet = true;
            for cpu in 0..self.cpus.len() as u16 {
                sim::on_cpu(CpuId(cpu));
                if sim::gic::pending() || self.hv.kicks.is_kicked(CpuId(cpu)) {
                    quiet = false;
                    self.event(cpu, Event::Interrupt);
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the machine never comes to rest");
    }

    /// Lets the CPUs but this one take the interrupts that are pending.
    pub fn let_others_run(&mut self, cpu: u16) {
        for other in (0..self.cpus.len() as u16).filter(|&other| other != cpu) {
            sim::on_cpu(CpuId(other));
            if sim::gic::pending() || self.hv.kicks.is_kicked(CpuId(other)) {
                self.event(other, Event::Interrupt);
            }
        }
        sim::on_cpu(CpuId(cpu));
    }

    /// A CPU's reference to the vCPU that it runs.
    pub fn current(&self, cpu: u16) -> Option<&VcpuRef> {
        self.cpus[usize::from(cpu)].cpu.running()
    }

    /// All frames of the machine's RAM.
    fn all_frames(&self) -> impl Iterator<Item = Mfn> + use<> {
        self.ram().map(Mfn)
    }

    /// The numbers of the frames of RAM: one bank.
    fn ram(&self) -> Range<u64> {
        let end = self.hv.frames.last().0 + 1;
        end - self.hv.frames.total()..end
    }
}
