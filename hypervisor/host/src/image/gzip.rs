//! Gzip files (RFC 1952), unpacked in steps.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// How far back DEFLATE may refer (RFC 1951): what is kept of the output. A power of two.
const WINDOW: usize = 32 << 10;
const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const HEADER_SIZE: usize = 10;

const HAS_HEADER_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Why a file could not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GunzipError<E> {
    /// It does not start as a gzip file does.
    BadHeader,
    /// It ends before its data does.
    Truncated,
    /// Its data makes no sense.
    Damaged,
    /// What came out is not what went in.
    BadChecksum,
    /// What came out has not the length that the file says.
    BadLength,
    /// More came out than was allowed.
    TooLarge {
        /// Bytes that were allowed.
        limit: u64,
    },
    /// The sink refused a piece.
    Sink(E),
}

/// Whether the bytes start as a gzip file does.
pub fn is_gzip(source: &[u8]) -> bool {
    source.starts_with(&MAGIC)
}

/// Unpacks a gzip file of one member, piece by piece: `sink` gets the output in order, at most 32 KiB at a time, and
/// at most `limit` bytes of it in all. Gives the number of bytes. What stands behind the member is ignored, as boot
/// loaders pad modules.
///
/// The sink gets pieces before the checksum at the end can be checked: what it holds is good only if this succeeds.
///
/// # Errors
///
/// [`GunzipError`]; the sink's own errors come back in [`GunzipError::Sink`].
pub fn gunzip<E>(
    source: &[u8],
    limit: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, GunzipError<E>> {
    let mut input = skip_header(source)?;
    let mut state = Box::<DecompressorOxide>::default();
    let mut window = vec![0u8; WINDOW];
    let mut position = 0usize;
    let mut length = 0u64;
    let mut crc = Crc32::new();
    loop {
        // With no flags all of the input is at hand, and the window wraps around.
        let (status, read, written) = decompress(&mut state, input, &mut window, position, 0);
        input = input.get(read..).ok_or(GunzipError::Damaged)?;
        let end = position.checked_add(written).ok_or(GunzipError::Damaged)?;
        let piece = window.get(position..end).ok_or(GunzipError::Damaged)?;
        length =
            u64::try_from(written).ok().and_then(|written| length.checked_add(written)).unwrap_or(u64::MAX);
        // Before the sink gets the piece: it has room for `limit` bytes, whatever the file says of itself.
        if length > limit {
            return Err(GunzipError::TooLarge { limit });
        }
        if !piece.is_empty() {
            crc.update(piece);
            sink(piece).map_err(GunzipError::Sink)?;
        }
        position = end & (WINDOW - 1);
        match status {
            TINFLStatus::Done => break,
            // A round that moves nothing would be followed by others like it for ever.
            TINFLStatus::HasMoreOutput if read != 0 || written != 0 => {}
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
                return Err(GunzipError::Truncated);
            }
            _ => return Err(GunzipError::Damaged),
        }
    }
    check_trailer(input, crc.value(), length)?;
    Ok(length)
}

/// The bytes behind the header.
fn skip_header<E>(source: &[u8]) -> Result<&[u8], GunzipError<E>> {
    let (header, mut rest) = source.split_first_chunk::<HEADER_SIZE>().ok_or(GunzipError::Truncated)?;
    let [magic0, magic1, method, flags, ..] = *header;
    if [magic0, magic1] != MAGIC || method != DEFLATE || flags & RESERVED != 0 {
        return Err(GunzipError::BadHeader);
    }
    if flags & HAS_EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>().ok_or(GunzipError::Truncated)?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..).ok_or(GunzipError::Truncated)?;
    }
    for _ in 0..(flags & (HAS_NAME | HAS_COMMENT)).count_ones() {
        let end = rest.iter().position(|&byte| byte == 0).ok_or(GunzipError::Truncated)?;
        rest = rest.get(end..).and_then(|rest| rest.get(1..)).ok_or(GunzipError::Truncated)?;
    }
    if flags & HAS_HEADER_CRC != 0 {
        let (expected, behind) = rest.split_first_chunk::<2>().ok_or(GunzipError::Truncated)?;
        let header = source.get(..source.len() - rest.len()).ok_or(GunzipError::BadHeader)?;
        let mut crc = Crc32::new();
        crc.update(header);
        if crc.value() & 0xffff != u32::from(u16::from_le_bytes(*expected)) {
            return Err(GunzipError::BadHeader);
        }
        rest = behind;
    }
    Ok(rest)
}

fn check_trailer<E>(rest: &[u8], crc: u32, length: u64) -> Result<(), GunzipError<E>> {
    let (expected, rest) = rest.split_first_chunk::<4>().ok_or(GunzipError::Truncated)?;
    let (size, _) = rest.split_first_chunk::<4>().ok_or(GunzipError::Truncated)?;
    if u32::from_le_bytes(*expected) != crc {
        return Err(GunzipError::BadChecksum);
    }
    // The file has the length modulo 2^32.
    if u64::from(u32::from_le_bytes(*size)) != length & 0xffff_ffff {
        return Err(GunzipError::BadLength);
    }
    Ok(())
}

/// The checksum of RFC 1952, section 8, eight bits at a step. The tables of `crc32fast` would be 16 KiB of the image, and a
/// kernel is unpacked once.
struct Crc32(u32);

const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 != 0 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

impl Crc32 {
    fn new() -> Crc32 {
        Crc32(u32::MAX)
    }

    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let [low, ..] = self.0.to_le_bytes();
            self.0 = CRC_TABLE[usize::from(low ^ byte)] ^ (self.0 >> 8);
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

impl<E: fmt::Debug> fmt::Display for GunzipError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GunzipError::BadHeader => write!(f, "it is no gzip file, or one of an unknown kind"),
            GunzipError::Truncated => write!(f, "the gzip file is truncated"),
            GunzipError::Damaged => write!(f, "the gzip file's data is damaged"),
            GunzipError::BadChecksum => {
                write!(f, "the gzip file's data does not have the checksum that it says")
            }
            GunzipError::BadLength => write!(f, "the gzip file's data does not have the length that it says"),
            GunzipError::TooLarge { limit } => {
                write!(f, "the gzip file unpacks to more than the {} KiB that there is room for", limit >> 10)
            }
            GunzipError::Sink(error) => write!(f, "its unpacked data could not be stored: {error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for GunzipError<E> {}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use alloc::vec::Vec;
    use miniz_oxide::deflate::compress_to_vec;
    use proptest::prelude::*;

    /// A gzip file that has the data.
    pub fn gzip(data: &[u8], level: u8) -> Vec<u8> {
        let mut file = [&MAGIC[..], &[DEFLATE, 0, 0, 0, 0, 0, 0, 3]].concat();
        file.extend(compress_to_vec(data, level));
        let mut crc = Crc32::new();
        crc.update(data);
        file.extend(crc.value().to_le_bytes());
        file.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        file
    }

    fn unpack(file: &[u8], limit: u64) -> Result<Vec<u8>, GunzipError<()>> {
        let mut out = Vec::new();
        let length = gunzip(file, limit, &mut |piece| {
            assert!(!piece.is_empty() && piece.len() <= WINDOW);
            out.extend_from_slice(piece);
            Ok(())
        })?;
        assert_eq!(length, out.len() as u64);
        Ok(out)
    }

    /// Made by gzip 1.12 with `printf 'xenolith' | gzip -9 -n`.
    const BY_GZIP: [u8; 28] = [
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x48, 0xcd, 0xcb, 0xcf, 0xc9, 0x2c,
        0xc9, 0x00, 0x00, 0x34, 0x55, 0x49, 0xd4, 0x08, 0x00, 0x00, 0x00,
    ];

    #[test]
    fn a_file_made_by_gzip_is_unpacked() {
        assert!(is_gzip(&BY_GZIP));
        assert_eq!(unpack(&BY_GZIP, 8).as_deref(), Ok(&b"xenolith"[..]));
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        let mut crc = Crc32::new();
        crc.update(b"123456789");
        assert_eq!(crc.value(), 0xcbf4_3926);
    }

    #[test]
    fn optional_fields_of_the_header_are_skipped() {
        let plain = gzip(b"kernel", 6);
        let mut file = plain.clone();
        file[3] = HAS_EXTRA | HAS_NAME | HAS_COMMENT;
        file.splice(10..10, *b"\x03\0abcImage\0a comment\0");
        assert_eq!(unpack(&file, 100).as_deref(), Ok(&b"kernel"[..]));
        for cut in 0..file.len() {
            assert!(unpack(&file[..cut], 100).is_err(), "{cut}");
        }
        let mut reserved = plain;
        reserved[3] = 0x80;
        assert_eq!(unpack(&reserved, 100), Err(GunzipError::BadHeader));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0; 8 << 20], 9);
        assert!(bomb.len() < 16 << 10);
        assert_eq!(unpack(&bomb, 1 << 20), Err(GunzipError::TooLarge { limit: 1 << 20 }));
    }

    #[test]
    fn damage_to_the_trailer_is_told_apart() {
        let file = gzip(b"some kernel", 6);
        let mut crc = file.clone();
        let end = file.len();
        crc[end - 8] ^= 1;
        assert_eq!(unpack(&crc, 100), Err(GunzipError::BadChecksum));
        let mut length = file.clone();
        length[end - 4] ^= 1;
        assert_eq!(unpack(&length, 100), Err(GunzipError::BadLength));
        assert_eq!(unpack(&file[..end - 1], 100), Err(GunzipError::Truncated));
        assert_eq!(unpack(&[file, vec![0; 100]].concat(), 100).as_deref(), Ok(&b"some kernel"[..]));
    }

    #[test]
    fn an_error_of_the_sink_ends_it() {
        let file = gzip(&[7; 100_000], 6);
        let mut pieces = 0;
        let result = gunzip(&file, u64::MAX, &mut |_| {
            pieces += 1;
            if pieces == 2 { Err("no room") } else { Ok(()) }
        });
        assert_eq!((result, pieces), (Err(GunzipError::Sink("no room")), 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn what_went_in_comes_out(seed in any::<u64>(), size in 0usize..150_000, spread in 1u64..256, level in 0u8..10) {
            let mut state = seed;
            let data: Vec<u8> = (0..size)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    ((state >> 33) % spread) as u8
                })
                .collect();
            let file = gzip(&data, level);
            prop_assert_eq!(unpack(&file, size as u64), Ok(data));
        }

        #[test]
        fn a_file_cut_short_is_truncated(cut in any::<prop::sample::Index>()) {
            let data: Vec<u8> = (0..50_000u32).flat_map(|number| (number % 1000).to_le_bytes()).collect();
            let file = gzip(&data, 6);
            prop_assert_eq!(unpack(&file[..cut.index(file.len())], 1 << 20), Err(GunzipError::Truncated));
        }

        #[test]
        fn damaged_files_end_within_the_limit(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let data: Vec<u8> = (0..20_000u32).flat_map(|number| (number % 999).to_le_bytes()).collect();
            let mut file = gzip(&data, 6);
            let original = file.clone();
            for (at, value) in changes {
                let at = at.index(file.len());
                file[at] = value;
            }
            if let Ok(out) = unpack(&file, 1 << 20) {
                // Only a header field that means nothing (time, system) may differ.
                prop_assert!(out == data || file[10..] == original[10..]);
            }
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let file = [&MAGIC[..], &[DEFLATE, 0, 0, 0, 0, 0, 0, 3], &bytes].concat();
            let _ = unpack(&file, 1 << 20);
        }
    }
}
