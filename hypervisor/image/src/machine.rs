//! The machine that is booted, as `xenolith_boot` asks for it: AArch64 at EL2.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_arch::aarch64::{gic, mmu, power, uart};
use xenolith_boot::{Image, Machine, MemoryLayout};
use xenolith_core::types::{CpuId, DomId, PAGE_SHIFT, PAGE_SIZE, Pa};
use xenolith_cpu::Cpu;
use xenolith_domain::hypervisor::Hypervisor;
use xenolith_host::command_line::{CrashAction, Options};
use xenolith_host::platform::{Mpidr, Platform, Region};
use xenolith_isa::stage2;
use xenolith_memory::frames::{Content, FrameRange, Frames, Kind, Storage, StorageNeeded, ZeroAndClean};
use xenolith_memory::p2m::Geometry;

use crate::{heap, panic, percpu, secondary, selftest, traps, vectors};

/// The machine, with what the boot loader left in its RAM.
pub struct Aarch64<'p> {
    platform: &'p Platform,
    tree: &'static [u8],
    /// The CPUs in the tree's order, the one that boots first: its number is 0.
    cpus: Vec<Mpidr>,
}

impl<'p> Aarch64<'p> {
    /// The machine that `platform` describes, as the calling CPU boots it.
    ///
    /// # Safety
    /// `tree` is the device tree that `platform` was read in. Nobody but the machine refers to its bytes, or to those of the
    /// modules which it names, and nobody writes to them.
    pub unsafe fn new(platform: &'p Platform, tree: &'static [u8]) -> Self {
        let own = Mpidr::new(read_sysreg!("mpidr_el1"));
        Aarch64 { platform, tree, cpus: platform.cpus_booted_by(own) }
    }

    /// The size of the machine for the map of EL2 and the image's stacks.
    fn cpu_count(&self) -> u64 {
        self.cpus.len() as u64
    }

    fn init_console(&self) {
        if let Some(uart) = &self.platform.uart {
            mmu::map_device(uart.registers.start(), uart.registers.size().max(PAGE_SIZE));
            // SAFETY: the frame, in which the driver's registers are, is mapped, and no domain is given it.
            unsafe { uart::init(&uart.device) };
        }
    }
}

impl Machine for Aarch64<'_> {
    fn cpus(&self) -> u16 {
        self.cpus.len() as u16
    }

    fn image(&self) -> Image {
        let image = mmu::image();
        match Region::between(image.start, image.end(self.cpu_count())) {
            Some(region) => Image { region, file_pages: image.file_pages() },
            None => unreachable!("the image has bytes"),
        }
    }

    fn prepare(&self, options: &Options) {
        power::set_conduit(self.platform.psci.map(|psci| psci.conduit));
        panic::REBOOT.store(options.after_panic == CrashAction::Reboot, Ordering::Relaxed);
        mmu::init(self.platform.memory.iter().map(|bank| bank.start().0..bank.end().0), self.cpu_count());
        if options.console {
            self.init_console();
        }
    }

    fn p2m_geometry(&self) -> Option<Geometry> {
        stage2::physical_bits(read_sysreg!("id_aa64mmfr0_el1")).and_then(stage2::geometry)
    }

    fn take_memory(&self, layout: MemoryLayout) -> Frames {
        let (start, needed) = layout.storage();
        // SAFETY: `mmu::init` has mapped all banks for ever. The layout has found the room in them, where nobody is, and keeps
        // it reserved.
        let storage = unsafe { storage(start, needed) };
        // SAFETY: as above; what is in use is reserved in the layout.
        let frames = unsafe { Frames::new(layout.banks(), layout.reserved(), storage, &ZeroAndClean) };
        frames.unwrap_or_else(|error| panic!("the table of frames cannot be made: {error:?}"))
    }

    fn install(&self, hypervisor: &'static Hypervisor) {
        crate::hypervisor::set(hypervisor);
        grow_heap(&hypervisor.frames, self.cpus());
        heap::grow_on_demand(&hypervisor.frames);
        for region in self.platform.gic.regions() {
            mmu::map_device(region.start(), region.size());
        }
        gic::init(&self.platform.gic, &self.cpus);
        percpu::install(Cpu::new(&hypervisor.timers, CpuId(0)));
        vectors::install(traps::init_cpu());
        gic::init_cpu(CpuId(0));
        traps::enable_interrupts();
        if self.platform.psci.is_none() {
            log::warn!("the device tree has no PSCI firmware: nothing powers the machine off or resets it");
        }
        for (cpu, problem) in self.platform.unstartable_cpus(self.cpus[0]) {
            log::warn!("device tree node {}: {problem}; the CPU is left out", cpu.node);
        }
    }

    fn start_cpu(&self, id: CpuId) -> bool {
        let Some(mpidr) = self.cpus.get(usize::from(id.0)) else { return false };
        if !gic::serves(id) {
            log::warn!(
                "cpu{} ({mpidr:x?}): the interrupt controller has no interface for it; it is left out",
                id.0
            );
            return false;
        }
        secondary::start(self.platform, id, *mpidr)
    }

    fn self_test(&self, name: &str) {
        selftest::run(name);
    }

    fn device_tree(&self) -> &[u8] {
        self.tree
    }

    fn module(&self, region: Region) -> &[u8] {
        // SAFETY: `Platform::parse` has checked that modules lie in RAM, which is mapped. They are reserved until `reclaim`,
        // which consumes the machine that the bytes are borrowed from, so nobody writes them before.
        unsafe { core::slice::from_raw_parts(region.start().0 as *const u8, region.size() as usize) }
    }

    fn reclaim(self, frames: &Frames, ranges: &mut dyn Iterator<Item = FrameRange>) {
        for range in ranges {
            // SAFETY: the range was reserved for the tree and the modules alone, whose bytes were only lent by this machine.
            if let Err(error) = unsafe { frames.reclaim(range) } {
                log::warn!(
                    "the memory of the boot modules at {} stays reserved: {error:?}",
                    range.first.base()
                );
            }
        }
    }
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
