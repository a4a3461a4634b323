//! The header of a qcow2 image: what of it is needed beside the crate that reads and writes the image.
//!
//! Principle: an image that cannot be served is refused with its reason and the command that helps, and is not written
//! before.
//!
//! Numbers are big-endian; offsets are those of QEMU's `docs/interop/qcow2.txt`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The bytes that version 2 has, and version 3 begins with.
const BASE: usize = 72;
/// The bytes of version 3 that are looked at.
const SIZE: usize = 104;
/// Bits of the compressed descriptor and of table entries that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Bits of the incompatible features.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
/// The bit of the autoclear features that says that the bitmaps in the image are right.
const BITMAPS: u64 = 1 << 0;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// The cluster size is two to the power of this.
    pub cluster_bits: u32,
    /// Entries of the L1 table.
    pub l1_entries: u32,
    /// Where the L1 table is in the file.
    pub l1_table: u64,
    /// Where the reference count table is in the file.
    pub refcount_table: u64,
    /// Clusters of that table.
    pub refcount_clusters: u32,
    /// A reference count has two to the power of this bits.
    pub refcount_order: u32,
    encrypted: bool,
    incompatible: u64,
    autoclear: u64,
}

impl Header {
    /// Reads the header of an open image.
    ///
    /// # Errors
    /// Not a qcow2 image of version 2 or 3, or what the system says.
    pub fn read(file: &File) -> io::Result<Header> {
        let mut bytes = [0; SIZE];
        file.read_exact_at(bytes.get_mut(..BASE).unwrap_or_default(), 0).map_err(|error| {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => invalid("it is too short for a header"),
                _ => error,
            }
        })?;
        let word = |bytes: &[u8; SIZE], at: usize| {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
            field.map_or(0, |field| u32::from_be_bytes(*field))
        };
        let long = |bytes: &[u8; SIZE], at: usize| {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
            field.map_or(0, |field| u64::from_be_bytes(*field))
        };
        if bytes.first_chunk() != Some(b"QFI\xfb") {
            return Err(invalid("its first bytes are not those of qcow2"));
        }
        let version = word(&bytes, 4);
        match version {
            2 => {}
            3 => file.read_exact_at(&mut bytes, 0)?,
            1 => {
                return Err(invalid(
                    "it is of version 1: `qemu-img convert -f qcow -O qcow2` makes a newer one",
                ));
            }
            _ => return Err(invalid(&format!("version {version} is not known"))),
        }
        let header = Header {
            version,
            cluster_bits: word(&bytes, 20),
            l1_entries: word(&bytes, 36),
            l1_table: long(&bytes, 40),
            refcount_table: long(&bytes, 48),
            refcount_clusters: word(&bytes, 56),
            refcount_order: if version == 2 { 4 } else { word(&bytes, 96) },
            encrypted: word(&bytes, 32) != 0,
            incompatible: if version == 2 { 0 } else { long(&bytes, 72) },
            autoclear: if version == 2 { 0 } else { long(&bytes, 88) },
        };
        if !(9..=21).contains(&header.cluster_bits) || header.refcount_order > 6 {
            return Err(invalid("its clusters or reference counts have a size that qcow2 does not know"));
        }
        Ok(header)
    }

    /// Bytes of a cluster.
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Whether the image can be served.
    ///
    /// # Errors
    /// It has a mark that keeps it from that: what the mark means, and what helps.
    pub fn check(&self, write: bool) -> io::Result<()> {
        const CONVERT: &str = "`qemu-img convert -O qcow2 IMAGE NEW` makes one that can be used";
        let marked = |bit| self.incompatible & bit != 0;
        let known = DIRTY | CORRUPT | EXTERNAL | COMPRESSION | EXTENDED_L2;
        let cause = if marked(CORRUPT) {
            "it is marked as corrupt: copy it, then `qemu-img check -r all IMAGE` repairs what it can".into()
        } else if marked(DIRTY) {
            "it is marked as dirty, since its last writer did not end in order: `qemu-img check -r all IMAGE` \
             makes its reference counts right"
                .into()
        } else if self.encrypted {
            "it is encrypted, which is not supported: `qemu-img convert`, given its secret, makes a plain one"
                .into()
        } else if marked(EXTERNAL) {
            format!("its data are in another file, which is not supported: {CONVERT}")
        } else if marked(COMPRESSION) {
            format!("it is compressed by zstd, which is not supported: {CONVERT}")
        } else if marked(EXTENDED_L2) {
            format!("it has extended L2 entries (subclusters), which are not supported: {CONVERT}")
        } else if self.incompatible & !known != 0 {
            format!("it has marks that are not known here ({:#x})", self.incompatible & !known)
        } else if write && self.autoclear & BITMAPS != 0 {
            "it has persistent dirty bitmaps, which writing here would make worthless: `qemu-img info IMAGE` shows \
             them, `qemu-img bitmap --remove IMAGE NAME` removes one; or serve it read-only"
                .into()
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::Unsupported, cause))
    }
}

/// The offset in an entry of any table.
pub fn offset_of(entry: u64) -> u64 {
    entry & OFFSET
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::driver::files;

    fn image() -> (tempfile::TempDir, File) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        files::qcow2(&path, 1 << 20, None);
        (folder, File::options().read(true).write(true).open(path).unwrap())
    }

    #[test]
    fn the_fields_are_where_they_are() {
        let (_folder, file) = image();
        let header = Header::read(&file).unwrap();
        assert_eq!((header.version, header.cluster(), header.refcount_order), (3, 65536, 4));
        assert!(header.l1_entries > 0 && header.l1_table.is_multiple_of(65536) && header.refcount_table > 0);
        assert!(header.check(true).is_ok());
    }

    #[test]
    fn what_is_marked_is_refused_with_what_helps() {
        for (at, mark, words) in [
            (72, DIRTY, ["dirty", "qemu-img check -r all"]),
            (72, CORRUPT, ["corrupt", "qemu-img check -r all"]),
            (72, EXTERNAL, ["another file", "qemu-img convert"]),
            (72, COMPRESSION, ["zstd", "qemu-img convert"]),
            (72, EXTENDED_L2, ["extended L2", "qemu-img convert"]),
            (72, 1 << 40, ["not known", "0x10000000000"]),
            (88, BITMAPS, ["bitmaps", "qemu-img bitmap --remove"]),
            // The method of encryption has 32 bits, and the entries of the L1 table come behind it.
            (32, 2 << 32 | 1, ["encrypted", "qemu-img convert"]),
        ] {
            let (_folder, file) = image();
            file.write_all_at(&mark.to_be_bytes(), at).unwrap();
            let header = Header::read(&file).unwrap();
            let said = header.check(true).unwrap_err().to_string();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
            // Who only reads leaves bitmaps as they are.
            assert_eq!(header.check(false).is_ok(), at == 88, "{said}");
        }
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        let (_folder, file) = image();
        for (at, bytes) in
            [(0, [0; 4]), (4, [0, 0, 0, 1]), (4, [0, 0, 0, 9]), (20, [0, 0, 0, 63]), (96, [0, 0, 0, 7])]
        {
            let mut before = [0; 4];
            file.read_exact_at(&mut before, at).unwrap();
            file.write_all_at(&bytes, at).unwrap();
            assert!(Header::read(&file).is_err(), "{at}");
            file.write_all_at(&before, at).unwrap();
        }
        assert!(Header::read(&file).is_ok());
        assert!(Header::read(&File::open(Path::new("/dev/null")).unwrap()).is_err());
    }
}
