//! The ways in which kernels are compressed, by the names that their builds use.

use core::fmt;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
    /// By xz.
    Xz,
    /// By lzma, which came before xz.
    Lzma,
    /// By bzip2.
    Bzip2,
    /// By lz4.
    Lz4,
    /// By lzo.
    Lzo,
    /// By something else.
    Unknown,
}

impl Compression {
    /// Each that has a name: the name, and the first bytes of its files.
    const ALL: [(Compression, &str, &[u8]); 7] = [
        (Compression::Gzip, "gzip", b"\x1f\x8b"),
        (Compression::Zstd, "zstd", b"\x28\xb5\x2f\xfd"),
        (Compression::Xz, "xz", b"\xfd7zXZ\0"),
        (Compression::Lzma, "lzma", b"\x5d\0\0"),
        (Compression::Bzip2, "bzip2", b"BZh"),
        (Compression::Lz4, "lz4", b"\x02\x21\x4c\x18"),
        (Compression::Lzo, "lzo", b"\x89LZO"),
    ];

    /// That of a file; none if it is not compressed as far as its first bytes tell.
    pub fn of(file: &[u8]) -> Option<Compression> {
        let known = Compression::ALL.iter().find(|(_, _, mark)| file.starts_with(mark));
        known.map(|&(compression, ..)| compression)
    }

    /// The one of a name, behind which more may stand, such as a level: `zstd22`.
    pub fn named(name: &[u8]) -> Compression {
        let known = Compression::ALL.iter().find(|(_, known, _)| name.starts_with(known.as_bytes()));
        known.map_or(Compression::Unknown, |&(compression, ..)| compression)
    }
}

/// Its name, which is also that of the command that undoes it with `-d`.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Compression::ALL.iter().find(|(compression, ..)| compression == self);
        f.write_str(known.map_or("something unknown", |&(_, name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn each_is_found_by_its_name_and_by_its_bytes() {
        for (compression, name, mark) in Compression::ALL {
            assert_eq!(
                (Compression::named(name.as_bytes()), Compression::of(mark)),
                (compression, Some(compression))
            );
            assert_eq!(compression.to_string(), name);
        }
        assert_eq!(Compression::named(b"zstd22\0\0"), Compression::Zstd);
        assert_eq!(Compression::named(b"xzkern"), Compression::Xz);
        assert_eq!((Compression::named(b""), Compression::of(b"MZ")), (Compression::Unknown, None));
    }
}
