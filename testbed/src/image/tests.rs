//! Packing of small ELF files made here.

use object::elf;
use object::write::elf::{FileHeader, ProgramHeader, Writer};

use super::*;

/// An ELF file with the given segments: address, file-backed bytes, size in memory.
fn elf_file(segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut writer = Writer::new(object::Endianness::Little, true, &mut buffer);
    writer.reserve_file_header();
    writer.reserve_program_headers(u32::try_from(segments.len()).unwrap());
    let offsets: Vec<u64> =
        segments.iter().map(|(_, data, _)| writer.reserve(data.len() as u64, 8)).collect();
    writer
        .write_file_header(&FileHeader {
            os_abi: elf::OsAbi(0),
            abi_version: 0,
            e_type: elf::ET_DYN,
            e_machine: elf::EM_AARCH64,
            e_entry: 0,
            e_flags: elf::FileFlags(0),
        })
        .unwrap();
    writer.write_align_program_headers();
    for ((address, data, memory), offset) in segments.iter().zip(&offsets) {
        writer.write_program_header(&ProgramHeader {
            p_type: elf::PT_LOAD,
            p_flags: elf::PF_R,
            p_offset: *offset,
            p_vaddr: *address,
            p_paddr: *address,
            p_filesz: data.len() as u64,
            p_memsz: *memory,
            p_align: 8,
        });
    }
    for ((_, data, _), offset) in segments.iter().zip(&offsets) {
        writer.pad_until(*offset);
        writer.write(data);
    }
    buffer
}

#[test]
fn segments_are_sorted_gaps_padded_and_bss_left_out() {
    let file = elf_file(&[(0x1010, b"data", 0x100), (0x1000, b"text", 4)]);
    let (image, sizes) = pack(&file).unwrap();
    assert_eq!(image, b"text\0\0\0\0\0\0\0\0\0\0\0\0data");
    assert_eq!(sizes, Sizes { file: 20, symbols: 0, symbols_used: 0 });
}

#[test]
fn overlapping_and_far_segments_are_refused() {
    let overlap = pack(&elf_file(&[(0x1000, b"text", 4), (0x1002, b"data", 4)])).unwrap_err();
    assert!(overlap.to_string().contains("overlap"), "{overlap}");
    let far = pack(&elf_file(&[(0, b"text", 4), (1 << 40, b"data", 4)])).unwrap_err();
    assert!(far.to_string().contains("away"), "{far}");
}

#[test]
fn what_is_not_an_elf_file_is_refused() {
    assert!(pack(b"MZ not an ELF file").is_err());
    assert!(pack(&elf_file(&[])).is_err());
}
