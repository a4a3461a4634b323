//! `lith unpack-kernel`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::builder::read_kernel;
use crate::output::print;

/// Writes the plain kernel that a file holds.
pub fn run(file: &Path, image: &Path) -> Result<()> {
    let (kernel, _) = read_kernel(file)?;
    // At once or not at all: what is there may be the kernel that the next boot takes.
    let partial = image.with_added_extension("partial");
    let written = std::fs::write(&partial, &kernel).and_then(|()| std::fs::rename(&partial, image));
    written
        .inspect_err(|_| drop(std::fs::remove_file(&partial)))
        .with_context(|| format!("cannot write {}", image.display()))?;
    print(&format!("{} is the kernel of {}: {} bytes.\n", image.display(), file.display(), kernel.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::test_kernel;
    use crate::registry::tests::Folder;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::fs;
    use std::io::Write;

    #[test]
    fn a_packed_kernel_becomes_a_plain_one_and_damage_leaves_what_was_there() {
        let folder = Folder::new("unpack");
        fs::create_dir(&folder.0).unwrap();
        let [packed, image] = ["vmlinuz", "Image"].map(|name| folder.0.join(name));
        let plain = test_kernel(5000, 10000);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        fs::write(&packed, &gzip).unwrap();
        run(&packed, &image).unwrap();
        assert_eq!(fs::read(&image).unwrap(), plain);
        fs::write(&packed, &gzip[..gzip.len() / 2]).unwrap();
        let error = format!("{:#}", run(&packed, &image).unwrap_err());
        assert!(error.contains("vmlinuz") && error.contains("does not unpack with gzip"), "{error}");
        assert_eq!(fs::read(&image).unwrap(), plain);
        let error = format!("{:#}", run(&image, &folder.0.join("none/Image")).unwrap_err());
        assert!(error.contains("cannot write") && error.contains("none/Image"), "{error}");
    }
}
