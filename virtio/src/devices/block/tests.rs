//! The disk from the driver's side, and what a driver may do wrong.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::mock;
use proptest::prelude::*;

use super::*;
use crate::driver::{self, Driver, EVENT_IDX, HIGH, INDIRECT, LOW, NEXT, WRITE, files, hostile};
use crate::storage::raw::RawImage;
use crate::storage::{Image, Inline};
use crate::test_name;
use crate::transport::mmio::Transport;

const SIZE: u64 = 1 << 20;
const CONFIG_WCE: u64 = 1 << VIRTIO_BLK_F_CONFIG_WCE;
const FLUSH: u64 = 1 << VIRTIO_BLK_F_FLUSH;

struct Guest {
    mmio: Transport<Block>,
    driver: Driver,
    host: Arc<mock::Guest>,
    file: std::fs::File,
}

fn guest_on(read_only: bool, ring: bool, features: u64) -> Guest {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE).unwrap();
    let image = RawImage::new(file.try_clone().unwrap(), read_only).unwrap();
    let engine: Box<dyn Engine> = match ring {
        false => Box::new(Inline::new(image)),
        true => Box::new(files::ring(image).expect("the host gives rings")),
    };
    let host = driver::guest();
    let mut mmio = driver::attach(Block::new(engine, 2, "serial-1"), &host);
    let mut driver = Driver::new(&host);
    driver.start(&mut mmio, features, 2, 16);
    Guest { mmio, driver, host, file }
}

fn guest() -> Guest {
    guest_on(false, false, u64::MAX)
}

impl Guest {
    /// Does one request: header, then data. Returns status and bytes written.
    fn request(&mut self, kind: u32, sector: u64, out: &[(u64, u32)], into: &[(u64, u32)]) -> (u8, u32) {
        let (header, status) = self.prepare(kind, sector);
        let readable = [&[(header, 16)], out].concat();
        let writable = [into, &[(status, 1)]].concat();
        let head = self.driver.offer(0, &readable, &writable);
        self.finish(head, status)
    }

    fn prepare(&mut self, kind: u32, sector: u64) -> (u64, u64) {
        let (header, status) = (self.driver.allocate(16), self.driver.allocate(1));
        self.driver.fill(header, &kind.to_le_bytes());
        self.driver.fill(header + 8, &sector.to_le_bytes());
        self.driver.fill(status, &[0xff]);
        (header, status)
    }

    fn finish(&mut self, head: u16, status: u64) -> (u8, u32) {
        driver::kick(&mut self.mmio, 0);
        self.mmio.quiesce();
        let used = self.driver.used(0);
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].0, u32::from(head));
        (self.driver.bytes(status, 1)[0], used[0].1)
    }

    fn needs_reset(&mut self) -> bool {
        driver::kick(&mut self.mmio, 0);
        driver::read(&mut self.mmio, 0x70) & 64 != 0
    }
}

const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

#[test]
fn what_is_written_is_read_by_either_engine() {
    for &ring in files::with_and_without_ring(test_name!()) {
        let mut guest = guest_on(false, ring, u64::MAX);
        let pattern: Vec<u8> = (0..300_000u32).map(|byte| (byte % 251) as u8).collect();
        let len = 512 * 400;
        let buffer = guest.driver.allocate(len);
        guest.driver.fill(buffer, &pattern[..len]);
        assert_eq!(guest.request(1, 7, &[(buffer, 512), (buffer + 512, len as u32 - 512)], &[]), (OK, 1));
        let mut kept = vec![0; len];
        guest.file.read_exact_at(&mut kept, 7 * 512).unwrap();
        assert_eq!(kept, pattern[..len]);
        // Pieces in both banks, and one that is split at an odd place.
        let into = [(HIGH.0 + 5, 1000), (buffer, len as u32 - 1000)];
        guest.driver.fill(buffer, &vec![0; len]);
        assert_eq!(guest.request(0, 7, &[], &into), (OK, len as u32 + 1));
        assert_eq!(guest.driver.bytes(HIGH.0 + 5, 1000), pattern[..1000]);
        assert_eq!(guest.driver.bytes(buffer, len - 1000), pattern[1000..len]);
        assert_eq!(guest.request(4, 0, &[], &[]), (OK, 1));
    }
}

#[test]
fn a_header_may_be_cut_anywhere_and_share_descriptors() {
    let mut guest = guest();
    let (header, status) = guest.prepare(1, 3);
    let data = guest.driver.allocate(1024);
    guest.driver.fill(data, &[7; 512]);
    // Header and data next to each other in one descriptor, the rest cut in odd pieces.
    let joined = guest.driver.allocate(16 + 512);
    let bytes = [guest.driver.bytes(header, 16), vec![9; 512]].concat();
    guest.driver.fill(joined, &bytes);
    let head = guest.driver.offer(0, &[(joined, 16 + 100), (joined + 116, 412)], &[(status, 1)]);
    assert_eq!(guest.finish(head, status), (OK, 1));
    let head = guest.driver.offer(0, &[(header, 3), (header + 3, 13), (data, 512)], &[(status, 1)]);
    assert_eq!(guest.finish(head, status), (OK, 1));
    let mut kept = [0; 512];
    guest.file.read_exact_at(&mut kept, 3 * 512).unwrap();
    assert_eq!(kept, [7; 512]);
    // Data and status in one descriptor.
    let (header, _) = guest.prepare(0, 3);
    let head = guest.driver.offer(0, &[(header, 16)], &[(data, 513)]);
    assert_eq!(guest.finish(head, data + 512), (OK, 513));
}

#[test]
fn tables_of_descriptors_work() {
    let mut guest = guest();
    let (header, status) = guest.prepare(0, 0);
    let data = guest.driver.allocate(512);
    // 1 MiB in single pages, none next to the other, is one request.
    let page = |part: u64| (LOW.0 + (4 << 20) + 8192 * part, 4096);
    for count in [1, 40, 255] {
        let parts: Vec<_> = (0..count).map(page).chain([(data, 512), (status, 1)]).collect();
        let head = guest.driver.offer_indirect(0, &[(header, 16)], &parts);
        assert_eq!(guest.finish(head, status), (OK, count as u32 * 4096 + 513));
    }
}

#[test]
fn bad_requests_get_the_status_that_the_specification_asks_for() {
    let mut guest = guest();
    let data = guest.driver.allocate(1024);
    let last = SIZE / 512;
    type Parts<'a> = &'a [(u64, u32)];
    let cases: &[(u32, u64, Parts, Parts, u8)] = &[
        (0, last, &[], &[(data, 512)], IOERR),
        (0, last - 1, &[], &[(data, 1024)], IOERR),
        (0, u64::MAX, &[], &[(data, 512)], IOERR),
        (0, u64::MAX / 512, &[], &[(data, 512)], IOERR),
        (0, 0, &[], &[(data, 511)], IOERR),
        (0, 0, &[], &[], IOERR),
        (1, last, &[(data, 512)], &[], IOERR),
        (1, 0, &[(data, 100)], &[], IOERR),
        (1, 0, &[], &[], IOERR),
        (0, 0, &[], &[(0x1000, 512)], IOERR),
        (0, 0, &[], &[(LOW.0 + LOW.1 as u64 - 100, 512)], IOERR),
        (1, 0, &[(u64::MAX - 10, 512)], &[], IOERR),
        (2, 0, &[], &[], UNSUPP),
        (14, 0, &[(data, 16)], &[], UNSUPP),
        (u32::MAX, 0, &[], &[], UNSUPP),
    ];
    for (kind, sector, out, into, status) in cases {
        assert_eq!(
            guest.request(*kind, *sector, out, into).0,
            *status,
            "{kind} at {sector}: {out:?} {into:?}"
        );
    }
    // A header that is too short.
    let status = guest.driver.allocate(1);
    let head = guest.driver.offer(0, &[(data, 15)], &[(status, 1)]);
    assert_eq!(guest.finish(head, status).0, IOERR);
    // And none of it has hurt.
    assert_eq!(guest.request(0, last - 2, &[], &[(data, 1024)]).0, OK);
}

#[test]
fn a_disk_gives_nothing_up_unless_it_may() {
    let gives = bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);
    let image = || RawImage::new(tempfile::tempfile().unwrap(), false).unwrap();
    let block = || Block::new(Box::new(Inline::new(image())), 1, "");
    assert_eq!(block().features() & gives, gives);
    assert_eq!(block().without_discards().features() & gives, 0);
}

#[test]
fn a_read_only_disk_is_not_written() {
    let mut guest = guest_on(true, false, u64::MAX);
    assert_ne!(guest.mmio.device().features() & bit(VIRTIO_BLK_F_RO), 0);
    let data = guest.driver.allocate(512);
    guest.driver.fill(data, &[1; 512]);
    assert_eq!(guest.request(1, 0, &[(data, 512)], &[]).0, IOERR);
    assert_eq!(guest.request(11, 0, &[(data, 16)], &[]).0, UNSUPP);
    assert_eq!(guest.request(0, 0, &[], &[(data, 512)]).0, OK);
    assert_eq!(guest.driver.bytes(data, 512), [0; 512]);
}

#[test]
fn ranges_are_cleared() {
    for &ring in files::with_and_without_ring(test_name!()) {
        let mut guest = guest_on(false, ring, u64::MAX);
        guest.file.write_all_at(&[0xaa; 16384], 0).unwrap();
        let range = guest.driver.allocate(16);
        let clear = |guest: &mut Guest, kind, sector: u64, count: u32, flags: u32| {
            let bytes = [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat();
            guest.driver.fill(range, &bytes);
            guest.request(kind, 0, &[(range, 16)], &[]).0
        };
        assert_eq!(clear(&mut guest, 13, 8, 8, 0), OK);
        assert_eq!(clear(&mut guest, 13, 24, 2, 1), OK);
        assert_eq!(clear(&mut guest, 11, 0, 8, 0), OK);
        let mut kept = vec![0; 16384];
        guest.file.read_exact_at(&mut kept, 0).unwrap();
        assert!(kept[4096..8192].iter().all(|&byte| byte == 0));
        assert!(kept[24 * 512..26 * 512].iter().all(|&byte| byte == 0));
        assert!(kept[8192..24 * 512].iter().all(|&byte| byte == 0xaa));
        assert_eq!(clear(&mut guest, 11, 0, 8, 1), UNSUPP, "unmap has no meaning in a discard");
        assert_eq!(clear(&mut guest, 13, 0, 8, 2), UNSUPP, "an unknown flag");
        assert_eq!(clear(&mut guest, 13, SIZE / 512, 1, 0), IOERR);
        assert_eq!(clear(&mut guest, 13, 0, u32::MAX, 0), IOERR);
        assert_eq!(clear(&mut guest, 13, 0, 0, 0), IOERR);
        assert_eq!(guest.request(13, 0, &[(range, 15)], &[]).0, IOERR);
        assert_eq!(guest.request(13, 0, &[(range, 16), (range, 16)], &[]).0, IOERR);
    }
}

#[test]
fn the_serial_number_is_told() {
    let mut guest = guest();
    let data = guest.driver.allocate(32);
    assert_eq!(guest.request(8, 0, &[], &[(data, 20)]), (OK, 21));
    assert_eq!(guest.driver.bytes(data, 20), b"serial-1\0\0\0\0\0\0\0\0\0\0\0\0");
    guest.driver.fill(data, &[0xff; 32]);
    assert_eq!(guest.request(8, 0, &[], &[(data, 4)]).0, OK);
    assert_eq!(guest.driver.bytes(data, 6), b"seri\xff\xff");
}

/// What a [`Watch`] notes of a flush.
const FLUSHED: u64 = 3;

/// An image of any shape that keeps nothing. It notes how the last write was asked for: 1, or 2 if to be durable.
struct Watch {
    geometry: Geometry,
    seen: Arc<AtomicU64>,
}

impl Image for Watch {
    fn geometry(&self) -> Geometry {
        self.geometry
    }
    fn read(&self, _: u64, _: &crate::core::memory::Buffers) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, _: u64, _: &crate::core::memory::Buffers, durable: bool) -> io::Result<()> {
        self.seen.store(1 + u64::from(durable), Ordering::Relaxed);
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        self.seen.store(FLUSHED, Ordering::Relaxed);
        Ok(())
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn write_zeroes(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Ok(())
    }
}

/// A device on an image of this shape, and what was seen of its writes.
fn shaped(geometry: Geometry, queues: u16) -> (Block, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let image = Watch { geometry, seen: Arc::clone(&seen) };
    (Block::new(Box::new(Inline::new(image)), queues, ""), seen)
}

const PLAIN: Geometry =
    Geometry { size: SIZE, block: 512, physical: 512, optimal: 0, discard: 0, read_only: false };

#[test]
fn what_was_written_is_on_the_disk_when_the_device_goes() {
    for (read_only, noted) in [(false, FLUSHED), (true, 0)] {
        let (block, seen) = shaped(Geometry { read_only, ..PLAIN }, 1);
        drop(block);
        assert_eq!(seen.load(Ordering::Relaxed), noted, "read-only: {read_only}");
    }
}

/// Writes one sector and tells whether it was asked to be durable.
fn durable(features: u64, writeback: Option<u8>) -> bool {
    let (block, seen) = shaped(PLAIN, 1);
    let host = driver::guest();
    let mut guest = Guest {
        mmio: driver::attach(block, &host),
        driver: Driver::new(&host),
        host,
        file: tempfile::tempfile().unwrap(),
    };
    guest.driver.start(&mut guest.mmio, driver::VERSION_1 | features, 1, 16);
    if let Some(value) = writeback {
        guest.mmio.write(0x100 + 32, 1, value.into());
        assert_eq!(guest.mmio.read(0x100 + 32, 1), u64::from(value & 1));
    }
    let data = guest.driver.allocate(512);
    assert_eq!(guest.request(1, 0, &[(data, 512)], &[]).0, OK);
    seen.load(Ordering::Relaxed) == 2
}

#[test]
fn the_cache_is_as_the_driver_has_it() {
    assert!(!durable(FLUSH, None));
    assert!(durable(0, None));
    assert!(!durable(FLUSH | CONFIG_WCE, None));
    assert!(durable(FLUSH | CONFIG_WCE, Some(0)));
    assert!(!durable(FLUSH | CONFIG_WCE, Some(1)));
    assert!(durable(CONFIG_WCE, None), "a driver that cannot flush starts with no cache");
    assert!(!durable(CONFIG_WCE, Some(1)));
}

#[test]
fn the_configuration_is_readable_in_all_sizes() {
    let mut guest = guest();
    assert_eq!(guest.mmio.read(0x100, 8), SIZE / 512);
    assert_eq!(guest.mmio.read(0x100, 4), SIZE / 512);
    assert_eq!(guest.mmio.read(0x100 + 20, 4), 512);
    assert_eq!(guest.mmio.read(0x100 + 24, 1), 3, "physical blocks of 4 KiB");
    assert_eq!(guest.mmio.read(0x100 + 26, 2), 8);
    assert_eq!(guest.mmio.read(0x100 + 34, 2), 2);
    assert_eq!(guest.mmio.read(0x100 + 58, 4), 0);
    assert_eq!(guest.mmio.read(0x1ff, 8), 0);
    guest.mmio.write(0x100, 4, 1);
    assert_eq!(guest.mmio.read(0x100, 4), SIZE / 512);
}

/// The features that a driver reads from the device's registers.
fn offered(block: Block) -> u64 {
    let mut mmio = driver::attach(block, &driver::guest());
    let mut half = |number: u32| {
        driver::write(&mut mmio, 0x14, number);
        driver::read(&mut mmio, 0x10)
    };
    let low = half(0);
    u64::from(half(1)) << 32 | u64::from(low)
}

/// Bits by their numbers in the specification (5.2.3 and 6), which Linux looks at.
#[test]
fn exactly_these_features_are_offered() {
    let bits = |numbers: &[u32]| numbers.iter().fold(0, |all, number| all | 1u64 << number);
    // INDIRECT_DESC, EVENT_IDX, VERSION_1.
    let core = bits(&[28, 29, 32]);
    // SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE.
    let disk = bits(&[1, 2, 6, 9, 10, 11]);
    let (read_only, more_queues, clearing) = (bits(&[5]), bits(&[12]), bits(&[13, 14]));
    let fixed = Geometry { read_only: true, ..PLAIN };
    for (geometry, queues, others) in [
        (PLAIN, 1, clearing),
        (PLAIN, 2, clearing | more_queues),
        (fixed, 1, read_only),
        (fixed, 16, read_only | more_queues),
    ] {
        let features = offered(shaped(geometry, queues).0);
        assert_eq!(features, core | disk | others, "{features:#x}, {queues} queues of {geometry:?}");
    }
}

/// Each field by its offset in the specification (5.2.4), for an image on which no two of them are the same by chance.
#[test]
fn the_configuration_says_what_the_image_is() {
    let geometry = Geometry {
        size: 3 << 40,
        block: 1024,
        physical: 8192,
        optimal: 768 << 10,
        discard: 64 << 10,
        read_only: false,
    };
    let mut mmio = driver::attach(shaped(geometry, 5).0, &driver::guest());
    let fields: [(&str, u64, u8, u64); 19] = [
        ("capacity", 0, 8, 3 << 31),
        ("size_max", 8, 4, 4 << 20),
        ("seg_max: a queue's entries without header and status", 12, 4, 510),
        ("geometry, which is no feature", 16, 4, 0),
        ("blk_size", 20, 4, 1024),
        ("physical_block_exp", 24, 1, 3),
        ("alignment_offset", 25, 1, 0),
        ("min_io_size in blocks", 26, 2, 8),
        ("opt_io_size in blocks", 28, 4, 768),
        ("writeback", 32, 1, 1),
        ("unused0", 33, 1, 0),
        ("num_queues", 34, 2, 5),
        ("max_discard_sectors", 36, 4, 1 << 23),
        ("max_discard_seg", 40, 4, 1),
        ("discard_sector_alignment", 44, 4, 128),
        ("max_write_zeroes_sectors", 48, 4, 1 << 17),
        ("max_write_zeroes_seg", 52, 4, 1),
        ("write_zeroes_may_unmap", 56, 1, 1),
        ("unused1", 57, 1, 0),
    ];
    for (name, offset, size, value) in fields {
        assert_eq!(mmio.read(0x100 + offset, size), value, "{name}");
    }
}

#[test]
fn one_interrupt_tells_of_a_batch() {
    for features in [driver::VERSION_1, driver::VERSION_1 | EVENT_IDX] {
        let mut guest = guest_on(false, false, features);
        for _ in 0..4 {
            let (header, status) = guest.prepare(4, 0);
            guest.driver.offer(0, &[(header, 16)], &[(status, 1)]);
            let (header, status) = guest.prepare(4, 0);
            guest.driver.offer(1, &[(header, 16)], &[(status, 1)]);
        }
        driver::kick(&mut guest.mmio, 0);
        assert_eq!((guest.driver.used(0).len(), guest.driver.used(1).len()), (4, 4));
        assert_eq!(guest.host.take_interrupts().len(), 1);
        assert_eq!(driver::read(&mut guest.mmio, 0x60), 1);
        driver::write(&mut guest.mmio, 0x64, 1);
        assert_eq!(driver::read(&mut guest.mmio, 0x60), 0);
    }
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let mut guest = guest();
    guest.driver.want_interrupt_after(0, 2);
    for expected in [0, 0, 1, 0] {
        assert_eq!(guest.request(4, 0, &[], &[]).0, OK);
        assert_eq!(guest.host.take_interrupts().len(), expected);
        driver::write(&mut guest.mmio, 0x64, 1);
    }
    let mut guest = guest_on(false, false, driver::VERSION_1);
    let flags = guest.driver.rings[0].available;
    guest.driver.fill(flags, &1u16.to_le_bytes());
    assert_eq!(guest.request(4, 0, &[], &[]).0, OK);
    assert_eq!(guest.host.take_interrupts().len(), 0);
}

#[test]
fn broken_queues_cost_the_device_until_it_is_reset() {
    let loops = |guest: &mut Guest| {
        let ring = guest.driver.rings[0].clone();
        let data = guest.driver.allocate(64);
        guest.driver.describe(ring.descriptors, 0, data, 16, NEXT, 1);
        guest.driver.describe(ring.descriptors, 1, data, 16, NEXT, 0);
        guest.driver.make_available(0, 0);
    };
    let leaves = |guest: &mut Guest| {
        let ring = guest.driver.rings[0].clone();
        guest.driver.describe(ring.descriptors, 0, LOW.0, 16, NEXT, 16);
        guest.driver.make_available(0, 0);
    };
    let no_such_head = |guest: &mut Guest| guest.driver.make_available(0, 16);
    let runs_ahead = |guest: &mut Guest| {
        let index = guest.driver.rings[0].available + 2;
        guest.driver.fill(index, &17u16.to_le_bytes());
    };
    let no_status = |guest: &mut Guest| {
        let (header, _) = guest.prepare(4, 0);
        guest.driver.offer(0, &[(header, 16)], &[]);
    };
    let status_nowhere = |guest: &mut Guest| {
        let (header, _) = guest.prepare(4, 0);
        guest.driver.offer(0, &[(header, 16)], &[(0x1000, 1)]);
    };
    let empty_status = |guest: &mut Guest| {
        let (header, status) = guest.prepare(4, 0);
        guest.driver.offer(0, &[(header, 16)], &[(status, 0)]);
    };
    let wrong_order = |guest: &mut Guest| {
        let (header, status) = guest.prepare(4, 0);
        let ring = guest.driver.rings[0].clone();
        guest.driver.describe(ring.descriptors, 0, status, 1, NEXT | WRITE, 1);
        guest.driver.describe(ring.descriptors, 1, header, 16, 0, 0);
        guest.driver.make_available(0, 0);
    };
    let nested_table = |guest: &mut Guest| {
        let table = guest.driver.allocate(32);
        guest.driver.describe(table, 0, table, 32, INDIRECT, 0);
        let ring = guest.driver.rings[0].clone();
        guest.driver.describe(ring.descriptors, 0, table, 32, INDIRECT, 0);
        guest.driver.make_available(0, 0);
    };
    let odd_table = |guest: &mut Guest| {
        let ring = guest.driver.rings[0].clone();
        guest.driver.describe(ring.descriptors, 0, LOW.0, 33, INDIRECT, 0);
        guest.driver.make_available(0, 0);
    };
    let too_long = |guest: &mut Guest| {
        let (header, status) = guest.prepare(0, 0);
        let data = guest.driver.allocate(512);
        let parts: Vec<_> = (0..520).map(|_| (data, 512)).chain([(status, 1)]).collect();
        guest.driver.offer_indirect(0, &[(header, 16)], &parts);
    };
    let ways: [&dyn Fn(&mut Guest); 11] = [
        &loops,
        &leaves,
        &no_such_head,
        &runs_ahead,
        &no_status,
        &status_nowhere,
        &empty_status,
        &wrong_order,
        &nested_table,
        &odd_table,
        &too_long,
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut guest = guest();
        way(&mut guest);
        assert!(guest.needs_reset(), "way {number}");
        assert_eq!(driver::read(&mut guest.mmio, 0x60), 2, "way {number}: the driver is told");
        assert!(guest.mmio.error().is_some());
        assert!(guest.driver.used(0).is_empty(), "way {number}");
        guest.driver.start(&mut guest.mmio, u64::MAX, 2, 16);
        assert_eq!(guest.request(4, 0, &[], &[]), (OK, 1), "way {number}: works again");
    }
}

#[test]
fn the_same_chain_twice_is_the_guest_s_own_trouble() {
    let mut guest = guest();
    let (header, status) = guest.prepare(4, 0);
    let head = guest.driver.offer(0, &[(header, 16)], &[(status, 1)]);
    for _ in 0..15 {
        guest.driver.make_available(0, head);
    }
    assert!(!guest.needs_reset());
    assert_eq!(guest.driver.used(0).len(), 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_that_a_driver_does_hurts(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        hostile::play(&bytes);
    }

    #[test]
    fn a_disk_is_a_disk(
        steps in proptest::collection::vec((0..3u8, 0..64u64, 1..8u64, any::<u8>(), any::<bool>()), 1..30),
        // Once for all cases.
        ring in proptest::sample::select(files::with_and_without_ring("devices::block::tests::a_disk_is_a_disk")),
    ) {
        let mut guest = guest_on(false, ring, u64::MAX);
        let mut model = vec![0u8; 80 * 512];
        let data = guest.driver.allocate(8 * 512);
        for (what, sector, count, fill, indirect) in steps {
            let len = (count * 512) as usize;
            let place = sector as usize * 512..sector as usize * 512 + len;
            match what {
                0 => {
                    guest.driver.fill(data, &vec![fill; len]);
                    let (header, status) = guest.prepare(1, sector);
                    let (readable, writable) = ([(header, 16), (data, len as u32)], [(status, 1)]);
                    let head = match indirect {
                        true => guest.driver.offer_indirect(0, &readable, &writable),
                        false => guest.driver.offer(0, &readable, &writable),
                    };
                    prop_assert_eq!(guest.finish(head, status), (OK, 1));
                    model[place].fill(fill);
                }
                1 => {
                    let outcome = guest.request(0, sector, &[], &[(data, 100), (data + 100, len as u32 - 100)]);
                    prop_assert_eq!(outcome, (OK, len as u32 + 1));
                    prop_assert_eq!(guest.driver.bytes(data, len), &model[place]);
                }
                _ => {
                    let range = [&sector.to_le_bytes()[..], &(count as u32).to_le_bytes(), &[u8::from(indirect), 0, 0, 0]].concat();
                    guest.driver.fill(data, &range);
                    prop_assert_eq!(guest.request(13, 0, &[(data, 16)], &[]).0, OK);
                    model[place].fill(0);
                }
            }
        }
    }
}
