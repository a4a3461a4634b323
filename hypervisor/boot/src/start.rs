//! From a parsed machine to domains that run, the same for every architecture.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use xenolith_arch as arch;
use xenolith_core::types::{CpuId, DomId, PAGE_SHIFT};
use xenolith_domain::console::console;
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_host::command_line::{Options, Scheduler as SchedulerOption};
use xenolith_host::platform::{MAX_CPUS, Platform, Region};
use xenolith_memory::account::Account;
use xenolith_policy::sched::{Policy, Scheduler};

use crate::boot_domains::build_boot_domains;
use crate::end::give_up;
use crate::first::{FirstError, GRANT_FRAMES, Modules, build_first};
use crate::guest;
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
    let (hypervisor, static_shm) = assemble(&machine, platform, options, tree);
    machine.install(hypervisor);
    if hypervisor.lines().console.is_some()
        && let Some(line) = platform.uart.as_ref().and_then(|uart| uart.interrupt)
    {
        guest::enable_line(line);
    }
    for number in 1..machine.cpus() {
        if machine.start_cpu(CpuId(number)) {
            hypervisor.count_cpu();
        }
    }
    for test in &hypervisor.options.tests {
        machine.self_test(test);
    }
    let first = match first_domain(hypervisor, &machine, platform, &static_shm) {
        Ok(first) => first,
        Err(error) => give_up(format_args!("there is no first domain: {error}")),
    };
    if first.is_none() {
        log::info!("/chosen has no kernel for a first domain; those that its nodes describe start alone");
    }
    let others = build_boot_domains(hypervisor, platform, machine.device_tree(), &static_shm, &|region| {
        machine.module(region)
    });
    if first.is_none() && others.is_empty() {
        give_up(format_args!("no domain can be started"));
    }
    machine.reclaim(&hypervisor.frames, &mut reclaimable(platform, image.region, tree).into_iter());
    let pages = hypervisor.domains().map(|domain| domain.memory.lock().pages).sum();
    log::info!("{}", Account::new(&hypervisor.frames, pages, image.file_pages));
    // Not before the domains have their memory: what is being wiped is out of the allocator.
    hypervisor.start_scrubbing();
    hypervisor.domains().for_each(|domain| domain.offer_console());
    if hypervisor.domain(DomId::CONTROL).is_none() {
        console().change_focus(|focus| focus.go_home());
    }
    let micros = arch::nanoseconds(arch::now()) / 1000;
    log::info!("the domains start {}.{:06} s after reset", micros / 1_000_000, micros % 1_000_000);
    console().defer();
    for ready in first.into_iter().chain(others) {
        ready.start(hypervisor);
    }
}

#[inline(never)]
fn greet(platform: &Platform, cpus: u16) {
    log::info!("Xenolith {}: {cpus} CPUs, {}", env!("CARGO_PKG_VERSION"), describe(platform));
    if platform.cpus_left_out > 0 {
        log::warn!("{} CPUs are left out: {MAX_CPUS} are supported", platform.cpus_left_out);
    }
    for part in platform.left_out.named() {
        log::warn!("{part}");
    }
    if platform.left_out.more > 0 {
        log::warn!("{} more parts of the device tree are left out", platform.left_out.more);
    }
}

fn describe(platform: &Platform) -> String {
    let memory: u64 = platform.memory.iter().map(|bank| bank.size()).sum();
    let controller = guest::controller_name(platform);
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

/// Makes the hypervisor: its memory first, with the static shared memory at fixed places, then what is kept in it.
#[inline(never)]
fn assemble(
    machine: &impl Machine,
    platform: &Platform,
    options: Options,
    tree: Region,
) -> (&'static Hypervisor, StaticShm) {
    let layout = MemoryLayout::new(platform, machine.image().region, tree);
    let layout = layout.unwrap_or_else(|error| give_up(format_args!("{error}")));
    let frames = machine.take_memory(layout);
    let static_shm = StaticShm::take(&frames, platform);
    let policy = match options.scheduler {
        SchedulerOption::Fair => Policy::Fair,
        SchedulerOption::Pinned => Policy::Pinned,
    };
    let scheduler = Scheduler::new(policy, machine.cpus(), arch::ticks(SLICE * 1_000_000));
    let console = platform.uart.as_ref().filter(|_| options.console).and_then(|uart| uart.interrupt);
    let lines = guest::lines(platform, console);
    let Some(geometry) = machine.p2m_geometry() else {
        panic!("the CPU has an unknown physical address size")
    };
    let command_line = platform.command_line.clone();
    let hypervisor = Hypervisor::new(options, command_line, frames, scheduler, geometry, lines);
    (Box::leak(Box::new(hypervisor)), static_shm)
}

#[inline(never)]
fn first_domain(
    hypervisor: &Hypervisor,
    machine: &impl Machine,
    platform: &Platform,
    static_shm: &StaticShm,
) -> Result<Option<Ready>, FirstError> {
    let Some(kernel) = platform.kernel() else { return Ok(None) };
    let modules = Modules {
        device_tree: machine.device_tree(),
        kernel: machine.module(kernel.region),
        ramdisk: platform.ramdisk().map(|ramdisk| machine.module(ramdisk.region)),
        grant_window: grant_window(machine.image()).ok_or(FirstError::NoHypervisorMemory)?,
    };
    build_first(hypervisor, platform, &modules, static_shm).map(Some)
}

/// The first domain's grant table frames show up where our own image is: RAM that no domain ever gets.
fn grant_window(image: Image) -> Option<Region> {
    let start = image.region.start().0;
    Region::between(start, start.checked_add(u64::from(GRANT_FRAMES) << PAGE_SHIFT)?)
}
