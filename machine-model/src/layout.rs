//! The memory map and the interrupt map of a guest (Xen, `public/arch-arm.h`), and how RAM fills its banks.

use alloc::vec::Vec;

pub use xenolith_abi::PAGE_SIZE;
use xenolith_abi::{Gfn, Intid};

use crate::Region;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Where virtio-mmio devices are.
pub const VIRTIO_MMIO: Region = Region::new(0x0200_0000, MIB);
/// Bytes between one virtio-mmio device and the next, and of its registers.
pub const VIRTIO_MMIO_STRIDE: u64 = 0x200;
/// The distributor of a GICv2.
pub const GICV2_DISTRIBUTOR: Region = Region::new(0x0300_1000, 0x1000);
/// The CPU interface of a GICv2.
pub const GICV2_CPU: Region = Region::new(0x0300_2000, 0x2000);
/// The distributor of a GICv3.
pub const GICV3_DISTRIBUTOR: Region = Region::new(0x0300_1000, 0x1_0000);
/// The redistributors of a GICv3, for [`MAX_VCPUS_GICV3`] vCPUs.
pub const GICV3_REDISTRIBUTORS: Region = Region::new(0x0302_0000, 0x0100_0000);
/// Bytes of one redistributor: two frames of 64 KiB.
pub const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;
/// The UART that the hypervisor emulates.
pub const PL011: Region = Region::new(0x2200_0000, 0x1000);
/// Where the guest may map the frames of its grant table.
pub const GRANT_WINDOW: Region = Region::new(0x3800_0000, 16 * MIB);
/// Where pages are that the guest shares with other domains from its start.
pub const MAGIC: Region = Region::new(0x3900_0000, 16 * MIB);
/// Pages of [`MAGIC`] that are populated.
pub const MAGIC_PAGES: u64 = 4;
/// The console's ring.
pub const CONSOLE_PAGE: Gfn = magic(0);
/// xenstore's ring.
pub const STORE_PAGE: Gfn = magic(1);
/// The ring of memory events.
pub const MEMORY_EVENT_PAGE: Gfn = magic(2);
/// The ring of the emulated UART.
pub const UART_PAGE: Gfn = magic(3);
/// Where RAM may be, in the order in which it is filled.
pub const RAM: [Region; 2] = [Region::new(GIB, 3 * GIB), Region::new(8 * GIB, 1016 * GIB)];

/// The PPI of the virtual timer.
pub const TIMER_VIRTUAL: Intid = Intid(27);
/// The PPI of the secure physical timer, which never fires.
pub const TIMER_SECURE: Intid = Intid(29);
/// The PPI of the physical timer.
pub const TIMER_PHYSICAL: Intid = Intid(30);
/// The PPI that signals events.
pub const EVENTS: Intid = Intid(31);
/// The SPI of the emulated UART.
pub const PL011_SPI: Intid = Intid(32);
/// The SPI of the first virtio-mmio device; the others follow.
pub const VIRTIO_MMIO_SPI: Intid = Intid(33);
/// virtio-mmio devices that have an SPI.
pub const MAX_VIRTIO_MMIO: u32 = 11;

/// The most vCPUs that a GICv2 serves: its target masks are a byte.
pub const MAX_VCPUS_GICV2: u16 = 8;
/// The most vCPUs that a GICv3 with these redistributors serves (Xen's `MAX_VIRT_CPUS` on arm64).
pub const MAX_VCPUS_GICV3: u16 = 128;

/// The most RAM that a guest may have.
pub const MAX_RAM: u64 = RAM[0].size + RAM[1].size;

/// The `index`th frame of [`MAGIC`].
const fn magic(index: u64) -> Gfn {
    Gfn(MAGIC.first_frame().0 + index)
}

/// Where a guest's RAM of `bytes` is: one bank, or two; none for 0 bytes. `None` if it is more than [`MAX_RAM`].
pub fn banks(bytes: u64) -> Option<Vec<Region>> {
    let mut left = bytes;
    let mut banks = Vec::new();
    for place in RAM {
        let size = left.min(place.size);
        if size != 0 {
            banks.push(Region::new(place.start, size));
        }
        left = left.saturating_sub(size);
    }
    (left == 0).then_some(banks)
}

/// A virtio-mmio device's registers and SPI, the `index`th from 0; `None` for the 12th and later.
pub fn virtio_mmio(index: u32) -> Option<(Region, Intid)> {
    let index = Some(index).filter(|&index| index < MAX_VIRTIO_MMIO)?;
    let start = VIRTIO_MMIO.start.checked_add(VIRTIO_MMIO_STRIDE.checked_mul(u64::from(index))?)?;
    Some((Region::new(start, VIRTIO_MMIO_STRIDE), Intid(VIRTIO_MMIO_SPI.0.checked_add(index)?)))
}

/// A vCPU's MPIDR affinity: sixteen at Aff0, which is what one SGI of a GICv3 reaches.
pub fn vcpu_affinity(vcpu: u16) -> u32 {
    let vcpu = u32::from(vcpu);
    (vcpu & 0xf) | (vcpu >> 4) << 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn ram_fills_the_low_bank_first() {
        assert_eq!(banks(128 * MIB), Some(vec![Region::new(0x4000_0000, 128 * MIB)]));
        assert_eq!(banks(3 * GIB), Some(vec![RAM[0]]));
        assert_eq!(banks(4 * GIB), Some(vec![RAM[0], Region::new(0x2_0000_0000, GIB)]));
        assert_eq!(banks(MAX_RAM), Some(vec![RAM[0], RAM[1]]));
        assert_eq!((banks(MAX_RAM + 1), banks(0)), (None, Some(vec![])));
    }

    #[test]
    fn each_virtio_device_has_a_place_and_an_interrupt() {
        assert_eq!(virtio_mmio(0), Some((Region::new(0x0200_0000, 0x200), Intid(33))));
        assert_eq!(virtio_mmio(10), Some((Region::new(0x0200_1400, 0x200), Intid(43))));
        assert_eq!(virtio_mmio(11), None);
    }

    #[test]
    fn no_two_places_overlap() {
        let places = [
            VIRTIO_MMIO,
            GICV3_DISTRIBUTOR,
            GICV3_REDISTRIBUTORS,
            PL011,
            GRANT_WINDOW,
            MAGIC,
            RAM[0],
            RAM[1],
        ];
        assert!(places.windows(2).all(|pair| pair[0].end().is_some_and(|end| end <= pair[1].start)));
        assert!(GICV2_DISTRIBUTOR.end().is_some_and(|end| end <= GICV2_CPU.start));
        assert_eq!(GICV3_REDISTRIBUTORS.size / REDISTRIBUTOR_SIZE, u64::from(MAX_VCPUS_GICV3));
    }

    #[test]
    fn shared_pages_follow_each_other() {
        assert_eq!(CONSOLE_PAGE, Gfn(0x3_9000));
        assert_eq!(UART_PAGE.0 - CONSOLE_PAGE.0 + 1, MAGIC_PAGES);
    }

    #[test]
    fn sixteen_vcpus_share_an_affinity_level() {
        assert_eq!([0, 15, 16, 127].map(vcpu_affinity), [0, 0xf, 0x100, 0x70f]);
    }
}
