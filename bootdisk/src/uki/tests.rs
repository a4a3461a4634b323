use proptest::prelude::*;

use super::*;
use crate::tests::images::uki;

fn parts(file: &[u8], section: Option<Section>) -> &[u8] {
    section.map_or(&[], |section| &file[section.start as usize..section.end() as usize])
}

fn read_whole(file: &[u8]) -> Result<Option<Sections>, String> {
    read(&file[..file.len().min(HEAD)], file.len() as u64).map_err(|error| error.to_string())
}

const ALL: [(&str, &[u8]); 4] =
    [(".osrel", b"ID=debian\n"), (".cmdline", b"quiet"), (".initrd", &[7; 3000]), (".linux", &[8; 5000])];

/// Where a field of a section's header is: `at` bytes behind its name.
fn field(file: &[u8], name: &str, at: usize) -> usize {
    file.windows(8).position(|bytes| bytes.starts_with(name.as_bytes())).unwrap() + at
}

const VIRTUAL_SIZE: usize = 8;
const RAW_SIZE: usize = 16;
const RAW_START: usize = 20;

fn set(file: &mut [u8], name: &str, at: usize, value: u32) {
    let at = field(file, name, at);
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn its_parts_are_its_sections() {
    let file = uki(&ALL);
    let found = read_whole(&file).unwrap().unwrap();
    assert_eq!(parts(&file, Some(found.linux)), [8; 5000]);
    assert_eq!(parts(&file, found.initrd), [7; 3000]);
    assert_eq!(
        (parts(&file, found.cmdline), parts(&file, found.osrel)),
        (&b"quiet"[..], &b"ID=debian\n"[..])
    );
    let kernel_alone = uki(&[(".linux", b"k")]);
    let found = read_whole(&kernel_alone).unwrap().unwrap();
    assert_eq!((found.initrd, found.cmdline, found.osrel), (None, None, None));
}

#[test]
fn the_first_profile_goes_before_what_all_have() {
    let file = uki(&[
        (".linux", b"kernel"),
        (".cmdline", b"common"),
        (".profile", b"ID=main"),
        (".cmdline", b"first"),
        (".profile", b"ID=other"),
        (".cmdline", b"second"),
    ]);
    assert_eq!(parts(&file, read_whole(&file).unwrap().unwrap().cmdline), b"first");
}

#[test]
fn other_files_are_none() {
    assert_eq!(read_whole(b"#!/bin/sh"), Ok(None));
    assert_eq!(read_whole(&uki(&[(".text", b"a boot loader")])), Ok(None));
    let mut other_cpu = uki(&ALL);
    let machine = other_cpu.windows(4).position(|bytes| bytes == b"PE\0\0").unwrap() + 4;
    other_cpu[machine..machine + 2].copy_from_slice(&0x8664_u16.to_le_bytes());
    assert_eq!(read_whole(&other_cpu), Ok(None));
}

#[test]
fn what_is_not_in_the_file_is_an_error() {
    let whole = uki(&ALL);
    // The last section ends before the file does.
    let end = read_whole(&whole).unwrap().unwrap().linux.end() as usize;
    for size in 2..end {
        let error = read_whole(&whole[..size]);
        let cut = error
            .as_ref()
            .is_err_and(|error| error.contains("no EFI program") || error.contains("the file has"));
        assert!(cut, "{size}: {error:?}");
    }
    for name in [".linux", ".initrd", ".cmdline"] {
        let mut huge = whole.clone();
        set(&mut huge, name, VIRTUAL_SIZE, u32::MAX);
        set(&mut huge, name, RAW_SIZE, u32::MAX);
        assert!(read_whole(&huge).unwrap_err().contains(&format!("section {name} is 4294967295 bytes")));
        let mut far = whole.clone();
        set(&mut far, name, RAW_START, u32::MAX);
        assert!(read_whole(&far).unwrap_err().contains("from byte 4294967295 on"));
    }
}

#[test]
fn sections_that_overlap_are_an_error() {
    let mut file = uki(&ALL);
    let at = field(&file, ".linux", RAW_START);
    let linux = u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    set(&mut file, ".initrd", RAW_START, linux + 1);
    assert_eq!(read_whole(&file), Err("its sections .linux and .initrd overlap".into()));
}

proptest! {
    /// Headers with a few bytes that are something else: an answer, and what is found is within the file.
    #[test]
    fn no_bytes_make_it_panic(changes in prop::collection::vec((0usize..0x300, any::<u8>()), 0..12), cut in 0usize..9000) {
        let mut file = uki(&ALL);
        for (at, byte) in changes {
            file[at] = byte;
        }
        file.truncate(file.len() - cut.min(file.len()));
        if let Ok(Some(found)) = read_whole(&file) {
            for section in [Some(found.linux), found.initrd, found.cmdline, found.osrel].into_iter().flatten() {
                prop_assert!(section.end() <= file.len() as u64);
            }
        }
    }
}
