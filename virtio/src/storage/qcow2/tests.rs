//! A qcow2 image does what a model does, `qemu-img` finds it sound, and it takes no more room than it needs.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::*;
use crate::core::memory::{GuestMemory as _, Part};
use crate::driver::{Driver, LOW, files, guest};
use crate::storage::reader::Reader;
use crate::storage::workers::Workers;
use crate::storage::{Done, Engine, Job, Operation};
use crate::test_name;

/// Bytes of the disk, which end within a cluster of any size but the smallest.
const SIZE: u64 = (4 << 20) + 512 * 9;
const SECTORS: usize = (SIZE / 512) as usize;
/// Threads that do operations at the same time, and the most operations that are given to them at a time.
const THREADS: usize = 4;
const BATCH: usize = 8;
/// The most sectors of an operation that moves bytes.
const MOST: usize = 600;

/// What an image is made of.
#[derive(Clone, Copy, Debug)]
struct Kind {
    cluster: usize,
    version: u32,
    below: Below,
}

/// What lies below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    Nothing,
    /// A raw image of the same size.
    Raw,
    /// A qcow2 image, compressed.
    Compressed,
    /// Nothing, and the image itself is compressed.
    Itself,
}

/// One thing that a guest does; sectors of the disk.
#[derive(Clone, Debug)]
enum Step {
    Write { at: usize, count: usize, durable: bool },
    Discard { at: usize, count: usize },
    Zero { at: usize, count: usize, unmap: bool },
    Read { at: usize, count: usize },
    Flush,
}

impl Step {
    fn range(&self) -> std::ops::Range<usize> {
        match *self {
            Step::Write { at, count, .. }
            | Step::Discard { at, count }
            | Step::Zero { at, count, .. }
            | Step::Read { at, count } => at..at + count,
            Step::Flush => 0..0,
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let moved = || (0..SECTORS, 1..MOST).prop_map(|(at, count)| (at, count.min(SECTORS - at)));
    let cleared = || (0..SECTORS, 1..SECTORS).prop_map(|(at, count)| (at, count.min(SECTORS - at)));
    prop_oneof![
        6 => (moved(), any::<bool>()).prop_map(|((at, count), durable)| Step::Write { at, count, durable }),
        2 => cleared().prop_map(|(at, count)| Step::Discard { at, count }),
        2 => (moved(), any::<bool>()).prop_map(|((at, count), unmap)| Step::Zero { at, count, unmap }),
        2 => moved().prop_map(|(at, count)| Step::Read { at, count }),
        1 => Just(Step::Flush),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let below =
        prop_oneof![Just(Below::Nothing), Just(Below::Raw), Just(Below::Compressed), Just(Below::Itself)];
    let cluster = prop_oneof![Just(512), Just(4096), Just(65536), Just(2 << 20)];
    (cluster, 2..=3u32, below).prop_map(|(cluster, version, below)| Kind { cluster, version, below })
}

/// What each sector may hold: its first word says which write it is of, and is repeated to its end.
struct Model(Vec<Vec<u64>>);

impl Model {
    fn set(&mut self, range: std::ops::Range<usize>, word: u64) {
        self.0[range].iter_mut().for_each(|may| *may = vec![word]);
    }

    /// What stays open: what it was, or this.
    fn allow(&mut self, range: std::ops::Range<usize>, word: u64) {
        self.0[range].iter_mut().filter(|may| !may.contains(&word)).for_each(|may| may.push(word));
    }

    #[track_caller]
    fn check(&self, first: usize, bytes: &[u8]) {
        for (index, sector) in bytes.chunks(512).enumerate() {
            let words: Vec<u64> = sector.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
            let may = &self.0[first + index];
            assert!(
                may.contains(&words[0]) && words.iter().all(|word| *word == words[0]),
                "sector {} holds {:#x}, and may hold {may:x?}",
                first + index,
                words[0],
            );
        }
    }
}

/// Bytes of a range's sectors that a write with this word leaves.
fn pattern(word: u64, sectors: usize) -> Vec<u8> {
    word.to_le_bytes().repeat(sectors * 64)
}

fn qemu_img(arguments: &[&str], files: &[&Path]) -> Option<std::process::Output> {
    match Command::new("qemu-img").args(arguments).args(files).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("cannot run qemu-img: {error}"),
    }
}

#[track_caller]
fn convert(arguments: &[&str], files: &[&Path]) {
    let output = qemu_img(arguments, files).expect("its caller has seen that there is one");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

fn open_file(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// An image in a folder, what lies below it, and what it holds.
fn make(folder: &Path, kind: Kind) -> (PathBuf, Vec<(File, Format)>, Model) {
    let (path, plain) = (folder.join("image.qcow2"), folder.join("plain.img"));
    let mut model = Model(vec![vec![0]; SECTORS]);
    if kind.below != Below::Nothing {
        let words =
            |sector: usize| if sector.is_multiple_of(7) { 0 } else { 0x1000_0000 + sector as u64 / 100 };
        std::fs::write(&plain, (0..SECTORS).flat_map(|at| pattern(words(at), 1)).collect::<Vec<_>>())
            .unwrap();
        (0..SECTORS).for_each(|at| model.set(at..at + 1, words(at)));
    }
    let options = format!("cluster_size={}", kind.cluster);
    let below = match kind.below {
        Below::Nothing => None,
        Below::Raw => Some((plain, Format::Raw)),
        Below::Compressed => {
            let base = folder.join("base.qcow2");
            convert(&["convert", "-c", "-O", "qcow2"], &[&plain, &base]);
            Some((base, Format::Qcow2))
        }
        Below::Itself => {
            let compat = if kind.version == 2 { "compat=0.10" } else { "compat=1.1" };
            convert(&["convert", "-c", "-O", "qcow2", "-o", &options, "-o", compat], &[&plain, &path]);
            None
        }
    };
    if kind.below != Below::Itself {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let named = below.as_ref().map(|(path, format)| (name(path), *format));
        files::qcow2_of(
            &path,
            SIZE,
            named.as_ref().map(|(name, format)| (name.as_str(), *format)),
            kind.cluster,
        );
        if kind.version == 2 {
            as_version_2(&path, &below);
        }
    }
    let below = below.into_iter().map(|(path, format)| (File::open(path).unwrap(), format)).collect();
    (path, below, model)
}

/// Turns a new image into one of version 2, whose header ends where that of version 3 has fields of its own.
fn as_version_2(path: &Path, below: &Option<(PathBuf, Format)>) {
    let file = open_file(path);
    let mut header = [0; 16];
    file.read_exact_at(&mut header, 0).unwrap();
    let name = below.as_ref().map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned());
    file.write_all_at(&2u32.to_be_bytes(), 4).unwrap();
    // Extensions follow the header, and the name follows them.
    let mut rest = vec![0; 512 - 72];
    rest[8..8 + name.as_deref().unwrap_or("").len()]
        .copy_from_slice(name.as_deref().unwrap_or("").as_bytes());
    file.write_all_at(&rest, 72).unwrap();
    if name.is_some() {
        file.write_all_at(&80u64.to_be_bytes(), 8).unwrap();
    }
}

/// Does steps in batches, several at a time where they do not meet, and compares what is read.
fn play(engine: &mut dyn Engine, model: &mut Model, steps: &[Step], may_fail: bool) {
    let guest = guest();
    let ram = guest.memory();
    let driver = Driver::new(&guest);
    let mut word = 1;
    let mut steps = steps.iter().peekable();
    while steps.peek().is_some() {
        let mut batch: Vec<&Step> = Vec::new();
        while let Some(next) = steps.next_if(|step| {
            let (new, apart) = (step.range(), |old: &&Step| {
                let old = old.range();
                old.end <= step.range().start || step.range().end <= old.start
            });
            batch.len() < BATCH && (new.is_empty() || batch.iter().all(apart))
        }) {
            batch.push(next);
        }
        for (token, step) in batch.iter().enumerate() {
            let range = step.range();
            let (offset, len) = (range.start as u64 * 512, range.len() as u64 * 512);
            let address = GuestAddress(LOW.0 + (token * MOST * 512) as u64);
            let buffers =
                || Buffers::new(&ram, &[Part { address, len: u32::try_from(len).unwrap() }]).unwrap();
            let operation = match **step {
                Step::Write { durable, .. } => {
                    driver.fill(address.0, &pattern(word + token as u64, range.len()));
                    Operation::Write { offset, from: buffers(), durable }
                }
                Step::Discard { .. } => Operation::Discard { offset, len },
                Step::Zero { unmap, .. } => Operation::WriteZeroes { offset, len, unmap, durable: false },
                Step::Read { .. } => Operation::Read { offset, into: buffers() },
                Step::Flush => Operation::Flush,
            };
            engine.submit(Job { token, operation });
        }
        engine.start();
        let mut done: Vec<Done> = Vec::new();
        while done.len() < batch.len() {
            engine.wait(&mut done);
        }
        for Done { token, result } in done {
            let (range, new) = (batch[token].range(), word + token as u64);
            assert!(may_fail || result.is_ok(), "{:?}: {result:?}", batch[token]);
            match (batch[token], result.is_ok()) {
                (Step::Write { .. }, true) => model.set(range, new),
                (Step::Write { .. }, false) => model.allow(range, new),
                (Step::Zero { .. }, true) => model.set(range, 0),
                (Step::Zero { .. } | Step::Discard { .. }, _) => model.allow(range, 0),
                (Step::Read { .. }, true) => {
                    let address = LOW.0 + (token * MOST * 512) as u64;
                    model.check(range.start, &driver.bytes(address, range.len() * 512));
                }
                (Step::Read { .. } | Step::Flush, _) => {}
            }
        }
        word += BATCH as u64;
    }
}

/// The image as a whole: as the engine reads it, and as `qemu-img` does.
fn check(mut engine: Box<dyn Engine>, path: &Path, model: &mut Model) {
    let whole: Vec<Step> =
        (0..SECTORS).step_by(500).map(|at| Step::Read { at, count: 500.min(SECTORS - at) }).collect();
    play(&mut *engine, model, &whole, false);
    play(&mut *engine, model, &[Step::Flush], true);
    drop(engine);
    let Some(output) = qemu_img(&["check", "-f", "qcow2"], &[path]) else { return };
    // 3: clusters that nothing uses count as used, which costs room and nothing else.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let raw = path.with_extension("raw");
    convert(&["convert", "-f", "qcow2", "-O", "raw"], &[path, &raw]);
    model.check(0, &std::fs::read(raw).unwrap());
}

fn engine(path: &Path, below: Vec<(File, Format)>) -> Box<dyn Engine> {
    Box::new(Workers::new(Qcow2Image::new(open_file(path), false, below).unwrap(), THREADS).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn an_image_does_what_a_model_does(kind in kind(), steps in prop::collection::vec(step(), 1..60)) {
        if qemu_img(&["--version"], &[]).is_none() {
            files::skip(test_name!(), "no qemu-img");
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        let (path, below, mut model) = make(folder.path(), kind);
        let mut engine = engine(&path, below);
        play(&mut *engine, &mut model, &steps, false);
        check(engine, &path, &mut model);
    }
}

/// Zeroes for a part of a cluster must not take along what is written to another part of it at the same time.
#[test]
fn a_write_beside_zeroes_in_the_same_cluster_is_kept() {
    for _ in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let (path, below, mut model) =
            make(folder.path(), Kind { cluster: 65536, version: 3, below: Below::Nothing });
        let mut engine = engine(&path, below);
        let both = |cluster: usize| {
            let (at, unmap) = (cluster * 128, cluster.is_multiple_of(2));
            [
                Step::Write { at: at + 64, count: 4, durable: false },
                Step::Zero { at: at + 8, count: 16, unmap },
            ]
        };
        play(&mut *engine, &mut model, &(0..64).flat_map(both).collect::<Vec<_>>(), false);
        check(engine, &path, &mut model);
    }
}

/// A file system that has no more room, for which a limit on the size of files stands: writes that fail change nothing
/// else, and the image stays sound.
#[test]
fn a_full_disk_costs_the_writes_that_do_not_fit() {
    const INSIDE: &str = "VIRTIO_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        // 4,096 blocks of 512 bytes. A signal that is ignored stays so in the program that follows.
        let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\"";
        let exe = std::env::current_exe().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).arg(exe).args(["--exact", test_name!(), "--test-threads=1"]);
        let output = command.env(INSIDE, "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    for (cluster, version) in [(4096, 3), (65536, 3), (65536, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let kind = Kind { cluster, version, below: Below::Nothing };
        let (path, below, mut model) = make(folder.path(), kind);
        let mut engine = engine(&path, below);
        let write = |at: usize| Step::Write { at, count: 500.min(SECTORS - at), durable: false };
        let all: Vec<Step> = (0..SECTORS).step_by(500).map(write).collect();
        play(&mut *engine, &mut model, &all, true);
        assert!(model.0.iter().any(|may| may.len() > 1), "every write fitted");
        // What is given up makes room for others.
        play(&mut *engine, &mut model, &[Step::Discard { at: 0, count: 2000 }, Step::Flush], true);
        play(&mut *engine, &mut model, &[write(0), write(1000)], true);
        let whole: Vec<Step> = (0..8).map(|part| Step::Read { at: part * 500, count: 500 }).collect();
        play(&mut *engine, &mut model, &whole, false);
        drop(engine);
        let Some(output) = qemu_img(&["check", "-f", "qcow2"], &[&path]) else { continue };
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    }
}

/// KiB that a file takes.
fn room(path: &Path) -> u64 {
    path.metadata().unwrap().blocks() / 2
}

/// Whether files of this folder's file system have holes.
fn has_holes(folder: &Path) -> bool {
    let path = folder.join("holes");
    std::fs::write(&path, vec![1; 1 << 20]).unwrap();
    let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(open_file(&path), hole, 0, 1 << 20).is_ok() && room(&path) < 512
}

/// Writes all of an image, and gives all of it up.
fn fill_and_trim(path: &Path, below: Vec<(File, Format)>, model: &mut Model) -> [u64; 2] {
    let mut engine = engine(path, below);
    let write = |at: usize| Step::Write { at, count: 500.min(SECTORS - at), durable: false };
    let all: Vec<Step> = (0..SECTORS).step_by(500).map(write).chain([Step::Flush]).collect();
    play(&mut *engine, model, &all, false);
    let full = room(path);
    play(&mut *engine, model, &[Step::Discard { at: 0, count: SECTORS }], false);
    let trimmed = room(path);
    check(engine, path, model);
    [full, trimmed]
}

#[test]
fn what_the_guest_gives_up_the_host_has_again() {
    let folder = tempfile::tempdir().unwrap();
    if !has_holes(folder.path()) {
        return files::skip(test_name!(), "no holes in files here");
    }
    for (cluster, version, below) in [
        (65536, 3, Below::Nothing),
        (65536, 3, Below::Raw),
        (65536, 2, Below::Nothing),
        (4096, 3, Below::Nothing),
        (2 << 20, 3, Below::Nothing),
        (2 << 20, 2, Below::Nothing),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (path, below, mut model) = make(folder.path(), Kind { cluster, version, below });
        let [full, trimmed] = fill_and_trim(&path, below, &mut model);
        // What is left are a few tables, each of them a cluster at least.
        let tables = 1024.max(6 * cluster as u64 / 1024);
        let said = format!("clusters of {cluster}, version {version}: {full}, then {trimmed} KiB");
        assert!(full - trimmed >= 4096 && trimmed <= tables, "{said}");
        assert!(model.0.iter().all(|may| may.contains(&0)));
    }
}

/// Version 2 has no mark for zeroes: what is given up would be what lies below, so it stays.
#[test]
fn version_2_over_another_image_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let (path, below, mut model) =
        make(folder.path(), Kind { cluster: 65536, version: 2, below: Below::Raw });
    let [full, trimmed] = fill_and_trim(&path, below, &mut model);
    assert_eq!(full, trimmed);
}

#[test]
fn what_a_snapshot_uses_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    if qemu_img(&["--version"], &[]).is_none() {
        return files::skip(test_name!(), "no qemu-img");
    }
    let (path, below, mut model) =
        make(folder.path(), Kind { cluster: 65536, version: 3, below: Below::Nothing });
    let mut before = engine(&path, below);
    play(&mut *before, &mut model, &[Step::Write { at: 0, count: 500, durable: true }, Step::Flush], false);
    drop(before);
    let kept = Model(model.0.clone());
    convert(&["snapshot", "-c", "kept"], &[&path]);
    fill_and_trim(&path, Vec::new(), &mut model);
    let raw = folder.path().join("kept.raw");
    convert(&["convert", "-f", "qcow2", "-O", "raw", "-l", "kept"], &[&path, &raw]);
    kept.check(0, &std::fs::read(raw).unwrap());
}

#[test]
fn compressed_clusters_come_back_too() {
    let folder = tempfile::tempdir().unwrap();
    if qemu_img(&["--version"], &[]).is_none() || !has_holes(folder.path()) {
        return files::skip(test_name!(), "no qemu-img, or no holes in files here");
    }
    let [plain, path] = ["plain.img", "image.qcow2"].map(|name| folder.path().join(name));
    // Half of each byte is random, so that it takes about half of the room.
    let mut state = 1u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 60) as u8
    };
    std::fs::write(&plain, (0..SIZE).map(|_| byte()).collect::<Vec<u8>>()).unwrap();
    convert(&["convert", "-c", "-O", "qcow2"], &[&plain, &path]);
    let full = room(&path);
    let mut model = Model(vec![vec![0]; SECTORS]);
    let mut engine = engine(&path, Vec::new());
    play(&mut *engine, &mut model, &[Step::Discard { at: 0, count: SECTORS }], false);
    assert!(full > 2048 && room(&path) < 1024, "{full}, then {} KiB", room(&path));
    check(engine, &path, &mut model);
}

#[test]
fn the_guest_is_told_what_a_cluster_is() {
    for cluster in [4096, 65536, 2 << 20] {
        let folder = tempfile::tempdir().unwrap();
        let (path, below, _) = make(folder.path(), Kind { cluster, version: 3, below: Below::Nothing });
        assert_eq!(engine(&path, below).geometry().discard as usize, cluster);
    }
}

/// Images that QEMU made or marked, which are refused: nothing of them is written.
#[test]
fn what_qemu_marks_is_refused_and_left_alone() {
    if qemu_img(&["--version"], &[]).is_none() {
        return files::skip(test_name!(), "no qemu-img");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.qcow2");
    for (options, word) in
        [("compression_type=zstd", "zstd"), ("extended_l2=on", "extended L2"), ("bitmap", "bitmaps")]
    {
        let _ = std::fs::remove_file(&path);
        let create = if options == "bitmap" { "cluster_size=65536" } else { options };
        let made =
            qemu_img(&["create", "-q", "-f", "qcow2", "-o", create], &[&path, Path::new("4M")]).unwrap();
        assert!(made.status.success(), "{made:?}");
        if options == "bitmap" {
            convert(&["bitmap", "--add"], &[&path, Path::new("backup")]);
        }
        let before = std::fs::read(&path).unwrap();
        let error = Qcow2Image::new(open_file(&path), false, Vec::new()).err().unwrap().to_string();
        assert!(error.contains(word) && error.contains("qemu-img"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{word}");
        let reads = Qcow2Image::new(File::open(&path).unwrap(), true, Vec::new()).is_ok();
        assert_eq!(reads, options == "bitmap", "{word}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{word}");
    }
}

/// A program of the host reads of an image, with what lies below it, what a guest would.
#[test]
fn an_image_is_read_without_a_guest() {
    if qemu_img(&["--version"], &[]).is_none() {
        return files::skip(test_name!(), "no qemu-img");
    }
    for below in [Below::Raw, Below::Compressed, Below::Itself] {
        let folder = tempfile::tempdir().unwrap();
        let (path, layers, model) = make(folder.path(), Kind { cluster: 65536, version: 3, below });
        let reader = Reader::qcow2(Qcow2Image::new(open_file(&path), true, layers).unwrap());
        assert_eq!(reader.size(), SECTORS as u64 * 512);
        let (mut some, mut end) = (vec![0; 3000 * 512], [0; 512]);
        reader.read_at(77 * 512, &mut some).unwrap();
        model.check(77, &some);
        reader.read_at(reader.size() - 512, &mut end).unwrap();
        model.check(SECTORS - 1, &end);
        assert!(reader.read_at(reader.size() - 511, &mut end).is_err());
        assert!(reader.read_at(u64::MAX, &mut end).is_err());
    }
}

/// The command that the refusal names makes the image one that is served for writing.
#[test]
fn an_image_without_its_bitmaps_is_written() {
    if qemu_img(&["--version"], &[]).is_none() {
        return files::skip(test_name!(), "no qemu-img");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.qcow2");
    convert(&["create", "-q", "-f", "qcow2"], &[&path, Path::new("4M")]);
    for name in ["daily", "weekly"] {
        convert(&["bitmap", "--add"], &[&path, Path::new(name)]);
    }
    let open =
        || Qcow2Image::new(open_file(&path), false, Vec::new()).map(drop).map_err(|error| error.to_string());
    convert(&["bitmap", "--remove"], &[&path, Path::new("daily")]);
    assert!(open().unwrap_err().contains("qemu-img bitmap --remove"), "the other one is still there");
    convert(&["bitmap", "--remove"], &[&path, Path::new("weekly")]);
    assert_eq!(open(), Ok(()));
}
