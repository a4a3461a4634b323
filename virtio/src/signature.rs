//! What a file says it is by its first and last bytes: formats that are neither raw nor qcow2, and those that are.
//!
//! Principle: this only ever warns. Who says a format has it, whatever the bytes are: a guest may write any of these to a
//! disk of its own.

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use crate::config::Format;

/// Bytes of a file's beginning that are looked at: the volume descriptor of ISO 9660 begins at 32 KiB.
const HEAD: u64 = 33 << 10;
/// Bytes of a file's end that are looked at: the footer of a VHD or DMG.
const TAIL: u64 = 512;

/// A format that a file's bytes name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// QEMU's qcow2.
    Qcow2,
    /// Another format of disk images, by `qemu-img`'s name for it if that can read it, and a name for people.
    Image(Option<&'static str>, &'static str),
    /// A compressed file, and the program that unpacks it.
    Compressed(&'static str),
    /// A CD, which is raw, and is not to be written.
    Cd,
}

/// Where a format's mark is, the mark, and the format.
type Mark = (usize, &'static [u8], Signature);

/// What stands near a file's beginning. LUKS is not among them: a guest that encrypts its whole disk writes that.
const HEADS: [Mark; 20] = [
    // Versions 2 and 3, big-endian; 1 is another format.
    (0, b"QFI\xfb\0\0\0\x01", Signature::Image(Some("qcow"), "qcow version 1")),
    (0, b"QFI\xfb", Signature::Qcow2),
    (0, b"QED\0", Signature::Image(Some("qed"), "QED")),
    (0, b"KDMV", Signature::Image(Some("vmdk"), "VMDK")),
    (0, b"COWD", Signature::Image(Some("vmdk"), "VMDK")),
    (0, b"# Disk DescriptorFile", Signature::Image(Some("vmdk"), "VMDK")),
    (0x40, b"\x7f\x10\xda\xbe", Signature::Image(Some("vdi"), "VDI")),
    (0, b"vhdxfile", Signature::Image(Some("vhdx"), "VHDX")),
    (0, b"conectix", Signature::Image(Some("vpc"), "VHD")),
    (0, b"Bochs Virtual HD Image", Signature::Image(Some("bochs"), "Bochs")),
    (0, b"WithoutFreeSpace", Signature::Image(Some("parallels"), "Parallels")),
    (0, b"WithouFreSpacExt", Signature::Image(Some("parallels"), "Parallels")),
    (0, b"#!/bin/sh\n#V2.0 Format\n", Signature::Image(Some("cloop"), "cloop")),
    (0, b"\x3a\xff\x26\xed", Signature::Image(None, "Android sparse")),
    (0, b"\x1f\x8b\x08", Signature::Compressed("gunzip")),
    (0, b"\xfd7zXZ\0", Signature::Compressed("unxz")),
    (0, b"\x28\xb5\x2f\xfd", Signature::Compressed("unzstd")),
    (0, b"BZh", Signature::Compressed("bunzip2")),
    (0, b"PK\x03\x04", Signature::Compressed("unzip")),
    (0x8001, b"CD001", Signature::Cd),
];

/// What stands at the beginning of a file's last 512 bytes.
const TAILS: [Mark; 2] = [
    (0, b"conectix", Signature::Image(Some("vpc"), "VHD")),
    (0, b"koly", Signature::Image(Some("dmg"), "DMG")),
];

impl Signature {
    /// Looks at a file's first bytes, up to 33 KiB, and at its last 512.
    pub fn of(head: &[u8], tail: &[u8]) -> Option<Signature> {
        let stands =
            |bytes: &[u8], &(at, mark, _): &Mark| bytes.get(at..).is_some_and(|b| b.starts_with(mark));
        let first = HEADS.iter().find(|mark| stands(head, mark));
        let found = first.or_else(|| TAILS.iter().find(|mark| stands(tail, mark)));
        found.map(|&(_, _, signature)| signature)
    }

    /// Looks at an open file, whose position it moves.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_file(mut file: &File) -> io::Result<Option<Signature>> {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        file.rewind()?;
        file.take(HEAD).read_to_end(&mut head)?;
        let size = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
        file.take(TAIL).read_to_end(&mut tail)?;
        Ok(Signature::of(&head, &tail))
    }

    /// Whether a file with this signature may be taken as `format` without a word of somebody who knows.
    pub fn allows(self, format: Format, read_only: bool) -> bool {
        match self {
            Signature::Qcow2 => format == Format::Qcow2,
            Signature::Cd => format == Format::Raw && read_only,
            Signature::Image(..) | Signature::Compressed(_) => false,
        }
    }
}

/// What the file is, and what makes a disk of it.
impl Display for Signature {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Signature::Qcow2 => write!(f, "a qcow2 image by its first bytes"),
            Signature::Image(Some(name), people) => {
                write!(
                    f,
                    "a {people} image by its signature, which `qemu-img convert -f {name} -O qcow2` makes usable"
                )
            }
            Signature::Image(None, people) => {
                write!(f, "a {people} image by its signature, which is to be converted first")
            }
            Signature::Compressed(tool) => {
                write!(f, "a compressed file by its first bytes, which `{tool}` unpacks")
            }
            Signature::Cd => write!(f, "a CD image by its signature, which is to be read only"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes with a mark at a place.
    fn with(at: usize, mark: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; at];
        bytes.extend_from_slice(mark);
        bytes.resize(bytes.len() + 600, 0);
        bytes
    }

    #[test]
    fn formats_are_told_by_their_bytes() {
        let name = |bytes: &[u8]| Signature::of(bytes, &[]);
        assert_eq!(name(&with(0, b"QFI\xfb\0\0\0\x02")), Some(Signature::Qcow2));
        assert_eq!(name(&with(0, b"QFI\xfb\0\0\0\x03")), Some(Signature::Qcow2));
        let image = |qemu, people| Some(Signature::Image(Some(qemu), people));
        assert_eq!(name(&with(0, b"QFI\xfb\0\0\0\x01")), image("qcow", "qcow version 1"));
        assert_eq!(name(&with(0, b"KDMV")), image("vmdk", "VMDK"));
        assert_eq!(name(&with(64, &0xbeda_107f_u32.to_le_bytes())), image("vdi", "VDI"));
        assert_eq!(name(&with(0, b"vhdxfile")), image("vhdx", "VHDX"));
        assert_eq!(name(&with(0, &[0x1f, 0x8b, 8])), Some(Signature::Compressed("gunzip")));
        assert_eq!(name(&with(32769, b"CD001")), Some(Signature::Cd));
        assert_eq!(Signature::of(&[0; 512], &with(0, b"conectix")), image("vpc", "VHD"));
        for none in [&[][..], b"QFI", &[0; 40000], &with(0, b"LUKS\xba\xbe"), &with(1, b"KDMV")] {
            assert_eq!(name(none), None);
        }
    }

    #[test]
    fn what_a_file_is_comes_with_what_helps() {
        let vdi = Signature::Image(Some("vdi"), "VDI");
        let said = vdi.to_string();
        assert!(said.contains("VDI") && said.contains("qemu-img convert -f vdi"), "{said}");
        for read_only in [false, true] {
            assert!(!vdi.allows(Format::Raw, read_only) && !vdi.allows(Format::Qcow2, read_only));
            assert!(Signature::Qcow2.allows(Format::Qcow2, read_only));
            assert!(!Signature::Qcow2.allows(Format::Raw, read_only));
            assert_eq!(Signature::Cd.allows(Format::Raw, read_only), read_only);
        }
    }

    #[test]
    fn files_of_any_length_are_looked_at() {
        for (bytes, found) in [
            (Vec::new(), None),
            (b"KDMV".to_vec(), Some(Signature::Image(Some("vmdk"), "VMDK"))),
            (
                [vec![0; 1 << 20], with(0, b"koly")[..512].to_vec()].concat(),
                Some(Signature::Image(Some("dmg"), "DMG")),
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("image");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Signature::of_file(&File::open(path).unwrap()).unwrap(), found);
        }
    }
}
