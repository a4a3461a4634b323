//! The whole way of an access to a virtio device: the slot that the hypervisor fills, the server's loop, the register, and
//! back.

use backend::{VirtioMmio, mock};
use virtio::devices::block::Block;
use virtio::driver::{self, Driver, VERSION_1, hostile};
use virtio::storage::Inline;

const BASE: u64 = 0x200_0000;

#[test]
fn accesses_arrive_by_the_ioreq_page() {
    let guest = driver::guest();
    let mut transport = driver::attach(Block::new(Box::new(Inline::new(hostile::disk())), 1, ""), &guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut transport, VERSION_1, 1, 16);
    let mut mmio = VirtioMmio::new(BASE, transport);
    let (hypervisor, mut requests) = mock::Hypervisor::new(2).unwrap();
    assert_eq!(
        hypervisor.read(&mut requests, &mut mmio, 1, BASE, 4),
        Some(u32::from_le_bytes(*b"virt").into())
    );
    assert_eq!(hypervisor.read(&mut requests, &mut mmio, 0, BASE + 0x101, 2), Some(8), "2048 sectors");
    let (header, data) = (driver.allocate(16), driver.allocate(513));
    driver.offer(0, &[(header, 16)], &[(data, 513)]);
    assert_eq!(hypervisor.write(&mut requests, &mut mmio, 1, BASE + 0x50, 4, 0), Some(()));
    assert!(driver.used(0).is_empty(), "the vCPU goes on before the queue is looked at");
    while mmio.transport.poll_until_idle() {}
    assert_eq!(driver.used(0), [(0, 513)]);
    assert_eq!(guest.take_interrupts(), [driver::IRQ]);
    assert_eq!(hypervisor.read(&mut requests, &mut mmio, 0, BASE + 0x60, 4), Some(1));
    assert_eq!(hypervisor.write(&mut requests, &mut mmio, 0, BASE + 0x64, 4, 1), Some(()));
    assert_eq!(hypervisor.read(&mut requests, &mut mmio, 0, BASE + 0x60, 4), Some(0));
    assert_eq!(hypervisor.invalidate(&mut requests, &mut mmio, 0), Some(()));
    assert_eq!(hypervisor.write(&mut requests, &mut mmio, 0, BASE + 0x70, 4, 0), Some(()));
    assert_eq!(hypervisor.read(&mut requests, &mut mmio, 0, BASE + 0x70, 4), Some(0));
}

/// What was taken from a queue is given back before the guest's vCPU may go on.
#[test]
fn an_invalidation_is_answered_when_nothing_is_in_flight() {
    let guest = driver::guest();
    let workers = virtio::storage::workers::Workers::new(hostile::disk(), 2).unwrap();
    let mut transport = driver::attach(Block::new(Box::new(workers), 1, ""), &guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut transport, VERSION_1, 1, 16);
    let mut mmio = VirtioMmio::new(BASE, transport);
    let (hypervisor, mut requests) = mock::Hypervisor::new(1).unwrap();
    let (header, data) = (driver.allocate(16), driver.allocate(513));
    for _ in 0..8 {
        driver.offer(0, &[(header, 16)], &[(data, 513)]);
    }
    mmio.transport.poll_once();
    assert_eq!(hypervisor.invalidate(&mut requests, &mut mmio, 0), Some(()));
    assert_eq!(driver.used(0).len(), 8);
}
