//! Image files for tests.

use std::fs::{File, OpenOptions};
use std::path::Path;

use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, file::File as ImageFile};

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
