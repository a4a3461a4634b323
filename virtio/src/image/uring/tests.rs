//! Direct operations: which are, what becomes of those that fail, and what waits for them.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;

use devicemodel::Guest as _;
use vm_memory::GuestAddress;

use super::*;
use crate::driver::{HIGH, guest};
use crate::memory::{Buffers, Part, Ram};

const LARGE: u32 = 1 << 20;

/// An engine with direct I/O, and its file. `None`: there is no io_uring, or no direct I/O in this folder.
fn engine() -> Option<(Uring, File)> {
    let named = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let file = named.as_file().try_clone().unwrap();
    file.set_len(16 << 20).unwrap();
    let mut options = OpenOptions::new();
    let direct = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(named.path()).ok()?;
    let image = RawImage::new(file.try_clone().unwrap(), false).unwrap().with_direct(Some(direct));
    Some((Uring::new(image).ok()?, file))
}

fn part(ram: &Arc<Ram>, at: u64, len: u32) -> Buffers {
    Buffers::new(ram, &[Part { address: GuestAddress(HIGH.0 + at), len }]).unwrap()
}

fn write(ram: &Arc<Ram>, token: usize, offset: u64, len: u32) -> Job {
    Job { token, operation: Operation::Write { offset, from: part(ram, 0, len), durable: false } }
}

fn finish(engine: &mut Uring, jobs: usize) -> Vec<Done> {
    engine.start();
    let mut done = Vec::new();
    while done.len() < jobs {
        engine.wait(&mut done);
    }
    done
}

#[test]
fn large_writes_are_direct_and_others_find_them() {
    let Some((mut engine, file)) = engine() else { return };
    let ram = guest().memory();
    let pattern: Vec<u8> = (0..LARGE).map(|at| (at / 512) as u8 ^ at as u8).collect();
    part(&ram, 0, LARGE).copy_in(&pattern).unwrap();
    engine.submit(write(&ram, 0, 4096, LARGE));
    assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    assert_eq!(engine.uncopied(), u64::from(LARGE));
    let mut back = vec![0; pattern.len()];
    file.read_exact_at(&mut back, 4096).unwrap();
    assert!(back == pattern);

    engine.submit(write(&ram, 1, 0, 512));
    assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    assert_eq!(engine.uncopied(), u64::from(LARGE));

    part(&ram, 0, LARGE).copy_in(&vec![0; pattern.len()]).unwrap();
    let read = Operation::Read { offset: 4096, into: part(&ram, 0, LARGE) };
    engine.submit(Job { token: 2, operation: read });
    assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    assert_eq!(engine.uncopied(), u64::from(LARGE));
    part(&ram, 0, LARGE).copy_out(&mut back).unwrap();
    assert!(back == pattern);
}

#[test]
fn what_cannot_be_direct_is_done_by_the_cache() {
    let Some((mut engine, file)) = engine() else { return };
    let ram = guest().memory();
    part(&ram, 0, LARGE).copy_in(&[0x5a; LARGE as usize]).unwrap();
    for (token, answer) in [(0, Err(Errno::FAULT)), (1, Ok(4096)), (2, Err(Errno::INVAL))] {
        let offset = token as u64 * 2 * u64::from(LARGE);
        engine.conclude_direct(write(&ram, token, offset, LARGE), answer);
        assert!(finish(&mut engine, 1).remove(0).result.is_ok());
        let mut back = vec![0; LARGE as usize];
        file.read_exact_at(&mut back, offset).unwrap();
        assert!(back.iter().all(|byte| *byte == 0x5a));
        engine.submit(write(&ram, 9, offset, LARGE));
        finish(&mut engine, 1);
        assert_eq!(engine.uncopied(), 0, "not tried again at once");
    }
    engine.conclude_direct(write(&ram, 4, 0, LARGE), Err(Errno::IO));
    assert!(finish(&mut engine, 1).remove(0).result.is_err(), "the disk's own error");
}

#[test]
fn the_cache_waits_for_direct_writes_nearby() {
    let Some((mut engine, _file)) = engine() else { return };
    let ram = guest().memory();
    engine.submit(write(&ram, 0, 0, LARGE));
    engine.submit(write(&ram, 1, u64::from(LARGE), 512));
    engine.submit(write(&ram, 2, 8 << 20, 512));
    engine.submit(Job { token: 3, operation: Operation::Discard { offset: 0, len: 4096 } });
    let small = Operation::Read { offset: (2 << 20) - 512, into: part(&ram, 0, 512) };
    engine.submit(Job { token: 5, operation: small });
    assert_eq!(engine.held.iter().map(|job| job.token).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!(engine.done.iter().map(|done| done.token).collect::<Vec<_>>(), [2]);
    engine.submit(write(&ram, 4, 4 << 20, LARGE));
    let mut done = finish(&mut engine, 6);
    done.sort_by_key(|done| done.token);
    assert_eq!(done.iter().map(|done| done.token).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(done.iter().all(|done| done.result.is_ok()));
    assert_eq!(engine.uncopied(), u64::from(LARGE), "none more while others wait");
    assert!(engine.held.is_empty());
}

#[test]
fn a_direct_write_does_not_meet_what_goes_by_the_cache() {
    let Some((mut engine, _file)) = engine() else { return };
    let ram = guest().memory();
    engine.submit(write(&ram, 0, 512, LARGE));
    engine.submit(write(&ram, 1, 0, LARGE));
    engine.submit(write(&ram, 2, 4 << 20, LARGE));
    assert!(finish(&mut engine, 3).iter().all(|done| done.result.is_ok()));
    assert_eq!(engine.uncopied(), u64::from(LARGE), "the last one only");
}

#[test]
fn an_engine_that_goes_with_jobs_held_back_lets_go_of_memory() {
    let Some((mut engine, _file)) = engine() else { return };
    let ram = guest().memory();
    let held = Arc::strong_count(&ram);
    engine.submit(write(&ram, 0, 0, LARGE));
    engine.submit(write(&ram, 1, u64::from(LARGE), 512));
    engine.start();
    drop(engine);
    assert_eq!(Arc::strong_count(&ram), held);
}
