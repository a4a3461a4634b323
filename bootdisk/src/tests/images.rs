//! Disks as distributions have them, made by the tools that make them.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::symlink;
use std::process::Command;

use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types;

pub const MIB: usize = 1 << 20;
pub const UUID: &str = "7f2a9d3e-0c1b-4a5d-9e8f-112233445566";

/// What is to be at a path.
#[derive(Clone, Copy)]
pub enum Node<'a> {
    File(&'a [u8]),
    Link(&'a str),
    /// A file of so many bytes, all of them a hole.
    Hole(u64),
}

use Node::{File, Hole, Link};

/// An ext4 of `mib` MiB with that in it.
pub fn ext4(mib: usize, nodes: &[(&str, Node<'_>)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (root, image) = (folder.path().join("root"), folder.path().join("image"));
    for (path, node) in nodes {
        let path = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match node {
            File(bytes) => fs::write(path, bytes).unwrap(),
            Link(to) => symlink(to, path).unwrap(),
            Hole(size) => fs::File::create(path).unwrap().set_len(*size).unwrap(),
        }
    }
    let search = format!("{}:/sbin:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut make = Command::new("mke2fs");
    make.env("PATH", search).args(["-q", "-t", "ext4", "-L", "root", "-U", UUID, "-d"]).arg(&root);
    let made = make.arg(&image).arg(format!("{mib}M")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read(image).unwrap()
}

/// A FAT of `mib` MiB with that in it, which has files only.
pub fn fat(mib: usize, nodes: &[(&str, Node<'_>)]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; mib * MIB]);
    let options = fatfs::FormatVolumeOptions::new().volume_id(0xcafe_0042).volume_label(*b"BOOT       ");
    fatfs::format_volume(&mut disk, options).unwrap();
    let tree = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
    for (path, node) in nodes {
        let File(bytes) = node else { panic!("FAT has files only") };
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            tree.root_dir().create_dir(&path[..at]).unwrap();
        }
        tree.root_dir().create_file(path).unwrap().write_all(bytes).unwrap();
    }
    drop(tree);
    disk.into_inner()
}

/// A disk with these partitions by GPT, and the UUID of each.
pub fn gpt(sector: LogicalBlockSize, parts: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
    let bytes = u64::from(sector) as usize;
    let size = parts.iter().map(|part| part.len()).sum::<usize>() + 4 * MIB;
    let mut disk = Cursor::new(vec![0; size]);
    let lb = u32::try_from(size / bytes - 1).unwrap();
    ProtectiveMBR::with_lb_size(lb).overwrite_lba0(&mut disk).unwrap();
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(sector)
        .create_from_device(disk, None)
        .unwrap();
    for part in parts {
        table.add_partition("", part.len() as u64, partition_types::LINUX_FS, 0, None).unwrap();
    }
    let places: Vec<(u64, String)> =
        table.partitions().values().map(|part| (part.first_lba, part.part_guid.to_string())).collect();
    let mut disk = table.write().unwrap().into_inner();
    for (part, (first, _)) in parts.iter().zip(&places) {
        let start = *first as usize * bytes;
        disk[start..start + part.len()].copy_from_slice(part);
    }
    (disk, places.into_iter().map(|(_, uuid)| uuid).collect())
}

/// A disk with two primary partitions and two logical ones by MBR: the content is that of the last.
pub fn mbr(last: &[u8]) -> Vec<u8> {
    const SECTOR: usize = 512;
    let sectors = |bytes: usize| u32::try_from(bytes / SECTOR).unwrap();
    let mut disk = vec![0; last.len() + 8 * MIB];
    let mut entry = |table: usize, slot: usize, kind: u8, start: u32, size: u32| {
        let at = table + 446 + slot * 16;
        disk[at + 4] = kind;
        disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&size.to_le_bytes());
        disk[table + 510..table + 512].copy_from_slice(&[0x55, 0xaa]);
    };
    let whole = sectors(last.len() + 6 * MIB);
    entry(0, 0, 0x83, sectors(MIB), sectors(MIB));
    entry(0, 1, 0x05, sectors(2 * MIB), whole);
    entry(2 * MIB, 0, 0x83, 8, sectors(MIB));
    entry(2 * MIB, 1, 0x05, sectors(2 * MIB), sectors(last.len() + 2 * MIB));
    entry(4 * MIB, 0, 0x83, sectors(MIB), sectors(last.len()));
    // A circle, which is never walked to its end.
    entry(4 * MIB, 1, 0x05, sectors(2 * MIB), sectors(MIB));
    disk[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
    disk[5 * MIB..5 * MIB + last.len()].copy_from_slice(last);
    disk
}

/// A unified kernel image with these sections, as `ukify` makes it around systemd's stub: headers, and the sections at
/// multiples of 512 bytes.
pub fn uki(sections: &[(&str, &[u8])]) -> Vec<u8> {
    const FILE_ALIGNMENT: usize = 512;
    let headers = 0x80 + 24 + 112 + sections.len() * 40;
    let mut file = vec![0; headers.next_multiple_of(FILE_ALIGNMENT)];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x80;
    file[0x80..0x84].copy_from_slice(b"PE\0\0");
    file[0x84..0x86].copy_from_slice(&0xaa64_u16.to_le_bytes());
    file[0x86..0x88].copy_from_slice(&u16::try_from(sections.len()).unwrap().to_le_bytes());
    // The optional header has no data directories.
    file[0x94..0x96].copy_from_slice(&112_u16.to_le_bytes());
    file[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
    for (index, (name, bytes)) in sections.iter().enumerate() {
        let header = 0x80 + 24 + 112 + index * 40;
        let (start, size) = (file.len(), bytes.len().next_multiple_of(FILE_ALIGNMENT));
        file[header..header + name.len()].copy_from_slice(name.as_bytes());
        for (at, value) in [(8, bytes.len()), (12, 0x1000 * (index + 1)), (16, size), (20, start)] {
            file[header + at..header + at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
        }
        file.extend_from_slice(bytes);
        file.resize(start + size, 0);
    }
    file
}
