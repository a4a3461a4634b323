//! Direct operations: which are, what becomes of those that fail, and what waits for them.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::core::memory::GuestMemory as _;
use vm_memory::GuestAddress;

use super::*;
use crate::core::memory::{Buffers, Part};
use crate::core::ram::Ram;
use crate::driver::{HIGH, files, guest};
use crate::needs_ring;

const LARGE: u32 = 1 << 20;

/// An engine with direct I/O, and its file. A test that calls this asks before whether the host gives rings.
fn engine() -> (Uring, File) {
    let named = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let file = named.as_file().try_clone().unwrap();
    file.set_len(16 << 20).unwrap();
    let mut options = OpenOptions::new();
    let direct = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(named.path());
    let image = RawImage::new(file.try_clone().unwrap(), false).unwrap().with_direct(Some(direct.unwrap()));
    (files::ring(image).expect("the host gives rings"), file)
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

/// Waits until the disk has all that the guest believes done.
fn settle(engine: &mut Uring) {
    while engine.under_way() > 0 {
        engine.enter(1);
        engine.reap();
    }
}

#[test]
fn large_writes_are_direct_and_others_find_them() {
    needs_ring!();
    let (mut engine, file) = engine();
    let ram = guest().memory();
    let pattern: Vec<u8> = (0..LARGE).map(|at| (at / 512) as u8 ^ at as u8).collect();
    part(&ram, 0, LARGE).copy_in(&pattern).unwrap();
    engine.submit(write(&ram, 0, 4096, LARGE));
    assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    assert_eq!(engine.past_cache(), u64::from(LARGE));
    let mut back = vec![0; pattern.len()];
    file.read_exact_at(&mut back, 4096).unwrap();
    assert!(back == pattern);

    engine.submit(write(&ram, 1, 0, 512));
    assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    assert_eq!(engine.past_cache(), u64::from(LARGE));

    part(&ram, 0, LARGE).copy_in(&vec![0; pattern.len()]).unwrap();
    let read = Operation::Read { offset: 4096, into: part(&ram, 0, LARGE) };
    engine.submit(Job { token: 2, operation: read });
    assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    assert_eq!(engine.past_cache(), u64::from(LARGE));
    part(&ram, 0, LARGE).copy_out(&mut back).unwrap();
    assert!(back == pattern);
}

/// A direct write as the kernel has ended it.
fn ended(engine: &mut Uring, job: Job) -> DirectWrite {
    let mut write = DirectWrite::new(job, &mut engine.stages).ok().unwrap();
    write.end(&mut engine.stages).unwrap();
    write
}

#[test]
fn what_cannot_be_direct_is_done_by_the_cache() {
    needs_ring!();
    let (mut engine, file) = engine();
    let ram = guest().memory();
    part(&ram, 0, LARGE).copy_in(&[0x5a; LARGE as usize]).unwrap();
    for (token, error) in [(0, Errno::FAULT), (1, Errno::INVAL)] {
        let offset = token as u64 * 2 * u64::from(LARGE);
        let write = ended(&mut engine, write(&ram, token, offset, LARGE));
        engine.conclude_direct(write, Err(error));
        assert!(finish(&mut engine, 1).remove(0).result.is_ok());
        let mut back = vec![0; LARGE as usize];
        file.read_exact_at(&mut back, offset).unwrap();
        assert!(back.iter().all(|byte| *byte == 0x5a));
    }
    engine.submit(write(&ram, 2, 0, LARGE));
    finish(&mut engine, 1);
    assert_eq!(engine.past_cache(), 0, "the file system has refused");
    let write = ended(&mut engine, write(&ram, 4, 0, LARGE));
    engine.conclude_direct(write, Err(Errno::IO));
    assert!(finish(&mut engine, 1).remove(0).result.is_err(), "the disk's own error");
}

#[test]
fn the_cache_waits_for_direct_writes_nearby() {
    needs_ring!();
    let (mut engine, _file) = engine();
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
    assert_eq!(engine.queued.len(), 1, "no more direct ones while others wait");
    let mut done = finish(&mut engine, 6);
    done.sort_by_key(|done| done.token);
    assert_eq!(done.iter().map(|done| done.token).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(done.iter().all(|done| done.result.is_ok()));
    settle(&mut engine);
    assert_eq!(engine.past_cache(), 2 * u64::from(LARGE));
    assert!(engine.held.is_empty() && engine.queued.is_empty());
}

#[test]
fn a_direct_write_does_not_meet_what_goes_by_the_cache() {
    needs_ring!();
    let (mut engine, _file) = engine();
    let ram = guest().memory();
    engine.submit(write(&ram, 0, 512, LARGE));
    engine.submit(write(&ram, 1, 0, LARGE));
    engine.submit(write(&ram, 2, 4 << 20, LARGE));
    assert_eq!(engine.queued.iter().map(|job| job.token).collect::<Vec<_>>(), [1, 2]);
    assert!(finish(&mut engine, 3).iter().all(|done| done.result.is_ok()));
    settle(&mut engine);
    assert_eq!(engine.past_cache(), 2 * u64::from(LARGE));
}

#[test]
fn there_are_never_more_direct_writes_than_stages() {
    needs_ring!();
    let (mut engine, _file) = engine();
    let ram = guest().memory();
    for token in 0..12 {
        engine.submit(write(&ram, token, token as u64 * u64::from(LARGE), LARGE));
    }
    assert_eq!((engine.under_way(), engine.queued.len()), (4, 8));
    assert!(finish(&mut engine, 12).iter().all(|done| done.result.is_ok()));
    settle(&mut engine);
    assert_eq!((engine.past_cache(), engine.stages.free()), (12 * u64::from(LARGE), stage::COUNT));
}

/// An engine whose direct writes are done for the guest before they are.
fn proven() -> (Uring, File) {
    let (mut engine, file) = engine();
    let ram = guest().memory();
    engine.submit(write(&ram, 0, 0, LARGE));
    finish(&mut engine, 1).remove(0).result.unwrap();
    (engine, file)
}

#[test]
fn a_write_is_done_for_the_guest_when_the_kernel_has_it_and_a_flush_when_it_is_done() {
    needs_ring!();
    let (mut engine, file) = proven();
    let ram = guest().memory();
    let held = Arc::strong_count(&ram);
    let mut done = Vec::new();
    for round in 0..40u8 {
        part(&ram, 0, LARGE).copy_in(&[round; LARGE as usize]).unwrap();
        engine.submit(write(&ram, 1, 1 << 20, LARGE));
        engine.start();
        engine.completed(&mut done);
        // Over the same bytes as the one before: it may have had to wait for that one.
        while done.is_empty() {
            engine.wait(&mut done);
        }
        assert!(done.drain(..).all(|done| done.token == 1 && done.result.is_ok()));
        assert_eq!(Arc::strong_count(&ram), held, "the guest's memory is no longer needed");
        if round % 8 == 7 {
            engine.submit(Job { token: 2, operation: Operation::Flush });
            assert!(finish(&mut engine, 1).remove(0).result.is_ok());
            assert_eq!(engine.under_way(), 0);
            let mut back = vec![0; LARGE as usize];
            file.read_exact_at(&mut back, 1 << 20).unwrap();
            assert!(back.iter().all(|byte| *byte == round));
        }
    }
}

#[test]
fn a_durable_write_is_not_done_before_it_is() {
    needs_ring!();
    let (mut engine, _file) = proven();
    let ram = guest().memory();
    let operation = Operation::Write { offset: 0, from: part(&ram, 0, LARGE), durable: true };
    engine.submit(Job { token: 1, operation });
    assert!(engine.early.is_empty());
    assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    assert_eq!(engine.under_way(), 0);
}

#[test]
fn the_next_flush_tells_of_lost_bytes_once() {
    needs_ring!();
    let (mut engine, _file) = proven();
    let ram = guest().memory();
    let mut write = ended(&mut engine, write(&ram, 1, 0, LARGE));
    write.job = None;
    engine.conclude_direct(write, Err(Errno::NOSPC));
    let mut flush = || {
        engine.submit(Job { token: 2, operation: Operation::Flush });
        finish(&mut engine, 1).remove(0).result.map_err(|error| error.raw_os_error())
    };
    assert_eq!(flush(), Err(Some(libc::ENOSPC)));
    assert_eq!(flush(), Ok(()));
}

/// Small and large operations in any order, some of which are waited for: what was done is what is read.
#[test]
fn what_is_done_is_what_is_read() {
    needs_ring!();
    let (mut engine, file) = proven();
    let ram = guest().memory();
    let size = 16usize << 20;
    let mut model = vec![0u8; size];
    file.read_exact_at(&mut model, 0).unwrap();
    let mut seed = 1u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..400u64 {
        let unit = if random(2) == 0 { 512 } else { 4096 };
        let most = [8, 512, 64][random(3) as usize];
        let len = unit * (1 + random(most));
        let len = len.min(LARGE.into());
        let offset = random((size as u64 - len) / unit) * unit;
        let bytes = offset as usize..(offset + len) as usize;
        let len = u32::try_from(len).unwrap();
        let operation = match random(8) {
            0..=3 => {
                let fill = vec![round as u8; len as usize];
                part(&ram, 0, len).copy_in(&fill).unwrap();
                model[bytes].copy_from_slice(&fill);
                Operation::Write { offset, from: part(&ram, 0, len), durable: random(9) == 0 }
            }
            4 => Operation::Flush,
            5 => {
                model[bytes].fill(0);
                Operation::WriteZeroes { offset, len: len.into(), unmap: random(2) == 0, durable: false }
            }
            _ => {
                engine.submit(Job {
                    token: 1,
                    operation: Operation::Read { offset, into: part(&ram, 0, len) },
                });
                assert!(finish(&mut engine, 1).remove(0).result.is_ok());
                let mut back = vec![0; len as usize];
                part(&ram, 0, len).copy_out(&mut back).unwrap();
                assert!(back == model[bytes], "round {round}");
                continue;
            }
        };
        engine.submit(Job { token: 2, operation });
        assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    }
    drop(engine);
    let mut back = vec![0; size];
    file.read_exact_at(&mut back, 0).unwrap();
    assert!(back == model);
}

#[test]
fn an_engine_that_goes_with_jobs_held_back_lets_go_of_memory() {
    needs_ring!();
    let (mut engine, _file) = engine();
    let ram = guest().memory();
    let held = Arc::strong_count(&ram);
    engine.submit(write(&ram, 0, 0, LARGE));
    engine.submit(write(&ram, 1, u64::from(LARGE), 512));
    engine.start();
    drop(engine);
    assert_eq!(Arc::strong_count(&ram), held);
}

/// A job of zeroes whose file system knows no quick way to make them.
fn zeroes(engine: &mut Uring, token: usize, len: u64, durable: bool) {
    let operation = Operation::WriteZeroes { offset: 4096, len, unmap: false, durable };
    let epoch = engine.epoch;
    engine.zero(Job { token, operation }, 0, epoch);
}

#[test]
fn zeroes_that_must_be_written_are_written_in_pieces_by_the_kernel() {
    needs_ring!();
    let (mut engine, file) = engine();
    for (token, durable) in [(0, false), (1, true)] {
        file.write_all_at(&vec![0x5a; 16 << 20], 0).unwrap();
        zeroes(&mut engine, token, (8 << 20) + 512, durable);
        assert!(engine.done.is_empty() && engine.under_way() == 1, "nothing is done where it is submitted");
        let mut pieces = 0;
        let mut done = Vec::new();
        while done.is_empty() {
            engine.enter(1);
            engine.completed(&mut done);
            pieces += 1;
        }
        assert!(done.iter().all(|done| done.token == token && done.result.is_ok()));
        assert!(pieces >= 9, "{pieces}");
        let mut back = vec![1; 16 << 20];
        file.read_exact_at(&mut back, 0).unwrap();
        let end = 4096 + (8 << 20) + 512;
        assert!(back[..4096].iter().chain(&back[end..]).all(|byte| *byte == 0x5a));
        assert!(back[4096..end].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn what_is_abandoned_ends_with_the_piece_that_the_kernel_has() {
    needs_ring!();
    let (mut engine, file) = engine();
    let ram = guest().memory();
    file.write_all_at(&vec![0x5a; 16 << 20], 0).unwrap();
    zeroes(&mut engine, 0, 12 << 20, false);
    // A direct write, one that waits for it, and one that waits for that.
    engine.submit(write(&ram, 1, 14 << 20, LARGE));
    engine.submit(write(&ram, 2, 14 << 20, 512));
    engine.submit(write(&ram, 3, 2 << 20, LARGE));
    engine.abandon();
    let mut done = finish(&mut engine, 4);
    done.sort_by_key(|done| done.token);
    let failed: Vec<bool> = done.iter().map(|done| done.result.is_err()).collect();
    assert_eq!(failed, [true, false, true, true]);
    let mut back = vec![1; 12 << 20];
    file.read_exact_at(&mut back, 0).unwrap();
    assert!(back[4096 + ZEROES..].iter().all(|byte| *byte == 0x5a), "one piece at most");
    // Others are done as ever.
    zeroes(&mut engine, 4, 4 << 20, false);
    assert!(finish(&mut engine, 1).remove(0).result.is_ok());
}

#[test]
fn a_wait_ends_when_nobody_needs_it() {
    needs_ring!();
    let (mut engine, file) = engine();
    file.write_all_at(&vec![0x5a; 16 << 20], 0).unwrap();
    let looks = Arc::new(AtomicUsize::new(0));
    let (counted, seen) = (Arc::clone(&looks), file.try_clone().unwrap());
    let at_sign = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&at_sign);
    // At the third look. How many pieces the kernel has done by then is its own affair.
    engine.set_end(Box::new(move || {
        let is_over = counted.fetch_add(1, Ordering::Relaxed) >= 2;
        noted.store(zeroes_of(&seen), Ordering::Relaxed);
        is_over
    }));
    zeroes(&mut engine, 0, 12 << 20, false);
    let result = finish(&mut engine, 1).remove(0).result;
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    assert_eq!(looks.load(Ordering::Relaxed), 3);
    let in_hand = at_sign.load(Ordering::Relaxed).next_multiple_of(ZEROES) + ZEROES;
    assert!(zeroes_of(&file) <= in_hand, "what the kernel had in hand, and no more");
}

/// The zeroes behind the first page of the file's other bytes.
fn zeroes_of(file: &File) -> usize {
    let mut bytes = vec![1; 12 << 20];
    file.read_exact_at(&mut bytes, 4096).unwrap();
    bytes.iter().take_while(|byte| **byte == 0).count()
}

#[test]
fn a_large_operation_goes_in_pieces() {
    needs_ring!();
    let (mut engine, file) = engine();
    let ram = guest().memory();
    // 10 MiB of the same MiB again and again, and more pieces than the kernel takes at once.
    let parts = |len: u32, count: usize| vec![Part { address: GuestAddress(HIGH.0), len }; count];
    let pattern: Vec<u8> = (0..LARGE).map(|at| (at / 512) as u8 ^ at as u8).collect();
    part(&ram, 0, LARGE).copy_in(&pattern).unwrap();
    for (len, count) in [(LARGE, 10), (512, 3000)] {
        let buffers = || Buffers::new(&ram, &parts(len, count)).unwrap();
        engine.submit(Job {
            token: 0,
            operation: Operation::Write { offset: 512, from: buffers(), durable: true },
        });
        assert!(engine.done.is_empty(), "not where it is submitted");
        assert!(finish(&mut engine, 1).remove(0).result.is_ok());
        let mut back = vec![0; len as usize * count];
        file.read_exact_at(&mut back, 512).unwrap();
        assert!(back.chunks(len as usize).all(|piece| piece == &pattern[..len as usize]));
        let into = Operation::Read { offset: 512, into: buffers() };
        engine.submit(Job { token: 1, operation: into });
        assert!(finish(&mut engine, 1).remove(0).result.is_ok());
    }
    let past = Operation::Read { offset: 15 << 20, into: Buffers::new(&ram, &parts(LARGE, 2)).unwrap() };
    engine.submit(Job { token: 2, operation: past });
    let result = finish(&mut engine, 1).remove(0).result;
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
