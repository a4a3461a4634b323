//! The device from the guest's side: its registers by a mock hypervisor, its queue by a driver in the guest's memory.

use std::sync::Arc;

use backend::{VirtioMmio, mock};
use entropy_device::{DEVICE_ID, Entropy};
use virtio::driver::{self, Driver, HIGH, VERSION_1};
use virtio::transport::mmio::Transport;

const BASE: u64 = 0x200_0000;

fn attach(guest: &Arc<mock::Guest>) -> Transport<Entropy> {
    driver::attach(Entropy::new(Box::new(|bytes| bytes.fill(0x5a))), guest)
}

#[test]
fn a_driver_gets_random_bytes_and_an_interrupt() {
    let guest = driver::guest();
    let mut transport = attach(&guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut transport, VERSION_1, 1, 16);
    let mut mmio = VirtioMmio::new(BASE, transport);
    let (hypervisor, mut requests) = mock::Hypervisor::new(1).unwrap();
    assert_eq!(hypervisor.read(&mut requests, &mut mmio, 0, BASE + 8, 4), Some(DEVICE_ID.into()));
    let buffer = driver.allocate(64);
    driver.offer(0, &[], &[(buffer, 64)]);
    assert_eq!(hypervisor.write(&mut requests, &mut mmio, 0, BASE + 0x50, 4, 0), Some(()));
    while mmio.transport.poll_until_idle() {}
    assert_eq!(driver.used(0), [(0, 64)]);
    assert_eq!(driver.bytes(buffer, 64), [0x5a; 64]);
    assert_eq!(guest.take_interrupts(), [driver::IRQ]);
}

#[test]
fn what_a_driver_does_wrong_costs_it_only_the_bytes() {
    let guest = driver::guest();
    let mut transport = attach(&guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut transport, VERSION_1, 1, 16);
    let nowhere = HIGH.0 + HIGH.1 as u64;
    let readable = driver.allocate(16);
    for (out, into) in [(vec![(readable, 16)], vec![]), (vec![], vec![(nowhere, 16)])] {
        driver.offer(0, &out, &into);
    }
    // More than is given at once.
    driver.offer(0, &[], &[(HIGH.0, 100_000)]);
    driver::kick(&mut transport, 0);
    assert_eq!(driver.used(0).iter().map(|used| used.1).collect::<Vec<_>>(), [0, 0, 4096]);
    assert_eq!(driver::read(&mut transport, 0x70), 0xf, "it goes on");
}

#[test]
fn the_device_moves_to_another_process() {
    let guest = driver::guest();
    let mut transport = attach(&guest);
    let mut driver = Driver::new(&guest);
    driver.start(&mut transport, VERSION_1, 1, 16);
    let buffer = driver.allocate(16);
    for _ in 0..2 {
        driver.offer(0, &[], &[(buffer, 16)]);
        let state = transport.save();
        transport = attach(&guest);
        transport.restore(&state).unwrap();
        driver::kick(&mut transport, 0);
        assert_eq!(driver.used(0).len(), 1);
    }
}
