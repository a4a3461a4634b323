//! From a parsed machine to domains that run, the same for every architecture.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use xenolith_abi::domctl::GicVersion;
use xenolith_arch as arch;
use xenolith_core::types::{CpuId, Intid, PAGE_SHIFT};
use xenolith_domain::console::console;
use xenolith_domain::hypervisor::{Hypervisor, Lines};
use xenolith_host::command_line::{Options, Scheduler as SchedulerOption};
use xenolith_host::platform::{MAX_CPUS, Platform, Region, Trigger};
use xenolith_memory::account::Account;
use xenolith_policy::sched::{Policy, Scheduler};

use crate::boot_domains::build_boot_domains;
use crate::first::{FirstError, GRANT_FRAMES, Modules, build_first};
use crate::load::Ready;
use crate::machine::{Image, Machine};
use crate::memory_layout::{MemoryLayout, reclaimable};
use crate::static_shm::StaticShm;

/// How long a vCPU may run while others wait, in milliseconds.
const SLICE: u64 = 10;

/// Boots: afterwards the calling CPU may run guests. What this calls has frames of its own (`inline(never)`), which go again:
/// together they are more than the boot's stack holds.
pub fn boot(machine: impl Machine, platform: &Platform) {
    let (options, complaints) = Options::parse(&platform.command_line);
    log::set_max_level(options.log_level);
    console().change_focus(|focus| focus.set_key(options.console_switch));
    machine.prepare(&options);
    greet(platform, machine.cpus());
    for complaint in complaints {
        log::warn!("{complaint}");
    }
    let image = machine.image();
    let tree = extent(machine.device_tree());
    let (hypervisor, common) = assemble(&machine, platform, options, tree);
    machine.install(hypervisor);
    enable_console_input(hypervisor.lines().console, platform);
    for number in 1..machine.cpus() {
        if machine.start_cpu(CpuId(number)) {
            hypervisor.count_cpu();
        }
    }
    for test in &hypervisor.options.tests {
        machine.self_test(test);
    }
    let first = match first_domain(hypervisor, &machine, platform, &common) {
        Ok(first) => first,
        Err(error) => {
            log::error!("there is no first domain: {error}");
            log::error!("nothing can be booted; halted");
            arch::halt()
        }
    };
    let others = build_boot_domains(hypervisor, platform, machine.device_tree(), &common, &|region| {
        machine.module(region)
    });
    machine.reclaim(&hypervisor.frames, &mut reclaimable(platform, image.region, tree).into_iter());
    let pages = hypervisor.domains().map(|domain| domain.memory.lock().pages).sum();
    log::info!("{}", Account::new(&hypervisor.frames, pages, image.file_pages));
    // Not before the domains have their memory: what is being wiped is out of the allocator.
    hypervisor.start_scrubbing();
    hypervisor.domains().for_each(|domain| domain.offer_console());
    let micros = arch::nanoseconds(arch::now()) / 1000;
    log::info!("the domains start {}.{:06} s after reset", micros / 1_000_000, micros % 1_000_000);
    for ready in core::iter::once(first).chain(others) {
        ready.start(hypervisor);
    }
}

#[inline(never)]
fn greet(platform: &Platform, cpus: u16) {
    log::info!("Xenolith {}: {cpus} CPUs, {}", env!("CARGO_PKG_VERSION"), describe(platform));
    if platform.cpus_left_out > 0 {
        log::warn!("{} CPUs are left out: {MAX_CPUS} are supported", platform.cpus_left_out);
    }
}

fn describe(platform: &Platform) -> String {
    let memory: u64 = platform.memory.iter().map(|bank| bank.size()).sum();
    let controller = match platform.gic.layout.version() {
        GicVersion::V2 => "GICv2",
        GicVersion::V3 => "GICv3",
    };
    format!("{} MiB of RAM, {controller}", memory >> 20)
}

/// Where bytes are in memory.
fn extent(bytes: &[u8]) -> Region {
    let start = bytes.as_ptr() as u64;
    match Region::between(start, start.saturating_add(bytes.len() as u64)) {
        Some(region) => region,
        None => unreachable!("a device tree that was parsed has bytes"),
    }
}

/// Makes the hypervisor: its memory first, with what domains have in common at fixed places, then what is kept in it.
#[inline(never)]
fn assemble(
    machine: &impl Machine,
    platform: &Platform,
    options: Options,
    tree: Region,
) -> (&'static Hypervisor, StaticShm) {
    let layout = MemoryLayout::new(platform, machine.image().region, tree);
    let layout = layout.unwrap_or_else(|no_room| panic!("{no_room}"));
    let frames = machine.take_memory(layout);
    let common = StaticShm::take(&frames, platform);
    let policy = match options.scheduler {
        SchedulerOption::Fair => Policy::Fair,
        SchedulerOption::Pinned => Policy::Pinned,
    };
    let scheduler = Scheduler::new(policy, machine.cpus(), arch::ticks(SLICE * 1_000_000));
    let console = platform.uart.as_ref().filter(|_| options.console).and_then(|uart| uart.interrupt);
    let lines = Lines {
        timer: platform.timer.hypervisor,
        guest_timer: platform.timer.r#virtual,
        maintenance: platform.gic.maintenance,
        console: console.map(|line| line.intid),
    };
    let Some(geometry) = machine.stage2_geometry() else {
        panic!("the CPU has an unknown physical address size")
    };
    let command_line = platform.command_line.clone();
    let hypervisor = Hypervisor::new(options, command_line, frames, scheduler, geometry, lines);
    (Box::leak(Box::new(hypervisor)), common)
}

fn enable_console_input(line: Option<Intid>, platform: &Platform) {
    if let Some(intid) = line {
        let line = platform.uart.as_ref().and_then(|uart| uart.interrupt);
        arch::gic::set_trigger(intid, line.is_some_and(|line| line.trigger == Trigger::Edge));
        arch::gic::route(intid, CpuId(0));
        arch::gic::enable(intid);
    }
}

#[inline(never)]
fn first_domain(
    hypervisor: &Hypervisor,
    machine: &impl Machine,
    platform: &Platform,
    common: &StaticShm,
) -> Result<Ready, FirstError> {
    let kernel = platform.kernel().ok_or(FirstError::NoKernel)?;
    let ramdisk = platform.ramdisk().map(|ramdisk| ramdisk.region).or(platform.initrd);
    let modules = Modules {
        device_tree: machine.device_tree(),
        kernel: machine.module(kernel.region),
        ramdisk: ramdisk.map(|region| machine.module(region)),
        grant_window: grant_window(machine.image()).ok_or(FirstError::NoHypervisorMemory)?,
    };
    build_first(hypervisor, platform, &modules, common)
}

/// The first domain's grant table frames show up where our own image is: RAM that no domain ever gets.
fn grant_window(image: Image) -> Option<Region> {
    let start = image.region.start().0;
    Region::between(start, start.checked_add(u64::from(GRANT_FRAMES) << PAGE_SHIFT)?)
}
