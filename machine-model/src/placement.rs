//! Where a domain's kernel, device tree and ramdisk go in its first memory bank: where Xen puts them, so that a
//! kernel that boots there boots here.
//!
//! The device tree and the ramdisk behind it keep together: 128 MiB into the bank if that is behind the kernel, else
//! at the bank's end, else right below the kernel.

use core::fmt;

use crate::Region;

/// To what each of the three is aligned.
const ALIGNMENT: u64 = 2 << 20;
/// The preferred distance from the bank's start.
const PREFERRED: u64 = 128 << 20;

/// What is to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The first bank of the domain's memory.
    pub bank: Region,
    /// The kernel's offset from a 2 MiB boundary.
    pub text_offset: u64,
    /// Bytes that the kernel takes, with what it clears itself.
    pub kernel_size: u64,
    /// Bytes of the device tree.
    pub device_tree_size: u64,
    /// Bytes of the ramdisk; 0 for none.
    pub initrd_size: u64,
}

/// Where things go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The kernel's first byte, which is its entry.
    pub kernel: u64,
    /// The device tree's first byte, on a 2 MiB boundary.
    pub device_tree: u64,
    /// The ramdisk's first byte, on a 2 MiB boundary, if there is one.
    pub initrd: Option<u64>,
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacementError {
    /// The kernel alone.
    Kernel {
        /// Its bytes.
        size: u64,
        /// Bytes of the bank.
        bank: u64,
    },
    /// The device tree beside the kernel.
    DeviceTree {
        /// Its bytes.
        size: u64,
        /// Bytes of the bank.
        bank: u64,
    },
    /// The ramdisk beside the kernel and the device tree.
    Initrd {
        /// Its bytes.
        size: u64,
        /// Bytes of the bank.
        bank: u64,
    },
}

/// Places kernel, device tree and ramdisk in the bank; they do not overlap.
///
/// # Errors
///
/// [`PlacementError`] names the first that does not fit.
pub fn place(request: &Request) -> Result<Placement, PlacementError> {
    let Request { bank, text_offset, kernel_size, device_tree_size, initrd_size } = *request;
    let Region { start, size: bank } = bank;
    let no_kernel = PlacementError::Kernel { size: kernel_size, bank };
    let bank_end = start.checked_add(bank).ok_or(no_kernel)?;
    let base = round_up(start).ok_or(no_kernel)?;
    let kernel = base.checked_add(text_offset).ok_or(no_kernel)?;
    let kernel_end = kernel.checked_add(kernel_size).filter(|&end| end <= bank_end).ok_or(no_kernel)?;

    let modules = |initrd_size: u64| -> Option<(u64, u64)> {
        let device_tree = round_up(device_tree_size)?;
        let size = device_tree.checked_add(round_up(initrd_size)?)?;
        let preferred = round_up(start.checked_add(PREFERRED)?)?;
        let at_preferred = || {
            let fits = preferred.checked_add(size)? <= bank_end && kernel_end <= preferred;
            fits.then_some(preferred)
        };
        let at_end = || {
            let first = (bank_end & !(ALIGNMENT - 1)).checked_sub(size)?;
            (first >= round_up(kernel_end)?).then_some(first)
        };
        let below = || {
            let first = (kernel & !(ALIGNMENT - 1)).checked_sub(size)?;
            (first >= start).then_some(first)
        };
        let first = at_preferred().or_else(at_end).or_else(below)?;
        Some((first, first.checked_add(device_tree)?))
    };
    match modules(initrd_size) {
        Some((device_tree, initrd)) => {
            Ok(Placement { kernel, device_tree, initrd: (initrd_size != 0).then_some(initrd) })
        }
        None if modules(0).is_some() => Err(PlacementError::Initrd { size: initrd_size, bank }),
        None => Err(PlacementError::DeviceTree { size: device_tree_size, bank }),
    }
}

fn round_up(value: u64) -> Option<u64> {
    value.checked_next_multiple_of(ALIGNMENT)
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, size, bank) = match self {
            PlacementError::Kernel { size, bank } => ("kernel", size, bank),
            PlacementError::DeviceTree { size, bank } => ("device tree", size, bank),
            PlacementError::Initrd { size, bank } => ("initrd", size, bank),
        };
        write!(f, "{what} of {} KiB does not fit into {} MiB", size.div_ceil(1 << 10), bank >> 20)
    }
}

impl core::error::Error for PlacementError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;
    use std::vec;

    const MIB: u64 = 1 << 20;
    const BASE: u64 = 0x4000_0000;

    fn request(bank: u64, kernel_size: u64, initrd_size: u64) -> Request {
        let bank = Region::new(BASE, bank);
        Request { bank, text_offset: 0, kernel_size, device_tree_size: 0x3000, initrd_size }
    }

    fn placed(request: &Request) -> [u64; 3] {
        let placement = place(request).unwrap();
        [placement.kernel, placement.device_tree, placement.initrd.unwrap_or(0)]
            .map(|address| address.saturating_sub(BASE) / MIB)
    }

    #[test]
    fn modules_go_128_mib_in_if_there_is_room() {
        assert_eq!(placed(&request(512 * MIB, 32 * MIB, 20 * MIB)), [0, 128, 130]);
        assert_eq!(placed(&request(150 * MIB, 32 * MIB, 20 * MIB)), [0, 128, 130]);
    }

    #[test]
    fn else_to_the_end_of_the_bank() {
        assert_eq!(placed(&request(149 * MIB, 32 * MIB, 20 * MIB)), [0, 126, 128]);
        assert_eq!(placed(&request(512 * MIB, 129 * MIB, 20 * MIB)), [0, 490, 492]);
        assert_eq!(placed(&request(54 * MIB, 32 * MIB, 20 * MIB)), [0, 32, 34]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |request| place(&request).unwrap_err();
        let initrd = error(request(53 * MIB, 32 * MIB, 20 * MIB));
        assert_eq!(initrd, PlacementError::Initrd { size: 20 * MIB, bank: 53 * MIB });
        assert_eq!(initrd.to_string(), "initrd of 20480 KiB does not fit into 53 MiB");
        assert_eq!(
            error(request(33 * MIB, 32 * MIB, 0)).to_string(),
            "device tree of 12 KiB does not fit into 33 MiB"
        );
        assert_eq!(
            error(request(31 * MIB, 32 * MIB, 0)).to_string(),
            "kernel of 32768 KiB does not fit into 31 MiB"
        );
    }

    #[test]
    fn a_bank_off_the_boundary_starts_at_the_next_one() {
        let request = Request {
            bank: Region::new(BASE + 4096, 512 * MIB),
            text_offset: 0x8_0000,
            ..request(0, MIB, 0)
        };
        let placement = place(&request).unwrap();
        assert_eq!(placement.kernel, BASE + 2 * MIB + 0x8_0000);
        assert_eq!(placement.device_tree, BASE + 130 * MIB);
        assert_eq!(placement.initrd, None);
    }

    fn sizes() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..(600 << 20), any::<u64>()]
    }

    proptest! {
        #[test]
        fn what_is_placed_is_in_the_bank_and_apart(
            start in sizes(), bank in sizes(), text_offset in 0u64..(2 << 20), kernel_size in sizes(),
            device_tree_size in 1u64..(4 << 20), initrd_size in sizes(),
        ) {
            let bank = Region::new(start, bank);
            let request = Request { bank, text_offset, kernel_size, device_tree_size, initrd_size };
            if let Ok(placement) = place(&request) {
                let end = start + bank.size;
                let mut parts = vec![
                    (placement.kernel, kernel_size),
                    (placement.device_tree, device_tree_size),
                ];
                parts.extend(placement.initrd.map(|initrd| (initrd, initrd_size)));
                for (index, &(at, size)) in parts.iter().enumerate() {
                    prop_assert!(at >= start && at.checked_add(size).is_some_and(|last| last <= end));
                    for &(other, other_size) in &parts[..index] {
                        prop_assert!(at + size <= other || other + other_size <= at);
                    }
                }
                prop_assert_eq!(placement.initrd.is_some(), initrd_size != 0);
                prop_assert_eq!(placement.device_tree % ALIGNMENT, 0);
            }
        }
    }
}
