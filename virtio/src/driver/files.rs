//! Image files for tests, and engines for them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Once;

use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, file::File as ImageFile};
use io_uring::IoUring;

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
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("there is room");
    let file = ImageFile::try_from(file).expect("it is a plain file");
    let mut image = Qcow2::<ImageFile>::create_builder(file).size(size);
    if let Some(backing) = backing {
        image = image.backing(backing.to_owned(), "raw".to_owned());
    }
    image.create().expect("there is room");
}

/// An io_uring engine for an image. `None` if the host's kernel has no io_uring or lets nobody have one, which standard
/// error is told; whatever else keeps it away is a fault of ours.
///
/// # Panics
/// The host gives a ring, and the engine gets none.
pub fn ring(image: RawImage) -> Option<Uring> {
    match IoUring::new(1) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            // Not by the macro, whose output a test harness keeps to itself; and once a program is enough.
            static TOLD: Once = Once::new();
            let mut errors = std::io::stderr();
            TOLD.call_once(|| {
                drop(writeln!(errors, "not tested: io_uring, which this host refuses ({error})"))
            });
            None
        }
        _ => match Uring::new(image) {
            Ok(engine) => Some(engine),
            Err((_, error)) => panic!("the host gives a ring, and the engine gets none: {error}"),
        },
    }
}
