//! From the first Rust to the first guest, on the boot CPU: what comes before and after the part that all architectures have in
//! common ([`xenolith_boot::boot`]).

use xenolith_core::types::CpuId;
use xenolith_domain::console::init_log;
use xenolith_host::platform::{self, EARLY_LENGTH, Platform, UartDevice};

use xenolith_arch::aarch64::{mmu, power, uart};

use crate::machine::Aarch64;
use crate::vectors;

/// The most that a device tree may take: what the Linux boot protocol allows.
const MAX_TREE: u64 = 2 << 20;

unsafe extern "C" {
    /// The text that names the early console, in the image's head (`entry.rs`).
    static _early_console: [u8; EARLY_LENGTH];
}

/// The early console, if the image was given one.
fn early_console() -> Option<UartDevice> {
    // SAFETY: the linker's symbol is that many bytes of the image, which nobody writes.
    platform::parse_early(unsafe { &_early_console })
}

/// The image was entered at another exception level, which is told on the console that the tree names, or on the early one.
/// Runs with the MMU off, and so without locks and heap.
pub extern "C" fn wrong_level(level: u64, device_tree: u64) -> ! {
    // SAFETY: the loader put a device tree there; with the MMU off nothing needs to be mapped.
    let of_tree = unsafe { tree(device_tree) }.ok().and_then(platform::early_console);
    if let Some(uart) = of_tree.or_else(early_console) {
        let texts: [&[u8]; 4] = [
            b"\r\n(xenolith) error: entered at EL",
            &[b'0' + (level & 3) as u8],
            b", and a hypervisor needs EL2 (in QEMU: -machine virt,virtualization=on)\r\n",
            b"(xenolith) error: nothing can be booted; halted\r\n",
        ];
        // SAFETY: who wrote the tree or the image's head vouches for the UART; this CPU is the only one.
        unsafe { uart::early_write(&uart, &texts) };
    }
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
            let console = platform::console(tree).map(|uart| uart.device);
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

/// Makes the console that the tree names, or the early one, says why the boot ends, and stops.
fn give_up(uart: Option<UartDevice>, report: impl FnOnce()) -> ! {
    if let Some(uart) = uart.or_else(early_console) {
        mmu::init(core::iter::empty(), 1);
        mmu::map_device(uart.base, uart.size());
        // SAFETY: the registers are mapped, and this CPU is the only one.
        unsafe { uart::init(&uart) };
    }
    report();
    log::error!("nothing can be booted; halted");
    power::halt()
}

/// The tree makes sense: everything from here on has a console.
fn start(tree: &'static [u8], platform: &Platform) -> ! {
    // SAFETY: the platform was read in this tree, and has copies of its own; nothing else has looked at the modules.
    let machine = unsafe { Aarch64::new(platform, tree) };
    xenolith_boot::boot(machine, platform);
    // SAFETY: the boot CPU's own stack; what is on it is not needed any more.
    unsafe { vectors::run_guests(mmu::image().stack_top(CpuId(0))) }
}
