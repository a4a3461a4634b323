//! The forms in which distributions ship a kernel: an arm64 `Image`, that compressed, or an EFI program that holds it.

use std::io::{Cursor, Read};

use anyhow::{Context, Result, bail};
use flate2::read::{GzDecoder, MultiGzDecoder};
use machine_model::compression::Compression;
use machine_model::image::ImageHeader;
use machine_model::zboot::Zboot;
use ruzstd::decoding::StreamingDecoder;

use crate::uki;

/// The largest kernel or ramdisk that is read, unpacked.
pub const MAX_FILE: u64 = 1 << 30;

/// The first bytes of a gzip file (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The first bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The largest window that a zstd frame may ask for: what the strongest level of Linux's build asks for.
const MAX_WINDOW: u64 = 128 << 20;

/// The plain kernel, of at most `limit` bytes, and its header.
///
/// # Errors
///
/// The file is none of the forms, or damaged.
pub fn unpack(file: Vec<u8>, limit: u64) -> Result<(Vec<u8>, ImageHeader)> {
    let kernel = match file {
        file if file.starts_with(&GZIP) => gunzip(&file, limit)?,
        file if file.starts_with(&ZSTD) => unzstd(&file, limit)?,
        file => file,
    };
    // A distribution may compress the EFI program once more.
    let kernel = match Zboot::read(&kernel)? {
        Some(zboot) => payload(&zboot, limit)?,
        None => kernel,
    };
    // Its ramdisk and its command line belong to the kernel, so that it is not taken alone.
    let head = kernel.get(..uki::HEAD).unwrap_or(&kernel);
    if matches!(uki::read(head, kernel.len() as u64), Ok(Some(_))) {
        bail!(
            "it is a unified kernel image: as EFI/Linux/NAME.efi of the guest's disk it starts with `boot = \"disk\"`, and \
             `objcopy -O binary --only-section=.linux` takes its kernel out"
        );
    }
    let header = ImageHeader::read(&kernel)?;
    Ok((kernel, header))
}

/// The kernel that an EFI program holds.
fn payload(zboot: &Zboot<'_>, limit: u64) -> Result<Vec<u8>> {
    match zboot.compression {
        Compression::Gzip => {
            bounded(GzDecoder::new(zboot.payload), limit).context("it does not unpack with gzip")
        }
        Compression::Zstd => unzstd(zboot.payload, limit),
        _ => bail!(
            "it is an EFI zboot kernel whose compression is `{}`; gzip and zstd can be unpacked here",
            zboot.compression
        ),
    }
}

fn gunzip(bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
    bounded(MultiGzDecoder::new(bytes), limit).context("it does not unpack with gzip")
}

/// Unpacks the first frame. Behind it an EFI program has the kernel's size.
fn unzstd(bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
    let what = "it does not unpack with zstd";
    let mut decoder =
        StreamingDecoder::new_with_max_window_size(Cursor::new(bytes), MAX_WINDOW).context(what)?;
    let plain = bounded(&mut decoder, limit).context(what)?;
    let decoder = decoder.into_frame_decoder();
    // The decoder only adds up.
    if let (Some(said), Some(counted)) = (decoder.get_checksum_from_data(), decoder.get_calculated_checksum())
        && said != counted
    {
        bail!("{what}: its checksum is {said:#x}, and that of what comes out {counted:#x}");
    }
    Ok(plain)
}

/// Reads to the end, of what may be made to be endless.
fn bounded(plain: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    plain.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        bail!("it unpacks to more than the {limit} bytes that there is room for");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of so many bytes that needs so many.
    fn image(bytes: usize, needs: u64) -> Vec<u8> {
        let mut image = vec![0; bytes];
        image[16..24].copy_from_slice(&needs.to_le_bytes());
        image[24..32].copy_from_slice(&0xau64.to_le_bytes());
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        image
    }

    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(plain).unwrap();
        packed.finish().unwrap()
    }

    fn zstd(plain: &[u8]) -> Vec<u8> {
        compress_to_vec(plain, CompressionLevel::Fastest)
    }

    /// An EFI program that holds that payload, with the four bytes of the kernel's size behind it.
    fn zboot(compression: &str, payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..8].copy_from_slice(b"MZ\0\0zimg");
        file[8..12].copy_from_slice(&64u32.to_le_bytes());
        file[12..16].copy_from_slice(&(payload.len() as u32 + 4).to_le_bytes());
        file[24..24 + compression.len()].copy_from_slice(compression.as_bytes());
        file.extend(payload);
        file.extend(5000u32.to_le_bytes());
        file
    }

    fn says(file: &[u8]) -> String {
        format!("{:#}", unpack(file.to_vec(), MAX_FILE).unwrap_err())
    }

    #[test]
    fn a_kernel_comes_out_of_every_form() {
        let plain = image(5000, 10000);
        let mut with_size = gzip(&plain);
        // A gzip payload ends in the size by itself.
        let efi = {
            let mut efi = zboot("gzip", &with_size);
            let size = with_size.len() as u32;
            efi[12..16].copy_from_slice(&size.to_le_bytes());
            efi
        };
        with_size.extend(gzip(b""));
        let forms = [
            plain.clone(),
            gzip(&plain),
            with_size,
            zstd(&plain),
            efi,
            zboot("zstd22", &zstd(&plain)),
            gzip(&zboot("zstd22", &zstd(&plain))),
        ];
        for (index, form) in forms.into_iter().enumerate() {
            let (kernel, header) =
                unpack(form, MAX_FILE).unwrap_or_else(|error| panic!("form {index}: {error:#}"));
            assert_eq!((kernel == plain, header.image_size), (true, Some(10000)), "form {index}");
        }
    }

    #[test]
    fn what_is_no_kernel_says_what_it_is() {
        assert!(says(b"\x7fELF rest").contains("vmlinux"));
        assert!(says(&zboot("lzma", b"x")).contains("`lzma`"));
        assert!(says(&[0x1f, 0x8b, 8, 0]).contains("does not unpack with gzip"));
        assert!(says(&ZSTD).contains("does not unpack with zstd"));
        assert!(says(&[0; 100]).contains("no arm64 Image"));
        let unified = crate::tests::images::uki(&[(".initrd", b"i"), (".linux", b"k")]);
        assert!(says(&unified).contains("unified kernel image: as EFI/Linux/NAME.efi"));
        assert!(
            says(&zboot(
                "gzip",
                &gzip(b"no kernel at all, but long enough for a header, which has 64 bytes")
            ))
            .contains("no arm64 Image")
        );
    }

    #[test]
    fn a_payload_that_is_cut_off_is_an_error() {
        let packed = zstd(&image(5000, 10000));
        let whole = zboot("zstd22", &packed);
        for bytes in 64..whole.len() {
            let error = says(&whole[..bytes]);
            assert!(error.contains("from byte 64 on, and the file has"), "{bytes}: {error}");
        }
        for bytes in 4..packed.len() {
            let error = says(&packed[..bytes]);
            assert!(error.contains("zstd") || error.contains("Image"), "{bytes}: {error}");
        }
    }

    #[test]
    fn what_unpacks_to_more_than_there_is_room_for_stops_there() {
        let bomb = vec![0; 8 << 20];
        for packed in [gzip(&bomb), zstd(&bomb), zboot("gzip", &gzip(&bomb)), zboot("zstd22", &zstd(&bomb))] {
            assert!(packed.len() < 64 << 10);
            let error = format!("{:#}", unpack(packed, 1 << 20).unwrap_err());
            assert!(error.contains("more than the 1048576 bytes"), "{error}");
        }
    }

    #[test]
    fn a_damaged_frame_is_an_error() {
        let mut packed = zstd(&image(5000, 10000));
        let checksum = packed.len() - 2;
        packed[checksum] ^= 1;
        assert!(says(&packed).contains("its checksum is"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0usize..4, mut tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut file = match kind {
                0 => GZIP.to_vec(),
                1 => ZSTD.to_vec(),
                2 => zboot("zstd", &ZSTD)[..64].to_vec(),
                _ => zboot("gzip", &GZIP)[..64].to_vec(),
            };
            file.append(&mut tail);
            let _answer = unpack(file, 1 << 20);
        }
    }
}
