//! From the first Rust to the first guest, on the boot CPU.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_boot::{FirstError, GRANT_FRAMES, Modules, Ready, StaticShm, build_boot_domains, build_first};
use xenolith_core::sync::Once;
use xenolith_core::types::{CpuId, DomId, PAGE_SHIFT, PAGE_SIZE, Pa};
use xenolith_cpu::Cpu;
use xenolith_domain::console::{console, init_log};
use xenolith_domain::hypervisor::{Hypervisor, Lines};
use xenolith_host::command_line::{CrashAction, Options, Scheduler as SchedulerOption};
use xenolith_host::platform::{
    self, BootDomain, Conduit, GicLayout, Mpidr, Platform, Region, Trigger, subtract,
};
use xenolith_isa::stage2;
use xenolith_memory::account::Account;
use xenolith_memory::frames::{
    Content, FrameRange, Frames, Kind, Storage, StorageNeeded, ZeroAndClean, storage_needed,
};
use xenolith_policy::sched::{Policy, Scheduler};

use xenolith_arch::aarch64::{gic, mmu, power, uart};

use crate::{heap, panic, percpu, secondary, selftest, traps, vectors};

static HYPERVISOR: Once<&'static Hypervisor> = Once::new();

/// The hypervisor. Nothing asks before `main` has made it.
pub fn hypervisor() -> &'static Hypervisor {
    match HYPERVISOR.get() {
        Some(hypervisor) => hypervisor,
        None => unreachable!("the boot makes the hypervisor before any CPU runs a guest"),
    }
}

/// How long a vCPU may run while others wait, in milliseconds.
const SLICE: u64 = 10;
/// The most that a device tree may take: what the Linux boot protocol allows.
const MAX_TREE: u64 = 2 << 20;

/// The image was entered at another exception level. Runs with the MMU off, and so without locks.
pub extern "C" fn wrong_level(level: u64) -> ! {
    uart::early_write(b"\r\n(xenolith) error: entered at EL");
    uart::early_write(&[b'0' + (level & 3) as u8]);
    uart::early_write(b", and a hypervisor needs EL2 (in QEMU: -machine virt,virtualization=on)\r\n");
    power::halt()
}

/// The boot CPU arrives here with the MMU on and the first map: image and device tree are reachable, devices are not.
pub extern "C" fn main(device_tree: u64, _image: u64) -> ! {
    init_log();
    // SAFETY: the loader put a device tree there, or nothing good, which its header will tell.
    let tree = unsafe { tree(device_tree) };
    let tree = match tree {
        Ok(tree) => tree,
        Err(problem) => give_up(None, || log::error!("{problem}")),
    };
    match Platform::parse(tree) {
        Ok(platform) => start(tree, &platform),
        Err(error) => {
            let console = platform::console(tree).map(|uart| uart.registers.start());
            give_up(console, || log::error!("the device tree cannot be used: {error}"))
        }
    }
}

/// The device tree as bytes.
///
/// # Safety
/// If the address is a multiple of 8, what is there is mapped.
unsafe fn tree(address: u64) -> Result<&'static [u8], &'static str> {
    const MAGIC: u32 = 0xd00d_feed;
    if address == 0 || !address.is_multiple_of(8) {
        return Err("x0 holds no device tree address (it must be a multiple of 8)");
    }
    // SAFETY: the first map covers the gigabyte that the address lies in.
    let header = unsafe { core::slice::from_raw_parts(address as *const u32, 2) };
    if u32::from_be(header[0]) != MAGIC {
        return Err("what x0 points at is no device tree (its magic number is wrong)");
    }
    let size = u64::from(u32::from_be(header[1]));
    if size > MAX_TREE {
        return Err("the device tree says that it is larger than 2 MiB");
    }
    // SAFETY: as above; the map goes on for another gigabyte. Nothing writes there while we run: `reserved` keeps it.
    Ok(unsafe { core::slice::from_raw_parts(address as *const u8, size as usize) })
}

/// Makes a console where one may be, says why the boot ends, and stops.
fn give_up(uart: Option<Pa>, report: impl FnOnce()) -> ! {
    let base = uart.unwrap_or_else(uart::early_address);
    mmu::init(core::iter::empty(), 1);
    mmu::map_device(base, PAGE_SIZE);
    // SAFETY: the page is mapped, and this CPU is the only one.
    unsafe { uart::init(base) };
    report();
    log::error!("nothing can be booted; halted");
    power::halt()
}

/// The tree makes sense: everything from here on has a console. What it calls has frames of its own (`inline(never)`),
/// which go again: together they are more than the boot's stack holds.
fn start(tree: &'static [u8], platform: &Platform) -> ! {
    let cpus = boot_first(platform);
    let (options, complaints) = Options::parse(&platform.command_line);
    power::set_conduit(platform.psci.conduit == Conduit::Hvc);
    panic::REBOOT.store(options.after_panic == CrashAction::Reboot, Ordering::Relaxed);
    mmu::init(platform.memory.iter().map(|bank| bank.start().0..bank.end().0), cpus.len() as u64);
    init_console(platform, &options);
    log::info!("Xenolith {}: {} CPUs, {}", env!("CARGO_PKG_VERSION"), cpus.len(), describe(platform));
    for complaint in complaints {
        log::warn!("{complaint}");
    }
    if platform.cpus_left_out > 0 {
        log::warn!("{} CPUs are left out: {} are supported", platform.cpus_left_out, platform::MAX_CPUS);
    }
    for region in platform.gic.layout.regions() {
        mmu::map_device(region.start(), region.size());
    }
    gic::init(&platform.gic.layout, &cpus);
    let (hypervisor, common) = assemble(tree, platform, options, cpus.len() as u16);
    let hypervisor = HYPERVISOR.call_once(|| hypervisor);
    grow_heap(&hypervisor.frames, cpus.len() as u16);
    heap::grow_on_demand(&hypervisor.frames);
    percpu::install(Cpu::new(hypervisor, CpuId(0)));
    traps::init_cpu();
    gic::init_cpu(CpuId(0));
    traps::enable_interrupts();
    enable_console_input(hypervisor, platform);
    for (number, mpidr) in cpus.iter().enumerate().skip(1) {
        let id = CpuId(number as u16);
        if !gic::serves(id) {
            log::warn!(
                "cpu{number} ({mpidr:x?}): the interrupt controller has no interface for it; it is left out"
            );
        } else if secondary::start(id, mpidr.affinity()) {
            hypervisor.count_cpu();
        }
    }
    for test in &hypervisor.options.tests {
        selftest::run(test);
    }
    let first = match first_domain(hypervisor, tree, platform, &common) {
        Ok(first) => first,
        Err(error) => {
            log::error!("there is no first domain: {error}");
            log::error!("nothing can be booted; halted");
            power::halt()
        }
    };
    // SAFETY: `Platform::parse` has checked that modules lie in RAM; they are reserved, so nobody writes them.
    let others = build_boot_domains(hypervisor, platform, tree, &common, &|region| unsafe { bytes(region) });
    let passing = passing(tree, platform);
    // SAFETY: the tree has been rewritten and the modules copied; `platform` and the domain have copies of their own.
    unsafe { reclaim(hypervisor, &passing, platform, cpus.len() as u16) };
    let pages = hypervisor.domains().map(|domain| domain.memory.lock().pages).sum();
    log::info!("{}", Account::new(&hypervisor.frames, pages, mmu::image().file_pages()));
    hypervisor.start_scrubbing();
    hypervisor.domains().for_each(|domain| hypervisor.offer_console(&domain));
    for ready in core::iter::once(first).chain(others) {
        ready.start(hypervisor);
    }
    // SAFETY: the boot CPU's own stack; what is on it is not needed any more.
    unsafe { vectors::run_guests(mmu::image().stack_top(CpuId(0))) }
}

/// The CPUs in the tree's order, this one first: its number is 0.
fn boot_first(platform: &Platform) -> Vec<Mpidr> {
    let own = Mpidr::new(read_sysreg!("mpidr_el1"));
    core::iter::once(own).chain(platform.cpus.iter().copied().filter(|&mpidr| mpidr != own)).collect()
}

fn init_console(platform: &Platform, options: &Options) {
    log::set_max_level(options.log_level);
    console().change_focus(|focus| focus.set_key(options.console_switch));
    if let (true, Some(uart)) = (options.console, &platform.uart) {
        mmu::map_device(uart.registers.start(), uart.registers.size().max(PAGE_SIZE));
        // SAFETY: the frame is mapped, and no domain is given it.
        unsafe { uart::init(uart.registers.start()) };
    }
}

fn enable_console_input(hypervisor: &Hypervisor, platform: &Platform) {
    if let Some(intid) = hypervisor.lines().console {
        let edge = platform.uart.as_ref().and_then(|uart| uart.interrupt).map(|line| line.trigger);
        gic::set_trigger(intid, edge == Some(Trigger::Edge));
        gic::route(intid, CpuId(0));
        gic::enable(intid);
    }
}

#[inline(never)]
fn describe(platform: &Platform) -> alloc::string::String {
    let memory: u64 = platform.memory.iter().map(|bank| bank.size()).sum();
    let controller = match platform.gic.layout {
        GicLayout::V2 { .. } => "GICv2",
        GicLayout::V3 { .. } => "GICv3",
    };
    alloc::format!("{} MiB of RAM, {controller}", memory >> 20)
}

/// What must never be overwritten: the hypervisor, and what the firmware keeps.
fn permanent(platform: &Platform, cpus: u16) -> Vec<Region> {
    let image = mmu::image();
    let own = Region::between(image.start, image.end(cpus.into()));
    own.into_iter().chain(platform.reserved.iter().copied()).map(Region::to_pages).collect()
}

/// What is needed until the first domain is built: the device tree and the modules.
fn passing(tree: &[u8], platform: &Platform) -> Vec<Region> {
    let start = tree.as_ptr() as u64;
    let tree = Region::between(start, start + tree.len() as u64);
    let of_domains = platform.sound_boot_domains().flat_map(BootDomain::modules);
    let modules = platform.modules.iter().chain(of_domains).map(|module| module.region);
    modules.chain(platform.initrd).chain(tree).map(Region::to_pages).collect()
}

/// Frees the memory of the device tree and the boot modules.
///
/// # Safety
/// Nothing refers to them any more.
unsafe fn reclaim(hypervisor: &Hypervisor, passing: &[Region], platform: &Platform, cpus: u16) {
    for region in subtract(passing, &permanent(platform, cpus)) {
        // SAFETY: the boot reserved it for the tree and the modules alone, which by the caller's claim nobody uses.
        if let Err(error) = unsafe { hypervisor.frames.reclaim(frame_range(&region)) } {
            log::warn!("the memory of the boot modules at {region} stays reserved: {error:?}");
        }
    }
}

fn frame_range(region: &Region) -> FrameRange {
    let region = region.to_pages();
    FrameRange { first: region.start().frame(), pages: region.size() >> PAGE_SHIFT }
}

/// Makes the hypervisor: its memory first, with what domains have in common at fixed places, then what is kept in it.
#[inline(never)]
fn assemble(
    tree: &[u8],
    platform: &Platform,
    options: Options,
    cpus: u16,
) -> (&'static Hypervisor, StaticShm) {
    let mut reserved = permanent(platform, cpus);
    reserved.extend(passing(tree, platform));
    let banks: Vec<FrameRange> = platform.memory.iter().map(frame_range).collect();
    let needed = storage_needed(&banks);
    let bytes = (needed.bytes() as u64).next_multiple_of(PAGE_SIZE);
    let in_use = reserved.iter().copied().chain(platform.common_memory().filter_map(|memory| memory.machine));
    let room = subtract(&platform.memory, &in_use.collect::<Vec<Region>>());
    let place = room.iter().rev().find(|region| region.size() >= bytes);
    let Some(place) = place.and_then(|region| Region::between(region.end().0 - bytes, region.end().0)) else {
        panic!("no {bytes} bytes of RAM in a row for the table of frames");
    };
    reserved.push(place);
    // SAFETY: the room is RAM, mapped, in nobody's use, and reserved from now on.
    let storage = unsafe { storage(place.start(), needed) };
    let reserved: Vec<FrameRange> = reserved.iter().map(frame_range).collect();
    // SAFETY: `mmu::init` has mapped all banks for ever; what is in use is reserved.
    let frames = unsafe { Frames::new(&banks, &reserved, storage, &ZeroAndClean) };
    let frames = frames.unwrap_or_else(|error| panic!("the table of frames cannot be made: {error:?}"));
    let common = StaticShm::take(&frames, platform);
    let policy = match options.scheduler {
        SchedulerOption::Fair => Policy::Fair,
        SchedulerOption::Pinned => Policy::Pinned,
    };
    let scheduler = Scheduler::new(policy, cpus, xenolith_arch::ticks(SLICE * 1_000_000));
    let lines = Lines {
        timer: platform.timer.hypervisor,
        guest_timer: platform.timer.r#virtual,
        maintenance: platform.gic.maintenance,
        console: platform
            .uart
            .as_ref()
            .filter(|_| options.console)
            .and_then(|uart| uart.interrupt)
            .map(|line| line.intid),
    };
    let range = read_sysreg!("id_aa64mmfr0_el1");
    let geometry = stage2::physical_bits(range).and_then(stage2::geometry);
    let Some(geometry) = geometry else {
        panic!("ID_AA64MMFR0_EL1 {range:#x}: an unknown physical address size")
    };
    let command_line = platform.command_line.clone();
    let hypervisor = Hypervisor::new(options, command_line, frames, scheduler, geometry, lines);
    (Box::leak(Box::new(hypervisor)), common)
}

/// Gives the heap what a machine of so many CPUs needs.
#[inline(never)]
fn grow_heap(frames: &Frames, cpus: u16) {
    let bytes = heap::wanted(cpus);
    let order = (bytes >> PAGE_SHIFT).trailing_zeros() as u8;
    match frames.alloc(order, DomId::XEN, Kind::Hypervisor, Content::Any) {
        // SAFETY: the frames were just allocated for this, and are never given back.
        Some(start) => unsafe { heap::grow(start.base(), bytes) },
        None => panic!("no {bytes} bytes of RAM in a row for the heap"),
    }
}

/// Takes the room for the frame table.
///
/// # Safety
/// `needed.bytes()` bytes at `start` are RAM, mapped at EL2, and nobody's; `start` is page-aligned.
unsafe fn storage(start: Pa, needed: StorageNeeded) -> Storage {
    let words = start.0 as *mut u64;
    // SAFETY: by the caller's claim; the two parts do not overlap. All bit patterns are values, and `Frames` sets
    // them all.
    unsafe {
        core::ptr::write_bytes(words, 0, needed.bitmap_words + needed.table_words);
        Storage {
            bitmaps: core::slice::from_raw_parts_mut(words, needed.bitmap_words),
            table: core::slice::from_raw_parts_mut(
                words.add(needed.bitmap_words).cast::<AtomicU64>(),
                needed.table_words,
            ),
        }
    }
}

/// The bytes of a boot module.
///
/// # Safety
/// The region is RAM, mapped, and nobody writes to it as long as the bytes are used.
unsafe fn bytes(region: Region) -> &'static [u8] {
    // SAFETY: by the caller's claim.
    unsafe { core::slice::from_raw_parts(region.start().0 as *const u8, region.size() as usize) }
}

#[inline(never)]
fn first_domain(
    hypervisor: &Hypervisor,
    tree: &'static [u8],
    platform: &Platform,
    common: &StaticShm,
) -> Result<Ready, FirstError> {
    let Some(kernel) = platform.kernel() else { return Err(FirstError::NoKernel) };
    // SAFETY: `Platform::parse` has checked that modules lie in RAM; they are reserved, so nobody writes them.
    let bytes = |region: Region| unsafe { bytes(region) };
    let image = mmu::image();
    let Some(grant_window) =
        Region::between(image.start, image.start + (u64::from(GRANT_FRAMES) << PAGE_SHIFT))
    else {
        return Err(FirstError::NoHypervisorMemory);
    };
    let modules = Modules {
        device_tree: tree,
        kernel: bytes(kernel.region),
        ramdisk: platform.ramdisk().map(|ramdisk| ramdisk.region).or(platform.initrd).map(bytes),
        grant_window,
    };
    build_first(hypervisor, platform, &modules, common)
}
