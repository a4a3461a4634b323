//! What a confined process can and cannot do. Each test confines a child of its own: this test program, run again.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{CapabilitySet, Uid};
use virtio::config::{DiskConfig, Format};
use virtio::driver::files;
use virtio::storage::open::open;
use virtio::storage::raw::RawImage;

use super::*;

const INSIDE: &str = "LITHD_TEST_INSIDE";

/// Whether this is the child that is to confine itself. If not, runs it, for the test of this name.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let exe = std::env::current_exe().unwrap();
    let child =
        Command::new(exe).args(["--exact", test, "--test-threads=1"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    false
}

#[test]
fn a_confined_process_reaches_nothing_new() {
    if !inside("confine::tests::a_confined_process_reaches_nothing_new") {
        return;
    }
    let file = tempfile::tempfile().unwrap();
    give_up_root().unwrap();
    assert!(!rustix::process::geteuid().is_root());
    let lacks = leave_file_system().unwrap();
    if lacks.is_none() {
        assert!(File::open("/proc/self/status").is_err(), "landlock");
    }
    filter_system_calls().unwrap();
    let refused = |error: std::io::Error| assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    refused(File::open("/proc/self/status").unwrap_err());
    refused(std::net::UdpSocket::bind("127.0.0.1:0").unwrap_err());
    refused(std::os::unix::net::UnixStream::pair().unwrap_err());
    refused(Command::new("/bin/true").spawn().unwrap_err());
    assert!(rustix::thread::set_thread_uid(Uid::ROOT).is_err());
    file.write_all_at(b"open files stay", 0).unwrap();
    std::thread::sleep(Duration::from_millis(1));
}

#[test]
fn what_cannot_be_given_up_ends_the_process_unless_that_is_allowed() {
    let outcomes = || -> [Result<Option<&str>>; 4] {
        [
            Ok(None),
            Ok(Some("no Landlock")),
            Err(anyhow::anyhow!("Invalid argument").context("cannot filter system calls")),
            Ok(Some("no user of its own")),
        ]
    };
    let mut strict = Confinement::new(false);
    let [nothing, lacks @ ..] = outcomes();
    strict.note(nothing).unwrap();
    for lack in lacks {
        let error = strict.note(lack).unwrap_err().to_string();
        assert!(error.starts_with("cannot be confined: ") && error.contains("--allow-weak"), "{error}");
    }
    assert_eq!(strict.weakness(), "");
    let mut weak = Confinement::new(true);
    outcomes().into_iter().for_each(|outcome| weak.note(outcome).unwrap());
    let expected =
        "weakly confined (no Landlock, cannot filter system calls: Invalid argument, no user of its own): ";
    assert_eq!(weak.weakness(), expected);
}

#[test]
fn a_device_may_lock_memory_in_spite_of_the_usual_limit() {
    if !inside("confine::tests::a_device_may_lock_memory_in_spite_of_the_usual_limit") {
        return;
    }
    let usual = Rlimit { current: Some(1 << 20), maximum: Some(8 << 20) };
    setrlimit(Resource::Memlock, usual).unwrap();
    // Root of a container may lack it.
    let may = rustix::thread::capabilities(None).unwrap().effective.contains(CapabilitySet::SYS_RESOURCE);
    allow_locked_memory();
    give_up_root().unwrap();
    let expected = if may { LOCKED } else { 8 << 20 };
    assert_eq!(getrlimit(Resource::Memlock), Rlimit { current: Some(expected), maximum: Some(expected) });
}

#[test]
fn a_confined_process_serves_a_raw_disk() {
    if inside("confine::tests::a_confined_process_serves_a_raw_disk") {
        serve(Format::Raw);
    }
}

#[test]
fn a_confined_process_serves_a_qcow2_disk() {
    if inside("confine::tests::a_confined_process_serves_a_qcow2_disk") {
        serve(Format::Qcow2);
    }
}

/// Confines this process and does every kind of operation.
fn serve(format: Format) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    match format {
        Format::Raw => files::raw(&path, 8 << 20),
        Format::Qcow2 => files::qcow2(&path, 8 << 20, None),
    }
    let opened = open(&DiskConfig::new(path.to_str().unwrap(), format), Duration::ZERO).unwrap();
    let file = File::open(&path).unwrap();
    let ring = files::ring(RawImage::new(tempfile::tempfile().unwrap(), true).unwrap());
    // A confined process cannot remove it.
    drop(folder);
    give_up_root().unwrap();
    leave_file_system().unwrap();
    let engine = opened.start().unwrap();
    if matches!(format, Format::Raw) && ring.is_some() {
        let link = format!("/proc/self/fd/{}", engine.wake().unwrap().as_raw_fd());
        assert_eq!(std::fs::read_link(link).unwrap().to_string_lossy(), "anon_inode:[io_uring]");
    }
    drop(ring);
    let guest = virtio::driver::guest();
    let block = virtio::devices::block::Block::new(engine, 1, "");
    let mut transport = virtio::driver::attach(block, &guest);
    filter_system_calls().unwrap();

    let mut driver = virtio::driver::Driver::new(&guest);
    driver.start(&mut transport, u64::MAX, 1, 64);
    let (header, status) = (driver.allocate(16), driver.allocate(1));
    let data = driver.allocate(1 << 20);
    let mut request = |kind: u32, len: u32, writes: bool| {
        driver.fill(header, &kind.to_le_bytes());
        driver.fill(status, &[0xff]);
        let (mut readable, mut writable) = (vec![(header, 16)], vec![(status, 1)]);
        match writes {
            true => readable.push((data, len)),
            false => writable.insert(0, (data, len)),
        }
        if kind > 10 {
            // 1 MiB from the disk's first sector on.
            driver.fill(data, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0]);
        }
        driver.offer(0, &readable, &writable);
        virtio::driver::kick(&mut transport, 0);
        transport.quiesce();
        assert_eq!(driver.bytes(status, 1), [0], "kind {kind}, {len} bytes");
    };
    request(1, 4096, true);
    request(1, 1 << 20, true);
    request(0, 4096, false);
    request(0, 1 << 20, false);
    request(4, 0, true);
    request(13, 16, true);
    let blocks = || rustix::fs::fstat(&file).unwrap().st_blocks;
    let written = blocks();
    request(11, 16, true);
    assert!(written >= 2048 && blocks() <= written - 2048, "{written} blocks, then {}", blocks());
    drop(transport);
}
