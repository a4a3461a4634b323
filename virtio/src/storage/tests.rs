//! Every engine, on every kind of image, does what a model does.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::core::memory::GuestMemory as _;
use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::open::{self, OpenError};
use super::raw::RawImage;
use super::workers::Workers;
use super::*;
use crate::config::Format;
use crate::config::{DiskConfig, Layer};
use crate::core::memory::Part;
use crate::driver::{Driver, HIGH, files, guest};
use crate::test_name;

fn open(config: &DiskConfig) -> Result<Box<dyn Engine>, OpenError> {
    open::open(config, Duration::ZERO)?.start()
}

fn file(bytes: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes).unwrap();
    file
}

fn finish(engine: &mut dyn Engine, jobs: usize) -> Vec<Done> {
    engine.start();
    let mut done = Vec::new();
    while done.len() < jobs {
        engine.wait(&mut done);
    }
    done.sort_by_key(|done| done.token);
    done
}

/// Each kind of engine; where the host refuses rings, `test` says so.
fn engines(bytes: u64, test: &str) -> Vec<(Box<dyn Engine>, File)> {
    let mut engines: Vec<(Box<dyn Engine>, File)> = Vec::new();
    let raw = |file: &File| RawImage::new(file.try_clone().unwrap(), false).unwrap();
    let one = file(bytes);
    engines.push((Box::new(Inline::new(raw(&one))), one));
    let one = file(bytes);
    engines.push((Box::new(Workers::new(raw(&one), 2).unwrap()), one));
    let one = file(bytes);
    if files::with_and_without_ring(test).contains(&true) {
        engines.push((Box::new(files::ring(raw(&one)).expect("the host gives rings")), one));
    }
    engines
}

#[test]
fn many_jobs_at_once() {
    for (mut engine, file) in engines(4 << 20, test_name!()) {
        let guest = guest();
        let ram = guest.memory();
        let mut driver = Driver::new(&guest);
        let from = driver.allocate(1 << 20);
        let pattern: Vec<u8> = (0..1u32 << 20).map(|at| (at / 512) as u8 ^ at as u8).collect();
        driver.fill(from, &pattern);
        let part =
            |address, len| Buffers::new(&ram, &[Part { address: GuestAddress(address), len }]).unwrap();
        // More than the ring has entries; the last ones are large.
        for token in 0..600 {
            let offset = token as u64 * 512;
            let operation =
                Operation::Write { offset, from: part(from + offset, 512), durable: token % 100 == 0 };
            engine.submit(Job { token, operation });
        }
        let large = Operation::Write { offset: 1 << 20, from: part(from, 1 << 20), durable: false };
        engine.submit(Job { token: 600, operation: large });
        engine.submit(Job { token: 601, operation: Operation::Flush });
        let done = finish(&mut *engine, 602);
        assert!(done.iter().all(|done| done.result.is_ok()), "{done:?}");
        assert!(done.iter().map(|done| done.token).eq(0..602));
        let mut kept = vec![0; 2 << 20];
        file.read_exact_at(&mut kept, 0).unwrap();
        assert_eq!(kept[..600 * 512], pattern[..600 * 512]);
        assert_eq!(kept[1 << 20..], pattern);

        // More than the kernel is given at a time.
        for token in 600..3000 {
            let operation = Operation::Read { offset: 0, into: part(HIGH.0 + (1 << 19), 1 << 16) };
            engine.submit(Job { token, operation });
        }
        assert!(finish(&mut *engine, 2400).iter().all(|done| done.result.is_ok()));
        for token in 0..600 {
            let into = part(HIGH.0 + token as u64 * 512, 512);
            engine.submit(Job {
                token,
                operation: Operation::Read { offset: (1 << 20) + token as u64 * 512, into },
            });
        }
        assert!(finish(&mut *engine, 600).iter().all(|done| done.result.is_ok()));
        assert_eq!(driver.bytes(HIGH.0, 600 * 512), pattern[..600 * 512]);
    }
}

/// A loop that waits for the descriptor must come to rest when all is done, however it took note of that.
#[test]
fn nothing_is_announced_when_nothing_is_left() {
    for (mut engine, _file) in engines(1 << 20, test_name!()) {
        let mut done = Vec::new();
        for round in 0..40 {
            engine.submit(Job { token: 0, operation: Operation::Flush });
            engine.start();
            if round % 2 == 0 {
                engine.wait(&mut done);
            }
            let deadline = Instant::now() + Duration::from_secs(10);
            while done.is_empty() || engine.wake().is_some_and(is_readable) {
                engine.completed(&mut done);
                assert!(Instant::now() < deadline);
            }
            assert_eq!(done.len(), 1);
            done.clear();
        }
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&at_once)) == Ok(1)
}

#[test]
fn a_file_that_shrinks_gives_errors() {
    for (mut engine, file) in engines(1 << 20, test_name!()) {
        file.set_len(4096).unwrap();
        let guest = guest();
        let ram = guest.memory();
        let part = |len| Buffers::new(&ram, &[Part { address: GuestAddress(HIGH.0), len }]).unwrap();
        engine.submit(Job { token: 0, operation: Operation::Read { offset: 0, into: part(4096) } });
        engine.submit(Job { token: 1, operation: Operation::Read { offset: 4096 - 512, into: part(4096) } });
        engine.submit(Job { token: 2, operation: Operation::Read { offset: 8192, into: part(4096) } });
        let done = finish(&mut *engine, 3);
        assert!(done.iter().map(|done| done.result.is_ok()).eq([true, false, false]));
    }
}

#[test]
fn an_engine_that_goes_has_let_go_of_memory() {
    for (mut engine, _file) in engines(4 << 20, test_name!()) {
        let guest = guest();
        let ram = guest.memory();
        for token in 0..64 {
            let into = Buffers::new(&ram, &[Part { address: GuestAddress(HIGH.0), len: 1 << 20 }]).unwrap();
            engine.submit(Job { token, operation: Operation::Read { offset: 0, into } });
        }
        engine.start();
        drop(engine);
        assert_eq!(Arc::strong_count(&ram), 2, "ours and the guest's");
    }
}

#[test]
fn holes_and_zeroes() {
    for (mut engine, file) in engines(1 << 20, test_name!()) {
        file.write_all_at(&[0xff; 1 << 16], 0).unwrap();
        let zero = |offset, unmap, durable| Operation::WriteZeroes { offset, len: 4096, unmap, durable };
        engine.submit(Job { token: 0, operation: zero(0, false, true) });
        engine.submit(Job { token: 1, operation: zero(4096, true, false) });
        engine.submit(Job { token: 2, operation: Operation::Discard { offset: 8192, len: 4096 } });
        assert!(finish(&mut *engine, 3).iter().all(|done| done.result.is_ok()));
        let mut kept = [1; 8192];
        file.read_exact_at(&mut kept, 0).unwrap();
        assert_eq!(kept, [0; 8192]);
        assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    }
}

/// What a descriptor is, by the kernel's name for it.
fn kind(fd: BorrowedFd<'_>) -> String {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(link).unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_raw_image_is_served_by_a_ring_and_others_by_threads() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, qcow2) = (folder.path().join("disk.img"), folder.path().join("disk.qcow2"));
    files::raw(&raw, 1 << 20);
    files::qcow2(&qcow2, 1 << 20, None);
    let wakes_by = |path: &Path, format| {
        let engine = open(&DiskConfig::new(path.to_str().unwrap(), format)).ok().unwrap();
        kind(engine.wake().unwrap())
    };
    let rings = files::with_and_without_ring(test_name!()).contains(&true);
    let expected = if rings { "anon_inode:[io_uring]" } else { "anon_inode:[eventfd]" };
    assert_eq!(wakes_by(&raw, Format::Raw), expected);
    assert_eq!(wakes_by(&qcow2, Format::Qcow2), "anon_inode:[eventfd]");
}

#[test]
fn two_programs_cannot_have_one_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let writer = DiskConfig::new(path.to_str().unwrap(), Format::Raw);
    let reader = DiskConfig { read_only: true, ..writer.clone() };
    let first = open(&writer).map_err(|error| error.to_string()).unwrap();
    for config in [&writer, &reader] {
        let error = open(config).err().unwrap();
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        assert!(error.to_string().contains("in use"), "{error}");
    }
    drop(first);
    let readers = [open(&reader).ok().unwrap(), open(&reader).ok().unwrap()];
    assert!(open(&writer).is_err());
    drop(readers);
    assert!(open(&writer).is_ok());
}

#[test]
fn images_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let said = |name: &str, format| {
        let path = folder.path().join(name);
        open(&DiskConfig::new(path.to_str().unwrap(), format)).err().unwrap().to_string()
    };
    assert!(said("none.img", Format::Raw).contains("No such file"));
    File::create(folder.path().join("empty.img")).unwrap();
    assert!(said("empty.img", Format::Raw).contains("empty"));
    File::create(folder.path().join("odd.img")).unwrap().set_len(1000).unwrap();
    let odd = said("odd.img", Format::Raw);
    assert!(odd.contains("1000 bytes") && odd.contains("truncate -s 1024"), "{odd}");
    assert!(said("", Format::Raw).contains("directory"));
    std::fs::write(folder.path().join("text.img"), [b'x'; 4096]).unwrap();
    assert!(said("text.img", Format::Qcow2).contains("cannot be used as a qcow2 image"));
}

#[test]
fn foreign_formats_are_raw_only_by_somebodys_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, at: usize, mark: &[u8]| {
        let mut bytes = vec![0; 64 << 10];
        bytes[at..at + mark.len()].copy_from_slice(mark);
        std::fs::write(path(name), bytes).unwrap();
    };
    write("a.vmdk", 0, b"KDMV");
    write("a.vdi", 64, b"\x7f\x10\xda\xbe");
    write("a.vhd", (64 << 10) - 512, b"conectix");
    write("a.iso", 32769, b"CD001");
    write("a.xz", 0, b"\xfd7zXZ\0");
    files::qcow2(Path::new(&path("a.qcow2")), 1 << 20, None);
    for (name, word) in [
        ("a.vmdk", "-f vmdk"),
        ("a.vdi", "-f vdi"),
        ("a.vhd", "-f vpc"),
        ("a.iso", "read_only"),
        ("a.xz", "unxz"),
        ("a.qcow2", "\"qcow2\""),
    ] {
        let before = std::fs::read(path(name)).unwrap();
        let error = open(&DiskConfig::new(path(name), None)).err().unwrap();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(std::fs::read(path(name)).unwrap(), before, "{name} was written");
        assert!(open(&DiskConfig::new(path(name), Format::Raw)).is_ok(), "{name}");
    }
    assert!(open(&DiskConfig { read_only: true, ..DiskConfig::new(path("a.iso"), None) }).is_ok());
    assert!(open(&DiskConfig::new(path("a.qcow2"), Format::Qcow2)).is_ok());
    // A layer that is none of what it is taken for would be read wrongly.
    files::qcow2(Path::new(&path("top.qcow2")), 1 << 20, Some("a.vdi"));
    let mut top = DiskConfig::new(path("top.qcow2"), Format::Qcow2);
    top.backing.push(Layer { image: path("a.vdi"), format: None });
    assert!(open(&top).err().unwrap().to_string().contains("VDI"));
}

/// Whether `qemu-img` finds nothing wrong with an image. Where there is none, standard error is told.
fn is_sound(path: &Path) -> bool {
    match Command::new("qemu-img").args(["check", "-q"]).arg(path).status() {
        Ok(status) => status.success(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let _ = writeln!(io::stderr(), "not tested: whether qemu-img finds {} sound", path.display());
            true
        }
        Err(error) => panic!("cannot run qemu-img: {error}"),
    }
}

#[test]
fn qcow2_with_a_backing_file() {
    let folder = tempfile::tempdir().unwrap();
    let (base, top) = (folder.path().join("base.img"), folder.path().join("top.qcow2"));
    std::fs::write(&base, vec![0x11; 1 << 20]).unwrap();
    files::qcow2(&top, 1 << 20, Some("base.img"));
    let mut config = DiskConfig::new(top.to_str().unwrap(), Format::Qcow2);
    // The header names it, the configuration does not: it is not opened.
    assert!(open(&config).is_err());
    config.backing.push(Layer { image: base.to_str().unwrap().into(), format: Some(Format::Raw) });
    let mut engine = open(&config).map_err(|error| error.to_string()).unwrap();
    assert_eq!(engine.geometry().size, 1 << 20);
    let guest = guest();
    let ram = guest.memory();
    let mut driver = Driver::new(&guest);
    let data = driver.allocate(8192);
    let part = |len| Buffers::new(&ram, &[Part { address: GuestAddress(data), len }]).unwrap();
    let mut run = |operation| {
        engine.submit(Job { token: 0, operation });
        finish(&mut *engine, 1).remove(0).result.unwrap();
    };
    driver.fill(data, &[0x22; 4096]);
    run(Operation::Write { offset: 4096, from: part(4096), durable: true });
    run(Operation::WriteZeroes { offset: 65536, len: 65536, unmap: true, durable: false });
    run(Operation::Discard { offset: 1 << 19, len: 65536 });
    run(Operation::Flush);
    run(Operation::Read { offset: 0, into: part(8192) });
    assert_eq!(driver.bytes(data, 8192), [[0x11; 4096], [0x22; 4096]].concat());
    run(Operation::Read { offset: 65536, into: part(4096) });
    assert_eq!(driver.bytes(data, 4096), [0; 4096]);
    drop(engine);
    assert!(is_sound(&top));
    assert_eq!(std::fs::read(&base).unwrap(), vec![0x11; 1 << 20]);
}

/// An image whose operations on ranges take a while, and which counts them.
struct Counted(Arc<AtomicUsize>);

impl Image for Counted {
    fn geometry(&self) -> Geometry {
        Geometry { size: 1 << 40, block: 512, physical: 512, optimal: 0, discard: 512, read_only: false }
    }

    fn read(&self, _: u64, _: &Buffers) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _: u64, _: &Buffers, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _: u64, len: u64) -> io::Result<()> {
        assert!(len <= GIVEN_UP);
        self.write_zeroes(0, 0, true)
    }

    fn write_zeroes(&self, _: u64, len: u64, _: bool) -> io::Result<()> {
        assert!(len <= ZEROED);
        self.0.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }
}

#[test]
fn the_end_does_not_wait_for_what_is_abandoned() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut engine = Workers::new(Counted(Arc::clone(&count)), 2).unwrap();
    // 16,384 pieces, which would take eight seconds and more.
    let submit = |engine: &mut Workers, token| {
        let operation = Operation::WriteZeroes { offset: 512, len: 64 << 20, unmap: false, durable: false };
        engine.submit(Job { token, operation });
    };
    (0..512).for_each(|token| submit(&mut engine, token));
    while count.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    engine.abandon();
    let done = finish(&mut engine, 512);
    assert!(done.iter().filter(|done| done.result.is_err()).count() > 400);
    assert!(count.load(Ordering::Relaxed) < 2000);
    // Others are done as ever.
    submit(&mut engine, 0);
    assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    (0..512).for_each(|token| submit(&mut engine, token));
    engine.set_end(Box::new(|| true));
    let done = finish(&mut engine, 512);
    assert!(done.iter().filter(|done| done.result.is_err()).count() > 400);
    (0..512).for_each(|token| submit(&mut engine, token));
    drop(engine);
    assert!(count.load(Ordering::Relaxed) < 4000);
}

proptest! {
    #[test]
    fn pieces_are_the_whole(
        offset in 0..1u64 << 40,
        len in 1..1u64 << 33,
        (zeroes, unmap, durable) in any::<(bool, bool, bool)>(),
    ) {
        let mut rest = Some(match zeroes {
            true => Operation::WriteZeroes { offset, len, unmap, durable },
            false => Operation::Discard { offset, len },
        });
        let most = if zeroes { ZEROED } else { GIVEN_UP };
        let mut next = offset;
        while let Some(operation) = rest {
            let (piece, others) = operation.split();
            let (at, count) = match piece {
                Operation::WriteZeroes { offset, len, unmap: kept, durable: is_last } => {
                    prop_assert_eq!((kept, is_last), (unmap, durable && others.is_none()));
                    (offset, len)
                }
                Operation::Discard { offset, len } => (offset, len),
                _ => unreachable!("another operation"),
            };
            prop_assert!(at == next && (1..=most).contains(&count));
            next += count;
            prop_assert!(others.is_none() || next % most == 0);
            rest = others;
        }
        prop_assert_eq!(next, offset + len);
    }
}
