//! From the first Rust to the first guest, on the boot CPU: what comes before and after the part that all architectures have in
//! common ([`xenolith_boot::boot`]).

use xenolith_core::types::{CpuId, PAGE_SIZE, Pa};
use xenolith_domain::console::init_log;
use xenolith_host::platform::{self, Platform, UartKind};

use xenolith_arch::aarch64::{mmu, power, uart};

use crate::machine::Aarch64;
use crate::vectors;

/// The most that a device tree may take: what the Linux boot protocol allows.
const MAX_TREE: u64 = 2 << 20;

/// The image was entered at another exception level. Runs with the MMU off, and so without locks.
pub extern "C" fn wrong_level(level: u64) -> ! {
    uart::early_write(b"\r\n(xenolith) error: entered at EL");
    uart::early_write(&[b'0' + (level & 3) as u8]);
    uart::early_write(b", and a hypervisor needs EL2 (in QEMU: -machine virt,virtualization=on)\r\n");
    uart::early_write(b"(xenolith) error: nothing can be booted; halted\r\n");
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
            let console = platform::console(tree).map(|uart| (uart.kind, uart.registers.start()));
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
fn give_up(uart: Option<(UartKind, Pa)>, report: impl FnOnce()) -> ! {
    let (kind, base) = uart.unwrap_or_else(|| (UartKind::Pl011, uart::early_address()));
    mmu::init(core::iter::empty(), 1);
    mmu::map_device(base, PAGE_SIZE);
    // SAFETY: the page is mapped, and this CPU is the only one.
    unsafe { uart::init(kind, base) };
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
