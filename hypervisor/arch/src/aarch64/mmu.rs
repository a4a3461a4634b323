//! What EL2 can reach (its stage 1): RAM at its own address, the image by section with W^X, devices one by one, and
//! nothing below each stack, so that an overflow faults.

use core::ops::Range;

use aarch64_paging::descriptor::El23Attributes as Attributes;
use aarch64_paging::idmap::IdMap;
use aarch64_paging::paging::{El2, MemoryRegion};

use xenolith_core::sync::Mutex;
use xenolith_core::types::{CpuId, PAGE_SIZE, Pa};
use xenolith_hw::{dsb, isb};

/// SCTLR_EL2: its RES1 bits, MMU, data and instruction cache, stack alignment check.
pub const SCTLR: u64 = 0x30c5_0830 | 1 << 12 | 1 << 3 | 1 << 2 | 1;
/// SCTLR_EL2.WXN: nothing that is writable can be executed. Set once the final map is in place.
pub const SCTLR_WXN: u64 = 1 << 19;

const NORMAL: Attributes = Attributes::VALID
    .union(Attributes::ACCESSED)
    .union(Attributes::USER_RES1)
    .union(Attributes::INNER_SHAREABLE)
    .union(Attributes::ATTRIBUTE_INDEX_1);
const CODE: Attributes = NORMAL.union(Attributes::READ_ONLY);
const CONSTANT: Attributes = CODE.union(Attributes::XN);
const DATA: Attributes = NORMAL.union(Attributes::XN);
const DEVICE: Attributes = Attributes::VALID
    .union(Attributes::ACCESSED)
    .union(Attributes::USER_RES1)
    .union(Attributes::XN)
    .union(Attributes::ATTRIBUTE_INDEX_0);
const ABSENT: Attributes = Attributes::empty();

static MAP: Mutex<Option<IdMap<El2>>> = Mutex::new(None);

unsafe extern "C" {
    static _head: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __symbols_start: u8;
    static __symbols_end: u8;
    static __file_end: u8;
    static __boot_stack_guard: u8;
    static __boot_stack_bottom: u8;
    static __boot_stack_top: u8;
    static __stacks: u8;
    static __image_end: u8;
}

/// Bytes of a further CPU's stack (`image.ld`).
const STACK: u64 = 64 << 10;

/// Where the parts of our own image are.
pub struct Image {
    /// The first byte: the `Image` header.
    pub start: u64,
    text_end: u64,
    rodata_end: u64,
    symbols: Range<u64>,
    file_end: u64,
    stack_guard: u64,
    stack: Range<u64>,
    stacks: u64,
    end: u64,
}

/// Asks the linker's symbols.
pub fn image() -> Image {
    let address = |symbol: *const u8| symbol as u64;
    Image {
        start: address(&raw const _head),
        text_end: address(&raw const __text_end),
        rodata_end: address(&raw const __rodata_end),
        symbols: address(&raw const __symbols_start)..address(&raw const __symbols_end),
        file_end: address(&raw const __file_end),
        stack_guard: address(&raw const __boot_stack_guard),
        stack: address(&raw const __boot_stack_bottom)..address(&raw const __boot_stack_top),
        stacks: address(&raw const __stacks),
        end: address(&raw const __image_end),
    }
}

impl Image {
    /// The table of function names (`xenolith_core::symbols`).
    pub fn symbols(&self) -> &'static [u8] {
        let length = (self.symbols.end - self.symbols.start) as usize;
        // SAFETY: the section is mapped read-only for ever; nothing writes it.
        unsafe { core::slice::from_raw_parts(self.symbols.start as *const u8, length) }
    }

    /// Pages of text and data: what the image's file holds.
    pub fn file_pages(&self) -> u64 {
        (self.file_end - self.start).div_ceil(PAGE_SIZE)
    }

    /// The top of a CPU's stack.
    pub fn stack_top(&self, cpu: CpuId) -> u64 {
        match u64::from(cpu.0) {
            0 => self.stack.end,
            further => self.stacks + further * (PAGE_SIZE + STACK),
        }
    }

    /// The byte behind the last that a machine of `cpus` CPUs needs: what follows is ordinary RAM.
    pub fn end(&self, cpus: u64) -> u64 {
        (self.stacks + cpus.saturating_sub(1) * (PAGE_SIZE + STACK)).min(self.end)
    }
}

/// Whether a frame record of 16 bytes at `address` lies in one of our stacks.
pub fn is_stack(address: u64) -> bool {
    let image = image();
    let inside = |stack: Range<u64>| stack.contains(&address) && address.saturating_add(16) <= stack.end;
    if address < image.stacks {
        return inside(image.stack);
    }
    let each = PAGE_SIZE + STACK;
    let start = address - (address - image.stacks) % each;
    address < image.end && inside(start + PAGE_SIZE..start + each)
}

fn region(start: u64, end: u64) -> MemoryRegion {
    MemoryRegion::new(start as usize, end as usize)
}

fn map(map: &mut IdMap<El2>, start: u64, end: u64, attributes: Attributes) {
    let (start, end) = (start & !(PAGE_SIZE - 1), end.next_multiple_of(PAGE_SIZE));
    if start < end
        && let Err(error) = map.map_range(&region(start, end), attributes)
    {
        panic!("mapping {start:#x}..{end:#x} at EL2: {error}");
    }
}

/// Replaces the first map of `entry.rs` by the real one: all of RAM, the image by section. Called once, on the boot
/// CPU; further CPUs load the same tables.
pub fn init(ram: impl Iterator<Item = Range<u64>>, cpus: u64) {
    let mut tables = IdMap::<El2>::new(0, El2);
    for bank in ram {
        map(&mut tables, bank.start, bank.end, DATA);
    }
    let image = image();
    map(&mut tables, image.start, image.text_end, CODE);
    map(&mut tables, image.text_end, image.rodata_end, CONSTANT);
    map(&mut tables, image.rodata_end, image.end, DATA);
    map(&mut tables, image.stack_guard, image.stack.start, ABSENT);
    for further in 1..cpus {
        let guard = image.stack_top(CpuId(further as u16)) - STACK - PAGE_SIZE;
        map(&mut tables, guard, guard + PAGE_SIZE, ABSENT);
    }
    // SAFETY: code, data and stack stay where they are, with the rights that they need.
    unsafe { tables.activate() };
    *MAP.lock() = Some(tables);
    // Translations by the first map's blocks would still let code be written.
    flush();
    // SAFETY: with the map above nothing is both writable and executable.
    unsafe { write_sysreg!("sctlr_el2", SCTLR | SCTLR_WXN) };
    isb();
}

fn flush() {
    dsb();
    // SAFETY: dropping cached translations of EL2 changes none of them.
    unsafe { core::arch::asm!("tlbi alle2is", options(nostack, preserves_flags)) };
    dsb();
    super::errata::complete_tlbi();
    isb();
}

/// Adds a device's registers. Mapping the same page twice is harmless.
pub fn map_device(start: Pa, size: u64) {
    let mut guard = MAP.lock();
    let Some(tables) = guard.as_mut() else { return };
    map(tables, start.0, start.0.saturating_add(size), DEVICE);
    flush();
}

/// What a further CPU loads into TTBR0_EL2.
pub fn root() -> u64 {
    MAP.lock().as_ref().map_or(0, |tables| tables.root_address().0 as u64)
}
