//! Firmware that starts no CPUs: it leaves the further ones waiting, each at an address that the device tree names
//! (`enable-method = "spin-table"`), as a Raspberry Pi's does.
//!
//! QEMU's `virt` board has PSCI. A few instructions of ours use it once, to bring all CPUs into a loop, and a device tree
//! without it is what the hypervisor then sees.

use anyhow::{Context, Result};
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeProperty};

use crate::setup::STUB_AT;
use crate::tree;

/// The first CPU starts the others in `wait`, with the address that each waits at in x0: CPU 1 has one for itself, 2 and 3
/// share one, and so on. Then it enters the hypervisor as Linux's boot protocol demands.
const CODE: [u32; 24] = [
    0x5800_0309, // ldr x9, tree
    0x5800_032a, // ldr x10, image
    0x5800_034b, // ldr x11, words
    0x5800_036c, // ldr x12, cpus
    0xd280_002d, // mov x13, #0x1
    0xeb0c_01bf, // next: cmp x13, x12
    0x5400_0122, // b.cs enter
    0x5800_0320, // ldr x0, cpu_on
    0xaa0d_03e1, // mov x1, x13
    0x1000_0162, // adr x2, wait
    0xd341_fda3, // lsr x3, x13, #1
    0x8b03_0d63, // add x3, x11, x3, lsl #3
    0xd400_0003, // smc #0x0
    0x9100_05ad, // add x13, x13, #0x1
    0x17ff_fff7, // b next
    0xaa09_03e0, // enter: mov x0, x9
    0xaa1f_03e1, // mov x1, xzr
    0xaa1f_03e2, // mov x2, xzr
    0xaa1f_03e3, // mov x3, xzr
    0xd61f_0140, // br x10
    0xd503_205f, // wait: wfe
    0xf940_0001, // ldr x1, [x0]
    0xb4ff_ffc1, // cbz x1, wait
    0xd61f_0020, // br x1
];

/// Where, behind the code and the five numbers that it loads, the addresses are at which CPUs wait.
const WORDS: u64 = (CODE.len() * 4 + 5 * 8) as u64;
/// PSCI CPU_ON, by its 64-bit form.
const CPU_ON: u64 = 0xc400_0003;
/// What of the machine's RAM is the firmware's: its page.
const FIRMWARE: u64 = 0x1000;

/// Code and data of the firmware that lies at `at`.
#[must_use]
pub fn firmware(image: u64, tree: u64, at: u64, cpus: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = CODE.iter().flat_map(|word| word.to_le_bytes()).collect();
    let numbers = [tree, image, at + WORDS, u64::from(cpus), CPU_ON];
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes.resize(FIRMWARE as usize, 0);
    bytes
}

/// The address at which a CPU waits.
#[must_use]
pub fn release_address(cpu: u32) -> u64 {
    STUB_AT + WORDS + u64::from(cpu / 2 * 8)
}

/// Makes the machine's tree that of a board with this firmware.
///
/// # Errors
/// The tree has no such CPUs.
pub fn edit(machine: &mut DeviceTree, cpus: u32) -> Result<()> {
    tree::remove_compatible(machine, "arm,psci-1.0")?;
    machine.memory_reservations.push(MemoryReservation::new(STUB_AT, FIRMWARE));
    let nodes = machine.root.child_mut("cpus").context("the tree's /cpus")?;
    for cpu in 0..cpus {
        let node = nodes.child_mut(&format!("cpu@{cpu}")).context("a CPU of the tree")?;
        let address = release_address(cpu);
        node.add_property(DeviceTreeProperty::new("enable-method", "spin-table")?);
        let cells = [(address >> 32) as u32, address as u32];
        node.add_property(DeviceTreeProperty::new("cpu-release-addr", cells.as_slice())?);
    }
    Ok(())
}
