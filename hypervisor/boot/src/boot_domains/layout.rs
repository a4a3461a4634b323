//! Where the parts of a domain that starts at boot are, in its own addresses.
//!
//! A domain has Xen's memory map for guests, or, if it is directly mapped, that of the machine: its interrupt controller
//! and its UART are where the machine's are, and the rest is put where nothing else is. Nothing may be in two places at
//! once; what the partial device tree places is checked against everything else.

use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use machine_model::tree::Timer;
use machine_model::{Region, extended_regions, layout as map};
use xenolith_abi::Intid;

use xenolith_core::types::PAGE_SIZE;
use xenolith_host::passthrough::Window;
use xenolith_host::platform::{self, Platform, StaticShmNode, subtract};

use super::BootError;
use crate::guest::{InterruptController, Uart, guest_controller, machine_controller};

/// The block in which Linux takes extended regions: a memory section.
const SECTION: u64 = 128 << 20;
/// Extended regions at most.
const MAX_REGIONS: usize = 16;
/// What Linux's emulated UART needs at least to be itself: the SBSA page.
const UART_SIZE: u64 = PAGE_SIZE;

/// What the layout depends on.
pub struct Request<'r> {
    /// The machine.
    pub platform: &'r Platform,
    /// What is passed through, with the nodes that it is for.
    pub windows: &'r [(String, Window)],
    /// There is an emulated UART.
    pub uart: bool,
    /// Its static shared memory.
    pub static_shm: &'r [StaticShmNode],
    /// Bits of a guest address.
    pub address_bits: u32,
}

/// Where everything is, and by which private interrupts the domain is told of time and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// RAM.
    pub banks: Vec<Region>,
    /// The interrupt controller.
    pub controller: InterruptController,
    /// The window for grant-table frames.
    pub grant_window: Region,
    /// Where it may map other domains' memory, ascending.
    pub extended_regions: Vec<Region>,
    /// The emulated UART.
    pub uart: Option<Uart>,
    /// The private interrupt that announces events.
    pub event_interrupt: Intid,
    /// The timers.
    pub timer: Timer,
}

/// The layout of a guest of Xen's with `bytes` of RAM.
///
/// # Errors
///
/// [`BootError::TooMuchMemory`], [`BootError::OutOfReach`], and [`BootError::Overlap`] for a device that is passed
/// through to where something else is.
pub fn standard(request: &Request<'_>, bytes: u64) -> Result<Layout, BootError> {
    let controller = guest_controller(request.platform);
    let banks = map::banks(bytes).ok_or(BootError::TooMuchMemory(bytes))?;
    let uart = request.uart.then_some(Uart::GUEST);
    let mut places = places(request, &banks, &controller, uart.as_ref());
    places.push(Place::new("the grant table's window", map::GRANT_WINDOW));
    places.push(Place::new("the pages shared with the control domain", map::MAGIC));
    check(request, &places)?;
    let free = extended_regions(&banks, request.address_bits);
    let used: Vec<Region> = places.iter().map(|place| place.region).collect();
    Ok(Layout {
        extended_regions: sections(&free, &used),
        banks,
        controller,
        grant_window: map::GRANT_WINDOW,
        uart,
        event_interrupt: map::EVENTS,
        timer: Timer::guest(None),
    })
}

/// The layout of a domain whose RAM is where it is in the machine. `devices` are the registers of all devices of the
/// machine: no such address gets another meaning.
///
/// # Errors
///
/// [`BootError::Overlap`], [`BootError::OutOfReach`], [`BootError::NoWindow`].
pub fn direct(
    request: &Request<'_>,
    banks: Vec<Region>,
    event_interrupt: Intid,
    devices: &[platform::Region],
) -> Result<Layout, BootError> {
    let platform = request.platform;
    let controller = machine_controller(platform);
    let uart = request.uart.then(|| host_uart(platform));
    let places = places(request, &banks, &controller, uart.as_ref());
    check(request, &places)?;
    let mut used: Vec<Region> = places.iter().map(|place| place.region).collect();
    let grant_window = window(&used, request.address_bits)?;
    used.push(grant_window);
    used.extend(platform.memory.iter().chain(devices).map(|region| region.as_guest()));
    // Linux has no addresses below its own memory for what is added later.
    let lowest = banks.iter().map(|bank| bank.start).min().unwrap_or(0);
    let all = Region::new(lowest, limit(request.address_bits).saturating_sub(lowest));
    Ok(Layout {
        banks,
        controller,
        grant_window,
        extended_regions: sections(&[all], &used),
        uart,
        event_interrupt,
        timer: Timer {
            secure_physical: platform.timer.secure_physical,
            physical: platform.timer.physical,
            r#virtual: platform.timer.r#virtual,
            frequency: None,
        },
    })
}

/// The emulated UART in the place of the machine's, which is the hypervisor's own; without that, in a guest's place.
fn host_uart(platform: &Platform) -> Uart {
    let there = platform.uart.as_ref().and_then(|uart| {
        let interrupt = uart.interrupt.filter(|line| !line.is_private())?.intid;
        Some(Uart { registers: Region::new(uart.registers.start().0, UART_SIZE), interrupt })
    });
    there.unwrap_or(Uart::GUEST)
}

/// Something that has its place, with a name for messages.
struct Place {
    name: String,
    region: Region,
    /// What it shows of the machine, if it is passed through.
    window: Option<Window>,
}

impl Place {
    fn new(name: &str, region: Region) -> Place {
        Place { name: name.to_string(), region, window: None }
    }
}

fn places(
    request: &Request<'_>,
    banks: &[Region],
    controller: &InterruptController,
    uart: Option<&Uart>,
) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    places.extend(banks.iter().map(|&bank| Place::new("the domain's memory", bank)));
    places.extend(controller.regions().map(|region| Place::new("the interrupt controller", region)));
    places.extend(uart.map(|uart| Place::new("`vpl011`", uart.registers)));
    places.extend(request.windows.iter().map(|(node, window)| Place {
        name: format!("the partial device tree's {node}"),
        region: Region::new(window.guest.0, window.machine.size()),
        window: Some(*window),
    }));
    places.extend(request.static_shm.iter().map(|memory| Place {
        name: format!("the static shared memory of {}", memory.path),
        region: Region::new(memory.guest.0, memory.size),
        window: None,
    }));
    places
}

/// Everything is within reach and apart from everything else, but for devices that share a page in the same place.
fn check(request: &Request<'_>, places: &[Place]) -> Result<(), BootError> {
    let bits = request.address_bits;
    for (index, place) in places.iter().enumerate() {
        if place.region.end().is_none_or(|end| end > limit(bits)) {
            return Err(BootError::OutOfReach { what: place.name.clone(), address_bits: bits });
        }
        let is_in_the_way = |other: &&Place| {
            let is_same = place.window.is_some() && place.window == other.window;
            other.region.overlaps(place.region) && !is_same
        };
        if let Some(other) = places.iter().take(index).find(is_in_the_way) {
            let what = [other.name.clone(), place.name.clone()];
            return Err(BootError::Overlap { what, at: place.region.start });
        }
    }
    Ok(())
}

fn limit(address_bits: u32) -> u64 {
    1u64.checked_shl(address_bits).unwrap_or(u64::MAX)
}

/// Room for grant-table frames: where Xen has it, or the lowest free place of that size.
fn window(used: &[Region], address_bits: u32) -> Result<Region, BootError> {
    let size = map::GRANT_WINDOW.size;
    let behind = used.iter().filter_map(|region| region.end()?.checked_next_multiple_of(size));
    let starts = behind.collect::<BinaryHeap<u64>>().into_sorted_vec();
    let candidates = core::iter::once(map::GRANT_WINDOW.start).chain([size]).chain(starts);
    candidates
        .map(|start| Region::new(start, size))
        .filter(|region| region.end().is_some_and(|end| end <= limit(address_bits)))
        .find(|region| !used.iter().any(|other| other.overlaps(*region)))
        .ok_or(BootError::NoWindow)
}

/// What is free, less what is used, in whole sections.
fn sections(free: &[Region], used: &[Region]) -> Vec<Region> {
    let machine = |all: &[Region]| -> Vec<platform::Region> {
        all.iter().filter_map(|&region| platform::Region::from_guest(region)).collect()
    };
    let whole = |region: platform::Region| {
        let start = region.start().0.checked_next_multiple_of(SECTION)?;
        let size = (region.end().0 / SECTION * SECTION).checked_sub(start)?;
        (size > 0).then_some(Region::new(start, size))
    };
    subtract(&machine(free), &machine(used)).into_iter().filter_map(whole).take(MAX_REGIONS).collect()
}

#[cfg(test)]
mod tests;
