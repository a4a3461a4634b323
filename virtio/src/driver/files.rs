//! Image files for tests, and engines for them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, file::File as ImageFile};
use io_uring::IoUring;

use crate::config::Format;
use crate::storage::raw::RawImage;
use crate::storage::uring::Uring;

/// Makes a raw image full of zeros.
///
/// # Panics
/// There is no room.
pub fn raw(path: &Path, size: u64) {
    File::create(path).and_then(|file| file.set_len(size)).expect("there is room");
}

/// Makes an empty qcow2 image whose header names `backing`, a raw image, if there is one.
///
/// # Panics
/// There is no room.
pub fn qcow2(path: &Path, size: u64, backing: Option<&str>) {
    qcow2_of(path, size, backing.map(|name| (name, Format::Raw)), 65536);
}

/// The same, with a backing image of any format and clusters of so many bytes.
///
/// # Panics
/// There is no room, or there are no such clusters.
pub fn qcow2_of(path: &Path, size: u64, backing: Option<(&str, Format)>, cluster: usize) {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("there is room");
    let file = ImageFile::try_from(file).expect("it is a plain file");
    let mut image = Qcow2::<ImageFile>::create_builder(file).size(size).cluster_size(cluster);
    if let Some((backing, format)) = backing {
        image = image.backing(backing.to_owned(), format.name().to_owned());
    }
    image.create().expect("there is room");
}

/// Why this host lets nobody have an io_uring. `None`: it does, or what keeps it away is no refusal and a test that needs
/// one is to fail.
pub fn ring_refusal() -> Option<io::Error> {
    IoUring::new(1).err().filter(is_refusal)
}

/// A kernel that has no io_uring, or one where the administrator or a filter keeps it from us.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// An io_uring engine for an image. `None`: the host refuses rings ([`ring_refusal`]).
///
/// # Panics
/// The host gives rings, and the engine gets none.
pub fn ring(image: RawImage) -> Option<Uring> {
    match (ring_refusal(), Uring::new(image)) {
        (Some(_), _) => None,
        (None, Ok(engine)) => Some(engine),
        (None, Err((_, error))) => panic!("the host gives a ring, and the engine gets none: {error}"),
    }
}

/// Says that a test, or a part of it, cannot run here, in the form that `cargo xtask test` counts.
pub fn skip(test: &str, reason: impl std::fmt::Display) {
    // In one piece, and not by the macro, whose output the test harness keeps to itself.
    let line = format!("skipped: {test}: {reason}\n");
    io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
}

/// For tests of devices by an engine with a ring and one without: `[false, true]`, or without the second where the host
/// refuses rings, which is said.
pub fn with_and_without_ring(test: &str) -> &'static [bool] {
    match ring_refusal() {
        None => &[false, true],
        Some(error) => {
            skip(&format!("{test} with io_uring"), error);
            &[false]
        }
    }
}

/// The name of the test that it stands in, as the test harness has it.
#[macro_export]
macro_rules! test_name {
    () => {{
        fn here() {}
        let path = std::any::type_name_of_val(&here);
        let path = path.strip_suffix("::here").unwrap_or(path);
        path.split_once("::").map_or(path, |(_, name)| name)
    }};
}

/// Ends the test that it stands in, and says so, where the host refuses rings.
#[macro_export]
macro_rules! needs_ring {
    () => {
        if let Some(error) = $crate::driver::files::ring_refusal() {
            $crate::driver::files::skip($crate::test_name!(), format_args!("no io_uring: {error}"));
            return;
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_excuses_a_test() {
        for (errno, excuses) in
            [(libc::ENOSYS, true), (libc::EPERM, true), (libc::EMFILE, false), (libc::ENOMEM, false)]
        {
            assert_eq!(is_refusal(&io::Error::from_raw_os_error(errno)), excuses, "{errno}");
        }
        assert!(!is_refusal(&io::Error::other("something else")));
    }

    #[test]
    fn a_test_knows_its_name() {
        assert_eq!(test_name!(), "driver::files::tests::a_test_knows_its_name");
        assert_eq!(std::thread::current().name().map_or(test_name!(), |name| name), test_name!());
    }
}
