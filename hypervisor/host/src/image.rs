//! Kernel images: what the boot loader left, made ready for a domain.
//!
//! A module is whatever its author put there. A header is checked before a size in it is believed, and a compressed
//! image is unpacked in small steps straight to where it goes, so that neither costs memory that was not set aside
//! for it. Header and placement are the same for every domain, whoever builds it: `machine_model` has them.

mod gzip;

use core::convert::Infallible;
use core::fmt;

use arrayvec::ArrayVec;

pub use gzip::{GunzipError, gunzip, is_gzip};
pub use machine_model::compression::Compression;
pub use machine_model::image::{ImageError, ImageHeader, PageSize};
pub use machine_model::placement::{Placement, PlacementError, Request, place};
pub use machine_model::zboot::ZbootError;

use machine_model::zboot::Zboot;

/// A kernel as the boot loader left it.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// The module, or the part of it that has the kernel.
    file: &'a [u8],
    /// Its header; that of the unpacked image if it is compressed.
    pub header: ImageHeader,
    /// Whether it is compressed.
    pub is_compressed: bool,
}

/// Why a module is no kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// It is compressed, and the start of it does not unpack.
    Gzip(GunzipError<Infallible>),
    /// It is an EFI zboot program that is damaged.
    Zboot(ZbootError),
    /// It is an EFI zboot program whose kernel is compressed in another way than gzip's.
    Compression(Compression),
    /// It, or what it unpacks to, is no arm64 `Image`.
    Image(ImageError),
}

impl<'a> Kernel<'a> {
    /// Looks at the start of a module, which is an arm64 `Image`, plain, compressed with gzip, or as the payload of an EFI
    /// zboot program, so compressed.
    ///
    /// # Errors
    ///
    /// [`KernelError`] says why it is no kernel.
    pub fn probe(file: &'a [u8]) -> Result<Kernel<'a>, KernelError> {
        let zboot = Zboot::read(file).map_err(KernelError::Zboot)?;
        let (file, is_compressed) = match zboot {
            Some(Zboot { payload, compression: Compression::Gzip }) => (payload, true),
            Some(Zboot { compression, .. }) => return Err(KernelError::Compression(compression)),
            None => (file, is_gzip(file)),
        };
        let header = if is_compressed {
            compressed_header(file)?
        } else {
            ImageHeader::read(file).map_err(KernelError::Image)?
        };
        Ok(Kernel { file, header, is_compressed })
    }

    /// Bytes of memory that the kernel takes from its entry on, as far as that is known before it is unpacked.
    pub fn memory_size(&self) -> u64 {
        let file = if self.is_compressed { 0 } else { u64::try_from(self.file.len()).unwrap_or(u64::MAX) };
        self.header.memory_size(file)
    }

    /// Gives the plain image to `sink`, in order, and its bytes: at most `limit`.
    ///
    /// # Errors
    ///
    /// As [`gunzip`]; a plain image fails only by its size or by the sink.
    pub fn unpack<E>(
        &self,
        limit: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, GunzipError<E>> {
        if self.is_compressed {
            return gunzip(self.file, limit, sink);
        }
        let size = u64::try_from(self.file.len()).ok().filter(|&size| size <= limit);
        let size = size.ok_or(GunzipError::TooLarge { limit })?;
        sink(self.file).map_err(GunzipError::Sink)?;
        Ok(size)
    }
}

/// The header of a compressed image. No more is unpacked than it takes.
fn compressed_header(file: &[u8]) -> Result<ImageHeader, KernelError> {
    struct Enough;
    let mut start = ArrayVec::<u8, { ImageHeader::SIZE }>::new();
    let result = gunzip(file, u64::MAX, &mut |piece| {
        start.extend(piece.iter().copied().take(start.remaining_capacity()));
        if start.is_full() { Err(Enough) } else { Ok(()) }
    });
    let damage = match result {
        Ok(_) | Err(GunzipError::Sink(Enough)) => {
            return ImageHeader::read(&start).map_err(KernelError::Image);
        }
        Err(GunzipError::BadHeader) => GunzipError::BadHeader,
        Err(GunzipError::Truncated) => GunzipError::Truncated,
        Err(GunzipError::Damaged) => GunzipError::Damaged,
        Err(GunzipError::BadChecksum) => GunzipError::BadChecksum,
        Err(GunzipError::BadLength) => GunzipError::BadLength,
        Err(GunzipError::TooLarge { limit }) => GunzipError::TooLarge { limit },
    };
    Err(KernelError::Gzip(damage))
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelError::Gzip(error) => error.fmt(f),
            KernelError::Zboot(error) => error.fmt(f),
            KernelError::Compression(compression) => write!(
                f,
                "it is an EFI zboot kernel compressed by {compression}, and only gzip is undone at boot: \
                 `lith unpack-kernel` makes a plain kernel of it"
            ),
            KernelError::Image(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for KernelError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn image() -> Vec<u8> {
        let mut image: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        image[8..16].copy_from_slice(&0u64.to_le_bytes());
        image[16..24].copy_from_slice(&0x10_0000u64.to_le_bytes());
        image[24..32].copy_from_slice(&0xau64.to_le_bytes());
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        image
    }

    fn unpacked(kernel: &Kernel<'_>, limit: u64) -> Result<Vec<u8>, GunzipError<Infallible>> {
        let mut out = Vec::new();
        kernel.unpack(limit, &mut |piece| {
            out.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn plain_and_compressed_kernels_are_the_same_kernel() {
        let image = image();
        let compressed = gzip::tests::gzip(&image, 6);
        let plain = Kernel::probe(&image).unwrap();
        let packed = Kernel::probe(&compressed).unwrap();
        assert_eq!(plain.header, packed.header);
        assert_eq!((plain.memory_size(), packed.memory_size()), (0x10_0000, 0x10_0000));
        assert_eq!(unpacked(&plain, 400_000).as_ref(), Ok(&image));
        assert_eq!(unpacked(&packed, 400_000).as_ref(), Ok(&image));
        for kernel in [plain, packed] {
            assert_eq!(unpacked(&kernel, 399_999), Err(GunzipError::TooLarge { limit: 399_999 }));
        }
    }

    /// An EFI zboot program with that payload.
    fn zboot(compression: &str, payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..8].copy_from_slice(b"MZ\0\0zimg");
        file[8..12].copy_from_slice(&64u32.to_le_bytes());
        file[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        file[24..24 + compression.len()].copy_from_slice(compression.as_bytes());
        file.extend(payload);
        file
    }

    #[test]
    fn a_kernel_comes_out_of_an_efi_program() {
        let image = image();
        let packed = zboot("gzip", &gzip::tests::gzip(&image, 6));
        let padded = [packed.clone(), vec![0; 5000]].concat();
        for module in [&packed, &padded] {
            let kernel = Kernel::probe(module).unwrap();
            assert_eq!((kernel.memory_size(), kernel.is_compressed), (0x10_0000, true));
            assert_eq!(unpacked(&kernel, 400_000).as_ref(), Ok(&image));
            assert_eq!(unpacked(&kernel, 399_999), Err(GunzipError::TooLarge { limit: 399_999 }));
        }
    }

    #[test]
    fn a_damaged_efi_program_says_how() {
        let packed = gzip::tests::gzip(&image(), 6);
        let whole = zboot("gzip", &packed);
        // Of the file something is missing, or of the payload within it.
        for cut in [64, 100, whole.len() / 2, whole.len() - 1] {
            let said = Kernel::probe(&whole[..cut]).unwrap_err().to_string();
            assert!(said.contains("from byte 64 on, and the file has"), "{cut}: {said}");
        }
        let short = zboot("gzip", &packed[..packed.len() / 2]);
        let kernel = Kernel::probe(&short).unwrap();
        assert_eq!(unpacked(&kernel, 1 << 20), Err(GunzipError::Truncated));
        let text = |file: &[u8]| Kernel::probe(file).unwrap_err().to_string();
        assert!(text(&zboot("gzip", &packed[..5])).contains("truncated"));
        assert!(text(&zboot("gzip", &image())).contains("no gzip file"));
    }

    #[test]
    fn a_compression_that_is_not_undone_is_named_with_what_helps() {
        let text = |file: &[u8]| Kernel::probe(file).unwrap_err().to_string();
        let zstd = text(&zboot("zstd22", &[0x28, 0xb5, 0x2f, 0xfd]));
        assert!(zstd.contains("zstd") && zstd.contains("`lith unpack-kernel`"), "{zstd}");
        assert!(text(&zboot("xzkern", b"x")).contains("xz"));
        let plain = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[0; 100]].concat();
        assert!(text(&plain).contains("`zstd -d`"));
        let twice = gzip::tests::gzip(&zboot("gzip", &gzip::tests::gzip(&image(), 6)), 6);
        assert!(text(&twice).contains("once more"));
    }

    #[test]
    fn what_is_no_kernel_is_told() {
        let text = |file: &[u8]| Kernel::probe(file).unwrap_err().to_string();
        assert!(text(b"#!/bin/sh\n").contains("less than the header"));
        assert!(text(&[0x55; 100]).contains("no arm64 Image"));
        assert!(text(&gzip::tests::gzip(&[0x55; 100], 6)).contains("no arm64 Image"));
        assert!(text(&gzip::tests::gzip(&image(), 6)[..30]).contains("truncated"));
    }

    proptest! {
        #[test]
        fn any_module_is_a_kernel_or_told_why_not(file in prop::collection::vec(any::<u8>(), 0..200), packed in any::<bool>()) {
            let file = if packed { gzip::tests::gzip(&file, 6) } else { file };
            let _ = Kernel::probe(&zboot("gzip", &file));
            if let Err(error) = Kernel::probe(&file) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
