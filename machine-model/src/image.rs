//! The header of an arm64 kernel `Image` (Linux, Documentation/arch/arm64/booting.rst, section 4).

use core::fmt;

use crate::compression::Compression;
use crate::zboot;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// "ARM\x64".
const MAGIC: u32 = 0x644d_5241;
/// Where it stands.
const MAGIC_AT: usize = 0x38;
/// What an image's base is aligned to.
const BASE_ALIGNMENT: u64 = 2 << 20;
/// A kernel is not larger than this; a header that says so is wrong.
const MAX_SIZE: u64 = 1 << 30;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    code: [U32; 2],
    text_offset: U64,
    image_size: U64,
    flags: U64,
    reserved: [U64; 3],
    magic: U32,
    pe_offset: U32,
}

/// The page size that a kernel was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// The header does not tell.
    Unspecified,
    /// 4 KiB.
    Size4K,
    /// 16 KiB.
    Size16K,
    /// 64 KiB.
    Size64K,
}

/// What the header says, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Bytes from a 2 MiB boundary to where the image goes; less than 2 MiB.
    pub text_offset: u64,
    /// Bytes that the kernel needs from there on, with what it clears itself; `None` in images older than Linux 3.17.
    pub image_size: Option<u64>,
    /// The page size it uses.
    pub page_size: PageSize,
    /// Whether its 2 MiB boundary need not be the lowest one in memory.
    pub anywhere: bool,
}

/// Why bytes are no kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// Fewer bytes than a header.
    TooShort(usize),
    /// It is the ELF file that a kernel's build makes first.
    Elf,
    /// It is an EFI zboot program (`zboot`) where a plain kernel is asked for.
    Zboot,
    /// It is compressed.
    Compressed(Compression),
    /// No magic number where it belongs.
    BadMagic(u32),
    /// The kernel is big-endian.
    BigEndian,
    /// An offset of 2 MiB or more.
    BadOffset(u64),
    /// A size that no kernel has, or less than the file's.
    BadSize(u64),
}

impl ImageHeader {
    /// Bytes of the header.
    pub const SIZE: usize = size_of::<Raw>();

    /// Reads the header at the start of an image.
    ///
    /// # Errors
    ///
    /// [`ImageError`] says why this is no kernel.
    pub fn read(image: &[u8]) -> Result<ImageHeader, ImageError> {
        let (raw, _) = Raw::read_from_prefix(image).map_err(|_| foreign(image))?;
        if raw.magic.get() != MAGIC {
            return Err(foreign(image));
        }
        let flags = raw.flags.get();
        if flags & 1 != 0 {
            return Err(ImageError::BigEndian);
        }
        let text_offset = raw.text_offset.get();
        if text_offset >= BASE_ALIGNMENT {
            return Err(ImageError::BadOffset(text_offset));
        }
        let image_size = raw.image_size.get();
        if image_size > MAX_SIZE {
            return Err(ImageError::BadSize(image_size));
        }
        let page_size = match flags >> 1 & 3 {
            1 => PageSize::Size4K,
            2 => PageSize::Size16K,
            3 => PageSize::Size64K,
            _ => PageSize::Unspecified,
        };
        let image_size = (image_size != 0).then_some(image_size);
        Ok(ImageHeader { text_offset, image_size, page_size, anywhere: flags & 8 != 0 })
    }

    /// Bytes of memory that an image of `file_size` bytes takes.
    pub fn memory_size(&self, file_size: u64) -> u64 {
        self.image_size.unwrap_or(0).max(file_size)
    }
}

/// What is wrong with a file that has no header.
fn foreign(file: &[u8]) -> ImageError {
    if let Some(compression) = Compression::of(file) {
        return ImageError::Compressed(compression);
    }
    if file.starts_with(b"\x7fELF") {
        return ImageError::Elf;
    }
    if file.get(4..).is_some_and(|rest| rest.starts_with(&zboot::MAGIC)) {
        return ImageError::Zboot;
    }
    match file.get(MAGIC_AT..).and_then(|rest| rest.first_chunk()) {
        Some(word) if file.len() >= ImageHeader::SIZE => ImageError::BadMagic(u32::from_le_bytes(*word)),
        _ => ImageError::TooShort(file.len()),
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::TooShort(size) => {
                write!(f, "it has {size} bytes, less than the header of an arm64 Image")
            }
            ImageError::Elf => write!(
                f,
                "it is an ELF file (vmlinux): take the vmlinuz of the same kernel, or what `objcopy -O binary` makes of it"
            ),
            ImageError::Zboot => {
                write!(f, "it is an EFI zboot kernel, compressed once more, which is one time too many")
            }
            ImageError::Compressed(how) => {
                write!(
                    f,
                    "it is compressed by {how}, which is not undone here: `{how} -d` makes a plain kernel of it"
                )
            }
            ImageError::BadMagic(word) => {
                write!(f, "it is no arm64 Image: {word:#010x} stands where \"ARM\\x64\" belongs (byte 0x38)")
            }
            ImageError::BigEndian => write!(f, "it is a big-endian kernel, which is not supported"),
            ImageError::BadOffset(offset) => {
                write!(f, "its header's text_offset {offset:#x} is not below 2 MiB")
            }
            ImageError::BadSize(size) => {
                write!(f, "its header's image_size {size:#x} is larger than any kernel")
            }
        }
    }
}

impl core::error::Error for ImageError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn image(text_offset: u64, image_size: u64, flags: u64) -> Vec<u8> {
        let mut bytes = [0u32; 2].map(u32::to_le_bytes).concat();
        for word in [text_offset, image_size, flags, 0, 0, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn a_header_of_debian_is_read() {
        let header = ImageHeader::read(&image(0, 0x1e5_0000, 0xa)).unwrap();
        let size = Some(0x1e5_0000);
        let expected =
            ImageHeader { text_offset: 0, image_size: size, page_size: PageSize::Size4K, anywhere: true };
        assert_eq!(header, expected);
        assert_eq!((ImageHeader::SIZE, header.memory_size(10)), (64, 0x1e5_0000));
    }

    #[test]
    fn an_old_image_takes_what_its_file_has() {
        let header = ImageHeader::read(&image(0x8_0000, 0, 0)).unwrap();
        assert_eq!((header.text_offset, header.image_size, header.memory_size(4711)), (0x8_0000, None, 4711));
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert_eq!(ImageHeader::read(&[0; 63]), Err(ImageError::TooShort(63)));
        assert_eq!(ImageHeader::read(&[0; 64]), Err(ImageError::BadMagic(0)));
        assert_eq!(ImageHeader::read(&image(0, 0, 1)), Err(ImageError::BigEndian));
        assert_eq!(ImageHeader::read(&image(2 << 20, 0, 0)), Err(ImageError::BadOffset(2 << 20)));
        assert_eq!(ImageHeader::read(&image(0, u64::MAX, 0)), Err(ImageError::BadSize(u64::MAX)));
    }

    #[test]
    fn files_of_other_forms_are_told_with_what_helps() {
        for (start, words) in [
            (&b"\x7fELF"[..], ["vmlinux", "objcopy"]),
            (b"\x28\xb5\x2f\xfd", ["zstd", "`zstd -d`"]),
            (b"\xfd7zXZ\0", ["xz", "`xz -d`"]),
            (b"MZ\0\0zimg", ["EFI zboot", "once more"]),
        ] {
            for size in [start.len(), 100] {
                let mut file = start.to_vec();
                file.resize(size, 0);
                let said = std::format!("{}", ImageHeader::read(&file).unwrap_err());
                assert!(words.iter().all(|word| said.contains(word)), "{said}");
            }
        }
        // An `Image` may begin with any instruction.
        let mut odd = image(0, 0x1000, 0xa);
        odd[..4].copy_from_slice(b"\x7fELF");
        assert!(ImageHeader::read(&odd).is_ok());
    }

    proptest! {
        #[test]
        fn sizes_that_are_believed_are_bounded(offset in any::<u64>(), size in any::<u64>(), flags in any::<u64>()) {
            if let Ok(header) = ImageHeader::read(&image(offset, size, flags)) {
                prop_assert!(header.text_offset < BASE_ALIGNMENT && header.memory_size(0) <= MAX_SIZE);
            }
        }
    }
}
