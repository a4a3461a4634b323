//! EFI zboot kernels: an EFI program that holds the kernel, compressed, and unpacks it (Linux,
//! `drivers/firmware/efi/libstub/zboot-header.S`). Whoever starts it without EFI unpacks it himself.

use core::fmt;

use crate::compression::Compression;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Stands behind the four first bytes.
pub const MAGIC: [u8; 4] = *b"zimg";

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    mz: [u8; 4],
    magic: [u8; 4],
    /// Bytes from the start of the file to the payload.
    offset: U32,
    /// Bytes of the payload.
    size: U32,
    reserved: [U32; 2],
    /// The name of the compression, with zeroes behind it.
    compression: [u8; 32],
}

/// What an EFI zboot program holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zboot<'a> {
    /// The compressed kernel. Behind a compression that does not say it, the kernel's size follows, in four bytes.
    pub payload: &'a [u8],
    /// How it is compressed.
    pub compression: Compression,
}

/// Why a zboot program cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZbootError {
    /// Its payload is not within the file.
    Truncated {
        /// Where the header says that it begins.
        offset: u32,
        /// The bytes that the header says that it has.
        size: u32,
        /// The file's bytes.
        file: usize,
    },
}

impl<'a> Zboot<'a> {
    /// Looks at a file. `None`: it is no zboot program.
    ///
    /// # Errors
    ///
    /// It is one, and is damaged.
    pub fn read(file: &'a [u8]) -> Result<Option<Zboot<'a>>, ZbootError> {
        let Ok((raw, _)) = Raw::ref_from_prefix(file) else { return Ok(None) };
        if !raw.mz.starts_with(b"MZ") || raw.magic != MAGIC {
            return Ok(None);
        }
        let (offset, size) = (raw.offset.get(), raw.size.get());
        let payload = usize::try_from(offset).ok().and_then(|offset| file.get(offset..));
        let payload = payload.zip(usize::try_from(size).ok()).and_then(|(rest, size)| rest.get(..size));
        let payload = payload.ok_or(ZbootError::Truncated { offset, size, file: file.len() })?;
        Ok(Some(Zboot { payload, compression: Compression::named(&raw.compression) }))
    }
}

impl fmt::Display for ZbootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZbootError::Truncated { offset, size, file } => write!(
                f,
                "its EFI zboot header says that the kernel is {size} bytes from byte {offset} on, and the file has {file}"
            ),
        }
    }
}

impl core::error::Error for ZbootError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn zboot(offset: u32, size: u32, compression: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 100];
        file[..8].copy_from_slice(b"MZ\0\0zimg");
        file[8..12].copy_from_slice(&offset.to_le_bytes());
        file[12..16].copy_from_slice(&size.to_le_bytes());
        file[24..24 + compression.len()].copy_from_slice(compression);
        file
    }

    #[test]
    fn the_payload_is_what_the_header_says() {
        let mut file = zboot(64, 30, b"gzip");
        file[64..94].fill(7);
        let expected = Zboot { payload: &[7; 30], compression: Compression::Gzip };
        assert_eq!(Zboot::read(&file), Ok(Some(expected)));
        let compression = |name: &[u8]| Zboot::read(&zboot(64, 0, name)).unwrap().unwrap().compression;
        assert_eq!(compression(b"zstd22"), Compression::Zstd);
        assert_eq!(compression(b"xzkern"), Compression::Xz);
        assert_eq!(compression(&[0xff; 32]), Compression::Unknown);
    }

    #[test]
    fn a_payload_outside_of_the_file_is_an_error() {
        for (offset, size) in [(64, 37), (101, 0), (u32::MAX, u32::MAX), (0, 101)] {
            let error = ZbootError::Truncated { offset, size, file: 100 };
            assert_eq!(Zboot::read(&zboot(offset, size, b"gzip")), Err(error), "{offset} {size}");
            assert!(error.to_string().contains("the file has 100"));
        }
        assert!(Zboot::read(&zboot(64, 36, b"gzip")).is_ok());
    }

    #[test]
    fn other_files_are_none() {
        let mut image = zboot(64, 10, b"gzip");
        // An arm64 `Image` is an EFI program too.
        image[4..8].fill(0);
        assert_eq!(Zboot::read(&image), Ok(None));
        assert_eq!(Zboot::read(&zboot(64, 10, b"gzip")[..55]), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut tail in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut file = b"MZ\0\0zimg".to_vec();
            file.append(&mut tail);
            if let Ok(Some(zboot)) = Zboot::read(&file) {
                prop_assert!(zboot.payload.len() <= file.len());
            }
        }
    }
}
